/* Golden files: a reader, and the formulas that their inputs come from. README.md says what the files hold. */
#ifndef MIO_TESTS_GOLDEN_H
#define MIO_TESTS_GOLDEN_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* ---- reader ---- */

typedef struct golden_record {
    char *name; /* points into the file's text */
    size_t count;
    double *values;
} golden_record;

typedef struct golden_file {
    char *text;
    size_t count;
    golden_record *records;
} golden_file;

static inline void golden_close(golden_file *file)
{
    for (size_t i = 0; i < file->count; i++)
        free(file->records[i].values);
    free(file->records);
    free(file->text);
    memset(file, 0, sizeof *file);
}

static inline char *golden_read_text(const char *path)
{
    gzFile in = gzopen(path, "rb"); /* plain files pass through */
    if (!in)
        return NULL;
    size_t size = 0, room = (size_t)1 << 20;
    char *text = malloc(room + 1);
    for (;;) {
        int got = text ? gzread(in, text + size, (unsigned)(room - size)) : -1;
        if (got <= 0) {
            if (got < 0) {
                free(text);
                text = NULL;
            }
            break;
        }
        size += (size_t)got;
        if (size == room) {
            char *more = realloc(text, 2 * room + 1);
            if (!more)
                free(text);
            text = more;
            room *= 2;
        }
    }
    gzclose(in);
    if (text)
        text[size] = '\0';
    return text;
}

/* Returns 0, or -1 when the file cannot be read or is not as README.md says. */
static inline int golden_open(golden_file *file, const char *path)
{
    memset(file, 0, sizeof *file);
    file->text = golden_read_text(path);
    if (!file->text)
        return -1;
    size_t room = 0;
    for (char *line = file->text, *end; *line; line = end) {
        end = strchr(line, '\n');
        if (!end)
            goto broken;
        *end++ = '\0';
        if (*line == '#' || *line == '\0')
            continue;
        if (file->count == room) {
            room = room ? 2 * room : 256;
            golden_record *more = realloc(file->records, room * sizeof *more);
            if (!more)
                goto broken;
            file->records = more;
        }
        char *at = strchr(line, ' ');
        if (!at)
            goto broken;
        *at++ = '\0';
        golden_record *record = &file->records[file->count];
        record->name = line;
        record->count = (size_t)strtoul(at, &at, 10);
        record->values = malloc((record->count + 1) * sizeof *record->values);
        if (!record->values)
            goto broken;
        file->count++;
        for (size_t i = 0; i < record->count; i++) {
            char *next;
            record->values[i] = strtod(at, &next);
            if (next == at)
                goto broken;
            at = next;
        }
        if (*at != '\0')
            goto broken;
    }
    return 0;
broken:
    golden_close(file);
    return -1;
}

/* NULL when there is no such record, or count is not 0 and differs from the record's. */
static inline const double *golden_find(const golden_file *file, const char *name, size_t count)
{
    for (size_t i = 0; i < file->count; i++)
        if (strcmp(file->records[i].name, name) == 0)
            return count == 0 || file->records[i].count == count ? file->records[i].values : NULL;
    return NULL;
}

/* ---- formulas ---- */

#define GOLDEN_PARAMETER UINT64_C(0x100000)
#define GOLDEN_SKETCH UINT64_C(0x200000)
#define GOLDEN_COLOUR UINT64_C(0x300000)
#define GOLDEN_RAMP_X UINT64_C(0x400000)
#define GOLDEN_RAMP_Y UINT64_C(0x500000)
#define GOLDEN_TEXTURE UINT64_C(0x600000)
#define GOLDEN_VIEW UINT64_C(0x700000)
#define GOLDEN_PICTURE UINT64_C(0x800000)
#define GOLDEN_ROWS UINT64_C(0x900000)
#define GOLDEN_OPTIMIZER UINT64_C(0xa00000)
#define GOLDEN_NOISE UINT64_C(0xb00000)
#define GOLDEN_BUCKETS 64

static inline uint64_t golden_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

static inline uint64_t golden_bits(uint64_t stream, uint64_t index)
{
    const uint64_t g = UINT64_C(0x9E3779B97F4A7C15);
    return golden_mix(golden_mix(stream + g) + (index + 1) * g);
}

/* [-1, 1) */
static inline double golden_signed(uint64_t stream, uint64_t index)
{
    return 2.0 * ((double)(golden_bits(stream, index) >> 11) * 0x1p-53) - 1.0;
}

/* Start values of a parameter tensor with the given PyTorch shape, in PyTorch's element order. The tensor is a
   convolution's or linear layer's (dimensions > 1), a batch norm's weight, or a batch norm's bias. */
static inline void golden_parameter(size_t index, const char *name, size_t dimensions, const size_t *shape, float *out)
{
    size_t count = 1, length = strlen(name);
    for (size_t i = 0; i < dimensions; i++)
        count *= shape[i];
    int weight = length >= 7 && strcmp(name + length - 7, ".weight") == 0;
    double strength = length >= 10 && strcmp(name + length - 10, "bn3.weight") == 0 ? 0.125 : 1.0;
    double bound = dimensions > 1 ? sqrt(6.0 / (double)(count / shape[0])) : 0;
    for (size_t i = 0; i < count; i++) {
        double u = golden_signed(GOLDEN_PARAMETER + index, i);
        out[i] = (float)(dimensions > 1 ? bound * u : weight ? strength * (1.0 + 0.25 * u) : 0.125 * u);
    }
}

/* One pixel of one view (0 or 1) of a batch of channels x height x width images. */
static inline float golden_pixel(size_t batch, size_t view, size_t channels, size_t height, size_t width, size_t image,
                                 size_t channel, size_t y, size_t x)
{
    uint64_t plane = image * channels + channel, pixel = (plane * height + y) * width + x;
    double fx = (2.0 * (double)x + 1.0) / (double)width - 1.0, fy = (2.0 * (double)y + 1.0) / (double)height - 1.0;
    double value = golden_signed(GOLDEN_COLOUR + batch, plane);
    double ramp_x = golden_signed(GOLDEN_RAMP_X + batch, plane) * fx;
    double ramp_y = golden_signed(GOLDEN_RAMP_Y + batch, plane) * fy;
    value += ramp_x;
    value += ramp_y;
    value += golden_signed(GOLDEN_TEXTURE + batch, pixel);
    value += 0.5 * golden_signed(GOLDEN_VIEW + 2 * batch + view, pixel);
    return (float)value;
}

/* A uint8 picture, height x width x channels (1 or 3). */
static inline void golden_picture(size_t number, size_t channels, size_t height, size_t width, uint8_t *out)
{
    for (size_t i = 0; i < height * width; i++) {
        uint64_t h = golden_bits(GOLDEN_PICTURE + number, i);
        uint64_t kind = h >> 24 & 7;
        for (size_t c = 0; c < channels; c++) {
            uint8_t v = (uint8_t)(h >> (kind == 0 ? 0 : 8 * c));
            out[i * channels + c] = kind == 1 ? (v >= 128 ? 255 : 0) : v;
        }
    }
}

/* Adds one element (by its place in PyTorch's order) of tensor `index` to a count-sketch that began as zeros. */
static inline void golden_sketch_add(double sketch[GOLDEN_BUCKETS], size_t index, size_t element, double value)
{
    uint64_t h = golden_bits(GOLDEN_SKETCH + index, element);
    sketch[h & (GOLDEN_BUCKETS - 1)] += h >> 6 & 1 ? -value : value;
}

#endif
