#define _XOPEN_SOURCE 700
#include "samples.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static char root[256];

static void give_up(const char *what)
{
    perror(what);
    exit(1);
}

void sample_begin(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(root, sizeof root, "%s/mio-data-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(root))
        give_up(root);
}

static int remove_one(const char *path, const struct stat *facts, int kind, struct FTW *place)
{
    (void)facts, (void)kind, (void)place;
    return remove(path);
}

void sample_end(void)
{
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *sample_path(const char *name)
{
    static char paths[8][1024];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s%s%s", root, *name ? "/" : "", name);
    return path;
}

void sample_folder(const char *name)
{
    if (mkdir(sample_path(name), 0777))
        give_up(name);
}

void sample_write(const char *name, const void *bytes, size_t size)
{
    /* Anew, not over the old one: some file systems flush a file that was cut to nothing and written again. */
    remove(sample_path(name));
    FILE *file = fopen(sample_path(name), "wb");
    if (!file || (size && fwrite(bytes, 1, size, file) != size) || fclose(file))
        give_up(name);
}

sample_bytes sample_read(const char *path)
{
    sample_bytes all = {0};
    unsigned char piece[4096];
    FILE *file = fopen(path, "rb");
    if (!file)
        give_up(path);
    for (size_t got; (got = fread(piece, 1, sizeof piece, file));)
        sample_append(&all, piece, got);
    fclose(file);
    return all;
}

void sample_append(sample_bytes *to, const void *bytes, size_t size)
{
    if (to->capacity - to->size < size) {
        to->capacity = 2 * (to->size + size) + 1024;
        to->bytes = realloc(to->bytes, to->capacity);
        if (!to->bytes)
            give_up("realloc");
    }
    if (size)
        memcpy(to->bytes + to->size, bytes, size);
    to->size += size;
}

void sample_free(sample_bytes *bytes)
{
    free(bytes->bytes);
    *bytes = (sample_bytes){0};
}

sample_bytes sample_gzip(const sample_bytes *plain)
{
    sample_bytes packed = {0};
    packed.capacity = plain->size + plain->size / 100 + 1024;
    packed.bytes = malloc(packed.capacity);
    z_stream deflater = {0};
    if (!packed.bytes || deflateInit2(&deflater, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        give_up("deflateInit2");
    deflater.next_in = plain->bytes;
    deflater.avail_in = (unsigned)plain->size;
    deflater.next_out = packed.bytes;
    deflater.avail_out = (unsigned)packed.capacity;
    if (deflate(&deflater, Z_FINISH) != Z_STREAM_END)
        give_up("deflate");
    packed.size = deflater.total_out;
    deflateEnd(&deflater);
    return packed;
}

void sample_tar_add(sample_bytes *tar, const char *name, char type, const void *bytes, size_t size)
{
    unsigned char header[512] = {0};
    static const unsigned char zeros[512];
    memcpy(header, name, strlen(name) < 100 ? strlen(name) : 100);
    memcpy(header + 100, "0000644", 8);
    snprintf((char *)header + 124, 12, "%011zo", size);
    memset(header + 148, ' ', 8);
    header[156] = (unsigned char)type;
    memcpy(header + 257, "ustar\00000", 8);
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof header; i++)
        sum += header[i];
    snprintf((char *)header + 148, 8, "%06o", sum);
    sample_append(tar, header, sizeof header);
    sample_append(tar, bytes, size);
    sample_append(tar, zeros, (512 - size % 512) % 512);
}

void sample_tar_end(sample_bytes *tar)
{
    static const unsigned char zeros[1024];
    sample_append(tar, zeros, sizeof zeros);
}

uint8_t sample_value(size_t i)
{
    return (uint8_t)((i * 2654435761u) >> 24 ^ i);
}

static void append_big_endian(sample_bytes *to, size_t value)
{
    const unsigned char field[4] = {(unsigned char)(value >> 24), (unsigned char)(value >> 16),
                                    (unsigned char)(value >> 8), (unsigned char)value};
    sample_append(to, field, 4);
}

static void append_values(sample_bytes *to, size_t first, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const uint8_t value = sample_value(first + i);
        sample_append(to, &value, 1);
    }
}

sample_bytes sample_idx_images(size_t count, size_t height, size_t width)
{
    sample_bytes all = {0};
    append_big_endian(&all, 0x0803);
    append_big_endian(&all, count);
    append_big_endian(&all, height);
    append_big_endian(&all, width);
    append_values(&all, 0, count * height * width);
    return all;
}

sample_bytes sample_idx_labels(size_t count)
{
    sample_bytes all = {0};
    append_big_endian(&all, 0x0801);
    append_big_endian(&all, count);
    for (size_t i = 0; i < count; i++) {
        const unsigned char label = (unsigned char)(i % 3);
        sample_append(&all, &label, 1);
    }
    return all;
}

sample_bytes sample_cifar(size_t first, size_t count, size_t label_bytes)
{
    sample_bytes all = {0};
    for (size_t i = first; i < first + count; i++) {
        const unsigned char label = (unsigned char)(i % 10);
        for (size_t k = 0; k < label_bytes; k++)
            sample_append(&all, &label, 1);
        append_values(&all, i * 3072, 3072);
    }
    return all;
}

sample_bytes sample_stl_images(size_t count)
{
    sample_bytes all = {0};
    append_values(&all, 0, count * 27648);
    return all;
}

sample_bytes sample_stl_labels(size_t count)
{
    sample_bytes all = {0};
    for (size_t i = 0; i < count; i++) {
        const unsigned char label = (unsigned char)(i % 10 + 1);
        sample_append(&all, &label, 1);
    }
    return all;
}
