#include "nn/plan.h"

#include <string.h>

/* One buffer. Times count the moments of a pass: 0 the image is packed, s + 1 step s runs, steps + 1 the outputs are
   read and their gradients written, 2 steps + 1 - s step s runs backward. */
typedef struct buffer {
    size_t size;     /* bytes, a multiple of 64; 0: not needed */
    size_t from, to; /* first and last moment it is in use */
    size_t host;     /* buffer whose place it takes over: itself, or one that its step works on in place */
    size_t offset;   /* of a host */
} buffer;

/* The buffers of a pass: values, gradients, statistics, temporaries, seed. */
typedef struct buffers {
    buffer *items;
    size_t *by_size, *by_offset; /* room for orders of hosts */
    size_t count, gradients, statistics, temporary, seed;
} buffers;

static size_t round_up(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* Bytes of a tensor; SIZE_MAX / 4, which no allocator grants, where that is beyond the address space. */
static size_t tensor_bytes(const mio__plan *plan, const mio__shape *shape)
{
    const size_t size = mio__number_size(plan->images.precision);
    const double bytes = (double)mio__group_size(shape, &plan->images) * (double)plan->images.views *
                         (double)plan->images.groups * (double)size;
    return bytes < 0x1p61 ? round_up(mio__tensor_size(shape, &plan->images) * size) : SIZE_MAX / 4;
}

size_t mio__plan_statistics_size(const mio__plan *plan, size_t step)
{
    const mio__shape *shape = &plan->graph->values[step + 1].shape;
    return round_up(plan->images.views * shape->blocks * shape->block * sizeof(mio__real));
}

static size_t backward_time(const mio__plan *plan, size_t step)
{
    return 2 * plan->graph->step_count + 1 - step;
}

static void need(buffer *item, size_t size, size_t from, size_t to)
{
    item->size = size;
    item->from = from;
    item->to = to;
}

static void use(buffer *item, size_t time)
{
    if (time < item->from)
        item->from = time;
    if (time > item->to)
        item->to = time;
}

/* ---- when buffers are in use ---- */

static void note_forward(const mio__plan *plan, buffers *all)
{
    const mio__graph *graph = plan->graph;
    for (size_t v = 0; v <= graph->step_count; v++) {
        need(&all->items[v], tensor_bytes(plan, &graph->values[v].shape), v, v);
        if (graph->values[v].output)
            use(&all->items[v], graph->step_count + 1);
    }
    for (size_t s = 0; s < graph->step_count; s++) {
        const size_t conv = plan->finished[s];
        use(&all->items[graph->steps[conv == MIO__NONE ? s : conv].input], s + 1);
        if (graph->steps[s].other != MIO__NONE)
            use(&all->items[graph->steps[s].other], s + 1);
        if (conv != MIO__NONE)
            all->items[conv + 1].size = 0;
    }
}

/* What the step reads again on the way back, besides gradients. */
static void note_kept(const mio__plan *plan, buffers *all, size_t s)
{
    const mio__step *step = &plan->graph->steps[s];
    const size_t time = backward_time(plan, s);
    if (mio__layer_facts_of[step->kind].reads_input)
        use(&all->items[step->input], time);
    if (mio__layer_facts_of[step->kind].reads_output || step->relu)
        use(&all->items[s + 1], time);
    if (step->kind == MIO__LAYER_BATCH_NORM) {
        need(&all->items[all->statistics + s], 2 * mio__plan_statistics_size(plan, s), s + 1, time);
    }
}

static void note_gradient(const mio__plan *plan, buffers *all, size_t value, size_t time)
{
    if (value == MIO__NONE || !plan->graph->values[value].needs_gradient)
        return;
    buffer *gradient = &all->items[all->gradients + value];
    if (!gradient->size)
        need(gradient, tensor_bytes(plan, &plan->graph->values[value].shape), time, backward_time(plan, value - 1));
}

static void note_backward(const mio__plan *plan, buffers *all)
{
    const mio__graph *graph = plan->graph;
    note_gradient(plan, all, graph->features, graph->step_count + 1);
    note_gradient(plan, all, graph->projections, graph->step_count + 1);
    note_gradient(plan, all, graph->predictions, graph->step_count + 1);
    if (graph->features == graph->projections)
        need(&all->items[all->seed], tensor_bytes(plan, &graph->values[graph->features].shape), graph->step_count + 1,
             graph->step_count + 1);
    for (size_t s = graph->step_count; s-- > 0;) {
        const mio__step *step = &graph->steps[s];
        const mio__value *input = &graph->values[step->input];
        const size_t time = backward_time(plan, s);
        note_kept(plan, all, s);
        note_gradient(plan, all, step->input, time);
        note_gradient(plan, all, step->other, time);
        if (step->kind == MIO__LAYER_BATCH_NORM && input->needs_gradient && (input->consumers > 1 || input->output))
            need(&all->items[all->temporary + s], tensor_bytes(plan, &input->shape), time, time);
    }
}

/* ---- in place ---- */

static void take_over(buffers *all, size_t guest, size_t host)
{
    host = all->items[host].host;
    all->items[guest].host = host;
    use(&all->items[host], all->items[guest].to);
}

static void share_forward(const mio__plan *plan, buffers *all)
{
    /* Lifetimes are those of the values themselves, so they are looked at before a guest prolongs its host's. */
    for (size_t s = plan->graph->step_count; s-- > 0;) {
        const mio__step *step = &plan->graph->steps[s];
        const int sum = step->kind == MIO__LAYER_ADD;
        if (step->kind != MIO__LAYER_BATCH_NORM && step->kind != MIO__LAYER_RELU && !sum)
            continue;
        if (plan->finished[s] != MIO__NONE)
            continue;
        if (all->items[step->input].to == s + 1 && (sum || step->other != step->input))
            all->items[s + 1].host = step->input;
        else if (sum && all->items[step->other].to == s + 1)
            all->items[s + 1].host = step->other;
    }
    for (size_t v = 1; v <= plan->graph->step_count; v++)
        if (all->items[v].host != v)
            take_over(all, v, all->items[v].host);
}

static void share_backward(const mio__plan *plan, buffers *all)
{
    for (size_t s = plan->graph->step_count; s-- > 0;) {
        const mio__step *step = &plan->graph->steps[s];
        const size_t input = all->gradients + step->input;
        if ((step->kind == MIO__LAYER_BATCH_NORM || step->kind == MIO__LAYER_RELU) && all->items[input].size &&
            all->items[input].from == backward_time(plan, s) && step->input != step->other)
            take_over(all, input, all->gradients + s + 1);
    }
}

/* ---- places ---- */

/* The lowest place that is free during the buffer's whole time. The order by offset of those placed so far is kept. */
static void place(buffers *all, size_t placed, size_t index)
{
    buffer *item = &all->items[index];
    for (size_t i = 0; i < placed; i++) {
        const buffer *other = &all->items[all->by_offset[i]];
        if (other->to < item->from || other->from > item->to)
            continue;
        if (other->offset >= item->offset + item->size)
            break;
        if (other->offset + other->size > item->offset)
            item->offset = other->offset + other->size;
    }
    size_t i = placed;
    for (; i > 0 && all->items[all->by_offset[i - 1]].offset > item->offset; i--)
        all->by_offset[i] = all->by_offset[i - 1];
    all->by_offset[i] = index;
}

/* Largest first: what comes later fits between. */
static size_t place_all(buffers *all)
{
    size_t hosts = 0, end = 0;
    for (size_t index = 0; index < all->count; index++) {
        if (!all->items[index].size || all->items[index].host != index)
            continue;
        size_t i = hosts++;
        for (; i > 0 && all->items[all->by_size[i - 1]].size < all->items[index].size; i--)
            all->by_size[i] = all->by_size[i - 1];
        all->by_size[i] = index;
    }
    for (size_t i = 0; i < hosts; i++) {
        const buffer *item = &all->items[all->by_size[i]];
        place(all, i, all->by_size[i]);
        if (item->offset + item->size > end)
            end = item->offset + item->size;
    }
    return end;
}

static size_t place_of(const buffers *all, size_t index)
{
    const buffer *item = &all->items[index];
    return item->size ? all->items[item->host].offset : MIO__NONE;
}

static void read_places(mio__plan *plan, const buffers *all)
{
    const size_t steps = plan->graph->step_count;
    for (size_t v = 0; v <= steps; v++) {
        plan->values[v] = place_of(all, v);
        plan->gradients[v] = place_of(all, all->gradients + v);
    }
    for (size_t s = 0; s < steps; s++) {
        plan->statistics[s] = place_of(all, all->statistics + s);
        plan->temporary[s] = place_of(all, all->temporary + s);
    }
    plan->seed = place_of(all, all->seed);
}

/* Sizes of more than an address space holds are cut so that their sum cannot wrap; the arena is then refused. */
static size_t total_size(const buffers *all)
{
    size_t total = 0;
    for (size_t i = 0; i < all->count; i++)
        total = all->items[i].size > SIZE_MAX / 4 - total ? SIZE_MAX / 4 : total + all->items[i].size;
    return total;
}

static mio_status plan_buffers(mio__plan *plan)
{
    const size_t steps = plan->graph->step_count, values = steps + 1;
    buffers all = {.count = 2 * values + 2 * steps + 1,
                   .gradients = values,
                   .statistics = 2 * values,
                   .temporary = 2 * values + steps,
                   .seed = 2 * values + 2 * steps};
    all.items = mio__alloc_zeroed(plan->context, all.count, sizeof *all.items);
    all.by_size = mio__alloc(plan->context, all.count * sizeof *all.by_size);
    all.by_offset = mio__alloc(plan->context, all.count * sizeof *all.by_offset);
    const int room = all.items && all.by_size && all.by_offset;
    if (room) {
        for (size_t i = 0; i < all.count; i++)
            all.items[i].host = i;
        note_forward(plan, &all);
        if (plan->training)
            note_backward(plan, &all);
        plan->unshared_size = total_size(&all);
        share_forward(plan, &all);
        if (plan->training)
            share_backward(plan, &all);
        plan->arena_size = plan->unshared_size < SIZE_MAX / 4 ? place_all(&all) : SIZE_MAX / 4;
        read_places(plan, &all);
    }
    mio__free(plan->context, all.items);
    mio__free(plan->context, all.by_size);
    mio__free(plan->context, all.by_offset);
    return room ? MIO_OK : MIO_ERROR_MEMORY;
}

/* ---- the plan ---- */

/* A convolution without bias that only a batch norm reads is finished by it. */
static void find_finished(mio__plan *plan)
{
    const mio__graph *graph = plan->graph;
    for (size_t s = 0; s < graph->step_count; s++) {
        const mio__step *step = &graph->steps[s];
        const mio__value *input = &graph->values[step->input];
        plan->finished[s] = MIO__NONE;
        if (plan->training || step->kind != MIO__LAYER_BATCH_NORM || !step->input || input->consumers > 1 ||
            input->output)
            continue;
        const mio__step *before = &graph->steps[step->input - 1];
        if (before->kind == MIO__LAYER_CONV && !mio__step_layer(graph, before)->bias)
            plan->finished[s] = step->input - 1;
    }
}

size_t mio__plan_scales_at(const mio__plan *plan, size_t step)
{
    size_t at = 0;
    for (size_t s = 0; s < step; s++) {
        const mio__shape *shape = &plan->graph->values[s + 1].shape;
        at += plan->finished[s] == MIO__NONE ? 0 : (shape->blocks * shape->block + 15) / 16 * 16;
    }
    return at;
}

mio__conv_geometry mio__step_geometry(const mio__graph *graph, size_t step, const mio__images *images)
{
    const mio__layer *layer = mio__step_layer(graph, &graph->steps[step]);
    return (mio__conv_geometry){graph->values[graph->steps[step].input].shape,
                                graph->values[step + 1].shape,
                                layer->kernel,
                                layer->stride,
                                layer->padding,
                                *images};
}

static mio_status plan_convs(mio__plan *plan, const mio__tuning *tuning)
{
    const mio__graph *graph = plan->graph;
    for (size_t s = 0; s < graph->step_count; s++) {
        if (graph->steps[s].kind != MIO__LAYER_CONV)
            continue;
        const mio__conv_geometry geometry = mio__step_geometry(graph, s, &plan->images);
        const mio__conv_choice choice = mio__tuning_choose(tuning, &geometry, plan->algorithm, plan->training, NULL);
        const mio_status status =
            mio__conv_create_as(plan->context, &geometry, &choice, plan->training, &plan->convs[s]);
        if (status)
            return status;
    }
    return MIO_OK;
}

mio_status mio__plan_create(mio_context *context, const mio__graph *graph, const mio__images *images,
                            mio__conv_algorithm algorithm, const mio__tuning *tuning, int training, mio__plan **plan)
{
    const size_t steps = graph->step_count;
    mio__plan *made = mio__alloc_zeroed(context, 1, sizeof *made);
    if (!made)
        return MIO_ERROR_MEMORY;
    made->context = context;
    made->graph = graph;
    made->images = *images;
    made->algorithm = algorithm;
    made->training = training;
    made->convs = mio__alloc_zeroed(context, steps + 1, sizeof *made->convs);
    made->values = mio__alloc(context, (steps + 1) * sizeof *made->values);
    made->gradients = mio__alloc(context, (steps + 1) * sizeof *made->gradients);
    made->statistics = mio__alloc(context, (steps + 1) * sizeof *made->statistics);
    made->temporary = mio__alloc(context, (steps + 1) * sizeof *made->temporary);
    made->finished = mio__alloc(context, (steps + 1) * sizeof *made->finished);
    int room = made->convs && made->values && made->gradients && made->statistics && made->temporary && made->finished;
    if (room) {
        find_finished(made);
        made->scales = mio__alloc(context, (mio__plan_scales_at(made, steps) + 1) * sizeof *made->scales);
        room = made->scales != NULL;
    }
    mio_status status = room ? plan_buffers(made) : MIO_ERROR_MEMORY;
    if (!status && made->arena_size >= SIZE_MAX / 4)
        status = mio__fail(MIO_ERROR_MEMORY, "out of memory: %zu images in a batch are too many", images->count);
    if (!status)
        status = plan_convs(made, tuning);
    if (status)
        mio__plan_destroy(made);
    else
        *plan = made;
    return status;
}

void mio__plan_destroy(mio__plan *plan)
{
    if (!plan)
        return;
    for (size_t s = 0; plan->convs && s < plan->graph->step_count; s++)
        mio__conv_destroy(plan->convs[s]);
    mio__free(plan->context, plan->convs);
    mio__free(plan->context, plan->values);
    mio__free(plan->context, plan->gradients);
    mio__free(plan->context, plan->statistics);
    mio__free(plan->context, plan->temporary);
    mio__free(plan->context, plan->finished);
    mio__free(plan->context, plan->scales);
    mio__free(plan->context, plan);
}

mio__batch_norm mio__plan_batch_norm(const mio__plan *plan, size_t step)
{
    return (mio__batch_norm){.shape = plan->graph->values[step + 1].shape,
                             .images = plan->images,
                             .epsilon = 1e-5,
                             .momentum = 0.1,
                             .relu = plan->graph->steps[step].relu};
}

size_t mio__plan_scratch_size(const mio__plan *plan, size_t workers)
{
    size_t largest = 64;
    for (size_t s = 0; s < plan->graph->step_count; s++) {
        size_t size = 0;
        if (plan->convs[s])
            size = mio__conv_scratch_size(plan->convs[s], workers);
        if (plan->graph->steps[s].kind == MIO__LAYER_BATCH_NORM) {
            const mio__batch_norm norm = mio__plan_batch_norm(plan, s);
            size = mio__batch_norm_scratch_size(&norm, workers);
        }
        if (size > largest)
            largest = size;
    }
    return largest;
}
