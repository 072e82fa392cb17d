/* An encoder's part of an archive: records encoder/graph, encoder/normalization, encoder/algorithm, encoder/precision
   unless that is fp32, encoder/initialization unless that is torchvision's, encoder/tuning (text) if there are
   measured choices, and the tensors (tensor_file.c). All numbers little-endian. */
#include "nn/network.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "encoder files hold little-endian floats; add the byte swap for this machine"
#endif

/* The graph: 4-byte numbers. First how many layers, features, projections, channels, height, width of the input; then,
   for every other layer, its kind, two inputs, channels, kernel, stride, padding, bias (of a batch norm: 1 if it is
   plain), length of its name, and its name. Last the predictions, if there are any. */
enum { GRAPH_HEADER = 6 * 4, LAYER_HEADER = 9 * 4, GRAPH_TAIL = 4 };

static const char graph_record[] = "encoder/graph", norm_record[] = "encoder/normalization",
                  algorithm_record[] = "encoder/algorithm", precision_record[] = "encoder/precision",
                  initialization_record[] = "encoder/initialization", tensor_prefix[] = "encoder";

static unsigned char *put32(unsigned char *bytes, size_t value)
{
    for (int i = 0; i < 4; i++)
        *bytes++ = (unsigned char)(value >> (8 * i));
    return bytes;
}

static uint32_t get32(const unsigned char **bytes)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++)
        value |= (uint32_t) * (*bytes)++ << (8 * i);
    return value;
}

/* ---- writing ---- */

static size_t graph_size(const mio__graph *graph)
{
    size_t size = GRAPH_HEADER + (graph->outputs.predictions < 0 ? 0 : GRAPH_TAIL);
    for (size_t i = 1; i < graph->layers.count; i++)
        size += LAYER_HEADER + strlen(graph->layers.items[i].name);
    return size;
}

static void pack_graph(const mio__graph *graph, unsigned char *next)
{
    const mio__layer *input = &graph->layers.items[0];
    const size_t header[6] = {graph->layers.count,
                              (size_t)graph->outputs.features,
                              (size_t)graph->outputs.projections,
                              input->channels,
                              input->height,
                              input->width};
    for (int i = 0; i < 6; i++)
        next = put32(next, header[i]);
    for (size_t i = 1; i < graph->layers.count; i++) {
        const mio__layer *layer = &graph->layers.items[i];
        const size_t length = strlen(layer->name);
        const size_t numbers[9] = {
            layer->kind,   (size_t)layer->inputs[0], (size_t)layer->inputs[1],    layer->channels, layer->kernel,
            layer->stride, layer->padding,           layer->bias || layer->plain, length};
        for (int k = 0; k < 9; k++)
            next = put32(next, numbers[k]);
        memcpy(next, layer->name, length);
        next += length;
    }
    if (graph->outputs.predictions >= 0)
        put32(next, (size_t)graph->outputs.predictions);
}

static mio_status write_graph(const mio_encoder *encoder, mio__archive_writer *writer)
{
    const size_t size = graph_size(&encoder->graph);
    unsigned char *bytes = mio__alloc(encoder->context, size);
    if (!bytes)
        return MIO_ERROR_MEMORY;
    pack_graph(&encoder->graph, bytes);
    const mio_status status = mio__archive_put(writer, graph_record, bytes, size);
    mio__free(encoder->context, bytes);
    return status;
}

static mio_status write_small(const mio_encoder *encoder, mio__archive_writer *writer)
{
    const size_t channels = encoder->graph.layers.items[0].channels, size = channels * sizeof(double);
    unsigned char algorithm[4], precision[4], initialization[4];
    double *both = mio__alloc(encoder->context, 2 * size);
    if (!both)
        return MIO_ERROR_MEMORY;
    memcpy(both, encoder->mean, size);
    memcpy(both + channels, encoder->deviation, size);
    put32(algorithm, mio__encoder_algorithm(encoder));
    put32(precision, mio__encoder_precision(encoder));
    put32(initialization, mio__encoder_initialization(encoder));
    mio_status status = mio__archive_put(writer, norm_record, both, 2 * size);
    if (!status)
        status = mio__archive_put(writer, algorithm_record, algorithm, sizeof algorithm);
    if (!status && mio__encoder_precision(encoder) != MIO__FP32)
        status = mio__archive_put(writer, precision_record, precision, sizeof precision);
    if (!status && mio__encoder_initialization(encoder) != MIO__INITIALIZE_TORCHVISION)
        status = mio__archive_put(writer, initialization_record, initialization, sizeof initialization);
    mio__free(encoder->context, both);
    return status;
}

mio_status mio__encoder_write(const mio_encoder *encoder, mio__archive_writer *writer)
{
    mio_status status = write_graph(encoder, writer);
    if (!status)
        status = write_small(encoder, writer);
    if (!status)
        status = mio__encoder_write_tuning(encoder, writer);
    return status ? status : mio__encoder_write_tensors(encoder, tensor_prefix, writer);
}

mio_status mio_encoder_save(const mio_encoder *encoder, const char *path)
{
    if (!encoder)
        return mio__settings_null("encoder");
    if (!path)
        return mio__fail(MIO_ERROR_ARGUMENT, "the path is NULL");
    mio__archive_writer *writer;
    mio_status status = mio__archive_create(encoder->context, path, "ENCO", &writer);
    if (status)
        return status;
    mio__archive_store(writer);
    status = mio__encoder_write(encoder, writer);
    if (!status)
        return mio__archive_commit(writer);
    mio__archive_abandon(writer);
    return status;
}

/* ---- reading ---- */

/* The record's bytes, allocated; its size is no more than the file justifies. */
static mio_status read_record(mio_context *context, mio__archive *archive, const char *name, unsigned char **bytes,
                              size_t *size)
{
    mio_status status = mio__archive_size(archive, name, size);
    if (status)
        return status;
    unsigned char *made = mio__alloc(context, *size);
    if (!made)
        return MIO_ERROR_MEMORY;
    status = mio__archive_get(archive, name, made, *size);
    if (status)
        mio__free(context, made);
    else
        *bytes = made;
    return status;
}

static mio_status bad_graph(const char *what)
{
    return mio__fail(MIO_ERROR_FORMAT, "no network: %s", what);
}

/* What the builder would refuse in a program is damage in a file. */
static mio_status as_damage(mio_status status)
{
    if (status != MIO_ERROR_ARGUMENT)
        return status;
    char reason[400];
    snprintf(reason, sizeof reason, "%.399s", mio_last_error());
    return bad_graph(reason);
}

static mio_status read_layer(mio__layers *layers, const unsigned char **next, const unsigned char *end)
{
    if (end - *next < LAYER_HEADER)
        return bad_graph("it ends in the middle of a layer");
    mio__layer layer = {.kind = (mio__layer_kind)get32(next)};
    layer.inputs[0] = (int32_t)get32(next);
    layer.inputs[1] = (int32_t)get32(next);
    layer.channels = get32(next);
    layer.kernel = get32(next);
    layer.stride = get32(next);
    layer.padding = get32(next);
    const int set = get32(next) != 0;
    layer.bias = set && layer.kind == MIO__LAYER_LINEAR;
    layer.plain = set && layer.kind == MIO__LAYER_BATCH_NORM;
    const size_t length = get32(next);
    if (length < 1 || length > MIO__LAYER_NAME_LIMIT || length > (size_t)(end - *next) || memchr(*next, 0, length))
        return bad_graph("a layer's name has an impossible length");
    memcpy(layer.name, *next, length);
    *next += length;
    return as_damage(mio__layers_add(layers, &layer));
}

static mio_status read_layers(mio_context *context, const unsigned char *bytes, size_t size, mio__layers *layers,
                              mio__outputs *outputs)
{
    if (size < GRAPH_HEADER)
        return bad_graph("it is too short");
    const unsigned char *next = bytes, *end = bytes + size;
    const size_t count = get32(&next);
    outputs->features = (int32_t)get32(&next);
    outputs->projections = (int32_t)get32(&next);
    const size_t channels = get32(&next), height = get32(&next), width = get32(&next);
    mio_status status = as_damage(mio__layers_start(layers, context, channels, height, width));
    for (size_t i = 1; i < count && !status; i++)
        status = read_layer(layers, &next, end);
    if (!status && end - next == GRAPH_TAIL)
        outputs->predictions = (int32_t)get32(&next);
    if (!status && (layers->count != count || next != end))
        status = bad_graph("it has another length than its layers");
    return status;
}

/* Before memory is spent on tensors: does the archive hold them? */
static mio_status check_tensors(const mio__layers *layers, mio__archive *archive)
{
    for (size_t i = 1; i < layers->count; i++) {
        const mio__layer *layer = &layers->items[i];
        if (!mio__layer_tensor_count(layer))
            continue;
        size_t expected = layer->channels, found;
        if (layer->kind != MIO__LAYER_BATCH_NORM)
            expected *= layers->items[layer->inputs[0]].channels * layer->kernel * layer->kernel;
        char name[256];
        snprintf(name, sizeof name, "encoder/tensor/%s.weight", layer->name);
        const mio_status status = mio__archive_size(archive, name, &found);
        if (status)
            return status;
        if (found != expected * sizeof(float))
            return mio__archive_refuse(archive, name, "it has %zu bytes; the network needs %zu", found,
                                       expected * sizeof(float));
    }
    return MIO_OK;
}

static mio_status read_network(mio_context *context, mio__archive *archive, mio_encoder **encoder)
{
    unsigned char *bytes;
    size_t size;
    mio_status status = read_record(context, archive, graph_record, &bytes, &size);
    if (status)
        return status;
    mio__layers layers = {.context = context};
    mio__outputs outputs = {-1, -1, -1};
    status = mio__archive_blame(archive, graph_record, read_layers(context, bytes, size, &layers, &outputs));
    if (!status)
        status = check_tensors(&layers, archive);
    if (!status)
        status = mio__archive_blame(archive, graph_record, as_damage(mio__encoder_create(&layers, &outputs, encoder)));
    mio__layers_free(&layers);
    mio__free(context, bytes);
    return status;
}

/* Everything of an encoder that a file holds besides its graph, read and checked before any of it is used. */
typedef struct contents {
    double *both;          /* means, deviations */
    mio__real *values;     /* of all tensors, as stored */
    mio__real *own_values; /* what of that is to be freed */
} contents;

static void free_contents(mio_context *context, contents *read)
{
    mio__free(context, read->both);
    mio__free(context, read->own_values);
}

/* fresh: values go straight into the encoder, which is thrown away if one of them is refused. */
static mio_status read_contents(const mio_encoder *encoder, mio__archive *archive, int fresh, contents *read)
{
    const size_t channels = encoder->graph.layers.items[0].channels, size = channels * sizeof(double);
    read->both = mio__alloc(encoder->context, 2 * size);
    if (!fresh)
        read->own_values =
            mio__alloc_zeroed(encoder->context, mio__encoder_values_count(encoder), sizeof *read->own_values);
    read->values = fresh ? encoder->values : read->own_values;
    if (!read->both || !read->values)
        return MIO_ERROR_MEMORY;
    mio_status status = mio__archive_get(archive, norm_record, read->both, 2 * size);
    for (size_t c = 0; c < channels && !status; c++)
        if (!isfinite(read->both[c]) || !isfinite(read->both[channels + c]) || read->both[channels + c] <= 0)
            status = mio__archive_refuse(archive, norm_record, "an impossible mean or deviation for channel %zu", c);
    return status ? status : mio__tensors_read(encoder, tensor_prefix, archive, read->values);
}

static mio_status read_choice(mio__archive *archive, const char *record, uint32_t last, uint32_t *choice)
{
    unsigned char bytes[4];
    const mio_status status = mio__archive_get(archive, record, bytes, sizeof bytes);
    if (status)
        return status;
    const unsigned char *next = bytes;
    *choice = get32(&next);
    if (*choice > last)
        return mio__archive_refuse(archive, record, "an unknown value %u", (unsigned)*choice);
    return MIO_OK;
}

/* The parameters of the file's encoder. */
typedef struct saved_choices {
    uint32_t algorithm, precision, initialization;
} saved_choices;

static mio_status read_choices(mio__archive *archive, saved_choices *read)
{
    *read = (saved_choices){.precision = MIO__FP32, .initialization = MIO__INITIALIZE_TORCHVISION};
    mio_status status = read_choice(archive, algorithm_record, MIO__CONV_FAST, &read->algorithm);
    if (!status && mio__archive_has(archive, precision_record))
        status = read_choice(archive, precision_record, MIO__BF16, &read->precision);
    if (!status && mio__archive_has(archive, initialization_record))
        status = read_choice(archive, initialization_record, MIO__INITIALIZE_UNIFORM, &read->initialization);
    return status;
}

/* A machine without bf16 can still use the weights, which are fp32. */
static mio_status set_precision(mio_encoder *encoder, uint32_t precision)
{
    const mio_status status = mio_encoder_set(encoder, "precision", precision);
    if (status != MIO_ERROR_UNSUPPORTED)
        return status;
    mio__log(encoder->context, MIO_LOG_WARNING, "the file asks for precision 'bf16', which this CPU lacks: fp32 it is");
    return MIO_OK;
}

static mio_status load_contents(mio_encoder *encoder, mio__archive *archive, int fresh)
{
    contents read = {0};
    const size_t size = encoder->graph.layers.items[0].channels * sizeof(double);
    const mio_status status = read_contents(encoder, archive, fresh, &read);
    if (!status) {
        memcpy(encoder->mean, read.both, size);
        memcpy(encoder->deviation, read.both + size / sizeof(double), size);
        if (!fresh)
            memcpy(encoder->values, read.values, mio__encoder_values_count(encoder) * sizeof *read.values);
        mio__encoder_changed(encoder);
    }
    free_contents(encoder->context, &read);
    return status;
}

static mio_status read_encoder(mio_context *context, mio__archive *archive, mio_encoder **encoder)
{
    mio_encoder *made = NULL;
    mio__tuning tuning = {.context = context};
    saved_choices choices;
    mio_status status = read_network(context, archive, &made);
    if (!status)
        status = read_choices(archive, &choices);
    if (!status)
        status = mio_encoder_set(made, "algorithm", choices.algorithm);
    if (!status)
        status = mio_encoder_set(made, "initialization", choices.initialization);
    if (!status)
        status = set_precision(made, choices.precision);
    if (!status)
        status = load_contents(made, archive, 1);
    if (!status)
        status = mio__encoder_read_tuning(context, archive, &tuning);
    if (status) {
        mio_encoder_release(made);
        return status;
    }
    mio__encoder_swap_tuning(made, &tuning);
    *encoder = made;
    return status;
}

/* The archive's graph must be the encoder's own, byte for byte. */
static mio_status compare_graph(const mio_encoder *encoder, mio__archive *archive)
{
    unsigned char *bytes;
    size_t size;
    mio_status status = read_record(encoder->context, archive, graph_record, &bytes, &size);
    if (status)
        return status;
    unsigned char *own = NULL;
    if (size == graph_size(&encoder->graph) && !(own = mio__alloc(encoder->context, size)))
        status = MIO_ERROR_MEMORY;
    if (own)
        pack_graph(&encoder->graph, own);
    if (!status && (!own || memcmp(own, bytes, size)))
        status = mio__fail(MIO_ERROR_FORMAT, "the file holds another network than this encoder; build the same one");
    mio__free(encoder->context, own);
    mio__free(encoder->context, bytes);
    return status;
}

mio_status mio__encoder_restore(mio_encoder *encoder, mio__archive *archive)
{
    saved_choices choices;
    mio_status status = compare_graph(encoder, archive);
    if (!status)
        status = read_choices(archive, &choices);
    if (!status)
        status = load_contents(encoder, archive, 0);
    if (!status && choices.algorithm != (uint32_t)mio__encoder_algorithm(encoder))
        mio__log(encoder->context, MIO_LOG_WARNING,
                 "the file was written with another convolution algorithm: results may differ in their last bits");
    if (!status && choices.precision != (uint32_t)mio__encoder_precision(encoder))
        mio__log(encoder->context, MIO_LOG_WARNING, "the file was written in another precision: results will differ");
    return status;
}

mio_status mio_encoder_load(mio_context *context, const char *path, mio_encoder **encoder)
{
    if (!context || !path || !encoder)
        return mio__fail(MIO_ERROR_ARGUMENT, "the context, the path or the place for the encoder is NULL");
    mio__archive *archive;
    mio_status status = mio__archive_open(context, path, &archive);
    if (status)
        return status;
    status = read_encoder(context, archive, encoder);
    mio__archive_close(archive);
    return status;
}
