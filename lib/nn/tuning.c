/* Measured choices of how the convolutions of an encoder are computed: the tuner, and what is known of the choices. */
#include "core/file.h"
#include "nn/inference.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char tuning_record[] = "encoder/tuning";

enum { TEXT_LIMIT = 1 << 22, SOURCE_ROOM = 320 };

void mio__encoder_swap_tuning(mio_encoder *encoder, mio__tuning *tuning)
{
    const mio__tuning old = encoder->tuning;
    encoder->tuning = *tuning;
    *tuning = old;
    encoder->tuned++;
}

/* ---- which convolutions there are ---- */

/* How the images of a batch lie: of a training pass, or, for views 0, of evaluation. */
static mio_status find_images(const mio_encoder *encoder, size_t views, size_t count, mio__images *images)
{
    const mio__precision precision = mio__encoder_precision(encoder);
    if (!count)
        return mio__fail(MIO_ERROR_ARGUMENT, "the number of images is 0");
    if (count > UINT32_MAX / 64 || views > UINT32_MAX / 64 / count)
        return mio__fail(MIO_ERROR_ARGUMENT, "%zu views of %zu images are too many", views, count);
    const size_t lanes = mio__inference_lanes(encoder, count, count);
    *images = views ? mio__images_in(precision, views, count) : (mio__images){1, lanes, lanes, 1, precision};
    return MIO_OK;
}

static int is_conv(const mio_encoder *encoder, size_t step)
{
    return encoder->graph.steps[step].kind == MIO__LAYER_CONV;
}

static int needs_data_gradient(const mio_encoder *encoder, size_t step)
{
    return encoder->graph.values[encoder->graph.steps[step].input].needs_gradient;
}

static int same_task(const mio__tuning_task *a, const mio__tuning_task *b)
{
    const mio__tuning_key left = mio__tuning_key_of(&a->geometry, a->pass);
    const mio__tuning_key right = mio__tuning_key_of(&b->geometry, b->pass);
    return a->pass == b->pass && !memcmp(left.numbers, right.numbers, sizeof left.numbers);
}

/* Lists the passes to be measured, each once; tasks has room for all. */
static size_t list_tasks(const mio_encoder *encoder, const mio__images *images, int training, mio__tuning_task *tasks)
{
    size_t count = 0;
    for (size_t s = 0; s < encoder->graph.step_count; s++)
        for (int pass = training ? MIO__FORWARD : MIO__INFERENCE; pass < (training ? MIO__PASSES : MIO__TUNED_PASSES);
             pass++) {
            if (!is_conv(encoder, s) || (pass == MIO__BACKWARD_DATA && !needs_data_gradient(encoder, s)))
                continue;
            tasks[count] = (mio__tuning_task){mio__step_geometry(&encoder->graph, s, images), pass};
            size_t known = 0;
            while (known < count && !same_task(&tasks[known], &tasks[count]))
                known++;
            count += known == count && mio__tuning_candidates(&tasks[count], mio__encoder_algorithm(encoder)) > 1;
        }
    return count;
}

/* ---- tuning ---- */

/* Bytes that lie between two runs of one convolution: in evaluation the weights of the others; in training their
   activations too, which no cache holds, but for the smallest networks. */
static size_t bytes_between(const mio_encoder *encoder, const mio__images *images, int training)
{
    const mio__graph *graph = &encoder->graph;
    double bytes = 0;
    for (size_t t = 0; t < graph->tensor_count; t++)
        bytes += (double)encoder->tensors[t].stored * sizeof(mio__real);
    for (size_t v = 0; training && v <= graph->step_count; v++)
        bytes += (double)mio__group_size(&graph->values[v].shape, images) * (double)(images->views * images->groups) *
                 (double)mio__number_size(images->precision);
    return bytes < 1e9 ? (size_t)bytes : (size_t)1e9;
}

/* Measures into a copy, so that a failure leaves the encoder's own table as it was. */
static mio_status tune(mio_encoder *encoder, const mio__images *images, int training, double seconds,
                       mio__tuning_task *tasks)
{
    mio__tuning made;
    const size_t count = list_tasks(encoder, images, training, tasks);
    mio_status status = mio__tuning_copy(&encoder->tuning, &made);
    if (!status)
        status = mio__tuning_measure(&made, count, tasks, mio__encoder_algorithm(encoder),
                                     bytes_between(encoder, images, training), seconds);
    if (!status)
        mio__encoder_swap_tuning(encoder, &made);
    mio__tuning_free(&made);
    return status;
}

mio_status mio_encoder_tune(mio_encoder *encoder, size_t views, size_t count, double seconds)
{
    mio__images images;
    if (!encoder)
        return mio__settings_null("encoder");
    if (!isfinite(seconds) || seconds < 0)
        return mio__fail(MIO_ERROR_ARGUMENT, "the time for tuning is %g seconds; it must be finite and at least 0",
                         seconds);
    mio_status status = find_images(encoder, views, count, &images);
    if (status)
        return status;
    mio__tuning_task *tasks =
        mio__alloc_zeroed(encoder->context, encoder->graph.step_count * MIO__TUNED_PASSES + 1, sizeof *tasks);
    status = tasks ? tune(encoder, &images, views != 0, seconds, tasks) : MIO_ERROR_MEMORY;
    mio__free(encoder->context, tasks);
    return status;
}

mio_status mio_encoder_clear_tuning(mio_encoder *encoder)
{
    if (!encoder)
        return mio__settings_null("encoder");
    mio__tuning empty = {.context = encoder->context};
    mio__encoder_swap_tuning(encoder, &empty);
    mio__tuning_free(&empty);
    return MIO_OK;
}

/* ---- introspection ---- */

size_t mio_encoder_convolution_count(const mio_encoder *encoder)
{
    size_t count = 0;
    for (size_t s = 0; encoder && s < encoder->graph.step_count; s++)
        count += is_conv(encoder, s) != 0;
    return count;
}

/* The step that convolution number `index` is; there is one. */
static size_t find_conv(const mio_encoder *encoder, size_t index)
{
    size_t s = 0;
    while (!is_conv(encoder, s) || index--)
        s++;
    return s;
}

mio_status mio_encoder_convolution(const mio_encoder *encoder, size_t views, size_t count, size_t index,
                                   mio_convolution_info *info)
{
    mio__images images;
    if (!encoder)
        return mio__settings_null("encoder");
    const size_t convs = mio_encoder_convolution_count(encoder);
    if (index >= convs)
        return mio__fail(MIO_ERROR_ARGUMENT, "the encoder has %zu convolutions; there is no index %zu", convs, index);
    mio_status status = mio__struct_check(info, MIO__UP_TO(mio_convolution_info, name), "mio_convolution_info");
    if (!status)
        status = find_images(encoder, views, count, &images);
    if (status)
        return status;
    const size_t s = find_conv(encoder, index);
    const mio__conv_geometry g = mio__step_geometry(&encoder->graph, s, &images);
    int tuned = 0;
    const mio__conv_choice choice =
        mio__tuning_choose(&encoder->tuning, &g, mio__encoder_algorithm(encoder), views != 0, &tuned);
    const mio_convolution_info full = {
        .name = mio__step_layer(&encoder->graph, &encoder->graph.steps[s])->name,
        .in_channels = g.input.channels,
        .out_channels = g.output.channels,
        .height = g.input.height,
        .width = g.input.width,
        .kernel = g.kernel,
        .stride = g.stride,
        .padding = g.padding,
        .forward = mio__conv_method_name(choice.of[MIO__FORWARD]),
        .data_gradient =
            views && needs_data_gradient(encoder, s) ? mio__conv_method_name(choice.of[MIO__BACKWARD_DATA]) : NULL,
        .weight_gradient = views ? mio__conv_method_name(choice.of[MIO__BACKWARD_WEIGHTS]) : NULL,
        .tuned = tuned,
    };
    mio__struct_give(info, &full, sizeof full);
    return MIO_OK;
}

/* ---- files ---- */

static mio_status write_text(const mio_encoder *encoder, const char *path, size_t length, const char *text)
{
    mio__file file;
    mio_status status = mio__file_create(encoder->context, path, &file);
    if (status)
        return status;
    status = mio__file_write(&file, text, length);
    if (!status)
        return mio__file_commit(&file);
    mio__file_abandon(&file);
    return status;
}

mio_status mio_encoder_save_tuning(const mio_encoder *encoder, const char *path)
{
    char *text;
    size_t length;
    if (!encoder)
        return mio__settings_null("encoder");
    if (!path)
        return mio__fail(MIO_ERROR_ARGUMENT, "the path is NULL");
    mio_status status = mio__tuning_print(&encoder->tuning, &text, &length);
    if (status)
        return status;
    status = write_text(encoder, path, length, text);
    mio__free(encoder->context, text);
    return status;
}

mio_status mio_encoder_load_tuning(mio_encoder *encoder, const char *path)
{
    char *text, source[SOURCE_ROOM];
    size_t length;
    mio__tuning made;
    if (!encoder)
        return mio__settings_null("encoder");
    if (!path)
        return mio__fail(MIO_ERROR_ARGUMENT, "the path is NULL");
    mio_status status = mio__file_read(encoder->context, path, TEXT_LIMIT, &text, &length);
    if (status)
        return status;
    snprintf(source, sizeof source, "'%.300s'", path);
    status = mio__tuning_parse(encoder->context, source, length, text, &made);
    mio__free(encoder->context, text);
    if (status)
        return status;
    mio__encoder_swap_tuning(encoder, &made);
    mio__tuning_free(&made);
    return MIO_OK;
}

mio_status mio__encoder_write_tuning(const mio_encoder *encoder, mio__archive_writer *writer)
{
    char *text;
    size_t length;
    if (!encoder->tuning.count)
        return MIO_OK;
    mio_status status = mio__tuning_print(&encoder->tuning, &text, &length);
    if (status)
        return status;
    status = mio__archive_put(writer, tuning_record, text, length);
    mio__free(encoder->context, text);
    return status;
}

mio_status mio__encoder_read_tuning(mio_context *context, mio__archive *archive, mio__tuning *tuning)
{
    char *text;
    size_t length;
    *tuning = (mio__tuning){.context = context};
    if (!mio__archive_has(archive, tuning_record))
        return MIO_OK;
    mio_status status = mio__archive_size(archive, tuning_record, &length);
    if (!status && length > TEXT_LIMIT)
        status = mio__archive_refuse(archive, tuning_record, "it has %zu bytes; at most %d are expected", length,
                                     (int)TEXT_LIMIT);
    if (status)
        return status;
    if (!(text = mio__alloc(context, length + 1)))
        return MIO_ERROR_MEMORY;
    status = mio__archive_get(archive, tuning_record, text, length);
    if (!status)
        status = mio__archive_blame(archive, tuning_record, mio__tuning_parse(context, "table", length, text, tuning));
    mio__free(context, text);
    return status;
}
