#include "page.h"
#include "common.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static const char head[] = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                           "<meta name=\"viewport\" content=\"width=device-width\"><title>";
static const char style[] =
    "</title>\n<style>\n"
    "body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 1080px; margin: 2em auto;"
    " padding: 0 1em; }\n"
    "h1 { font-size: 1.7em; margin-bottom: 0; } h2 { font-size: 1.25em; margin: 2em 0 0.3em; }\n"
    "p { max-width: 48em; margin: 0.3em 0 0.8em; }\n"
    "table { border-collapse: collapse; margin-bottom: 1em; } th, td { padding: 0.25em 1.2em 0.25em 0; text-align: "
    "left; }\n"
    "th { border-bottom: 1px solid #999; font-weight: 600; } td { border-bottom: 1px solid #e4e4e4; }\n"
    "td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }\n"
    "tr.trained td { font-weight: 600; background: #eef5fb; }\n"
    "svg { width: 100%; max-width: 640px; height: auto; display: block; } svg text { font: 12px system-ui, sans-serif; "
    "fill: #444; }\n"
    "svg text.title { font-size: 14px; font-weight: 600; fill: #222; }\n"
    ".grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 1em; }\n"
    ".legend { display: flex; flex-wrap: wrap; gap: 0.2em 1.2em; margin: 0.5em 0; }\n"
    ".legend i { display: inline-block; width: 0.75em; height: 0.75em; border-radius: 50%; margin-right: 0.4em; }\n"
    ".rows { overflow-x: auto; } .rows td { padding: 2px; border: 0; } .rows td.name { padding-right: 0.8em; }\n"
    ".rows th { padding: 2px; } .rows .gap { padding-left: 1.6em; }\n"
    ".rows img { width: 42px; height: 42px; image-rendering: pixelated; display: block; border: 3px solid #bbb; }\n"
    ".rows img.hit { border-color: #2a9d4a; } .rows img.miss { border-color: #d43d3d; }\n"
    "</style></head>\n<body>\n";

FILE *page_begin(const char *path, const char *title)
{
    FILE *page = fopen(path, "w");
    if (!page)
        leave(EXIT_FAILED, "cannot write '%s': %s", path, strerror(errno));
    fputs(head, page);
    page_text(page, title);
    fputs(style, page);
    fputs("<h1>", page);
    page_text(page, title);
    fputs("</h1>\n", page);
    return page;
}

void page_end(FILE *page, const char *path)
{
    fputs("</body></html>\n", page);
    close_written(page, path);
}

void page_text(FILE *page, const char *text)
{
    for (; *text; text++)
        switch (*text) {
        case '&': fputs("&amp;", page); break;
        case '<': fputs("&lt;", page); break;
        case '>': fputs("&gt;", page); break;
        case '"': fputs("&quot;", page); break;
        default: fputc(*text, page);
        }
}

void page_colour(FILE *page, size_t index)
{
    static const char *const named[] = {"#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd",
                                        "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"};
    /* Beyond ten, hues at the golden angle: neighbours in number stay apart in hue. */
    if (index < sizeof named / sizeof *named)
        fputs(named[index], page);
    else
        fprintf(page, "hsl(%zu 65%% %d%%)", index * 137 % 360, index % 3 ? 40 : 60);
}

void page_legend(FILE *page, size_t classes, const char *const *names)
{
    fputs("<div class=\"legend\">", page);
    for (size_t i = 0; i < classes; i++) {
        fputs("<span><i style=\"background:", page);
        page_colour(page, i);
        fputs("\"></i>", page);
        page_text(page, names[i]);
        fputs("</span>", page);
    }
    fputs("</div>\n", page);
}

/* ---- PNG in base64 ---- */

static void put_number(uint8_t *at, uint32_t number)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(number >> (24 - 8 * i));
}

/* Writes a chunk (length, kind, data, check sum) whose data lie at at + 8 already; returns what follows it. */
static uint8_t *close_chunk(uint8_t *at, const char *kind, size_t size)
{
    put_number(at, (uint32_t)size);
    memcpy(at + 4, kind, 4);
    put_number(at + 8 + size, (uint32_t)crc32(0, at + 4, (uInt)(size + 4)));
    return at + size + 12;
}

/* The PNG of an image; the size through size. The caller frees it. */
static uint8_t *encode_png(size_t height, size_t width, size_t channels, const uint8_t *pixels, size_t *size)
{
    const size_t row = width * channels;
    uint8_t *filtered = allocate(height, row + 1); /* each row begins with its filter: 0, none */
    for (size_t y = 0; y < height; y++)
        memcpy(filtered + y * (row + 1) + 1, pixels + y * row, row);
    uLongf packed = compressBound((uLong)(height * (row + 1)));
    uint8_t *png = allocate(packed + 128, 1), *at = png + 8;
    memcpy(png, "\x89PNG\r\n\x1a\n", 8);
    put_number(at + 8, (uint32_t)width);
    put_number(at + 12, (uint32_t)height);
    memcpy(at + 16, channels == 3 ? "\x08\x02\0\0" : "\x08\0\0\0", 5); /* 8 bits; colour or grey */
    at = close_chunk(at, "IHDR", 13);
    if (compress(at + 8, &packed, filtered, (uLong)(height * (row + 1))) != Z_OK)
        leave(EXIT_FAILED, "zlib cannot compress an image");
    at = close_chunk(at, "IDAT", packed);
    at = close_chunk(at, "IEND", 0);
    free(filtered);
    *size = (size_t)(at - png);
    return png;
}

static void write_base64(FILE *file, const uint8_t *bytes, size_t size)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        const size_t left = size - i;
        const uint32_t group = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                               (left > 2 ? (uint32_t)bytes[i + 2] : 0);
        for (size_t j = 0; j < 4; j++)
            fputc(j > left ? '=' : letters[group >> (18 - 6 * j) & 63], file);
    }
}

void page_image(FILE *page, size_t height, size_t width, size_t channels, const uint8_t *pixels, const char *attributes)
{
    size_t size;
    uint8_t *png = encode_png(height, width, channels, pixels, &size);
    fprintf(page, "<img %s src=\"data:image/png;base64,", attributes);
    write_base64(page, png, size);
    fputs("\">", page);
    free(png);
}
