/* The gradient of whole networks, compiled for double, against central differences: ResNets and graphs of every kind of
   layer in every kind of company. */
#include "nn/network.h"

#include "golden/golden.h"

#include <check.h>
#include <stdio.h>

/* The functional whose gradient is taken: a fixed linear one of features, projections and predictions. */
typedef struct problem {
    mio_encoder *encoder;
    size_t views, count;
    float *images, *feature_weights, *projection_weights, *prediction_weights; /* NULL: no such output */
} problem;

static float *numbers(uint64_t stream, size_t count)
{
    float *values = malloc(count * sizeof *values);
    for (size_t i = 0; i < count; i++)
        values[i] = (float)golden_signed(stream, i);
    return values;
}

/* ---- the functional, from the values as they lie in the arena ---- */

static double weigh(const problem *p, const mio__pass *pass, size_t value, const float *weights)
{
    if (!weights)
        return 0;
    const mio__shape *shape = &p->encoder->graph.values[value].shape;
    const mio__images *images = &pass->plan->images;
    const double *x = mio__pass_at(pass, pass->plan->values[value]);
    double sum = 0;
    for (size_t view = 0; view < p->views; view++)
        for (size_t i = 0; i < p->count; i++)
            for (size_t c = 0; c < shape->channels; c++) {
                const size_t group = view * images->groups + i / images->lanes;
                const size_t place = (group * shape->blocks + c / shape->block) * images->lanes + i % images->lanes;
                sum += *weights++ * x[place * shape->block + c % shape->block];
            }
    return sum;
}

static double functional(const problem *p)
{
    ck_assert_msg(mio_encoder_forward(p->encoder, p->views, p->count, p->images, NULL, NULL) == MIO_OK, "%s",
                  mio_last_error());
    const mio__pass pass = mio__training_pass(p->encoder);
    return weigh(p, &pass, p->encoder->graph.features, p->feature_weights) +
           weigh(p, &pass, p->encoder->graph.projections, p->projection_weights) +
           weigh(p, &pass, p->encoder->graph.predictions, p->prediction_weights);
}

/* Whatever a pass reads without having written it turns everything into NaN. */
static void poison(const problem *p)
{
    ck_assert_msg(mio__training_plan(p->encoder, p->views, p->count) == MIO_OK, "%s", mio_last_error());
    memset(p->encoder->training.arena, 0xff, p->encoder->training.plan->arena_size);
}

/* ---- comparison ---- */

static double dot(const double *a, const double *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

static void move(const mio__tensor *tensor, const double *from, const double *direction, double step)
{
    for (size_t i = 0; i < tensor->stored; i++)
        tensor->value[i] = from[i] + step * direction[i];
}

/* Central difference of the functional along a direction. */
static double difference(const problem *p, const mio__tensor *tensor, const double *from, const double *direction,
                         double step)
{
    double values[3];
    for (int i = 0; i < 3; i++) {
        move(tensor, from, direction, (1 - i) * step);
        mio__encoder_changed(p->encoder);
        values[i] = i == 1 ? 0 : functional(p);
    }
    move(tensor, from, direction, 0);
    mio__encoder_changed(p->encoder);
    return (values[0] - values[2]) / (2 * step);
}

/* Error of one tensor's gradient along a random direction, in units of its typical slope. A step that crosses the kink
   of a ReLU or a change of maximum tells nothing: the shortest steps, which rarely do, decide where the longer ones
   disagree. */
static double tensor_error(const problem *p, size_t index, double whole)
{
    const mio__tensor *tensor = &p->encoder->tensors[index];
    float *torch = numbers(GOLDEN_NOISE + index, tensor->count);
    double *direction = calloc(tensor->stored, sizeof *direction), *from = malloc(tensor->stored * sizeof *from);
    mio__tensor_pack(p->encoder, index, torch, direction);
    memcpy(from, tensor->value, tensor->stored * sizeof *from);
    const double slope = dot(tensor->gradient, direction, tensor->stored);
    const double norm = sqrt(dot(tensor->gradient, tensor->gradient, tensor->stored));
    const double scale = fmax(fabs(slope), fmax(norm * 0.5, 1e-3 * whole));
    double error = INFINITY;
    for (double step = 1e-6; step > 1e-9 && error > 1e-7; step /= 8)
        error = fmin(error, fabs(difference(p, tensor, from, direction, step) - slope) / scale);
    free(torch);
    free(direction);
    free(from);
    return error;
}

static void randomize_norms(mio_encoder *encoder)
{
    for (size_t i = 0, place = 0; i < encoder->graph.tensor_count; i++) {
        const mio__tensor *tensor = &encoder->tensors[i];
        if (!tensor->trainable)
            continue;
        float *values = malloc(tensor->count * sizeof *values);
        golden_parameter(place++, tensor->name, tensor->rank, tensor->shape, values);
        mio_encoder_set_tensor(encoder, tensor->name, tensor->count, values);
        free(values);
    }
}

static void check_gradient(const char *title, mio_encoder *encoder, size_t views, size_t count)
{
    problem p = {.encoder = encoder, .views = views, .count = count};
    size_t channels, height, width, features, projections, predictions;
    mio_encoder_input_shape(encoder, &channels, &height, &width);
    mio_encoder_feature_dim(encoder, &features);
    mio_encoder_projection_dim(encoder, &projections);
    mio_encoder_prediction_dim(encoder, &predictions);
    randomize_norms(encoder);
    p.images = numbers(GOLDEN_TEXTURE, views * count * channels * height * width);
    p.feature_weights = numbers(GOLDEN_ROWS, views * count * features);
    p.projection_weights = projections ? numbers(GOLDEN_ROWS + 1, views * count * projections) : NULL;
    p.prediction_weights = predictions ? numbers(GOLDEN_ROWS + 2, views * count * predictions) : NULL;
    poison(&p);
    functional(&p);
    ck_assert_msg(mio_encoder_backward_predictions(encoder, p.prediction_weights, p.projection_weights,
                                                   p.feature_weights) == MIO_OK,
                  "%s", mio_last_error());
    double whole = 0, worst = 0;
    for (size_t i = 0; i < encoder->graph.tensor_count; i++)
        if (encoder->tensors[i].trainable)
            whole += dot(encoder->tensors[i].gradient, encoder->tensors[i].gradient, encoder->tensors[i].stored);
    ck_assert_msg(isfinite(whole) && whole > 0, "%s: the gradient is %g", title, whole);
    for (size_t i = 0; i < encoder->graph.tensor_count; i++) {
        if (!encoder->tensors[i].trainable)
            continue;
        const double error = tensor_error(&p, i, sqrt(whole));
        worst = fmax(worst, error);
        ck_assert_msg(error < 1e-6, "%s, %zu x %zu: '%s' is off by %.2g", title, views, count, encoder->tensors[i].name,
                      error);
    }
    printf("%-24s %zu x %zu: %.1e\n", title, views, count, worst);
    free(p.images);
    free(p.feature_weights);
    free(p.projection_weights);
    free(p.prediction_weights);
}

/* ---- networks ---- */

static mio_builder *start(mio_context *context, size_t channels, size_t height, size_t width)
{
    mio_builder *builder;
    ck_assert_int_eq(mio_builder_create(context, channels, height, width, &builder), MIO_OK);
    return builder;
}

static void finish(const char *title, mio_builder *builder, mio_node features, mio_node projections, size_t views,
                   size_t count)
{
    mio_encoder *encoder;
    ck_assert_msg(mio_builder_finish(builder, features, projections, &encoder) == MIO_OK, "%s: %s", title,
                  mio_last_error());
    mio_builder_release(builder);
    check_gradient(title, encoder, views, count);
    mio_encoder_release(encoder);
}

static mio_context *context_of(size_t threads)
{
    mio_context *context;
    ck_assert_int_eq(mio_context_create(&context), MIO_OK);
    ck_assert_int_eq(mio_context_set(context, "threads", (double)threads), MIO_OK);
    return context;
}

START_TEST(resnets)
{
    const int32_t depth = _i < 3 ? 18 : 50;
    const mio_stem stem = (mio_stem)(_i % 3);
    const size_t size = stem == MIO_STEM_IMAGENET ? 33 : stem == MIO_STEM_SMALL ? 9 : 10;
    char title[40];
    snprintf(title, sizeof title, "resnet-%d stem %d", (int)depth, (int)stem);
    mio_context *context = context_of(2);
    mio_builder *builder = start(context, _i % 3 + 1, size, size - 1);
    const mio_node h = mio_builder_resnet(builder, mio_builder_input(builder), depth, depth == 18 ? 4 : 3, stem);
    finish(title, builder, h, mio_builder_projector(builder, h, 2, 10, 6), 2, 3);
    mio_context_release(context);
}
END_TEST

START_TEST(windows)
{
    const size_t kernel = (size_t)_i + 1;
    mio_context *context = context_of(1);
    for (size_t stride = 1; stride <= 3; stride++)
        for (size_t padding = 0; padding <= kernel; padding++) {
            char title[40];
            snprintf(title, sizeof title, "kernel %zu %zu %zu", kernel, stride, padding);
            mio_builder *builder = start(context, 2, 8, 7);
            mio_node x = mio_builder_input(builder);
            x = mio_builder_relu(builder, mio_builder_batch_norm(builder, mio_builder_conv2d(builder, x, 5, 3, 1, 1)));
            x = mio_builder_conv2d(builder, x, 6, kernel, stride, padding);
            x = mio_builder_batch_norm(builder, mio_builder_conv2d(builder, x, 3, 1, 1, 0));
            finish(title, builder, mio_builder_global_average_pool(builder, mio_builder_relu(builder, x)), -1, 1, 3);
        }
    mio_context_release(context);
}
END_TEST

/* Three-by-threes of many channels: what Winograd's algorithms are for. */
START_TEST(algorithms)
{
    static const char *const names[] = {"exact", "accurate", "fast"};
    mio_context *context = context_of(2);
    for (size_t size = 4; size <= 9; size++) {
        mio_builder *builder = start(context, 16, size, size + 1);
        mio_node x = mio_builder_conv2d(builder, mio_builder_input(builder), 16, 3, 1, 1);
        x = mio_builder_relu(builder, mio_builder_batch_norm(builder, x));
        x = mio_builder_batch_norm(builder, mio_builder_conv2d(builder, x, 32, 3, 1, _i % 2));
        mio_encoder *encoder;
        x = mio_builder_global_average_pool(builder, mio_builder_relu(builder, x));
        ck_assert_int_eq(mio_builder_finish(builder, x, -1, &encoder), MIO_OK);
        mio_builder_release(builder);
        ck_assert_int_eq(mio_encoder_set_text(encoder, "algorithm", names[_i]), MIO_OK);
        check_gradient(names[_i], encoder, 1, 16);
        mio_encoder_release(encoder);
    }
    mio_context_release(context);
}
END_TEST

START_TEST(pools)
{
    mio_context *context = context_of(2);
    for (size_t kernel = 1; kernel <= 4; kernel++)
        for (size_t stride = 1; stride <= 3; stride++) {
            mio_builder *builder = start(context, 3, 9, 8);
            mio_node x =
                mio_builder_batch_norm(builder, mio_builder_conv2d(builder, mio_builder_input(builder), 18, 3, 1, 1));
            const mio_node pooled = mio_builder_max_pool(builder, x, kernel, stride, kernel / 2);
            x = mio_builder_conv2d(builder, pooled, 4, 2, 1, 1);
            const mio_node h = mio_builder_global_average_pool(builder, mio_builder_relu(builder, x));
            finish("max pool", builder, h, mio_builder_global_average_pool(builder, pooled), 2, 5);
        }
    mio_context_release(context);
}
END_TEST

/* Tensors that many steps read, sums in every place, outputs in the middle. */
typedef mio_node (*wiring)(mio_builder *builder, mio_node x);

static mio_node wire_twice(mio_builder *b, mio_node x)
{
    return mio_builder_relu(b, mio_builder_add(b, x, x));
}

static mio_node wire_norm_of_itself(mio_builder *b, mio_node x)
{
    return mio_builder_relu(b, mio_builder_add(b, mio_builder_batch_norm(b, x), x));
}

static mio_node wire_two_norms(mio_builder *b, mio_node x)
{
    return mio_builder_add(b, mio_builder_batch_norm(b, x), mio_builder_batch_norm(b, x));
}

static mio_node wire_norm_then_relu_and_more(mio_builder *b, mio_node x)
{
    const mio_node y = mio_builder_batch_norm(b, x);
    return mio_builder_add(b, mio_builder_relu(b, y), mio_builder_conv2d(b, y, 6, 3, 1, 1));
}

static mio_node wire_chain_of_sums(mio_builder *b, mio_node x)
{
    const mio_node y = mio_builder_add(b, mio_builder_conv2d(b, x, 6, 1, 1, 0), x);
    const mio_node z = mio_builder_add(b, y, mio_builder_relu(b, x));
    return mio_builder_batch_norm(b, mio_builder_add(b, z, y));
}

static mio_node wire_relu_of_relu(mio_builder *b, mio_node x)
{
    const mio_node y = mio_builder_relu(b, mio_builder_relu(b, mio_builder_batch_norm(b, x)));
    return mio_builder_add(b, y, mio_builder_max_pool(b, y, 3, 1, 1));
}

static mio_node wire_pool_shared(mio_builder *b, mio_node x)
{
    const mio_node y = mio_builder_relu(b, x);
    const mio_node p = mio_builder_add(b, mio_builder_max_pool(b, y, 3, 2, 1), mio_builder_conv2d(b, y, 6, 3, 2, 1));
    return mio_builder_batch_norm(b, mio_builder_add(b, p, mio_builder_max_pool(b, x, 2, 2, 0)));
}

static const wiring wirings[] = {wire_twice,         wire_norm_of_itself, wire_two_norms,  wire_norm_then_relu_and_more,
                                 wire_chain_of_sums, wire_relu_of_relu,   wire_pool_shared};
enum { WIRINGS = sizeof wirings / sizeof *wirings };

START_TEST(graphs)
{
    mio_context *context = context_of(2);
    for (size_t views = 1; views <= 2; views++) {
        mio_builder *builder = start(context, 4, 6, 6);
        mio_node x = mio_builder_conv2d(builder, mio_builder_input(builder), 6, 3, 1, 1);
        x = wirings[_i](builder, x);
        mio_builder_conv2d(builder, x, 7, 1, 1, 0); /* not needed, to be dropped */
        const mio_node h = mio_builder_global_average_pool(builder, mio_builder_conv2d(builder, x, 5, 3, 1, 0));
        const mio_node z = mio_builder_linear(builder, mio_builder_relu(builder, h), 3, 1);
        finish("graph", builder, h, mio_builder_batch_norm(builder, z), views, 5 + 14 * (views - 1));
    }
    mio_context_release(context);
}
END_TEST

/* Heads of every kind, and predictions besides the other outputs. */
START_TEST(heads)
{
    mio_context *context = context_of(2);
    const mio_norm hidden = (mio_norm)(_i / 3), last = (mio_norm)(_i % 3);
    mio_builder *builder = start(context, 2, 5, 5);
    const mio_node x = mio_builder_conv2d(builder, mio_builder_input(builder), 7, 3, 1, 1);
    const mio_node h = mio_builder_global_average_pool(builder, mio_builder_relu(builder, x));
    const mio_node z = mio_builder_mlp(builder, h, 3, 9, 4, hidden, last);
    mio_encoder *encoder;
    ck_assert_msg(
        !mio_builder_finish_with_predictions(builder, h, z, mio_builder_predictor(builder, z, 2, 5, 4), &encoder), "%s",
        mio_last_error());
    mio_builder_release(builder);
    check_gradient("heads", encoder, 2, 6);
    mio_encoder_release(encoder);
    mio_context_release(context);
}
END_TEST

/* Norm, ReLU and pool straight on the image, a sum with it, and one node as both outputs. */
START_TEST(outputs_and_inputs)
{
    mio_context *context = context_of(2);
    mio_builder *builder = start(context, 3, 5, 5);
    mio_node image = mio_builder_input(builder);
    mio_node x = mio_builder_batch_norm(builder, mio_builder_add(builder, mio_builder_relu(builder, image), image));
    x = mio_builder_add(builder, x, mio_builder_max_pool(builder, image, 3, 1, 1));
    mio_node h = mio_builder_global_average_pool(builder, mio_builder_relu(builder, x));
    finish("on the image", builder, mio_builder_linear(builder, h, 4, 1), h, 2, 4);

    builder = start(context, 3, 5, 5);
    x = mio_builder_conv2d(builder, mio_builder_input(builder), 4, 3, 1, 0);
    h = mio_builder_global_average_pool(builder, mio_builder_batch_norm(builder, mio_builder_relu(builder, x)));
    finish("one node twice", builder, h, h, 1, 33);

    builder = start(context, 7, 1, 1);
    h = mio_builder_linear(builder, mio_builder_input(builder), 9, 1);
    finish("vectors", builder, h, mio_builder_projector(builder, h, 3, 8, 5), 2, 7);
    mio_context_release(context);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("encoder against finite differences");
    TCase *group = tcase_create("gradients");
    tcase_set_timeout(group, 100);
    tcase_add_loop_test(group, resnets, 0, 6);
    tcase_add_loop_test(group, windows, 0, 7);
    tcase_add_loop_test(group, algorithms, 0, 3);
    tcase_add_test(group, pools);
    tcase_add_loop_test(group, graphs, 0, WIRINGS);
    tcase_add_loop_test(group, heads, 0, 9);
    tcase_add_test(group, outputs_and_inputs);
    suite_add_tcase(suite, group);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
