#include "data/augment_kernels.h"

#include <string.h>

/* Three channels of a pixel and one float beyond, in one register. */
typedef float quad __attribute__((vector_size(16)));

/* One register of floats, wherever it lies in memory. */
#if defined(__AVX512F__)
typedef float wide __attribute__((vector_size(64), aligned(4), may_alias));
#elif defined(__AVX2__)
typedef float wide __attribute__((vector_size(32), aligned(4), may_alias));
#else
typedef float wide __attribute__((vector_size(16), aligned(4), may_alias));
#endif

static quad load_quad(const float *from)
{
    quad value;
    memcpy(&value, from, sizeof value);
    return value;
}

static void store_quad(float *to, quad value)
{
    memcpy(to, &value, sizeof value);
}

static float limit(float x)
{
    x = x > 0 ? x : 0;
    return x < 1 ? x : 1;
}

/* ---- resampling ---- */

static void mix_bytes(size_t count, const uint8_t *a, float weight_a, const uint8_t *b, float weight_b,
                      float *restrict out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = (float)a[i] * weight_a + (float)b[i] * weight_b;
}

static void add_bytes(size_t count, const uint8_t *a, float weight, float *restrict out)
{
    for (size_t i = 0; i < count; i++)
        out[i] += (float)a[i] * weight;
}

static void gather(size_t width, size_t channels, const mio__tap *taps, const float *row, float *restrict out)
{
    if (channels == 3) {
        for (size_t x = 0; x < width; x++)
            store_quad(out + 3 * x, load_quad(row + taps[x].first) * taps[x].first_weight +
                                        load_quad(row + taps[x].second) * taps[x].second_weight);
        return;
    }
    for (size_t x = 0; x < width; x++)
        for (size_t c = 0; c < channels; c++)
            out[x * channels + c] =
                row[taps[x].first + c] * taps[x].first_weight + row[taps[x].second + c] * taps[x].second_weight;
}

static void gather_span(size_t width, size_t channels, const mio__span *spans, const float *row, float *restrict out)
{
    for (size_t x = 0; x < width; x++) {
        const float *from = row + spans[x].start * channels;
        if (channels == 3) {
            quad sum = {0};
            for (size_t j = 0; j < spans[x].count; j++)
                sum += load_quad(from + 3 * j) * spans[x].weights[j];
            store_quad(out + 3 * x, sum);
            continue;
        }
        for (size_t c = 0; c < channels; c++) {
            float sum = 0;
            for (size_t j = 0; j < spans[x].count; j++)
                sum += from[j * channels + c] * spans[x].weights[j];
            out[x * channels + c] = sum;
        }
    }
}

static void split(size_t width, size_t channels, const float *row, float *restrict planes, size_t stride)
{
    if (channels == 3) {
        float *restrict red = planes, *restrict green = planes + stride, *restrict blue = planes + 2 * stride;
        for (size_t i = 0; i < width; i++) {
            red[i] = row[3 * i];
            green[i] = row[3 * i + 1];
            blue[i] = row[3 * i + 2];
        }
        return;
    }
    for (size_t c = 0; c < channels; c++)
        for (size_t i = 0; i < width; i++)
            planes[c * stride + i] = row[i * channels + c];
}

/* ---- colour ---- */

static void scale(size_t count, float *plane, float factor, float offset)
{
    for (size_t i = 0; i < count; i++)
        plane[i] = limit(plane[i] * factor + offset);
}

static void blend(size_t count, float *restrict plane, float factor, const float *restrict other)
{
    const float rest = 1 - factor;
    for (size_t i = 0; i < count; i++)
        plane[i] = limit(factor * plane[i] + rest * other[i]);
}

static void luma(size_t count, const float *red, const float *green, const float *blue, float *restrict grey)
{
    for (size_t i = 0; i < count; i++)
        grey[i] = 0.2989f * red[i] + 0.587f * green[i] + 0.114f * blue[i];
}

/* Sixteen interleaved float sums over a short stretch, the stretches in double. */
static double sum(size_t count, const float *plane)
{
    enum { LANES = 16, STRETCH = 1024 };
    double total = 0;
    for (size_t start = 0; start < count; start += STRETCH) {
        const size_t end = count - start < STRETCH ? count : start + STRETCH;
        float lanes[LANES] = {0};
        size_t i = start;
        for (; i + LANES <= end; i += LANES)
            for (size_t lane = 0; lane < LANES; lane++)
                lanes[lane] += plane[i + lane];
        for (size_t lane = 0; i < end; i++, lane++)
            lanes[lane] += plane[i];
        for (size_t lane = 0; lane < LANES; lane++)
            total += lanes[lane];
    }
    return total;
}

/* One channel, `away` sectors round the circle from the hue's sector (0 .. 6, red at 0); chroma = value - lowest. */
static float hue_channel(float sector, float away, float value, float chroma)
{
    const float turned = sector + away, k = turned >= 6 ? turned - 6 : turned;
    return value - chroma * limit(k < 4 - k ? k : 4 - k);
}

static void hue(size_t count, float *restrict red, float *restrict green, float *restrict blue, float shift)
{
    const float turn = 6 * shift;
    for (size_t i = 0; i < count; i++) {
        const float r = red[i], g = green[i], b = blue[i];
        const float high_gb = g > b ? g : b, low_gb = g < b ? g : b;
        const float value = r > high_gb ? r : high_gb, chroma = value - (r < low_gb ? r : low_gb);
        const float inverse = 1 / (chroma == 0 ? 1 : chroma);
        /* Sectors from the strongest channel; ties go to red, then green, as in torchvision. */
        const float from_green = value == g ? (b - r) * inverse + 2 : (r - g) * inverse + 4;
        float sector = (value == r ? (g - b) * inverse : from_green) + turn;
        sector = sector < 0 ? sector + 6 : sector;
        sector = sector >= 6 ? sector - 6 : sector;
        red[i] = hue_channel(sector, 5, value, chroma);
        green[i] = hue_channel(sector, 3, value, chroma);
        blue[i] = hue_channel(sector, 1, value, chroma);
    }
}

static void solarize(size_t count, float *plane, float threshold)
{
    for (size_t i = 0; i < count; i++)
        plane[i] = plane[i] >= threshold ? 1 - plane[i] : plane[i];
}

/* ---- filter and output ---- */

static void combine(size_t count, size_t terms, const float *const *rows, const float *weights, float *restrict out)
{
    enum { WIDE = sizeof(wide) / sizeof(float) };
    size_t i = 0;
    for (; i + 2 * WIDE <= count; i += 2 * WIDE) {
        wide low = {0}, high = {0};
        for (size_t j = 0; j < terms; j++) {
            const float *from = rows[j] + i;
            low += *(const wide *)from * weights[j];
            high += *(const wide *)(from + WIDE) * weights[j];
        }
        *(wide *)(out + i) = low;
        *(wide *)(out + i + WIDE) = high;
    }
    for (; i < count; i++) {
        float total = 0;
        for (size_t j = 0; j < terms; j++)
            total += rows[j][i] * weights[j];
        out[i] = total;
    }
}

static void join(size_t count, size_t channels, const float *planes, size_t stride, const float *scales,
                 const float *shifts, float *restrict out)
{
    if (channels == 3) {
        const float *red = planes, *green = planes + stride, *blue = planes + 2 * stride;
        const float s0 = scales[0], s1 = scales[1], s2 = scales[2], t0 = shifts[0], t1 = shifts[1], t2 = shifts[2];
        for (size_t i = 0; i < count; i++) {
            out[3 * i] = red[i] * s0 + t0;
            out[3 * i + 1] = green[i] * s1 + t1;
            out[3 * i + 2] = blue[i] * s2 + t2;
        }
        return;
    }
    for (size_t c = 0; c < channels; c++) {
        const float s = scales[c], t = shifts[c];
        for (size_t i = 0; i < count; i++)
            out[i * channels + c] = planes[c * stride + i] * s + t;
    }
}

const mio__augment_kernels MIO__VARIANT(mio__augment_kernels) = {
    mix_bytes, add_bytes, gather, gather_span, split, scale, blend, luma, sum, hue, solarize, combine, join,
};
