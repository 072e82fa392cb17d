#define _POSIX_C_SOURCE 200809L /* fork */
/* Holds the batch-reduce GEMM, generated or plain, against its definition in double. */
#include "core/random.h"
#include "kernels/gemm.h"
#include "kernels/target.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LONG_LIST = 600 };

typedef struct operands {
    mio__real *memory, *c, *expected;
    const mio__real *a[LONG_LIST], *b[LONG_LIST];
} operands;

/* Uniform numbers in (-1, 1); nothing is aligned beyond its element. */
static void fill(operands *o, const mio__gemm *gemm, size_t count)
{
    const size_t a_size = gemm->lda * (gemm->transpose_a ? gemm->m : gemm->k);
    const size_t b_size = gemm->ldb * (gemm->transpose_b ? gemm->k : gemm->n), c_size = gemm->ldc * gemm->n;
    const size_t total = count * (a_size + b_size) + 2 * c_size + 1;
    o->memory = malloc(total * sizeof *o->memory);
    ck_assert_ptr_nonnull(o->memory);
    mio__random random;
    mio__random_start(&random, total, 0, 0, 0, MIO__PURPOSE_CROP);
    for (size_t i = 0; i < total; i++)
        o->memory[i] = (mio__real)mio__random_between(&random, -1, 1);
    for (size_t i = 0; i < count; i++) {
        o->a[i] = o->memory + 1 + i * a_size;
        o->b[i] = o->memory + 1 + count * a_size + i * b_size;
    }
    o->c = o->memory + 1 + count * (a_size + b_size);
    o->expected = o->c + c_size;
    for (size_t i = 0; i < c_size; i++) {
        o->expected[i] = o->c[i];
        if (!gemm->accumulate && i % gemm->ldc < gemm->m)
            o->c[i] = NAN; /* written without being read */
    }
}

static double product(const mio__gemm *gemm, const mio__real *a, const mio__real *b, size_t i, size_t j)
{
    double sum = 0;
    for (size_t p = 0; p < gemm->k; p++)
        sum += (double)a[gemm->transpose_a ? p + i * gemm->lda : i + p * gemm->lda] *
               (double)b[gemm->transpose_b ? j + p * gemm->ldb : p + j * gemm->ldb];
    return sum;
}

typedef void (*gemm_function)(const mio__gemm *gemm, const mio__real *const *a, const mio__real *const *b, mio__real *c,
                              size_t count);

static void check_with(gemm_function run, const mio__gemm *gemm, size_t count)
{
    static operands o;
    fill(&o, gemm, count);
    run(gemm, o.a, o.b, o.c, count);
    const double length = (double)(gemm->k * count);
    const double bound =
        4 * (sizeof(mio__real) == sizeof(float) ? FLT_EPSILON : DBL_EPSILON) * sqrt(length) * log2(length + 2);
    for (size_t j = 0; j < gemm->n; j++)
        for (size_t i = 0; i < gemm->ldc; i++) {
            const size_t at = j * gemm->ldc + i;
            double sum = gemm->accumulate ? (double)o.expected[at] : 0;
            for (size_t r = 0; r < count && i < gemm->m; r++)
                sum += product(gemm, o.a[r], o.b[r], i, j);
            if (i >= gemm->m) /* between the columns nothing is written */
                sum = (double)o.expected[at];
            if (!(fabs((double)o.c[at] - sum) <= bound))
                ck_abort_msg("m %zu n %zu k %zu, a%s b%s, %zu pairs: C(%zu, %zu) is off by %g > %g", gemm->m, gemm->n,
                             gemm->k, gemm->transpose_a ? "'" : "", gemm->transpose_b ? "'" : "", count, i, j,
                             fabs((double)o.c[at] - sum), bound);
        }
    const size_t a_size = gemm->lda * (gemm->transpose_a ? gemm->m : gemm->k);
    const size_t b_size = gemm->ldb * (gemm->transpose_b ? gemm->k : gemm->n);
    for (size_t r = 0; r < count; r++) /* the lists stay as they were */
        if (o.a[r] != o.memory + 1 + r * a_size || o.b[r] != o.memory + 1 + count * a_size + r * b_size)
            ck_abort_msg("entry %zu of the lists has moved", r);
    free(o.memory);
}

/* What this CPU runs, and the plain C that stands in for it elsewhere. */
static void check_one(const mio__gemm *gemm, size_t count)
{
    check_with(mio__gemm_run, gemm, count);
    check_with(mio__gemm_run_reference, gemm, count);
}

/* Case i: the transpositions and whether it accumulates. */
START_TEST(shapes)
{
    static const size_t sizes[] = {1, 3, 4, 8, 16, 17, 32, 64}, counts[] = {1, 2, 5};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    const int transpose_a = _i & 1, transpose_b = _i >> 1 & 1, accumulate = _i >> 2;
    for (size_t i = 0; i < SIZES * SIZES * SIZES; i++) {
        const size_t m = sizes[i % SIZES], n = sizes[i / SIZES % SIZES], k = sizes[i / SIZES / SIZES];
        const size_t gap = i % 3;
        const mio__gemm gemm = mio__gemm_make(m, n, k, (transpose_a ? k : m) + gap, (transpose_b ? n : k) + gap,
                                              m + gap, transpose_a, transpose_b, accumulate);
        check_one(&gemm, counts[i % 3]);
    }
}
END_TEST

/* The kernels that ask for A ahead, whether or not this CPU's products use them; case i: pairs less one. */
START_TEST(streamed)
{
    static const size_t rows[] = {16, 32, 48, 64}, depths[] = {1, 16, 17, 64};
    for (size_t i = 0; i < 16; i++)
        for (size_t n = 1; n <= 65; n += n < 20 ? 1 : 15) {
            mio__gemm gemm = mio__gemm_make_streamed(rows[i % 4], n, depths[i / 4]);
            ck_assert(!mio__gemm_streams() == !gemm.streamed);
            gemm.streamed = MIO__PICK(mio__streamed);
            check_one(&gemm, (size_t)_i + 1);
        }
    ck_assert_ptr_null(mio__gemm_make_streamed(8, 16, 16).streamed);
}
END_TEST

#ifndef MIO_DOUBLE
/* ---- kernels for a thousand threads: libxsmm 1.17 shares its memory of kernels between threads 1024 apart ---- */

enum { SHAPES = 24, ROUNDS = 20000, THREADS_BETWEEN = 1023 };

static mio__gemm gemm_of(size_t shape)
{
    return mio__gemm_make(16, shape + 1, 8, 16, 8, 16, 0, 0, 0);
}

typedef struct maker {
    mio__gemm expected[SHAPES];
    atomic_int ready;
    size_t wrong[2];
} maker;

static void *make_one(void *argument)
{
    (void)argument;
    gemm_of(0);
    return NULL;
}

/* index 0 or 1 of the maker that follows. */
typedef struct half {
    maker *all;
    size_t index;
} half;

static void *make_many(void *argument)
{
    const half *self = argument;
    maker *all = self->all;
    gemm_of(self->index); /* takes its place in libxsmm */
    atomic_fetch_add(&all->ready, 1);
    while (atomic_load(&all->ready) < 3)
        sched_yield();
    for (size_t i = 0; i < ROUNDS * SHAPES; i++) {
        const size_t shape = (i * (self->index ? 7 : 5) + i / SHAPES) % SHAPES;
        all->wrong[self->index] += gemm_of(shape).jit != all->expected[shape].jit;
    }
    return NULL;
}

START_TEST(a_thousand_threads)
{
    static maker all;
    half halves[2] = {{&all, 0}, {&all, 1}};
    pthread_t threads[2], between;
    for (size_t shape = 0; shape < SHAPES; shape++)
        all.expected[shape] = gemm_of(shape);
    ck_assert(all.expected[0].jit || mio__target() == MIO__TARGET_GENERIC);
    for (size_t i = 0; i < 2; i++) {
        for (size_t k = 0; i && k < THREADS_BETWEEN; k++) {
            ck_assert_int_eq(pthread_create(&between, NULL, make_one, NULL), 0);
            pthread_join(between, NULL);
        }
        ck_assert_int_eq(pthread_create(&threads[i], NULL, make_many, &halves[i]), 0);
        while (atomic_load(&all.ready) <= (int)i)
            sched_yield();
    }
    atomic_fetch_add(&all.ready, 1);
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(all.wrong[0] + all.wrong[1], 0);
}
END_TEST
/* ---- a child of a process whose other thread asks for kernels ---- */

static void *make_always(void *stop)
{
    for (size_t i = 0; !atomic_load((atomic_int *)stop); i++)
        gemm_of(i % SHAPES);
    return NULL;
}

START_TEST(a_child_finds_the_lock_free)
{
    static atomic_int stop;
    pthread_t thread;
    gemm_of(0);
    ck_assert_int_eq(pthread_create(&thread, NULL, make_always, &stop), 0);
    for (int i = 0; i < 50; i++) {
        const pid_t child = fork();
        ck_assert_int_ge(child, 0);
        if (!child) {
            alarm(10); /* ends it if the lock is held */
            gemm_of((size_t)i % SHAPES);
            _exit(0);
        }
        int status;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(status, 0);
    }
    atomic_store(&stop, 1);
    pthread_join(thread, NULL);
}
END_TEST
#endif

/* Lists longer than a generated kernel takes at once. */
START_TEST(long_lists)
{
    static const size_t counts[] = {255, 256, 257, 512, LONG_LIST};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        const mio__gemm gemm = mio__gemm_make(16, 5, 4, 16, 4, 16, 0, 0, _i);
        check_one(&gemm, counts[i]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gemm");
    TCase *cases = tcase_create("gemm");
    tcase_set_timeout(cases, 60);
    tcase_add_loop_test(cases, shapes, 0, 8);
    tcase_add_loop_test(cases, streamed, 0, 3);
    tcase_add_loop_test(cases, long_lists, 0, 2);
#ifndef MIO_DOUBLE
    tcase_add_test(cases, a_thousand_threads);
    tcase_add_test(cases, a_child_finds_the_lock_free);
#endif
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
