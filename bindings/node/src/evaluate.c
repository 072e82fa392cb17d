#include "addon.h"

#include <stdlib.h>

NOUN(knn, 0)
NOUN(probe, 0)
NOUN(finetune, 0)
PARAMETERS(knn)
PARAMETERS(probe)
PARAMETERS(finetune)

/* encoder, dataset, Float32Array for the features of every image */
static napi_value dataset_embed(napi_env env, napi_callback_info info)
{
    call c;
    size_t dim = 0;
    begin(&c, env, info);
    void *encoder = handle(&c, 0), *dataset = handle(&c, 1);
    if (!c.failed)
        check(&c, mio_encoder_feature_dim(encoder, &dim));
    float *features = needed(&c, 2, napi_float32_array, c.failed ? 0 : area(&c, mio_dataset_count(dataset), dim));
    if (!c.failed)
        check(&c, mio_evaluate_embed(encoder, dataset, features));
    return NULL;
}

/* ---- search and probe ---- */

MAKER(knn, knn_create, void *context = handle(&c, 0), mio_knn_create(context, &made))
MAKER(probe, probe_create, void *context = handle(&c, 0);
      const char *solver = text(&c, 1), mio_probe_create(context, solver, &made))
/* knn, count, dim, Float32Array, Int32Array or nothing */
CALLER(knn_fit, void *knn = handle(&c, 0); const size_t count = size(&c, 1); const size_t dim = size(&c, 2);
       const float *features = needed(&c, 3, napi_float32_array, area(&c, count, dim));
       const int32_t *labels = array(&c, 4, napi_int32_array, count), mio_knn_fit(knn, count, dim, features, labels))
/* probe, count, dim, Float32Array, Int32Array, classes */
CALLER(probe_fit, void *probe = handle(&c, 0); const size_t count = size(&c, 1); const size_t dim = size(&c, 2);
       const float *features = needed(&c, 3, napi_float32_array, area(&c, count, dim));
       const int32_t *labels = needed(&c, 4, napi_int32_array, count);
       const size_t classes = size(&c, 5), mio_probe_fit(probe, count, dim, features, labels, classes))
/* knn, count, dim, Float32Array, Int32Array for the classes; a probe likewise */
CALLER(knn_predict, void *knn = handle(&c, 0); const size_t count = size(&c, 1); const size_t dim = size(&c, 2);
       const float *queries = needed(&c, 3, napi_float32_array, area(&c, count, dim));
       int32_t *classes = needed(&c, 4, napi_int32_array, count), mio_knn_predict(knn, count, dim, queries, classes))
CALLER(probe_predict, void *probe = handle(&c, 0); const size_t count = size(&c, 1); const size_t dim = size(&c, 2);
       const float *features = needed(&c, 3, napi_float32_array, area(&c, count, dim));
       int32_t *classes = needed(&c, 4, napi_int32_array, count),
       mio_probe_predict(probe, count, dim, features, classes, NULL))

/* knn, count, dim, Float32Array, neighbours, Float64Array for indices, as JavaScript counts, Float32Array for
   similarities */
static napi_value knn_search(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    void *knn = handle(&c, 0);
    const size_t shape[2] = {size(&c, 1), size(&c, 2)}, neighbours = size(&c, 4);
    const float *queries = needed(&c, 3, napi_float32_array, area(&c, shape[0], shape[1]));
    const size_t count = area(&c, shape[0], neighbours);
    double *places = needed(&c, 5, napi_float64_array, count);
    float *similarities = needed(&c, 6, napi_float32_array, count);
    size_t *indices = c.failed ? NULL : malloc((count ? count : 1) * sizeof *indices);
    if (!indices)
        refuse_memory(&c);
    else
        check(&c, mio_knn_search(knn, shape[0], shape[1], queries, neighbours, indices, similarities));
    for (size_t i = 0; i < count && !c.failed; i++)
        places[i] = (double)indices[i];
    free(indices);
    return NULL;
}

/* ---- fine-tuning ---- */

MAKER(finetune, finetune_create, void *encoder = handle(&c, 0), mio_finetune_create(encoder, &made))

/* finetune, training set, validation set or nothing, augment */
typedef struct tuning {
    mio_finetune *finetune;
    mio_dataset *train, *validation;
    mio_augment *augment;
} tuning;

static tuning tuning_of(call *c)
{
    return (tuning){handle(c, 0), handle(c, 1), handle_or_null(c, 2), handle(c, 3)};
}

static mio_status run_tuning(void *what)
{
    const tuning *t = what;
    return mio_finetune_run(t->finetune, t->train, t->validation, t->augment);
}

static napi_value finetune_run(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    tuning t = tuning_of(&c);
    if (!c.failed)
        check(&c, run_tuning(&t));
    return NULL;
}

static napi_value give_nothing(call *c, void *what)
{
    napi_value nothing = NULL;
    (void)what;
    napi_get_undefined(c->env, &nothing);
    return nothing;
}

static void release_tuning(napi_env env, void *what)
{
    tuning *t = what;
    (void)env;
    mio_finetune_release(t->finetune);
    mio_dataset_release(t->train);
    mio_dataset_release(t->validation);
    mio_augment_release(t->augment);
    free(t);
}

static napi_value finetune_run_later(napi_env env, napi_callback_info info)
{
    static const task kind = {"mio_finetune_run", run_tuning, give_nothing, release_tuning};
    call c;
    begin(&c, env, info);
    const tuning given = tuning_of(&c);
    tuning *t = c.failed ? NULL : malloc(sizeof *t);
    if (!t) {
        refuse_memory(&c);
        return NULL;
    }
    *t = (tuning){mio_finetune_retain(given.finetune), mio_dataset_retain(given.train),
                  mio_dataset_retain(given.validation), mio_augment_retain(given.augment)};
    return start_task(&c, &kind, t);
}

/* finetune, dataset, Int32Array for the class of every image */
static napi_value finetune_predict(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    void *finetune = handle(&c, 0), *dataset = handle(&c, 1);
    int32_t *classes = needed(&c, 2, napi_int32_array, c.failed ? 0 : mio_dataset_count(dataset));
    if (!c.failed)
        check(&c, mio_finetune_predict(finetune, dataset, classes));
    return NULL;
}

const entry evaluate_entries[] = {
    ENTRY(dataset_embed), ENTRY(knn_create),         ENTRY(knn_set),          ENTRY(knn_get),      ENTRY(knn_fit),
    ENTRY(knn_predict),   ENTRY(knn_search),         ENTRY(probe_create),     ENTRY(probe_set),    ENTRY(probe_get),
    ENTRY(probe_fit),     ENTRY(probe_predict),      ENTRY(finetune_create),  ENTRY(finetune_set), ENTRY(finetune_get),
    ENTRY(finetune_run),  ENTRY(finetune_run_later), ENTRY(finetune_predict), {NULL, NULL},
};
