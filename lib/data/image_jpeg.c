/* JPEG through libjpeg-turbo. It takes its memory from the C library; while it decodes one image that is at most
   MEMORY_LIMIT. */
#include "data/image.h"

#ifdef MIO_HAVE_JPEG

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

/* A progressive file may ask for any number of passes over the picture; honest ones have some tens. */
enum { SCAN_LIMIT = 500, MEMORY_LIMIT = 1 << 30 };

typedef struct decoder {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf escape;
    const mio__encoded *encoded;
    mio_status status; /* of what made it escape */
    char message[JMSG_LENGTH_MAX + 64];
} decoder;

_Noreturn static void give_up(decoder *work, mio_status status)
{
    work->status = status;
    longjmp(work->escape, 1);
}

static void on_error(j_common_ptr common)
{
    decoder *work = common->client_data;
    char reason[JMSG_LENGTH_MAX];
    work->errors.format_message(common, reason);
    snprintf(work->message, sizeof work->message, "JPEG: %s", reason);
    const int code = work->errors.msg_code;
    give_up(work, code == JERR_OUT_OF_MEMORY      ? MIO_ERROR_MEMORY
                  : code == JERR_NO_BACKING_STORE ? MIO_ERROR_UNSUPPORTED
                                                  : MIO_ERROR_FORMAT);
}

/* Warnings after which libjpeg invents pixels are errors here; those about superfluous bytes are not. */
static void on_message(j_common_ptr common, int level)
{
    const decoder *work = common->client_data;
    if (level >= 0)
        return;
    switch (work->errors.msg_code) {
    case JWRN_ARITH_BAD_CODE:
    case JWRN_BOGUS_PROGRESSION:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_JPEG_EOF:
    case JWRN_MUST_RESYNC:
    case JWRN_NOT_SEQUENTIAL: on_error(common); break;
    default: break;
    }
}

static void print_nothing(j_common_ptr common)
{
    (void)common;
}

static void watch_scans(j_common_ptr common)
{
    decoder *work = common->client_data;
    if (work->jpeg.input_scan_number <= SCAN_LIMIT)
        return;
    snprintf(work->message, sizeof work->message, "JPEG: more than %d scans", SCAN_LIMIT);
    give_up(work, MIO_ERROR_FORMAT);
}

/* Up to the header. */
static void begin(decoder *work)
{
    jpeg_create_decompress(&work->jpeg);
    work->jpeg.mem->max_memory_to_use = MEMORY_LIMIT;
    work->progress.progress_monitor = watch_scans;
    work->jpeg.progress = &work->progress;
    jpeg_mem_src(&work->jpeg, work->encoded->bytes, (unsigned long)work->encoded->size);
    jpeg_read_header(&work->jpeg, TRUE);
    if (work->jpeg.num_components != 1 && work->jpeg.num_components != 3) {
        snprintf(work->message, sizeof work->message, "JPEG: %d components (CMYK?); convert it to RGB or grey",
                 work->jpeg.num_components);
        give_up(work, MIO_ERROR_UNSUPPORTED);
    }
}

static void take_shape(decoder *work, mio__image_shape *shape)
{
    begin(work);
    *shape =
        (mio__image_shape){work->jpeg.image_height, work->jpeg.image_width, work->jpeg.num_components == 1 ? 1 : 3};
}

/* The largest reduction that leaves both sides as long as they are wanted. */
static unsigned choose_denominator(const decoder *work, mio__image_shape to)
{
    for (unsigned denominator = 8; denominator > 1; denominator /= 2)
        if ((work->jpeg.image_height + denominator - 1) / denominator >= to.height &&
            (work->jpeg.image_width + denominator - 1) / denominator >= to.width)
            return denominator;
    return 1;
}

static void take_pixels(decoder *work, mio__reducer *reducer)
{
    begin(work);
    work->jpeg.scale_num = 1;
    work->jpeg.scale_denom = choose_denominator(work, reducer->to);
    work->jpeg.out_color_space = reducer->to.channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_start_decompress(&work->jpeg);
    if (mio__reducer_start(reducer, work->jpeg.output_height, work->jpeg.output_width)) {
        work->message[0] = 0;
        give_up(work, MIO_ERROR_MEMORY);
    }
    JSAMPROW row = reducer->row;
    while (work->jpeg.output_scanline < work->jpeg.output_height)
        if (jpeg_read_scanlines(&work->jpeg, &row, 1))
            mio__reducer_add(reducer, row);
    jpeg_finish_decompress(&work->jpeg);
}

/* Runs one of the two above where libjpeg's errors land. */
static mio_status run(const mio__encoded *encoded, mio__image_shape *shape, mio__reducer *reducer)
{
    decoder work;
    memset(&work, 0, sizeof work);
    work.encoded = encoded;
    work.jpeg.err = jpeg_std_error(&work.errors);
    work.jpeg.client_data = &work;
    work.errors.error_exit = on_error;
    work.errors.emit_message = on_message;
    work.errors.output_message = print_nothing;
    if (!setjmp(work.escape)) {
        if (shape)
            take_shape(&work, shape);
        else
            take_pixels(&work, reducer);
    }
    const size_t left = work.jpeg.src ? work.jpeg.src->bytes_in_buffer : encoded->size;
    jpeg_destroy_decompress(&work.jpeg);
    if (work.status && work.message[0])
        return mio__image_fail(encoded, work.status, left < encoded->size ? encoded->size - left : 0, work.message);
    return work.status;
}

mio_status mio__jpeg_examine(const mio__encoded *encoded, mio__image_shape *shape)
{
    return run(encoded, shape, NULL);
}

mio_status mio__jpeg_decode(const mio__encoded *encoded, mio__reducer *reducer)
{
    return run(encoded, NULL, reducer);
}

#else
typedef int mio__no_jpeg; /* a file must declare something */
#endif
