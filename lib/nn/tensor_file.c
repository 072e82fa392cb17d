/* An encoder's tensors in an archive: records PREFIX/tensor/NAME with 32-bit floats in PyTorch's layout. */
#include "core/finite.h"
#include "kernels/target.h"
#include "nn/network.h"

#include <stdio.h>
#include <string.h>

static void tensor_record(const mio_encoder *encoder, const char *prefix, size_t tensor, char name[256])
{
    snprintf(name, 256, "%s/tensor/%s", prefix, encoder->tensors[tensor].name);
}

static size_t largest_tensor(const mio_encoder *encoder)
{
    size_t largest = 1;
    for (size_t i = 0; i < encoder->graph.tensor_count; i++)
        largest = encoder->tensors[i].count > largest ? encoder->tensors[i].count : largest;
    return largest;
}

/* ---- writing ---- */

mio_status mio__encoder_write_tensors(const mio_encoder *encoder, const char *prefix, mio__archive_writer *writer)
{
    mio_status status = MIO_OK;
    float *values = mio__alloc(encoder->context, largest_tensor(encoder) * sizeof *values);
    if (!values)
        return MIO_ERROR_MEMORY;
    for (size_t i = 0; i < encoder->graph.tensor_count && !status; i++) {
        char name[256];
        tensor_record(encoder, prefix, i, name);
        mio__tensor_unpack(encoder, i, encoder->tensors[i].value, values);
        const size_t count = encoder->tensors[i].count, fine = mio__first_not_finite(count, values);
        status = fine == count ? mio__archive_put(writer, name, values, count * sizeof *values)
                               : mio__fail(MIO_ERROR_STATE,
                                           "value %zu of tensor '%s' is not finite: the encoder cannot be saved; "
                                           "restore an earlier file",
                                           fine, encoder->tensors[i].name);
    }
    mio__free(encoder->context, values);
    return status;
}

/* ---- reading ---- */

/* Tensors are read in parts of some rows, which stay in the cache from the file to their storage. */
enum { ROWS = 16, PART = 1 << 16 };

static size_t row_length(const mio__tensor *tensor)
{
    return tensor->count / mio__tensor_rows(tensor);
}

static size_t rows_at_once(const mio__tensor *tensor)
{
    const size_t all = mio__tensor_rows(tensor), rows = PART / row_length(tensor) / ROWS * ROWS;
    const size_t some = rows > ROWS ? rows : ROWS;
    return some < all ? some : all;
}

static size_t largest_part(const mio_encoder *encoder)
{
    size_t largest = 1;
    for (size_t i = 0; i < encoder->graph.tensor_count; i++) {
        const size_t part = rows_at_once(&encoder->tensors[i]) * row_length(&encoder->tensors[i]);
        largest = part > largest ? part : largest;
    }
    return largest;
}

/* All tensors of an encoder, one an item of parallel work. */
typedef struct reading {
    const mio_encoder *encoder;
    const char *prefix;
    const mio__archive *archive;
    mio__real *values;
    float *parts; /* each worker's */
    size_t part_size;
    atomic_int failure; /* a mio_status */
} reading;

/* Whether the tensor is finite is said of a sound record only. */
static mio_status read_tensor(const reading *job, size_t index, float *part)
{
    const mio__tensor *tensor = &job->encoder->tensors[index];
    const size_t rows = mio__tensor_rows(tensor), row = row_length(tensor), most = rows_at_once(tensor);
    mio__real *to = job->values + (tensor->value - job->encoder->values); /* laid out alike */
    size_t wrong = SIZE_MAX;
    char name[256];
    tensor_record(job->encoder, job->prefix, index, name);
    mio__archive_reader reader;
    mio_status status = mio__archive_begin(job->archive, name, tensor->count * sizeof *part, &reader);
    for (size_t first = 0; first < rows && !status; first += most) {
        const size_t count = rows - first < most ? rows - first : most;
        status = mio__archive_next(&reader, part, count * row * sizeof *part);
        if (status)
            break;
        const size_t fine = wrong == SIZE_MAX ? mio__first_not_finite(count * row, part) : count * row;
        if (fine < count * row)
            wrong = first * row + fine;
        mio__tensor_pack_rows(job->encoder, index, first, count, part, to);
    }
    status = mio__archive_end(&reader, status);
    if (!status && wrong != SIZE_MAX)
        status = mio__archive_refuse(job->archive, name, "value %zu of the tensor is not finite", wrong);
    return status;
}

/* First libxsmm's start, a tenth of the work, which passes would otherwise wait for. Then from the last tensor on, as a
   network's largest come late: they should not be begun when all else is done. */
static void read_item(void *argument, size_t item, size_t worker)
{
    reading *job = argument;
    if (item == 0) {
        mio__jit_start();
        return;
    }
    const size_t index = job->encoder->graph.tensor_count - item;
    mio_status status = atomic_load_explicit(&job->failure, memory_order_relaxed);
    if (!status && (status = read_tensor(job, index, job->parts + worker * job->part_size)))
        atomic_store_explicit(&job->failure, status, memory_order_relaxed);
}

mio_status mio__tensors_read(const mio_encoder *encoder, const char *prefix, const mio__archive *archive,
                             mio__real *values)
{
    const size_t count = encoder->graph.tensor_count, most = count ? count : 1;
    const size_t workers = mio__workers(encoder->context) < most ? mio__workers(encoder->context) : most;
    reading job = {encoder, prefix, archive, values, NULL, largest_part(encoder), 0};
    job.parts = mio__alloc(encoder->context, workers * job.part_size * sizeof *job.parts);
    if (!job.parts)
        return MIO_ERROR_MEMORY;
    mio__parallel(encoder->context, workers, 1 + count, read_item, &job);
    /* A message belongs to the thread on which something failed, so damage is met again on this one. */
    mio_status status = MIO_OK;
    if (job.failure == MIO_ERROR_MEMORY)
        status = mio__fail(MIO_ERROR_MEMORY, "out of memory: no room to read a tensor");
    for (size_t i = 0; i < count && job.failure && !status; i++)
        status = read_tensor(&job, i, job.parts);
    mio__free(encoder->context, job.parts);
    return status;
}

mio_status mio__encoder_read_tensors(mio_encoder *encoder, const char *prefix, mio__archive *archive)
{
    const mio_status status = mio__tensors_read(encoder, prefix, archive, encoder->values);
    mio__encoder_changed(encoder);
    return status;
}
