/* The binary version of CIFAR-10 and CIFAR-100: records of one label byte (CIFAR-100: coarse, then fine) and 32x32
   pixels, plane by plane: red, green, blue. */
#include "data/bundle.h"

#include <string.h>

enum { SIDE = 32, PLANE = SIDE * SIDE, IMAGE = 3 * PLANE, RECORDS_AT_ONCE = 64 };

/* One of the two datasets, one split. */
typedef struct cifar {
    size_t batches;     /* files with records; the list's last file holds the class names */
    size_t label_bytes; /* before the pixels */
    size_t label_at;    /* which of them is read */
    unsigned classes;
    mio__bundle_file files[6];

    mio_dataset *dataset;
    uint8_t *pixels;
    size_t batch_images; /* in every batch alike; 0 before the first */
} cifar;

static void interleave(const unsigned char *planes, uint8_t *pixels)
{
    for (size_t i = 0; i < PLANE; i++) {
        pixels[3 * i] = planes[i];
        pixels[3 * i + 1] = planes[PLANE + i];
        pixels[3 * i + 2] = planes[2 * PLANE + i];
    }
}

static mio_status take_record(const cifar *work, mio__stream *stream, uint64_t offset, const unsigned char *record,
                              size_t index)
{
    const unsigned label = record[work->label_at];
    if (label >= work->classes)
        return mio__stream_fail(stream, offset + work->label_at, "label %u; there are %u classes", label,
                                work->classes);
    work->dataset->labels[index] = (int32_t)label;
    interleave(record + work->label_bytes, work->pixels + index * IMAGE);
    return MIO_OK;
}

static mio_status take_records(const cifar *work, mio__stream *stream, size_t first, unsigned char *buffer)
{
    const size_t record_size = work->label_bytes + IMAGE;
    for (size_t done = 0; done < work->batch_images;) {
        const size_t rest = work->batch_images - done, piece = rest < RECORDS_AT_ONCE ? rest : RECORDS_AT_ONCE;
        const uint64_t offset = mio__stream_offset(stream);
        mio_status status = mio__stream_read_exactly(stream, buffer, piece * record_size, "records");
        for (size_t i = 0; i < piece && !status; i++)
            status = take_record(work, stream, offset + i * record_size, buffer + i * record_size, first + done + i);
        if (status)
            return status;
        done += piece;
    }
    return mio__stream_expect_end(stream);
}

static mio_status read_batch(cifar *work, size_t batch, mio__stream *stream)
{
    mio_context *context = work->dataset->context;
    size_t records = 0;
    mio_status status = mio__bundle_records(stream, work->label_bytes + IMAGE, &records);
    if (status)
        return status;
    if (!work->batch_images) {
        status = mio__dataset_make_room(work->dataset, work->batches * records, SIDE, SIDE, 3, 1, &work->pixels);
        if (status)
            return status;
        work->batch_images = records;
    }
    if (records != work->batch_images)
        return mio__stream_fail(stream, 0, "%zu images, where the other batches have %zu", records, work->batch_images);
    unsigned char *buffer = mio__alloc(context, RECORDS_AT_ONCE * (work->label_bytes + IMAGE));
    if (!buffer)
        return MIO_ERROR_MEMORY;
    status = take_records(work, stream, batch * records, buffer);
    mio__free(context, buffer);
    return status;
}

static mio_status read_file(void *argument, size_t file, mio__stream *stream)
{
    cifar *work = argument;
    return file < work->batches ? read_batch(work, file, stream)
                                : mio__bundle_class_names(stream, work->classes, work->dataset);
}

mio_status mio__read_cifar10(const mio__source *source, mio_dataset *dataset)
{
    cifar train = {.batches = 5,
                   .label_bytes = 1,
                   .classes = 10,
                   .files = {{"data_batch_1.bin", 0},
                             {"data_batch_2.bin", 0},
                             {"data_batch_3.bin", 0},
                             {"data_batch_4.bin", 0},
                             {"data_batch_5.bin", 0},
                             {"batches.meta.txt", 1}}};
    cifar test = {
        .batches = 1, .label_bytes = 1, .classes = 10, .files = {{"test_batch.bin", 0}, {"batches.meta.txt", 1}}};
    const int is_train = source->split && !strcmp(source->split, "train");
    if (!is_train && (!source->split || strcmp(source->split, "test")))
        return mio__refuse_split(source, "train, test");
    cifar *work = is_train ? &train : &test;
    work->dataset = dataset;
    return mio__bundle_visit(source, "cifar-10-batches-bin", work->batches + 1, work->files, read_file, work);
}

mio_status mio__read_cifar100(const mio__source *source, mio_dataset *dataset)
{
    static const char *const splits[4] = {"train", "test", "train:coarse", "test:coarse"};
    size_t split = 0;
    while (split < 4 && (!source->split || strcmp(source->split, splits[split])))
        split++;
    if (split == 4)
        return mio__refuse_split(source, "train, test, train:coarse, test:coarse");
    const int is_coarse = split >= 2;
    cifar work = {.batches = 1,
                  .label_bytes = 2,
                  .label_at = !is_coarse,
                  .classes = is_coarse ? 20 : 100,
                  .files = {{split % 2 ? "test.bin" : "train.bin", 0},
                            {is_coarse ? "coarse_label_names.txt" : "fine_label_names.txt", 1}},
                  .dataset = dataset};
    return mio__bundle_visit(source, "cifar-100-binary", 2, work.files, read_file, &work);
}
