#include "nn/graph.h"

#include <string.h>

/* What is known of each layer while steps are made. */
typedef struct wiring {
    size_t consumers;
    size_t consumer; /* one of them: the one, where there is one */
    int output;
    size_t end;   /* last layer of the step that it begins; MIO__NONE where another layer's step has absorbed it */
    size_t begin; /* first layer of the step that ends here; MIO__NONE where none does */
    size_t value; /* of its output, if it ends a step */
} wiring;

const mio__layer *mio__step_layer(const mio__graph *graph, const mio__step *step)
{
    return &graph->layers.items[step->layer];
}

void mio__graph_free(mio__graph *graph)
{
    mio__layers_free(&graph->layers);
    mio__free(graph->context, graph->steps);
    mio__free(graph->context, graph->values);
    *graph = (mio__graph){.context = graph->context};
}

/* ---- the layers that are needed ---- */

static mio_status check_output(const mio__layers *layers, int32_t node, const char *what)
{
    if (node < 0 || (size_t)node >= layers->count)
        return mio__fail(MIO_ERROR_ARGUMENT, "the %s node %d is no node of this builder", what, (int)node);
    const mio__layer *layer = &layers->items[node];
    if (layer->height != 1 || layer->width != 1)
        return mio__fail(MIO_ERROR_ARGUMENT,
                         "the %s node '%s' has shape %zu x %zu x %zu; it must be channels x 1 x 1: pool first", what,
                         layer->name, layer->channels, layer->height, layer->width);
    return MIO_OK;
}

/* Two layers of one name would have tensors of one name. */
static mio_status check_names(const mio__layers *layers)
{
    for (size_t i = 1; i < layers->count; i++)
        for (size_t j = 1; j < i && mio__layer_tensor_count(&layers->items[i]); j++)
            if (!strcmp(layers->items[i].name, layers->items[j].name) && mio__layer_tensor_count(&layers->items[j]))
                return mio__fail(
                    MIO_ERROR_ARGUMENT,
                    "two layers are called '%s'; name one of them with mio_builder_name (before a preset it "
                    "gives a prefix)",
                    layers->items[i].name);
    return MIO_OK;
}

/* places[i]: where layer i goes in the graph, or MIO__NONE. */
static void mark_needed(const mio__layers *layers, const mio__outputs *outputs, size_t *places)
{
    for (size_t i = 0; i < layers->count; i++)
        places[i] = MIO__NONE;
    places[0] = 0;
    places[outputs->features] = 0;
    if (outputs->projections >= 0)
        places[outputs->projections] = 0;
    if (outputs->predictions >= 0)
        places[outputs->predictions] = 0;
    for (size_t i = layers->count; i-- > 0;)
        for (int k = 0; k < 2 && places[i] != MIO__NONE; k++)
            if (layers->items[i].inputs[k] >= 0)
                places[layers->items[i].inputs[k]] = 0;
    for (size_t i = 0, next = 0; i < layers->count; i++)
        if (places[i] != MIO__NONE)
            places[i] = next++;
}

static void copy_layer(mio__graph *graph, const mio__layer *source, const size_t *places)
{
    mio__layer *layer = &graph->layers.items[graph->layers.count++];
    *layer = *source;
    for (int k = 0; k < 2; k++)
        if (layer->inputs[k] >= 0)
            layer->inputs[k] = (int32_t)places[layer->inputs[k]];
    layer->tensor = graph->tensor_count;
    graph->tensor_count += mio__layer_tensor_count(layer);
}

static int32_t place_of(const size_t *places, int32_t layer)
{
    return layer < 0 ? -1 : (int32_t)places[layer];
}

static mio_status copy_needed(const mio__layers *layers, const mio__outputs *outputs, mio__graph *graph)
{
    size_t *places = mio__alloc(layers->context, layers->count * sizeof *places);
    graph->layers.items = mio__alloc(layers->context, layers->count * sizeof *graph->layers.items);
    graph->layers.capacity = layers->count;
    if (!places || !graph->layers.items) {
        mio__free(layers->context, places);
        return MIO_ERROR_MEMORY;
    }
    mark_needed(layers, outputs, places);
    for (size_t i = 0; i < layers->count; i++)
        if (places[i] != MIO__NONE)
            copy_layer(graph, &layers->items[i], places);
    graph->outputs = (mio__outputs){place_of(places, outputs->features), place_of(places, outputs->projections),
                                    place_of(places, outputs->predictions)};
    mio__free(layers->context, places);
    return MIO_OK;
}

/* ---- steps ---- */

static void gather_facts(const mio__graph *graph, wiring *facts)
{
    const size_t count = graph->layers.count;
    memset(facts, 0, count * sizeof *facts);
    for (size_t i = 0; i < count; i++) {
        facts[i].begin = facts[i].end = i;
        for (int k = 0; k < 2; k++) {
            const int32_t input = graph->layers.items[i].inputs[k];
            if (input >= 0) {
                facts[input].consumers++;
                facts[input].consumer = i;
            }
        }
    }
    facts[graph->outputs.features].output = 1;
    if (graph->outputs.projections >= 0)
        facts[graph->outputs.projections].output = 1;
    if (graph->outputs.predictions >= 0)
        facts[graph->outputs.predictions].output = 1;
}

/* The layer of some kind that alone reads layer i, or MIO__NONE. */
static size_t sole_consumer(const mio__graph *graph, const wiring *facts, size_t i, mio__layer_kind kind)
{
    if (facts[i].output || facts[i].consumers != 1)
        return MIO__NONE;
    const size_t next = facts[i].consumer;
    return graph->layers.items[next].kind == kind && facts[next].begin == next ? next : MIO__NONE;
}

/* Lets the step of a batch norm reach over the sum and the ReLU behind it. */
static void fuse(const mio__graph *graph, wiring *facts, size_t norm)
{
    size_t end = norm;
    const size_t sum = sole_consumer(graph, facts, norm, MIO__LAYER_ADD);
    if (sum != MIO__NONE)
        end = sum;
    const size_t relu = sole_consumer(graph, facts, end, MIO__LAYER_RELU);
    if (sum != MIO__NONE)
        facts[sum].begin = facts[sum].end = MIO__NONE;
    if (relu != MIO__NONE) {
        facts[relu].begin = facts[relu].end = MIO__NONE;
        end = relu;
    }
    facts[norm].begin = MIO__NONE;
    facts[norm].end = end;
    facts[end].begin = norm;
}

/* The step whose first layer is `begin` and whose last is `end`. */
static mio__step make_step(const mio__graph *graph, const wiring *facts, size_t begin, size_t end)
{
    const mio__layer *layer = &graph->layers.items[begin];
    mio__step step = {layer->kind == MIO__LAYER_LINEAR ? MIO__LAYER_CONV : layer->kind, begin,
                      facts[layer->inputs[0]].value, MIO__NONE, 0};
    if (layer->kind == MIO__LAYER_ADD)
        step.other = facts[layer->inputs[1]].value;
    size_t last = begin;
    if (end != begin && graph->layers.items[facts[begin].consumer].kind == MIO__LAYER_ADD) {
        last = facts[begin].consumer;
        const int32_t *inputs = graph->layers.items[last].inputs;
        step.other = facts[(size_t)inputs[0] == begin ? inputs[1] : inputs[0]].value;
    }
    step.relu = last != end;
    return step;
}

static void add_value(mio__graph *graph, const wiring *facts, size_t layer, int weights)
{
    const mio__layer *from = &graph->layers.items[layer];
    mio__value *value = &graph->values[facts[layer].value];
    value->shape = mio__shape_of(from->channels, from->height, from->width);
    value->output = facts[layer].output;
    value->needs_gradient = weights;
}

static void make_steps(mio__graph *graph, wiring *facts)
{
    const mio__layers *layers = &graph->layers;
    add_value(graph, facts, 0, 0);
    for (size_t i = 1; i < layers->count; i++)
        if (layers->items[i].kind == MIO__LAYER_BATCH_NORM)
            fuse(graph, facts, i);
    for (size_t i = 1; i < layers->count; i++) {
        if (facts[i].begin == MIO__NONE)
            continue;
        const mio__step step = make_step(graph, facts, facts[i].begin, i);
        graph->steps[graph->step_count++] = step;
        facts[i].value = graph->step_count;
        graph->values[step.input].consumers++;
        int weights = mio__layer_tensor_count(&layers->items[step.layer]) > 0;
        weights |= graph->values[step.input].needs_gradient;
        if (step.other != MIO__NONE) {
            graph->values[step.other].consumers++;
            weights |= graph->values[step.other].needs_gradient;
        }
        add_value(graph, facts, i, weights);
    }
    const mio__outputs *outputs = &graph->outputs;
    graph->features = facts[outputs->features].value;
    graph->projections = outputs->projections < 0 ? MIO__NONE : facts[outputs->projections].value;
    graph->predictions = outputs->predictions < 0 ? MIO__NONE : facts[outputs->predictions].value;
}

static mio_status order_steps(mio__graph *graph)
{
    const size_t count = graph->layers.count;
    wiring *facts = mio__alloc(graph->context, count * sizeof *facts);
    graph->steps = mio__alloc_zeroed(graph->context, count, sizeof *graph->steps);
    graph->values = mio__alloc_zeroed(graph->context, count, sizeof *graph->values);
    const int room = facts && graph->steps && graph->values;
    if (room) {
        gather_facts(graph, facts);
        make_steps(graph, facts);
    }
    mio__free(graph->context, facts);
    return room ? MIO_OK : MIO_ERROR_MEMORY;
}

/* The gradients of predictions are set apart from the others', so they have a layer of their own. */
static mio_status check_outputs(const mio__layers *layers, const mio__outputs *outputs)
{
    mio_status status = check_output(layers, outputs->features, "features");
    if (!status && outputs->projections != -1)
        status = check_output(layers, outputs->projections, "projections");
    if (status || outputs->predictions == -1)
        return status;
    if (outputs->projections == -1)
        return mio__fail(MIO_ERROR_ARGUMENT, "there are predictions without projections to predict; name both nodes");
    if (outputs->predictions == outputs->projections || outputs->predictions == outputs->features)
        return mio__fail(MIO_ERROR_ARGUMENT, "the predictions node is that of the projections or features; put a "
                                             "predictor between them");
    return check_output(layers, outputs->predictions, "predictions");
}

mio_status mio__graph_make(const mio__layers *layers, const mio__outputs *outputs, mio__graph *graph)
{
    *graph = (mio__graph){.context = layers->context, .layers = {.context = layers->context}};
    mio_status status = check_outputs(layers, outputs);
    if (!status)
        status = copy_needed(layers, outputs, graph);
    if (!status)
        status = check_names(&graph->layers);
    if (!status)
        status = order_steps(graph);
    if (status)
        mio__graph_free(graph);
    return status;
}
