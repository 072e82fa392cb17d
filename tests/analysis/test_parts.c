/* The closed forms of analysis.h against the gradients, against definitions and against back-propagation. */
#include "loss/support.h"

#include <mio/analysis.h>

enum { PAIRS = 23, DIM = 9, HALF = PAIRS * DIM, COUNT = 2 * HALF };
static double z[COUNT], grad[COUNT], attraction[COUNT], repulsion[COUNT], l2[COUNT];

static double dot(const double *a, const double *b)
{
    double sum = 0;
    for (size_t k = 0; k < DIM; k++)
        sum += a[k] * b[k];
    return sum;
}

/* The parts add up to the step. */
START_TEST(test_sum_of_parts)
{
    static const char *const names[] = {"mio",  "mio", "mio_decoupled", "nt_xent", "dcl",
                                        "dclw", "hcl", "supcon",        "schane",  "siglip"};
    static const support_setting settings[10][3] = {{{NULL, 0}},
                                                    {{"reduction", 1}, {"l2_weight", 3}, {NULL, 0}},
                                                    {{"l2_weight", 2}},
                                                    {{"temperature", 0.2}, {NULL, 0}}};
    const double rate = 0.7;
    mio_context *context = support_context(2);
    mio_loss *loss = support_loss(context, names[_i], settings[_i]);
    ASSERT_OK(support_give(loss, PAIRS, DIM));
    support_views(PAIRS, DIM, z, z + HALF, 6);
    ASSERT_OK(mio_analysis_displacements(loss, PAIRS, DIM, z, z + HALF, rate, attraction, repulsion, l2));
    ASSERT_OK(mio_loss_compute_f64(loss, PAIRS, DIM, z, z + HALF, NULL, grad, grad + HALF));
    for (size_t i = 0; i < COUNT; i++) {
        attraction[i] += repulsion[i] + l2[i];
        grad[i] *= -rate;
    }
    ck_assert_double_le(support_distance(COUNT, attraction, grad), 1e-13);
    ck_assert((_i < 3) == (support_norm(COUNT, l2) > 0));
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

/* Each part of mio by its formula, row by row. */
START_TEST(test_parts_of_mio)
{
    const double tp = 0.3, tn = 0.6, weight = 2, rate = 0.1, rows = 2 * PAIRS;
    static const support_setting settings[] = {
        {"positive_temperature", 0.3}, {"negative_temperature", 0.6}, {"l2_weight", 2}, {NULL, 0}};
    static double unit[COUNT];
    mio_context *context = support_context(1);
    mio_loss *loss = support_loss(context, "mio", settings);
    support_views(PAIRS, DIM, z, z + HALF, 16);
    ASSERT_OK(mio_analysis_displacements(loss, PAIRS, DIM, z, z + HALF, rate, attraction, repulsion, l2));
    for (size_t i = 0; i < COUNT; i++)
        unit[i] = z[i] / support_norm(DIM, z + i / DIM * DIM);
    for (size_t i = 0; i < 2 * PAIRS; i++) {
        double pull[DIM] = {0}, push[DIM] = {0}, close[DIM] = {0};
        const double *own = unit + i * DIM;
        for (size_t j = 0; j < 2 * PAIRS; j++) {
            const double *from = unit + j * DIM, s = dot(own, from);
            const int positive = j == (i + PAIRS) % (2 * PAIRS);
            for (size_t k = 0; k < DIM && i != j; k++) {
                const double away = (from[k] - s * own[k]) * rate / support_norm(DIM, z + i * DIM);
                pull[k] += positive ? away * 2 / rows / tp / (1 + exp(s / tp)) : 0;
                close[k] += positive ? away * 4 * weight / rows / DIM : 0;
                push[k] -= positive ? 0 : away * 2 / rows / (rows - 2) / tn / (1 + exp(-s / tn));
            }
        }
        ck_assert_double_le(support_distance(DIM, attraction + i * DIM, pull), 1e-12);
        ck_assert_double_le(support_distance(DIM, repulsion + i * DIM, push), 1e-12);
        ck_assert_double_le(support_distance(DIM, l2 + i * DIM, close), 1e-12);
        /* attraction turns a row towards its positive */
        ck_assert_double_gt(dot(attraction + i * DIM, unit + (i + PAIRS) % (2 * PAIRS) * DIM), 0);
    }
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

/* supcon's attraction is by all rows of the label, its repulsion by the others; without labels it is nt_xent. */
START_TEST(test_parts_of_supcon)
{
    static const support_setting settings[] = {{"temperature", 0.3}, {"base_temperature", 0.3}, {NULL, 0}};
    static double unit[COUNT], first[COUNT], second[COUNT];
    const double t = 0.3, rows = 2 * PAIRS;
    int32_t labels[PAIRS];
    mio_context *context = support_context(1);
    mio_loss *loss = support_loss(context, "supcon", settings), *same = support_loss(context, "nt_xent", settings + 2);
    support_views(PAIRS, DIM, z, z + HALF, 31);
    ASSERT_OK(mio_loss_set(same, "temperature", 0.3));
    ASSERT_OK(mio_analysis_displacements(loss, PAIRS, DIM, z, z + HALF, 1, attraction, repulsion, l2));
    ASSERT_OK(mio_analysis_displacements(same, PAIRS, DIM, z, z + HALF, 1, first, second, NULL));
    ck_assert_double_le(support_distance(COUNT, attraction, first), 1e-13);
    ck_assert_double_le(support_distance(COUNT, repulsion, second), 1e-13);
    for (size_t i = 0; i < COUNT; i++)
        unit[i] = z[i] / support_norm(DIM, z + i / DIM * DIM);
    for (size_t b = 0; b < PAIRS; b++)
        labels[b] = (int32_t)b % 4;
    ASSERT_OK(mio_loss_set_batch(loss, PAIRS, labels, NULL));
    ASSERT_OK(mio_analysis_displacements(loss, PAIRS, DIM, z, z + HALF, 1, attraction, repulsion, NULL));
    double sums[2 * PAIRS] = {0}, size[4] = {0};
    for (size_t i = 0; i < 2 * PAIRS; i++) {
        size[labels[i % PAIRS]]++;
        for (size_t j = 0; j < 2 * PAIRS; j++)
            sums[i] += i == j ? 0 : exp(dot(unit + i * DIM, unit + j * DIM) / t);
    }
    for (size_t i = 0; i < 2 * PAIRS; i++) {
        double parts[2][DIM] = {{0}};
        for (size_t j = 0; j < 2 * PAIRS; j++) {
            const double *own = unit + i * DIM, *from = unit + j * DIM, s = dot(own, from);
            const int kin = labels[i % PAIRS] == labels[j % PAIRS];
            const double pull = kin ? 2 / (size[labels[i % PAIRS]] - 1) : 0;
            const double force = (pull - exp(s / t) / sums[i] - exp(s / t) / sums[j]) / rows / t;
            for (size_t k = 0; k < DIM && i != j; k++)
                parts[!kin][k] += force * (from[k] - s * own[k]) / support_norm(DIM, z + i * DIM);
        }
        ck_assert_double_le(support_distance(DIM, attraction + i * DIM, parts[0]), 1e-12);
        ck_assert_double_le(support_distance(DIM, repulsion + i * DIM, parts[1]), 1e-12);
    }
    mio_loss_release(loss);
    mio_loss_release(same);
    mio_context_release(context);
}
END_TEST

START_TEST(test_mutual_information)
{
    static const support_setting plain[] = {{"l2_weight", 0}, {NULL, 0}};
    mio_context *context = support_context(1);
    mio_loss *mio = support_loss(context, "mio", plain), *nt_xent = support_loss(context, "nt_xent", NULL);
    mio_mutual_information a = {.struct_size = sizeof a}, b = {.struct_size = sizeof b};
    double value;
    support_views(PAIRS, DIM, z, z + HALF, 26);
    ASSERT_OK(mio_analysis_mutual_information(mio, PAIRS, DIM, z, z + HALF, &a));
    ASSERT_OK(mio_analysis_mutual_information(nt_xent, PAIRS, DIM, z, z + HALF, &b));
    ck_assert(a.jensen_shannon == b.jensen_shannon && a.info_nce == b.info_nce); /* all temperatures are 0.5 */
    ASSERT_OK(mio_loss_compute_f64(mio, PAIRS, DIM, z, z + HALF, &value, NULL, NULL));
    ck_assert_double_eq_tol(a.jensen_shannon, 2 * log(2) - value, 1e-13);
    ck_assert_double_eq_tol(a.positive_pairs + a.negative_pairs, a.jensen_shannon, 1e-15);
    ASSERT_OK(mio_loss_compute_f64(nt_xent, PAIRS, DIM, z, z + HALF, &value, NULL, NULL));
    ck_assert_double_eq_tol(a.info_nce, log(2 * PAIRS - 1) - value, 1e-13);
    ASSERT_OK(mio_analysis_mutual_information_at(context, 0.5, 0.5, PAIRS, DIM, z, z + HALF, &b));
    ck_assert(a.jensen_shannon == b.jensen_shannon && a.info_nce == b.info_nce);
    mio_loss_release(mio);
    mio_loss_release(nt_xent);
    mio_context_release(context);
}
END_TEST

/* Every loss's rows have the estimates: at its own temperatures, or at 0.5. */
START_TEST(test_mutual_information_of_all)
{
    mio_context *context = support_context(1);
    support_views(PAIRS, DIM, z, z + HALF, 26);
    for (size_t i = 0; mio_loss_name_at(i); i++) {
        mio_loss *loss = support_loss(context, mio_loss_name_at(i), NULL);
        mio_mutual_information a = {.struct_size = sizeof a}, b = {.struct_size = sizeof b};
        double temperature = 0.5;
        (void)mio_loss_get(loss, "temperature", &temperature);
        ASSERT_OK(mio_analysis_mutual_information(loss, PAIRS, DIM, z, z + HALF, &a));
        ASSERT_OK(mio_analysis_mutual_information_at(context, temperature, temperature, PAIRS, DIM, z, z + HALF, &b));
        ck_assert_mem_eq(&a, &b, sizeof a);
        mio_loss_release(loss);
    }
    mio_context_release(context);
}
END_TEST

START_TEST(test_refusals)
{
    mio_context *context = support_context(1);
    mio_loss *mio = support_loss(context, "mio", NULL), *vicreg = support_loss(context, "vicreg", NULL);
    mio_mutual_information information = {0};
    support_views(PAIRS, DIM, z, z + HALF, 1);
    ck_assert_int_eq(mio_analysis_displacements(vicreg, PAIRS, DIM, z, z + HALF, 1, attraction, NULL, NULL),
                     MIO_ERROR_UNSUPPORTED);
    ck_assert_int_eq(mio_analysis_displacements(NULL, PAIRS, DIM, z, z, 1, NULL, NULL, NULL), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_analysis_displacements(mio, 1, DIM, z, z, 1, NULL, NULL, NULL), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_analysis_displacements(mio, PAIRS, DIM, z, NULL, 1, NULL, NULL, NULL), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_analysis_displacements(mio, PAIRS, DIM, z, z, NAN, NULL, NULL, NULL), MIO_ERROR_ARGUMENT);
    ASSERT_OK(mio_analysis_displacements(mio, PAIRS, DIM, z, z, 1, NULL, NULL, NULL));
    ck_assert_int_eq(mio_analysis_mutual_information(mio, PAIRS, DIM, z, z, &information), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_analysis_mutual_information(mio, PAIRS, DIM, z, z, NULL), MIO_ERROR_ARGUMENT);
    information.struct_size = sizeof information;
    ck_assert_int_eq(mio_analysis_mutual_information(mio, 1, DIM, z, z + HALF, &information), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_analysis_mutual_information(mio, PAIRS, DIM, z, NULL, &information), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_analysis_mutual_information_at(context, 0, 1, PAIRS, DIM, z, z, &information),
                     MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_analysis_projector_gradient(context, 0, 1, 1, z, z, grad), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio_analysis_projector_gradient(context, 1, 1, 1, z, NULL, grad), MIO_ERROR_ARGUMENT);
    mio_loss_release(mio);
    mio_loss_release(vicreg);
    mio_context_release(context);
}
END_TEST

/* The closed form of a linear projector's gradient is what back-propagation gives. */
START_TEST(test_projector)
{
    enum { IMAGES = 6, SIZE = 5, FEATURES = 8, OUT = 4, PIXELS = 2 * IMAGES * SIZE * SIZE * 3 };
    static const char *const names[] = {"mio", "nt_xent"};
    static double pixels[PIXELS], wide[2 * IMAGES * FEATURES], slopes[2 * IMAGES * OUT];
    static float images[PIXELS], features[2 * IMAGES * FEATURES], projections[2 * IMAGES * OUT];
    static float gradients[2 * IMAGES * OUT], weights[OUT * FEATURES];
    double closed[OUT * FEATURES], propagated[OUT * FEATURES];
    mio_context *context = support_context(2);
    mio_loss *loss = support_loss(context, names[_i], NULL);
    mio_builder *builder;
    mio_encoder *encoder;
    ASSERT_OK(mio_builder_create(context, 3, SIZE, SIZE, &builder));
    mio_builder_name(builder, "conv1");
    const mio_node map = mio_builder_conv2d(builder, mio_builder_input(builder), FEATURES, 3, 1, 1);
    const mio_node pooled = mio_builder_global_average_pool(builder, mio_builder_relu(builder, map));
    mio_builder_name(builder, "projector");
    ASSERT_OK(mio_builder_finish(builder, pooled, mio_builder_linear(builder, pooled, OUT, 0), &encoder));
    mio_builder_release(builder);
    ASSERT_OK(mio_encoder_initialize(encoder, 3));
    support_fill(PIXELS, pixels, 9);
    support_narrow(PIXELS, pixels, images);
    ASSERT_OK(mio_encoder_forward(encoder, 2, IMAGES, images, features, projections));
    ASSERT_OK(mio_loss_compute(loss, IMAGES, OUT, projections, projections + IMAGES * OUT, NULL, gradients,
                               gradients + IMAGES * OUT));
    ASSERT_OK(mio_encoder_backward(encoder, gradients, NULL));
    ASSERT_OK(mio_encoder_get_gradient(encoder, "projector.weight", OUT * FEATURES, weights));
    support_widen(2 * IMAGES * OUT, gradients, slopes);
    support_widen(2 * IMAGES * FEATURES, features, wide);
    ASSERT_OK(mio_analysis_projector_gradient(context, 2 * IMAGES, FEATURES, OUT, slopes, wide, closed));
    support_widen(OUT * FEATURES, weights, propagated);
    ck_assert_double_gt(support_norm(OUT * FEATURES, closed), 0);
    ck_assert_double_le(support_distance(OUT * FEATURES, propagated, closed), 1e-6);
    mio_encoder_release(encoder);
    mio_loss_release(loss);
    mio_context_release(context);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("analysis");
    tcase_add_loop_test(tests, test_sum_of_parts, 0, 10);
    tcase_add_test(tests, test_parts_of_mio);
    tcase_add_test(tests, test_parts_of_supcon);
    tcase_add_test(tests, test_mutual_information);
    tcase_add_test(tests, test_mutual_information_of_all);
    tcase_add_test(tests, test_refusals);
    tcase_add_loop_test(tests, test_projector, 0, 2);
    return support_run("loss/analysis", tests);
}
