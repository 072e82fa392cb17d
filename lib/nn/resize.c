#include "nn/resize.h"

#include <math.h>
#include <string.h>

void mio__resize_axis_free(mio_context *context, mio__resize_axis *axis)
{
    mio__free(context, axis->first);
    mio__free(context, axis->count);
    mio__free(context, axis->weights);
    *axis = (mio__resize_axis){0};
}

/* The inputs whose centres lie within the triangle, and its heights there, scaled to sum to 1. */
static void fill_position(mio__resize_axis *axis, size_t i)
{
    const double scale = (double)axis->input / (double)axis->output, width = scale > 1 ? scale : 1;
    const double centre = ((double)i + 0.5) * scale;
    const double low = floor(centre - width + 0.5), high = floor(centre + width + 0.5);
    const size_t first = low > 0 ? (size_t)low : 0;
    size_t last = high < (double)axis->input ? (size_t)high : axis->input;
    if (last - first > axis->most)
        last = first + axis->most;
    float *weights = axis->weights + i * axis->most;
    double sum = 0;
    for (size_t j = first; j < last; j++)
        sum += fmax(0, 1 - fabs((double)j + 0.5 - centre) / width);
    for (size_t j = first; j < last; j++)
        weights[j - first] = (float)(fmax(0, 1 - fabs((double)j + 0.5 - centre) / width) / sum);
    axis->first[i] = first;
    axis->count[i] = last - first;
}

mio_status mio__resize_axis_make(mio_context *context, size_t input, size_t output, mio__resize_axis *axis)
{
    const double width = fmax(1, (double)input / (double)output);
    *axis = (mio__resize_axis){.input = input, .output = output, .most = (size_t)ceil(2 * width) + 1};
    axis->first = mio__alloc_zeroed(context, output, sizeof *axis->first);
    axis->count = mio__alloc_zeroed(context, output, sizeof *axis->count);
    axis->weights = mio__alloc_zeroed(context, output, axis->most * sizeof *axis->weights);
    if (!axis->first || !axis->count || !axis->weights) {
        mio__resize_axis_free(context, axis);
        return MIO_ERROR_MEMORY;
    }
    for (size_t i = 0; i < output; i++)
        fill_position(axis, i);
    return MIO_OK;
}

/* One row of bytes to columns->output x channels floats. */
static void resize_row(const mio__resize_axis *columns, size_t channels, const uint8_t *pixels, float *resized)
{
    for (size_t x = 0; x < columns->output; x++)
        for (size_t c = 0; c < channels; c++) {
            const float *weights = columns->weights + x * columns->most;
            const uint8_t *from = pixels + columns->first[x] * channels + c;
            float sum = 0;
            for (size_t j = 0; j < columns->count[x]; j++)
                sum += weights[j] * (float)from[j * channels];
            resized[x * channels + c] = sum;
        }
}

void mio__resize(const mio__resize_axis *rows, const mio__resize_axis *columns, size_t channels, size_t row_stride,
                 const uint8_t *pixels, float *scratch, float *resized)
{
    const size_t row = columns->output * channels;
    for (size_t y = 0; y < rows->input; y++)
        resize_row(columns, channels, pixels + y * row_stride, scratch + y * row);
    memset(resized, 0, rows->output * row * sizeof *resized);
    for (size_t y = 0; y < rows->output; y++)
        for (size_t j = 0; j < rows->count[y]; j++) {
            const float weight = rows->weights[y * rows->most + j];
            const float *from = scratch + (rows->first[y] + j) * row;
            for (size_t i = 0; i < row; i++)
                resized[y * row + i] += weight * from[i];
        }
}
