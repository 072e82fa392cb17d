#include "../golden/golden.h"

#include <check.h>
#include <mio/evaluate.h>
#include <pthread.h>
#include <stdio.h>

enum { STREAM = 0xd00000 };

static mio_context *context;

static void setup(void)
{
    ck_assert_int_eq(mio_context_create(&context), MIO_OK);
}

static void teardown(void)
{
    mio_context_release(context);
}

static float *random_rows(size_t stream, size_t count, size_t dim)
{
    float *rows = malloc(count * dim * sizeof *rows);
    for (size_t i = 0; i < count * dim; i++)
        rows[i] = (float)golden_signed(STREAM + stream, i);
    return rows;
}

/* ---- the plain reference, in double ---- */

static double cosine(size_t dim, const float *a, const float *b)
{
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < dim; i++) {
        ab += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa) / sqrt(bb) : 0;
}

static int holds(const size_t *list, size_t count, size_t index)
{
    for (size_t i = 0; i < count; i++)
        if (list[i] == index)
            return 1;
    return 0;
}

/* Checks one query's list: each place holds the best of what is left, up to float's rounding. */
static void check_list(size_t bank_count, size_t dim, const float *bank, const float *query, size_t k,
                       const size_t *indices, const float *similarities)
{
    for (size_t i = 0; i < k; i++) {
        ck_assert_uint_lt(indices[i], bank_count);
        ck_assert(!holds(indices, i, indices[i]));
        const double own = cosine(dim, query, bank + indices[i] * dim);
        ck_assert_double_eq_tol(similarities[i], own, 1e-6);
        if (i)
            ck_assert(similarities[i] <= similarities[i - 1]);
    }
    for (size_t j = 0; j < bank_count; j++)
        if (!holds(indices, k, j))
            ck_assert_double_le(cosine(dim, query, bank + j * dim), similarities[k - 1] + 2e-6);
}

static const struct {
    size_t bank, queries, dim, k;
} sizes[] = {{1, 1, 1, 1},       {63, 3, 5, 7},        {64, 64, 8, 64},   {65, 65, 3, 1},
             {300, 130, 17, 20}, {1000, 70, 128, 200}, {200, 2, 515, 200}};

START_TEST(search_finds_the_best)
{
    const size_t bank_count = sizes[_i].bank, count = sizes[_i].queries, dim = sizes[_i].dim, k = sizes[_i].k;
    float *bank = random_rows(1, bank_count, dim), *queries = random_rows(2, count, dim);
    size_t *indices = malloc(count * k * sizeof *indices);
    float *similarities = malloc(count * k * sizeof *similarities);
    mio_knn *knn;
    ck_assert_int_eq(mio_knn_create(context, &knn), MIO_OK);
    ck_assert_int_eq(mio_knn_fit(knn, bank_count, dim, bank, NULL), MIO_OK);
    ck_assert_int_eq(mio_knn_search(knn, count, dim, queries, k, indices, similarities), MIO_OK);
    for (size_t q = 0; q < count; q++)
        check_list(bank_count, dim, bank, queries + q * dim, k, indices + q * k, similarities + q * k);
    mio_knn_release(knn);
    free(bank);
    free(queries);
    free(indices);
    free(similarities);
}
END_TEST

START_TEST(equal_neighbours_come_by_index)
{
    enum { BANK = 200, DIM = 4, K = 150 };
    float bank[BANK * DIM], query[DIM] = {1, 2, 0, 0};
    for (size_t i = 0; i < BANK; i++) { /* three directions, at several lengths that unit vectors do not see */
        const float length = (float)(1 << (i % 7)), directions[3][DIM] = {{1, 2, 0, 0}, {2, 1, 0, 0}, {0, 0, 1, 0}};
        for (size_t d = 0; d < DIM; d++)
            bank[i * DIM + d] = length * directions[i % 3][d];
    }
    mio_knn *knn;
    size_t indices[K];
    ck_assert_int_eq(mio_knn_create(context, &knn), MIO_OK);
    ck_assert_int_eq(mio_knn_fit(knn, BANK, DIM, bank, NULL), MIO_OK);
    ck_assert_int_eq(mio_knn_search(knn, 1, DIM, query, K, indices, NULL), MIO_OK);
    /* 67 rows with i % 3 == 0, then 67 with 1, then the first 16 with 2. */
    for (size_t i = 0; i < K; i++)
        ck_assert_uint_eq(indices[i], i < 67 ? 3 * i : i < 134 ? 3 * (i - 67) + 1 : 3 * (i - 134) + 2);
    mio_knn_release(knn);
}
END_TEST

/* Votes of a list in double, lowest class first among equals. */
static int32_t reference_vote(size_t k, const size_t *indices, const float *similarities, const int32_t *labels,
                              size_t classes, double temperature)
{
    double votes[16] = {0};
    for (size_t i = 0; i < k; i++)
        votes[labels[indices[i]]] += temperature > 0 ? exp(similarities[i] / temperature) : 1;
    size_t best = 0;
    for (size_t c = 1; c < classes; c++)
        if (votes[c] > votes[best])
            best = c;
    return (int32_t)best;
}

START_TEST(prediction_is_the_vote_of_the_list)
{
    enum { BANK = 500, COUNT = 150, DIM = 9, K = 20, CLASSES = 7 };
    float *bank = random_rows(3, BANK, DIM), *queries = random_rows(4, COUNT, DIM), similarities[COUNT * K];
    int32_t labels[BANK], weighted[COUNT], plain[COUNT];
    size_t indices[COUNT * K];
    for (size_t i = 0; i < BANK; i++)
        labels[i] = (int32_t)(golden_bits(STREAM + 5, i) % CLASSES);
    mio_knn *knn;
    ck_assert_int_eq(mio_knn_create(context, &knn), MIO_OK);
    ck_assert_int_eq(mio_knn_set(knn, "k", K), MIO_OK);
    ck_assert_int_eq(mio_knn_set(knn, "temperature", 0.07), MIO_OK);
    ck_assert_int_eq(mio_knn_fit(knn, BANK, DIM, bank, labels), MIO_OK);
    ck_assert_int_eq(mio_knn_search(knn, COUNT, DIM, queries, K, indices, similarities), MIO_OK);
    ck_assert_int_eq(mio_knn_predict(knn, COUNT, DIM, queries, weighted), MIO_OK);
    ck_assert_int_eq(mio_knn_set(knn, "weighted", 0), MIO_OK);
    ck_assert_int_eq(mio_knn_predict(knn, COUNT, DIM, queries, plain), MIO_OK);
    size_t differ = 0;
    for (size_t q = 0; q < COUNT; q++) {
        ck_assert_int_eq(weighted[q], reference_vote(K, indices + q * K, similarities + q * K, labels, CLASSES, 0.07));
        ck_assert_int_eq(plain[q], reference_vote(K, indices + q * K, similarities + q * K, labels, CLASSES, 0));
        differ += weighted[q] != plain[q];
    }
    ck_assert_uint_gt(differ, 0);
    /* Labels far apart cost neither time nor memory. */
    int32_t sparse[COUNT];
    for (size_t i = 0; i < BANK; i++)
        labels[i] *= 300000007;
    ck_assert_int_eq(mio_knn_fit(knn, BANK, DIM, bank, labels), MIO_OK);
    ck_assert_int_eq(mio_knn_predict(knn, COUNT, DIM, queries, sparse), MIO_OK);
    for (size_t q = 0; q < COUNT; q++)
        ck_assert_int_eq(sparse[q], plain[q] * 300000007);
    mio_knn_release(knn);
    free(bank);
    free(queries);
}
END_TEST

START_TEST(tied_votes_go_to_the_lowest_class)
{
    const float bank[] = {1, 0, 1, 0, 0, 1, 0, 1}, query[] = {1, 1};
    const int32_t labels[] = {3, 3, 1, 1};
    int32_t prediction = -1;
    mio_knn *knn;
    ck_assert_int_eq(mio_knn_create(context, &knn), MIO_OK);
    ck_assert_int_eq(mio_knn_fit(knn, 4, 2, bank, labels), MIO_OK); /* k 200 of 4: all vote */
    ck_assert_int_eq(mio_knn_predict(knn, 1, 2, query, &prediction), MIO_OK);
    ck_assert_int_eq(prediction, 1);
    ck_assert_int_eq(mio_knn_set(knn, "k", 3), MIO_OK); /* the lower index decides who is in */
    ck_assert_int_eq(mio_knn_predict(knn, 1, 2, query, &prediction), MIO_OK);
    ck_assert_int_eq(prediction, 3);
    mio_knn_release(knn);
}
END_TEST

START_TEST(extreme_temperatures_and_scales)
{
    const float bank[] = {1e-30f, 0, 0, 1e30f, 0, 0}, query[] = {1e20f, 1e19f};
    const int32_t labels[] = {2, 0, 1};
    int32_t prediction = -1;
    float similarities[3];
    size_t indices[3];
    mio_knn *knn;
    ck_assert_int_eq(mio_knn_create(context, &knn), MIO_OK);
    ck_assert_int_eq(mio_knn_set(knn, "temperature", 1e-6), MIO_OK);
    ck_assert_int_eq(mio_knn_fit(knn, 3, 2, bank, labels), MIO_OK);
    ck_assert_int_eq(mio_knn_predict(knn, 1, 2, query, &prediction), MIO_OK);
    ck_assert_int_eq(prediction, 2);
    ck_assert_int_eq(mio_knn_search(knn, 1, 2, query, 3, indices, similarities), MIO_OK);
    ck_assert_double_eq_tol(similarities[0], 10 / sqrt(101), 1e-6);
    ck_assert_double_eq_tol(similarities[1], 1 / sqrt(101), 1e-6);
    ck_assert_float_eq(similarities[2], 0); /* the row of zeros */
    mio_knn_release(knn);
}
END_TEST

START_TEST(threads_and_batches_do_not_matter)
{
    enum { BANK = 777, COUNT = 200, DIM = 31, K = 50 };
    float *bank = random_rows(6, BANK, DIM), *queries = random_rows(7, COUNT, DIM);
    static size_t indices[2][COUNT * K];
    static float similarities[2][COUNT * K];
    mio_knn *knn;
    ck_assert_int_eq(mio_knn_create(context, &knn), MIO_OK);
    for (int run = 0; run < 3; run++) {
        mio_context_set(context, "threads", run == 0 ? 1 : run == 1 ? 2 : 5);
        ck_assert_int_eq(mio_knn_fit(knn, BANK, DIM, bank, NULL), MIO_OK);
        ck_assert_int_eq(mio_knn_search(knn, COUNT, DIM, queries, K, indices[run > 0], similarities[run > 0]), MIO_OK);
        if (run) {
            ck_assert_mem_eq(indices[0], indices[1], sizeof indices[0]);
            ck_assert_mem_eq(similarities[0], similarities[1], sizeof similarities[0]);
        }
    }
    for (size_t q = 0; q < COUNT; q++) {
        ck_assert_int_eq(mio_knn_search(knn, 1, DIM, queries + q * DIM, K, indices[1], similarities[1]), MIO_OK);
        ck_assert_mem_eq(indices[0] + q * K, indices[1], K * sizeof indices[0][0]);
    }
    mio_knn_release(knn);
    free(bank);
    free(queries);
}
END_TEST

/* ---- one index, several threads ---- */

enum { SERVED_BANK = 500, SERVED = 60, SERVED_DIM = 24, SERVED_K = 5 };

typedef struct client {
    mio_knn *knn;
    const float *queries;
    size_t indices[SERVED * SERVED_K];
    int32_t classes[SERVED];
    int failed;
} client;

static void *ask_often(void *argument)
{
    client *c = argument;
    for (size_t i = 0; i < 50; i++)
        c->failed |=
            mio_knn_search(c->knn, SERVED - i % 7, SERVED_DIM, c->queries, SERVED_K, c->indices, NULL) != MIO_OK ||
            mio_knn_predict(c->knn, SERVED - i % 5, SERVED_DIM, c->queries, c->classes) != MIO_OK;
    c->failed |= mio_knn_search(c->knn, SERVED, SERVED_DIM, c->queries, SERVED_K, c->indices, NULL) != MIO_OK ||
                 mio_knn_predict(c->knn, SERVED, SERVED_DIM, c->queries, c->classes) != MIO_OK;
    return NULL;
}

START_TEST(threads_share_an_index)
{
    enum { CLIENTS = 4 };
    static client clients[CLIENTS];
    pthread_t threads[CLIENTS];
    int32_t labels[SERVED_BANK];
    float *bank = random_rows(8, SERVED_BANK, SERVED_DIM), *queries = random_rows(9, SERVED, SERVED_DIM);
    mio_knn *knn;
    for (int32_t i = 0; i < SERVED_BANK; i++)
        labels[i] = i % 7;
    ck_assert_int_eq(mio_knn_create(context, &knn), MIO_OK);
    ck_assert_int_eq(mio_knn_fit(knn, SERVED_BANK, SERVED_DIM, bank, labels), MIO_OK);
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = (client){.knn = knn, .queries = queries};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_often, &clients[i]), 0);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        pthread_join(threads[i], NULL);
        ck_assert(!clients[i].failed);
        ck_assert_mem_eq(clients[i].indices, clients[0].indices, sizeof clients[0].indices);
        ck_assert_mem_eq(clients[i].classes, clients[0].classes, sizeof clients[0].classes);
    }
    mio_knn_release(knn);
    free(bank);
    free(queries);
}
END_TEST

START_TEST(refusals)
{
    const float good[] = {1, 2, 3, 4}, bad[] = {1, 2, NAN, 4};
    const int32_t labels[] = {0, 1}, negative[] = {0, -1};
    int32_t predictions[2];
    size_t indices[4];
    mio_knn *knn;
    ck_assert_int_eq(mio_knn_create(NULL, &knn), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_knn_create(context, &knn), MIO_OK);
    ck_assert_int_eq(mio_knn_predict(knn, 2, 2, good, predictions), MIO_ERROR_STATE);
    ck_assert_int_eq(mio_knn_search(knn, 2, 2, good, 1, indices, NULL), MIO_ERROR_STATE);
    ck_assert_int_eq(mio_knn_fit(knn, 0, 2, good, labels), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_knn_fit(knn, 2, 2, good, negative), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "row 1"));
    ck_assert_int_eq(mio_knn_fit(knn, 2, 2, good, NULL), MIO_OK);
    ck_assert_int_eq(mio_knn_predict(knn, 2, 2, good, predictions), MIO_ERROR_STATE);
    ck_assert_int_eq(mio_knn_fit(knn, 2, 2, bad, labels), MIO_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "row 1, column 0"));
    ck_assert_int_eq(mio_knn_search(knn, 2, 2, good, 2, indices, NULL), MIO_OK); /* the old bank is still there */
    ck_assert_int_eq(mio_knn_search(knn, 2, 2, good, 3, indices, NULL), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_knn_search(knn, 1, 4, good, 1, indices, NULL), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_knn_set(knn, "temperature", 0), MIO_ERROR_ARGUMENT);
    mio_knn_release(knn);
}
END_TEST

START_TEST(accuracy)
{
    const int32_t labels[] = {0, 1, 2, 3}, predictions[] = {0, 1, 3, 3};
    double value = -1;
    ck_assert_int_eq(mio_evaluate_accuracy(4, labels, predictions, &value), MIO_OK);
    ck_assert_double_eq(value, 0.75);
    ck_assert_int_eq(mio_evaluate_accuracy(0, labels, predictions, &value), MIO_ERROR_ARGUMENT);
    ck_assert_double_eq(value, 0.75);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("knn");
    TCase *tests = tcase_create("knn");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, search_finds_the_best, 0, sizeof sizes / sizeof *sizes);
    tcase_add_test(tests, equal_neighbours_come_by_index);
    tcase_add_test(tests, prediction_is_the_vote_of_the_list);
    tcase_add_test(tests, tied_votes_go_to_the_lowest_class);
    tcase_add_test(tests, extreme_temperatures_and_scales);
    tcase_add_test(tests, threads_and_batches_do_not_matter);
    tcase_add_test(tests, threads_share_an_index);
    tcase_add_test(tests, refusals);
    tcase_add_test(tests, accuracy);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
