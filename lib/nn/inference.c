/* Evaluation passes. A batch of inference has 16 or 32 lanes: with these the arithmetic on an image is the same, so an
   image has the same features wherever it lies in a call and whoever else is in it. Calls with few images would waste
   most of the lanes; they run image by image, which may differ in the last bits, unless the parameter "batch_invariant"
   forbids it. */
#include "kernels/elementwise.h"
#include "nn/inference.h"

/* Below FEW images, so many passes of one lane are faster than one of LANE_LEAST. */
enum { LANE_LEAST = 16, FEW = 9 };
/* Where images are large, fewer lanes keep an arena below about this. */
#define ARENA_TARGET ((double)(128 << 20))

static size_t lane_limit(const mio__graph *graph)
{
    double most = 0;
    for (size_t s = 0; s < graph->step_count; s++) {
        const mio__images one = {1, 1, 1, 1, MIO__FP32};
        double size = (double)mio__tensor_size(&graph->values[s + 1].shape, &one) +
                      (double)mio__tensor_size(&graph->values[graph->steps[s].input].shape, &one);
        if (graph->steps[s].other != MIO__NONE)
            size += (double)mio__tensor_size(&graph->values[graph->steps[s].other].shape, &one);
        most = size > most ? size : most;
    }
    size_t lanes = 32;
    while (lanes > LANE_LEAST && most * sizeof(mio__real) * (double)lanes > ARENA_TARGET)
        lanes /= 2;
    return lanes;
}

size_t mio__inference_lanes(const mio_encoder *encoder, size_t count, size_t left)
{
    if (count < FEW && !mio__encoder_batch_invariant(encoder))
        return 1;
    return left > LANE_LEAST ? lane_limit(&encoder->graph) : LANE_LEAST;
}

/* ---- plans and states ---- */

static void free_state(mio_encoder *encoder, mio__inference_state *state)
{
    if (!state)
        return;
    mio__free(encoder->context, state->arena);
    mio__free(encoder->context, state->scratch);
    mio__free(encoder->context, state->rows);
    mio__free(encoder->context, state);
}

static void free_kind(mio_encoder *encoder, mio__inference *inference)
{
    while (inference->idle) {
        mio__inference_state *state = inference->idle;
        inference->idle = state->next;
        free_state(encoder, state);
    }
    mio__plan_destroy(inference->plan);
    inference->plan = NULL;
}

void mio__inference_free(mio_encoder *encoder)
{
    for (size_t i = 0; i < MIO__LANE_KINDS; i++)
        free_kind(encoder, &encoder->inference[i]);
}

static mio__inference *kind_of(mio_encoder *encoder, size_t lanes)
{
    size_t kind = 0;
    while ((size_t)1 << kind < lanes)
        kind++;
    return &encoder->inference[kind];
}

/* Under the lock: a plan for the present algorithm, with convolutions prepared for the present weights. */
static mio_status ready_plan(mio_encoder *encoder, mio__inference *inference, size_t lanes)
{
    if (inference->plan &&
        (inference->plan->algorithm != mio__encoder_algorithm(encoder) || inference->plan->tuned != encoder->tuned ||
         inference->plan->images.precision != mio__encoder_precision(encoder)))
        free_kind(encoder, inference);
    if (!inference->plan) {
        const mio__images images = {1, lanes, lanes, 1, mio__encoder_precision(encoder)};
        const mio_status status =
            mio__plan_create(encoder->context, &encoder->graph, &images, mio__encoder_algorithm(encoder),
                             &encoder->tuning, 0, &inference->plan);
        if (status)
            return status;
        inference->plan->tuned = encoder->tuned;
    }
    if (inference->plan->prepared != encoder->version) {
        const mio__pass pass = {inference->plan, encoder->tensors, NULL, NULL, mio__workers_locked(encoder->context)};
        mio__pass_prepare(&pass);
        inference->plan->prepared = encoder->version;
    }
    return MIO_OK;
}

static mio_status make_state(mio_encoder *encoder, const mio__plan *plan, mio__inference_state **state)
{
    const mio__layer *input = &encoder->graph.layers.items[0];
    mio__inference_state *made = mio__alloc_zeroed(encoder->context, 1, sizeof *made);
    if (!made)
        return MIO_ERROR_MEMORY;
    made->arena = mio__alloc(encoder->context, plan->arena_size);
    made->rows = mio__alloc_zeroed(encoder->context, plan->images.count,
                                   input->height * input->width * input->channels * sizeof *made->rows);
    if (!made->arena || !made->rows) {
        free_state(encoder, made);
        return MIO_ERROR_MEMORY;
    }
    *state = made;
    return MIO_OK;
}

mio_status mio__inference_begin(mio_encoder *encoder, size_t lanes, mio__inference_run *run)
{
    mio__inference *inference = kind_of(encoder, lanes);
    mio__inference_state *state = NULL;
    pthread_mutex_lock(&encoder->mutex);
    mio_status status = ready_plan(encoder, inference, lanes);
    if (!status && inference->idle) {
        state = inference->idle;
        inference->idle = state->next;
    }
    const mio__plan *plan = inference->plan;
    pthread_mutex_unlock(&encoder->mutex);
    if (!status && !state)
        status = make_state(encoder, plan, &state);
    const size_t workers = mio__workers(encoder->context);
    if (!status)
        status = mio__reserve(encoder->context, &state->scratch, &state->scratch_capacity,
                              mio__plan_scratch_size(plan, workers));
    if (status) {
        free_state(encoder, state);
        return status;
    }
    *run = (mio__inference_run){inference, state, {plan, encoder->tensors, state->arena, state->scratch, workers}};
    return MIO_OK;
}

void mio__inference_end(mio_encoder *encoder, mio__inference_run *run)
{
    pthread_mutex_lock(&encoder->mutex);
    run->state->next = run->kind->idle;
    run->kind->idle = run->state;
    pthread_mutex_unlock(&encoder->mutex);
}

static void unpack_value(const mio__inference_run *run, size_t count, size_t value, float *rows)
{
    const mio__plan *plan = run->pass.plan;
    const mio__images images = {1, count, plan->images.lanes, 1, plan->images.precision};
    if (rows)
        mio__unpack(plan->context, run->pass.workers, &plan->graph->values[value].shape, &images,
                    mio__pass_at(&run->pass, plan->values[value]), rows);
}

/* The last value that is asked for. */
static size_t last_value(const mio__graph *graph, const float *features, const float *projections)
{
    const size_t of_features = features ? graph->features : 0;
    return projections && graph->projections > of_features ? graph->projections : of_features;
}

void mio__inference_run_batch(const mio__inference_run *run, size_t count, const float *rows, float *features,
                              float *projections)
{
    const mio__plan *plan = run->pass.plan;
    const mio__images images = {1, count, plan->images.lanes, 1, plan->images.precision};
    mio__pack(plan->context, run->pass.workers, &plan->graph->values[0].shape, &images, rows,
              mio__pass_at(&run->pass, plan->values[0]));
    mio__pass_forward(&run->pass, last_value(plan->graph, features, projections));
    unpack_value(run, count, plan->graph->features, features);
    unpack_value(run, count, plan->graph->projections, projections);
}

/* ---- public ---- */

mio_status mio_encoder_infer(mio_encoder *encoder, size_t count, const float *images, float *features,
                             float *projections)
{
    if (!encoder)
        return mio__settings_null("encoder");
    if (count && !images)
        return mio__fail(MIO_ERROR_ARGUMENT, "the images are NULL");
    if (projections && encoder->graph.projections == MIO__NONE)
        return mio__fail(MIO_ERROR_ARGUMENT, "the encoder has no projector; projections must be NULL");
    mio_status status = mio__check_pixels(encoder, count, images);
    const mio__graph *graph = &encoder->graph;
    const mio__layer *input = &graph->layers.items[0];
    for (size_t done = 0; done < count && !status;) {
        mio__inference_run run;
        const size_t lanes = mio__inference_lanes(encoder, count, count - done);
        const size_t part = count - done < lanes ? count - done : lanes;
        if ((status = mio__inference_begin(encoder, lanes, &run)))
            break;
        mio__inference_run_batch(&run, part, images + done * input->height * input->width * input->channels,
                                 features ? features + done * graph->values[graph->features].shape.channels : NULL,
                                 projections ? projections + done * graph->values[graph->projections].shape.channels
                                             : NULL);
        mio__inference_end(encoder, &run);
        done += part;
    }
    return status;
}
