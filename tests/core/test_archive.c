/* Archives: what is put in comes out, and nothing that is not whole is taken for an archive. */
#define _POSIX_C_SOURCE 200809L
#include "core/archive.h"

#include "support/allocator.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static char path[400];
static test_allocator allocator;
static mio_context *context;

static void begin(void)
{
    snprintf(folder, sizeof folder, "/tmp/mio-archive-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/file.mio", folder);
    test_allocator_init(&allocator);
    context = test_allocator_context(&allocator, 1);
    ck_assert_ptr_nonnull(context);
}

static size_t files_in_folder(void)
{
    DIR *directory = opendir(folder);
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(directory));)
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

static void end(void)
{
    unlink(path);
    ck_assert_uint_eq(files_in_folder(), 0);
    rmdir(folder);
    mio_context_release(context);
    ck_assert_uint_eq(allocator.blocks, 0);
    ck_assert_uint_eq(allocator.mistakes, 0);
}

/* Contents of a record: noise, or the same byte throughout. */
static unsigned char *contents(size_t size, unsigned seed)
{
    unsigned char *bytes = malloc(size ? size : 1);
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = seed & 1 ? 7 : (unsigned char)(seed >> 24);
    }
    return bytes;
}

static const size_t sizes[] = {0, 1, 3, 1000, 65535, 65536, 65537, 300000};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void name_of(size_t i, char name[260])
{
    memset(name, 'n', 260);
    snprintf(name, 260, "record/%zu", i);
    if (i == 3) { /* the longest name */
        memset(name, 'x', 255);
        name[255] = 0;
    }
}

static int storing; /* are the records kept as they are? */

static mio_status write_sizes(size_t count)
{
    mio__archive_writer *writer;
    mio_status status = mio__archive_create(context, path, "TEST", &writer);
    if (!status && storing)
        mio__archive_store(writer);
    for (size_t i = 0; i < count && !status; i++) {
        unsigned char *bytes = contents(sizes[i], (unsigned)i);
        char name[260];
        name_of(i, name);
        status = mio__archive_put(writer, name, bytes, sizes[i]);
        free(bytes);
        if (status)
            mio__archive_abandon(writer);
    }
    return status ? status : mio__archive_commit(writer);
}

static mio_status read_sizes(size_t count)
{
    mio__archive *archive;
    mio_status status = mio__archive_open(context, path, &archive);
    if (status)
        return status;
    for (size_t i = 0; i < count && !status; i++) {
        unsigned char *bytes = contents(sizes[i], (unsigned)i), *got = malloc(sizes[i] + 1);
        char name[260];
        size_t size = 77;
        name_of(i, name);
        status = mio__archive_size(archive, name, &size);
        if (!status)
            status = mio__archive_get(archive, name, got, size);
        if (!status) {
            ck_assert_uint_eq(size, sizes[i]);
            ck_assert_int_eq(memcmp(bytes, got, size), 0);
        }
        free(bytes);
        free(got);
    }
    mio__archive_close(archive);
    return status;
}

START_TEST(round_trip)
{
    storing = _i;
    ck_assert_int_eq(write_sizes(SIZES), MIO_OK);
    ck_assert_uint_eq(files_in_folder(), 1);
    ck_assert_int_eq(read_sizes(SIZES), MIO_OK);
    mio__archive *archive;
    unsigned char byte[8];
    ck_assert_int_eq(mio__archive_open(context, path, &archive), MIO_OK);
    ck_assert_int_eq(mio__archive_has(archive, "record/1"), 1);
    ck_assert_int_eq(mio__archive_has(archive, "record/3"), 0);
    ck_assert_int_eq(mio__archive_get(archive, "record/2", byte, 4), MIO_ERROR_FORMAT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "has 3 bytes, not 4"));
    ck_assert_int_eq(mio__archive_get(archive, "absent", byte, 4), MIO_ERROR_FORMAT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "no record 'absent'"));
    mio__archive_close(archive);
}
END_TEST

static unsigned char *read_file(size_t *size)
{
    FILE *file = fopen(path, "rb");
    unsigned char *bytes = calloc(1, 1 << 20);
    *size = fread(bytes, 1, 1 << 20, file);
    fclose(file);
    return bytes;
}

static void write_file(const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    ck_assert_uint_eq(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

/* Two records at a time, each in parts of its own length. */
START_TEST(in_parts)
{
    mio__archive *archive;
    mio__archive_reader readers[2];
    unsigned char *got[2];
    const size_t records[2] = {6, 7}, parts[2] = {1000, 70001};
    size_t done[2] = {0, 0};
    storing = _i;
    ck_assert_int_eq(write_sizes(SIZES), MIO_OK);
    ck_assert_int_eq(mio__archive_open(context, path, &archive), MIO_OK);
    for (size_t k = 0; k < 2; k++) {
        char name[260];
        name_of(records[k], name);
        got[k] = malloc(sizes[records[k]]);
        ck_assert_int_eq(mio__archive_begin(archive, name, sizes[records[k]], &readers[k]), MIO_OK);
    }
    for (size_t turn = 0; done[0] < sizes[6] || done[1] < sizes[7]; turn++) {
        const size_t k = turn % 2, left = sizes[records[k]] - done[k], part = left < parts[k] ? left : parts[k];
        ck_assert_int_eq(mio__archive_next(&readers[k], got[k] + done[k], part), MIO_OK);
        done[k] += part;
    }
    for (size_t k = 0; k < 2; k++) {
        unsigned char *bytes = contents(sizes[records[k]], (unsigned)records[k]);
        ck_assert_int_eq(mio__archive_end(&readers[k], MIO_OK), MIO_OK);
        ck_assert_int_eq(memcmp(got[k], bytes, sizes[records[k]]), 0);
        free(bytes);
        free(got[k]);
    }
    mio__archive_close(archive);
}
END_TEST

/* A reader that stops early has not seen a sound record; one that goes too far gets nothing; a failure stays what it
   is. */
START_TEST(parts_that_do_not_fit)
{
    mio__archive *archive;
    mio__archive_reader reader;
    unsigned char bytes[1001];
    storing = _i;
    ck_assert_int_eq(write_sizes(5), MIO_OK);
    ck_assert_int_eq(mio__archive_open(context, path, &archive), MIO_OK);
    char name[260];
    name_of(3, name);
    ck_assert_int_eq(mio__archive_begin(archive, name, 1000, &reader), MIO_OK);
    ck_assert_int_eq(mio__archive_next(&reader, bytes, 999), MIO_OK);
    ck_assert_int_eq(mio__archive_end(&reader, MIO_OK), MIO_ERROR_FORMAT);
    ck_assert_int_eq(mio__archive_begin(archive, name, 1000, &reader), MIO_OK);
    ck_assert_int_eq(mio__archive_next(&reader, bytes, 1001), MIO_ERROR_FORMAT);
    ck_assert_int_eq(mio__archive_end(&reader, MIO_ERROR_STATE), MIO_ERROR_STATE);
    mio__archive_close(archive);
}
END_TEST

/* Files of the version before this one, which knew no stored records. */
START_TEST(older_version)
{
    size_t size;
    storing = 0;
    ck_assert_int_eq(write_sizes(4), MIO_OK);
    unsigned char *bytes = read_file(&size);
    ck_assert_int_eq(bytes[12], 3);
    for (unsigned char version = 0; version < 5; version++) {
        bytes[12] = version;
        write_file(bytes, size);
        ck_assert_int_eq(read_sizes(4), version == 2 || version == 3 ? MIO_OK : MIO_ERROR_FORMAT);
    }
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "use a newer libmio"));
    free(bytes);
}
END_TEST

START_TEST(names)
{
    mio__archive_writer *writer;
    char name[300];
    memset(name, 'a', sizeof name);
    name[256] = 0;
    ck_assert_int_eq(mio__archive_create(context, path, "TEST", &writer), MIO_OK);
    ck_assert_int_eq(mio__archive_put(writer, name, name, 3), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio__archive_put(writer, "", name, 3), MIO_ERROR_ARGUMENT);
    ck_assert_int_eq(mio__archive_put(writer, "one", name, 3), MIO_OK);
    ck_assert_int_eq(mio__archive_put(writer, "one", name, 3), MIO_ERROR_ARGUMENT);
    mio__archive_abandon(writer);
    ck_assert_uint_eq(files_in_folder(), 0);
}
END_TEST

/* What is there stays until the new file is whole; an abandoned one leaves nothing. */
START_TEST(replaces_at_commit_only)
{
    mio__archive_writer *writer;
    ck_assert_int_eq(write_sizes(3), MIO_OK);
    ck_assert_int_eq(mio__archive_create(context, path, "TEST", &writer), MIO_OK);
    ck_assert_int_eq(mio__archive_put(writer, "new", "new", 3), MIO_OK);
    ck_assert_uint_eq(files_in_folder(), 2);
    ck_assert_int_eq(read_sizes(3), MIO_OK);
    mio__archive_abandon(writer);
    ck_assert_uint_eq(files_in_folder(), 1);
    ck_assert_int_eq(read_sizes(3), MIO_OK);
    ck_assert_int_eq(write_sizes(5), MIO_OK);
    ck_assert_int_eq(read_sizes(5), MIO_OK);
    ck_assert_uint_eq(files_in_folder(), 1);
}
END_TEST

START_TEST(system_refuses)
{
    mio__archive_writer *writer;
    mio__archive *archive;
    char absent[160];
    snprintf(absent, sizeof absent, "%s/absent/file", folder);
    ck_assert_int_eq(mio__archive_create(context, absent, "TEST", &writer), MIO_ERROR_IO);
    ck_assert_int_eq(mio__archive_open(context, absent, &archive), MIO_ERROR_IO);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), absent));
    ck_assert_int_eq(mio__archive_open(context, folder, &archive), MIO_ERROR_IO);
    ck_assert_int_eq(mkfifo(path, 0600), 0); /* a pipe that nobody writes to must not be waited for */
    ck_assert_int_eq(mio__archive_open(context, path, &archive), MIO_ERROR_IO);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "not a regular file"));
}
END_TEST

/* As long as file systems have it: the temporary's name must not be longer. */
START_TEST(longest_file_name)
{
    const size_t length = strlen(folder);
    path[length] = '/';
    memset(path + length + 1, 'n', 255);
    path[length + 256] = 0;
    ck_assert_int_eq(write_sizes(3), MIO_OK);
    ck_assert_int_eq(read_sizes(3), MIO_OK);
}
END_TEST

START_TEST(blame_names_file_record_and_offset)
{
    mio__archive *archive;
    char name[260];
    name_of(1, name);
    storing = 0;
    ck_assert_int_eq(write_sizes(3), MIO_OK);
    ck_assert_int_eq(mio__archive_open(context, path, &archive), MIO_OK);
    ck_assert_int_eq(mio__archive_refuse(archive, name, "%d is too many", 3), MIO_ERROR_FORMAT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), path));
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "record 'record/1' at offset "));
    ck_assert_int_eq(mio__archive_blame(archive, name, mio__archive_size(archive, "absent", &(size_t){0})),
                     MIO_ERROR_FORMAT);
    ck_assert_ptr_nonnull(strstr(mio_last_error(), "no record 'absent'"));
    ck_assert_int_eq(mio__archive_blame(archive, name, MIO_ERROR_MEMORY), MIO_ERROR_MEMORY);
    mio__archive_close(archive);
}
END_TEST

/* A limit on file sizes stands for a full disk. */
START_TEST(full_disk)
{
    ck_assert_int_eq(write_sizes(3), MIO_OK);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit before, small;
    getrlimit(RLIMIT_FSIZE, &before);
    for (rlim_t room = 0; room < 200000; room = 3 * room + 17) {
        small = before;
        small.rlim_cur = room;
        setrlimit(RLIMIT_FSIZE, &small);
        const mio_status status = write_sizes(SIZES);
        setrlimit(RLIMIT_FSIZE, &before);
        ck_assert_int_eq(status, MIO_ERROR_IO);
        ck_assert_uint_eq(files_in_folder(), 1);
    }
    ck_assert_int_eq(read_sizes(3), MIO_OK);
}
END_TEST

/* ---- damage ---- */

static void expect_damage(size_t count, const char *what, size_t place)
{
    const size_t blocks = allocator.blocks;
    const mio_status status = read_sizes(count);
    ck_assert_msg(status == MIO_ERROR_FORMAT, "%s at %zu gives %d", what, place, (int)status);
    ck_assert_msg(strstr(mio_last_error(), path) != NULL && strstr(mio_last_error(), "offset") != NULL,
                  "%s at %zu: '%s' names no file or no offset", what, place, mio_last_error());
    ck_assert_uint_eq(allocator.blocks, blocks);
}

START_TEST(truncated)
{
    size_t size;
    storing = _i;
    ck_assert_int_eq(write_sizes(4), MIO_OK);
    unsigned char *bytes = read_file(&size);
    for (size_t cut = 0; cut < size; cut++) {
        write_file(bytes, cut);
        expect_damage(4, "truncation", cut);
    }
    free(bytes);
}
END_TEST

START_TEST(flipped_bits)
{
    size_t size;
    storing = _i;
    ck_assert_int_eq(write_sizes(4), MIO_OK);
    unsigned char *bytes = read_file(&size);
    for (size_t i = 0; i < size; i++) {
        if (i >= 8 && i < 12)
            continue; /* the kind is the caller's affair */
        bytes[i] ^= (unsigned char)(1 << i % 8);
        write_file(bytes, size);
        expect_damage(4, "a flipped bit", i);
        bytes[i] ^= (unsigned char)(1 << i % 8);
    }
    free(bytes);
}
END_TEST

START_TEST(oversized)
{
    size_t size;
    ck_assert_int_eq(write_sizes(4), MIO_OK);
    unsigned char *bytes = read_file(&size);
    for (size_t more = 1; more < 100; more += 7) {
        write_file(bytes, size + more);
        expect_damage(4, "an oversized file", size + more);
    }
    free(bytes);
}
END_TEST

START_TEST(memory_refused)
{
    storing = _i;
    for (size_t n = 1;; n++) {
        test_allocator_fail_at(&allocator, n);
        const size_t blocks = allocator.blocks;
        mio_status status = write_sizes(SIZES);
        if (!status)
            status = read_sizes(SIZES);
        ck_assert_uint_eq(allocator.blocks, blocks);
        if (!status)
            break;
        ck_assert_int_eq(status, MIO_ERROR_MEMORY);
        ck_assert_uint_lt(n, 1000);
    }
    test_allocator_fail_at(&allocator, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("archive");
    TCase *group = tcase_create("archive");
    tcase_set_timeout(group, 60);
    tcase_add_checked_fixture(group, begin, end);
    tcase_add_loop_test(group, round_trip, 0, 2);
    tcase_add_loop_test(group, in_parts, 0, 2);
    tcase_add_loop_test(group, parts_that_do_not_fit, 0, 2);
    tcase_add_test(group, older_version);
    tcase_add_test(group, names);
    tcase_add_test(group, replaces_at_commit_only);
    tcase_add_test(group, system_refuses);
    tcase_add_test(group, longest_file_name);
    tcase_add_test(group, blame_names_file_record_and_offset);
    tcase_add_test(group, full_disk);
    tcase_add_loop_test(group, truncated, 0, 2);
    tcase_add_loop_test(group, flipped_bits, 0, 2);
    tcase_add_test(group, oversized);
    tcase_add_loop_test(group, memory_refused, 0, 2);
    suite_add_tcase(suite, group);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
