/* PNG through libpng, on the context's memory. Palettes become RGB, 16 bits are rounded to 8, alpha is dropped (what
   lies under transparent pixels shows, as in most tools that convert to RGB), gamma is left alone. */
#include "data/image.h"

#ifdef MIO_HAVE_PNG

#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

typedef struct decoder {
    const mio__encoded *encoded;
    png_structp png;
    png_infop info;
    size_t at;      /* bytes read */
    uint8_t *whole; /* all rows of an interlaced image */
    int out_of_memory;
    jmp_buf escape;
    mio_status status; /* of what made it escape */
    char message[160];
} decoder;

_Noreturn static void give_up(decoder *work, mio_status status)
{
    work->status = status;
    longjmp(work->escape, 1);
}

static void on_error(png_structp png, png_const_charp reason)
{
    decoder *work = png_get_error_ptr(png);
    snprintf(work->message, sizeof work->message, "PNG: %s", reason);
    give_up(work, MIO_ERROR_FORMAT);
}

static void on_warning(png_structp png, png_const_charp reason)
{
    (void)png, (void)reason;
}

static png_voidp allocate(png_structp png, png_alloc_size_t size)
{
    decoder *work = png_get_mem_ptr(png);
    void *pointer = mio__alloc(work->encoded->context, size);
    work->out_of_memory |= !pointer;
    return pointer;
}

static void release(png_structp png, png_voidp pointer)
{
    const decoder *work = png_get_mem_ptr(png);
    mio__free(work->encoded->context, pointer);
}

static void read_bytes(png_structp png, png_bytep bytes, size_t size)
{
    decoder *work = png_get_io_ptr(png);
    if (size > work->encoded->size - work->at)
        png_error(png, "the file ends early");
    memcpy(bytes, work->encoded->bytes + work->at, size);
    work->at += size;
}

/* Up to the first pixels. */
static void begin(decoder *work)
{
    work->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, work, on_error, on_warning, work, allocate, release);
    work->info = work->png ? png_create_info_struct(work->png) : NULL;
    if (!work->info)
        give_up(work, MIO_ERROR_MEMORY);
    png_set_read_fn(work->png, work, read_bytes);
    png_read_info(work->png, work->info);
}

static void take_shape(decoder *work, mio__image_shape *shape)
{
    begin(work);
    const int is_colour = png_get_color_type(work->png, work->info) & PNG_COLOR_MASK_COLOR;
    *shape = (mio__image_shape){png_get_image_height(work->png, work->info), png_get_image_width(work->png, work->info),
                                is_colour ? 3 : 1};
}

/* Eight bits of grey or RGB, whatever the file holds. */
static int set_transforms(const decoder *work)
{
    const int colour = png_get_color_type(work->png, work->info), bits = png_get_bit_depth(work->png, work->info);
    if (colour == PNG_COLOR_TYPE_PALETTE)
        png_set_palette_to_rgb(work->png);
    if (colour == PNG_COLOR_TYPE_GRAY && bits < 8)
        png_set_expand_gray_1_2_4_to_8(work->png);
    if (bits == 16)
        png_set_scale_16(work->png);
    png_set_strip_alpha(work->png);
    const int passes = png_set_interlace_handling(work->png);
    png_read_update_info(work->png, work->info);
    return passes;
}

static void take_pixels(decoder *work, mio__reducer *reducer)
{
    begin(work);
    const size_t height = png_get_image_height(work->png, work->info);
    const size_t width = png_get_image_width(work->png, work->info), row_size = width * reducer->to.channels;
    const int passes = set_transforms(work);
    if (png_get_rowbytes(work->png, work->info) != row_size)
        png_error(work->png, "rows of an unexpected length");
    if (mio__reducer_start(reducer, height, width))
        give_up(work, MIO_ERROR_MEMORY);
    if (passes > 1 && !(work->whole = mio__alloc_zeroed(work->encoded->context, height, row_size)))
        give_up(work, MIO_ERROR_MEMORY);
    for (int pass = 0; pass < passes; pass++)
        for (size_t y = 0; y < height; y++) {
            uint8_t *row = work->whole ? work->whole + y * row_size : reducer->row;
            png_read_row(work->png, row, NULL);
            if (pass == passes - 1)
                mio__reducer_add(reducer, row);
        }
    png_read_end(work->png, NULL);
}

/* Runs one of the two above where libpng's errors land. */
static mio_status run(const mio__encoded *encoded, mio__image_shape *shape, mio__reducer *reducer)
{
    decoder work;
    memset(&work, 0, sizeof work);
    work.encoded = encoded;
    if (!setjmp(work.escape)) {
        if (shape)
            take_shape(&work, shape);
        else
            take_pixels(&work, reducer);
    }
    png_destroy_read_struct(&work.png, &work.info, NULL);
    mio__free(encoded->context, work.whole);
    if (work.out_of_memory) /* even if libpng went on without what it had asked for */
        return mio__fail(MIO_ERROR_MEMORY, "out of memory: no room to decode '%s'", encoded->name);
    if (work.status && work.message[0])
        return mio__image_fail(encoded, work.status, work.at, work.message);
    return work.status;
}

mio_status mio__png_examine(const mio__encoded *encoded, mio__image_shape *shape)
{
    return run(encoded, shape, NULL);
}

mio_status mio__png_decode(const mio__encoded *encoded, mio__reducer *reducer)
{
    return run(encoded, NULL, reducer);
}

#else
typedef int mio__no_png; /* a file must declare something */
#endif
