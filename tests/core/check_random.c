/* Random streams: known answers, distribution, independence of the order in which they are drawn. */
#include "suite.h"

#include "core/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Known answers of the Random123 distribution (kat_vectors, philox4x32 10). */
START_TEST(philox_known_answers)
{
    static const struct {
        uint32_t counter[4], key[2], block[4];
    } answers[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < 3; i++) {
        uint32_t block[4];
        mio__philox(answers[i].key, answers[i].counter, block);
        ck_assert(!memcmp(block, answers[i].block, sizeof block));
    }
}
END_TEST

START_TEST(uniform_covers_its_interval_evenly)
{
    enum { CELLS = 64, DRAWS = 64000 };
    size_t cells[CELLS] = {0}, outside = 0;
    double sum = 0;
    mio__random random;
    mio__random_start(&random, 7, 1, 2, 1, MIO__PURPOSE_CROP);
    for (int i = 0; i < DRAWS; i++) {
        const double u = mio__random_uniform(&random);
        outside += !(u >= 0 && u < 1);
        cells[(size_t)(u * CELLS) % CELLS]++;
        sum += u;
    }
    ck_assert_uint_eq(outside, 0);
    ck_assert_double_lt(fabs(sum / DRAWS - 0.5), 4 * 0.2887 / sqrt(DRAWS));
    double square = 0;
    for (int i = 0; i < CELLS; i++)
        square += ((double)cells[i] - 1000) * ((double)cells[i] - 1000) / 1000;
    /* Chi-square of 63 degrees of freedom: 1e-6 tails. */
    ck_assert_double_gt(square, 20);
    ck_assert_double_lt(square, 130);
}
END_TEST

START_TEST(normal_has_its_moments)
{
    enum { DRAWS = 200000 };
    double moments[5] = {0};
    mio__random random;
    mio__random_start(&random, 3, 0, 0, 0, MIO__PURPOSE_INITIALIZE);
    for (int i = 0; i < DRAWS; i++) {
        const double z = mio__random_normal(&random);
        for (int k = 1; k <= 4; k++)
            moments[k] += pow(z, k) / DRAWS;
    }
    ck_assert_double_lt(fabs(moments[1]), 0.012);
    ck_assert_double_lt(fabs(moments[2] - 1), 0.016);
    ck_assert_double_lt(fabs(moments[3]), 0.05);
    ck_assert_double_lt(fabs(moments[4] - 3), 0.12);
}
END_TEST

START_TEST(below_is_even_and_below)
{
    static const uint64_t limits[] = {1, 2, 3, 10, 0x80000001, 0x100000000};
    for (size_t i = 0; i < 6; i++) {
        mio__random random;
        mio__random_start(&random, 5, 0, i, 0, MIO__PURPOSE_SHUFFLE);
        double sum = 0, worst = 0;
        for (int draw = 0; draw < 20000; draw++) {
            const double value = mio__random_below(&random, limits[i]);
            worst = fmax(worst, value);
            sum += value;
        }
        const double middle = ((double)limits[i] - 1) / 2;
        ck_assert_double_lt(worst, (double)limits[i]);
        ck_assert_double_le(fabs(sum / 20000 - middle), 0.02 * (double)limits[i]);
    }
}
END_TEST

START_TEST(permutation_holds_every_number_once)
{
    static const size_t counts[] = {1, 2, 3, 10, 1000, 50000};
    for (size_t i = 0; i < 6; i++) {
        const size_t count = counts[i];
        size_t *order = malloc(count * sizeof *order), moved = 0, seen_twice = 0;
        char *seen = calloc(count, 1);
        mio__random random;
        mio__random_start(&random, 11, i, 0, 0, MIO__PURPOSE_SHUFFLE);
        mio__random_permutation(&random, count, order);
        for (size_t k = 0; k < count; k++) {
            ck_assert_uint_lt(order[k], count);
            seen_twice += seen[order[k]]++ > 0;
            moved += order[k] != k;
        }
        ck_assert_uint_eq(seen_twice, 0);
        ck_assert(count < 1000 || moved > count - 20);
        free(order), free(seen);
    }
    /* All orders of three, equally often. */
    size_t orders[27] = {0};
    for (uint64_t epoch = 0; epoch < 6000; epoch++) {
        size_t order[3];
        mio__random random;
        mio__random_start(&random, 1, epoch, 0, 0, MIO__PURPOSE_SHUFFLE);
        mio__random_permutation(&random, 3, order);
        orders[order[0] * 9 + order[1] * 3 + order[2]]++;
    }
    for (int i = 0; i < 27; i++)
        ck_assert(orders[i] == 0 || (orders[i] > 850 && orders[i] < 1150));
}
END_TEST

/* Every part of a stream's name changes the stream, and drawing one does not move another. */
START_TEST(streams_are_independent)
{
    enum { STREAMS = 7, DRAWS = 13 };
    static const struct {
        uint64_t seed, epoch, image, view;
        mio__purpose purpose;
    } names[STREAMS] = {
        {1, 2, 3, 1, MIO__PURPOSE_FLIP},
        {2, 2, 3, 1, MIO__PURPOSE_FLIP},
        {1, 3, 3, 1, MIO__PURPOSE_FLIP},
        {1, 2, 4, 1, MIO__PURPOSE_FLIP},
        {1, 2, 3, 0, MIO__PURPOSE_FLIP},
        {1, 2, 3, 1, MIO__PURPOSE_CROP},
        {(UINT64_C(1) << 52) + 1, 2, 3, 1, MIO__PURPOSE_FLIP},
    };
    uint32_t alone[STREAMS][DRAWS];
    mio__random together[STREAMS];
    for (int s = 0; s < STREAMS; s++) {
        mio__random random;
        mio__random_start(&random, names[s].seed, names[s].epoch, names[s].image, names[s].view, names[s].purpose);
        for (int i = 0; i < DRAWS; i++)
            alone[s][i] = mio__random_bits(&random);
        for (int other = 0; other < s; other++)
            for (int i = 0; i < DRAWS; i++)
                ck_assert_uint_ne(alone[s][i], alone[other][i]);
    }
    for (int s = STREAMS; s-- > 0;)
        mio__random_start(&together[s], names[s].seed, names[s].epoch, names[s].image, names[s].view, names[s].purpose);
    for (int i = 0; i < DRAWS; i++)
        for (int s = STREAMS; s-- > 0;)
            ck_assert_uint_eq(mio__random_bits(&together[s]), alone[s][i]);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("random");
    tcase_add_test(tests, philox_known_answers);
    tcase_add_test(tests, uniform_covers_its_interval_evenly);
    tcase_add_test(tests, normal_has_its_moments);
    tcase_add_test(tests, below_is_even_and_below);
    tcase_add_test(tests, permutation_holds_every_number_once);
    tcase_add_test(tests, streams_are_independent);
    return run_suite(suite_create("random"), tests);
}
