/* Features of byte images: resized where they have another size, normalised as the encoder was trained, then inferred.
 */
#include "nn/inference.h"
#include "nn/resize.h"

/* The images of one call. */
typedef struct embedding {
    mio_encoder *encoder;
    const uint8_t *images;
    size_t row_stride, image_stride; /* bytes */
    int resize;
    mio__resize_axis rows, columns;
    size_t workers; /* the same from the first batch to the last */
    float *scratch; /* of resizing, one piece a worker */
    size_t scratch_stride;
    size_t first; /* image of the present batch */
    float *batch;
} embedding;

/* A value in units of bytes as the network sees it. */
static float normalize(const mio_encoder *encoder, double value, size_t channel)
{
    return (float)((value / 255 - encoder->mean[channel]) / encoder->deviation[channel]);
}

static void copy_image(const embedding *job, const uint8_t *pixels, float *out)
{
    const mio__layer *input = &job->encoder->graph.layers.items[0];
    for (size_t y = 0; y < input->height; y++)
        for (size_t x = 0; x < input->width; x++)
            for (size_t c = 0; c < input->channels; c++)
                *out++ = normalize(job->encoder, pixels[y * job->row_stride + x * input->channels + c], c);
}

static void resize_image(const embedding *job, const uint8_t *pixels, float *scratch, float *out)
{
    const mio__layer *input = &job->encoder->graph.layers.items[0];
    mio__resize(&job->rows, &job->columns, input->channels, job->row_stride, pixels, scratch, out);
    for (size_t i = 0; i < input->height * input->width; i++)
        for (size_t c = 0; c < input->channels; c++, out++)
            *out = normalize(job->encoder, *out, c);
}

static void convert_image(void *argument, size_t item, size_t worker)
{
    const embedding *job = argument;
    const mio__layer *input = &job->encoder->graph.layers.items[0];
    const uint8_t *pixels = job->images + (job->first + item) * job->image_stride;
    float *out = job->batch + item * input->height * input->width * input->channels;
    if (job->resize)
        resize_image(job, pixels, job->scratch + worker * job->scratch_stride, out);
    else
        copy_image(job, pixels, out);
}

static mio_status prepare_resize(embedding *job, size_t height, size_t width)
{
    mio_context *context = job->encoder->context;
    const mio__layer *input = &job->encoder->graph.layers.items[0];
    job->resize = height != input->height || width != input->width;
    if (!job->resize)
        return MIO_OK;
    mio_status status = mio__resize_axis_make(context, height, input->height, &job->rows);
    if (!status)
        status = mio__resize_axis_make(context, width, input->width, &job->columns);
    if (status)
        return status;
    /* 16 floats apart, so that workers do not share cache lines. */
    job->scratch_stride = (input->width * input->channels * height + 15) / 16 * 16;
    job->scratch = mio__alloc_zeroed(context, job->workers, job->scratch_stride * sizeof *job->scratch);
    return job->scratch ? MIO_OK : MIO_ERROR_MEMORY;
}

static mio_status embed_all(embedding *job, size_t count, float *features)
{
    mio_encoder *encoder = job->encoder;
    const size_t dim = encoder->graph.values[encoder->graph.features].shape.channels;
    while (job->first < count) {
        const size_t left = count - job->first, lanes = mio__inference_lanes(encoder, count, left);
        const size_t part = left < lanes ? left : lanes;
        mio__inference_run run;
        const mio_status status = mio__inference_begin(encoder, lanes, &run);
        if (status)
            return status;
        job->batch = run.state->rows;
        mio__parallel(encoder->context, job->workers, part, convert_image, job);
        mio__inference_run_batch(&run, part, job->batch, features + job->first * dim, NULL);
        mio__inference_end(encoder, &run);
        job->first += part;
    }
    return MIO_OK;
}

static mio_status check_images(const mio_encoder *encoder, size_t count, size_t height, size_t width, size_t channels,
                               size_t row_stride, const void *images, const void *features)
{
    const size_t own = encoder->graph.layers.items[0].channels;
    if (count && (!images || !features))
        return mio__fail(MIO_ERROR_ARGUMENT, "the images or the place for the features is NULL");
    if (!height || !width)
        return mio__fail(MIO_ERROR_ARGUMENT, "images of %zu x %zu pixels: no extent may be 0", height, width);
    if (channels != own)
        return mio__fail(MIO_ERROR_ARGUMENT, "the images have %zu channels; the encoder takes %zu", channels, own);
    if (width > SIZE_MAX / channels || height > SIZE_MAX / 64 / (width * channels))
        return mio__fail(MIO_ERROR_ARGUMENT, "images of %zu x %zu pixels are larger than memory", height, width);
    if (row_stride && row_stride < width * channels)
        return mio__fail(MIO_ERROR_ARGUMENT, "row_stride %zu is shorter than a row of %zu bytes", row_stride,
                         width * channels);
    return MIO_OK;
}

mio_status mio_encoder_embed(mio_encoder *encoder, size_t count, size_t height, size_t width, size_t channels,
                             size_t row_stride, const uint8_t *images, float *features)
{
    if (!encoder)
        return mio__settings_null("encoder");
    mio_status status = check_images(encoder, count, height, width, channels, row_stride, images, features);
    if (status || !count)
        return status;
    embedding job = {.encoder = encoder, .images = images, .row_stride = row_stride ? row_stride : width * channels};
    job.workers = mio__workers(encoder->context);
    job.image_stride = height * job.row_stride;
    status = prepare_resize(&job, height, width);
    if (!status)
        status = embed_all(&job, count, features);
    mio__free(encoder->context, job.scratch);
    mio__resize_axis_free(encoder->context, &job.rows);
    mio__resize_axis_free(encoder->context, &job.columns);
    return status;
}
