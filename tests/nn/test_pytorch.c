/* Small ResNets against PyTorch: outputs, loss, every gradient, running statistics (tests/golden/README.md). */
#include "nn/network.h"

#include "golden/golden.h"

#include <check.h>
#include <stdio.h>

enum { COUNT = 6, HIDDEN = 24, OUT = 16 };

typedef struct model {
    int depth;
    mio_stem stem;
    const char *name;
    size_t width, height, columns;
} model;

static const model models[] = {
    {18, MIO_STEM_IMAGENET, "18_imagenet", 8, 40, 36},
    {18, MIO_STEM_SMALL, "18_small", 8, 16, 20},
    {18, MIO_STEM_SMALL_UNPADDED, "18_small_unpadded", 8, 14, 18},
    {50, MIO_STEM_IMAGENET, "50_imagenet", 4, 40, 36},
    {50, MIO_STEM_SMALL, "50_small", 4, 16, 20},
    {50, MIO_STEM_SMALL_UNPADDED, "50_small_unpadded", 4, 14, 18},
};
enum { MODELS = sizeof models / sizeof *models };

static const char *const algorithms[] = {"exact", "accurate", "fast"};

static const double *record(const golden_file *file, const char *prefix, const char *name, size_t count)
{
    char full[300];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    const double *values = golden_find(file, full, count);
    ck_assert_msg(values != NULL, "no golden record %s of %zu values", full, count);
    return values;
}

/* |values - truth| / |truth| */
static double distance(const float *values, const double *truth, size_t count)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < count; i++) {
        difference += (values[i] - truth[i]) * (values[i] - truth[i]);
        norm += truth[i] * truth[i];
    }
    return sqrt(difference / norm);
}

/* ---- the loss "mio" with temperatures 0.5, L2 weight 1, by its definition ---- */

static double softplus(double x)
{
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

static double logistic(double x)
{
    return 1 / (1 + exp(-x));
}

static double loss_mio(const float *z, float *gradient)
{
    static double u[2 * COUNT][OUT], du[2 * COUNT][OUT], norms[2 * COUNT];
    double value = 0;
    memset(du, 0, sizeof du);
    for (size_t i = 0; i < 2 * COUNT; i++) {
        double square = 0;
        for (size_t d = 0; d < OUT; d++)
            square += (double)z[i * OUT + d] * z[i * OUT + d];
        norms[i] = sqrt(square);
        for (size_t d = 0; d < OUT; d++)
            u[i][d] = z[i * OUT + d] / norms[i];
    }
    for (size_t i = 0; i < 2 * COUNT; i++)
        for (size_t j = 0; j < 2 * COUNT; j++) {
            if (i == j)
                continue;
            double s = 0, slope;
            for (size_t d = 0; d < OUT; d++)
                s += u[i][d] * u[j][d];
            if (i % COUNT == j % COUNT) {
                value += softplus(-2 * s) / (2 * COUNT) + (2 - 2 * s) / (2 * COUNT * OUT);
                slope = -2 * logistic(-2 * s) / (2 * COUNT) - 1.0 / (COUNT * OUT);
            } else {
                value += softplus(2 * s) / (2 * COUNT * (2 * COUNT - 2));
                slope = 2 * logistic(2 * s) / (2 * COUNT * (2 * COUNT - 2));
            }
            for (size_t d = 0; d < OUT; d++)
                du[i][d] += 2 * slope * u[j][d];
        }
    for (size_t i = 0; i < 2 * COUNT; i++) {
        double along = 0;
        for (size_t d = 0; d < OUT; d++)
            along += du[i][d] * u[i][d];
        for (size_t d = 0; d < OUT; d++)
            gradient[i * OUT + d] = (float)((du[i][d] - along * u[i][d]) / norms[i]);
    }
    return value;
}

/* ---- network and images ---- */

static mio_encoder *build(mio_context *context, const model *m, const golden_file *golden)
{
    mio_builder *builder;
    mio_encoder *encoder;
    ck_assert_int_eq(mio_builder_create(context, 3, m->height, m->columns, &builder), MIO_OK);
    const mio_node h = mio_builder_resnet(builder, mio_builder_input(builder), m->depth, m->width, m->stem);
    const mio_node z = mio_builder_projector(builder, h, 2, HIDDEN, OUT);
    ck_assert_msg(mio_builder_finish(builder, h, z, &encoder) == MIO_OK, "%s", mio_last_error());
    mio_builder_release(builder);
    size_t place = 0;
    for (size_t i = 0; i < mio_encoder_tensor_count(encoder); i++) {
        mio_tensor_info info = {.struct_size = sizeof info};
        ck_assert_int_eq(mio_encoder_tensor(encoder, i, &info), MIO_OK);
        if (!info.trainable)
            continue;
        const double *facts = record(golden, "parameter:", info.name, 1 + info.rank);
        ck_assert_uint_eq((size_t)facts[0], place);
        for (size_t d = 0; d < info.rank; d++)
            ck_assert_uint_eq((size_t)facts[1 + d], info.shape[d]);
        float *values = malloc(info.count * sizeof *values);
        golden_parameter(place++, info.name, info.rank, info.shape, values);
        ck_assert_int_eq(mio_encoder_set_tensor(encoder, info.name, info.count, values), MIO_OK);
        free(values);
    }
    return encoder;
}

static float *make_images(const model *m)
{
    float *images = malloc(2 * COUNT * m->height * m->columns * 3 * sizeof *images), *next = images;
    for (size_t view = 0; view < 2; view++)
        for (size_t i = 0; i < COUNT; i++)
            for (size_t y = 0; y < m->height; y++)
                for (size_t x = 0; x < m->columns; x++)
                    for (size_t c = 0; c < 3; c++)
                        *next++ = golden_pixel(0, view, 3, m->height, m->columns, i, c, y, x);
    return images;
}

/* ---- comparisons ---- */

/* Estimates |g - reference| / |reference| over all weights together from the sketches. */
static double gradient_distance(const mio_encoder *encoder, const golden_file *golden, double *worst)
{
    double difference = 0, norm = 0;
    size_t place = 0;
    *worst = 0;
    for (size_t i = 0; i < mio_encoder_tensor_count(encoder); i++) {
        mio_tensor_info info = {.struct_size = sizeof info};
        mio_encoder_tensor(encoder, i, &info);
        if (!info.trainable)
            continue;
        float *gradient = malloc(info.count * sizeof *gradient);
        ck_assert_int_eq(mio_encoder_get_gradient(encoder, info.name, info.count, gradient), MIO_OK);
        double sketch[GOLDEN_BUCKETS] = {0}, square = 0, apart = 0;
        for (size_t e = 0; e < info.count; e++) {
            golden_sketch_add(sketch, place, e, gradient[e]);
            square += (double)gradient[e] * gradient[e];
        }
        const double *truth = record(golden, "gradient_sketch:", info.name, GOLDEN_BUCKETS);
        const double length = *record(golden, "gradient_norm:", info.name, 1);
        for (size_t b = 0; b < GOLDEN_BUCKETS; b++)
            apart += (sketch[b] - truth[b]) * (sketch[b] - truth[b]);
        ck_assert_msg(fabs(sqrt(square) - length) < 5e-3 * length, "%s: norm %g, not %g", info.name, sqrt(square),
                      length);
        *worst = fmax(*worst, sqrt(apart) / length);
        difference += apart;
        norm += length * length;
        place++;
        free(gradient);
    }
    return sqrt(difference / norm);
}

static double running_distance(const mio_encoder *encoder, const golden_file *golden)
{
    double worst = 0;
    for (size_t i = 0; i < mio_encoder_tensor_count(encoder); i++) {
        mio_tensor_info info = {.struct_size = sizeof info};
        float values[1024];
        mio_encoder_tensor(encoder, i, &info);
        if (info.trainable)
            continue;
        ck_assert_uint_le(info.count, 1024);
        ck_assert_int_eq(mio_encoder_get_tensor(encoder, info.name, info.count, values), MIO_OK);
        if (info.rank == 0)
            ck_assert(values[0] == 2);
        else
            worst = fmax(worst, distance(values, record(golden, "running:", info.name, info.count), info.count));
    }
    return worst;
}

/* What float's rounding may do, as PyTorch's own float32 shows, whatever the algorithm. */
static double allowed(const golden_file *golden, const char *name, double least)
{
    return fmax(least, 3 * *record(golden, "float32/", name, 0));
}

START_TEST(equals_pytorch)
{
    const model *m = &models[_i / 3];
    const int algorithm = _i % 3;
    char path[1024];
    snprintf(path, sizeof path, "%s/encoder_%s.txt.gz", getenv("MIO_GOLDEN"), m->name);
    golden_file golden;
    ck_assert_msg(golden_open(&golden, path) == 0, "cannot read %s", path);
    mio_context *context;
    ck_assert_int_eq(mio_context_create(&context), MIO_OK);
    mio_encoder *encoder = build(context, m, &golden);
    ck_assert_int_eq(mio_encoder_set_text(encoder, "algorithm", algorithms[algorithm]), MIO_OK);
    size_t dim;
    ck_assert_int_eq(mio_encoder_feature_dim(encoder, &dim), MIO_OK);
    float *images = make_images(m), *features = malloc(2 * COUNT * dim * sizeof *features);
    float z[2 * COUNT * OUT], gradient[2 * COUNT * OUT];
    ck_assert_msg(mio_encoder_forward(encoder, 2, COUNT, images, features, z) == MIO_OK, "%s", mio_last_error());
    const double loss = loss_mio(z, gradient), truth = *record(&golden, "", "loss", 1);
    ck_assert_msg(mio_encoder_backward(encoder, gradient, NULL) == MIO_OK, "%s", mio_last_error());

    const size_t outputs = COUNT * dim;
    double worst;
    const double d1 = distance(features, record(&golden, "", "train/features_1", outputs), outputs);
    const double d2 = distance(features + outputs, record(&golden, "", "train/features_2", outputs), outputs);
    const double dz = distance(z, record(&golden, "", "train/projections_1", COUNT * OUT), COUNT * OUT);
    const double dg = gradient_distance(encoder, &golden, &worst), dr = running_distance(encoder, &golden);
    ck_assert_int_eq(mio_encoder_infer(encoder, COUNT, images, features, NULL), MIO_OK);
    const double de = distance(features, record(&golden, "", "eval/features", outputs), outputs);
    printf("%-18s %-8s features %.1e %.1e projections %.1e loss %.1e gradient %.1e (worst tensor %.1e) running %.1e "
           "eval %.1e; PyTorch float32: gradient %.1e\n",
           m->name, algorithms[algorithm], d1, d2, dz, fabs(loss / truth - 1), dg, worst, dr, de,
           *record(&golden, "float32/", "gradients", 1));
    ck_assert_double_lt(d1, allowed(&golden, "train/features_1", 1e-5));
    ck_assert_double_lt(d2, allowed(&golden, "train/features_2", 1e-5));
    ck_assert_double_lt(dz, allowed(&golden, "train/projections_1", 1e-5));
    ck_assert_double_lt(fabs(loss / truth - 1), allowed(&golden, "loss", 1e-5));
    ck_assert_double_lt(dg, 1e-4);
    ck_assert_double_lt(dr, 1e-5);
    ck_assert_double_lt(de, allowed(&golden, "eval/features", 1e-5));

    free(images);
    free(features);
    golden_close(&golden);
    mio_encoder_release(encoder);
    mio_context_release(context);
}
END_TEST

int main(void)
{
    if (!getenv("MIO_GOLDEN"))
        return 77;
    Suite *suite = suite_create("encoder against PyTorch");
    TCase *group = tcase_create("golden");
    tcase_set_timeout(group, 60);
    tcase_add_loop_test(group, equals_pytorch, 0, 3 * MODELS);
    suite_add_tcase(suite, group);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
