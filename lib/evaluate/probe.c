#include "evaluate/probe.h"

#include "evaluate/rows.h"

#include <string.h>

static const mio__solver *const solvers[] = {&mio__probe_exact, &mio__probe_sgd};

enum { SOLVERS = sizeof solvers / sizeof *solvers };

MIO__DEFINE_SETTINGS_FUNCTIONS(probe)

const char *mio_probe_name_at(size_t index)
{
    return index < SOLVERS ? solvers[index]->name : NULL;
}

mio_status mio_probe_create(mio_context *context, const char *solver, mio_probe **probe)
{
    if (!context || !probe)
        return mio__fail(MIO_ERROR_ARGUMENT, "the context or the place for the new probe is NULL");
    const size_t place = mio__find_name("probe solver", solver, mio_probe_name_at);
    if (place == MIO__NO_NAME)
        return MIO_ERROR_ARGUMENT;
    const mio__solver *found = solvers[place];
    mio_probe *made = mio__alloc_zeroed(context, 1, sizeof *made);
    if (!made)
        return MIO_ERROR_MEMORY;
    mio__references_init(&made->references);
    made->context = mio_context_retain(context);
    made->solver = found;
    mio__settings_init(&made->settings, "probe", found->name, found->parameters, found->parameter_count);
    *probe = made;
    return MIO_OK;
}

mio_probe *mio_probe_retain(mio_probe *probe)
{
    if (probe)
        mio__references_take(&probe->references);
    return probe;
}

static void drop_model(mio_probe *probe)
{
    mio__linear_free(&probe->linear);
    mio__free(probe->context, probe->mean);
    mio__free(probe->context, probe->deviation);
    probe->mean = probe->deviation = NULL;
}

void mio_probe_release(mio_probe *probe)
{
    if (!probe || !mio__references_drop(&probe->references))
        return;
    mio_context *context = probe->context;
    drop_model(probe);
    mio__free(context, probe);
    mio_context_release(context);
}

/* Fits a new model and puts it in the old one's place if that went well. */
static mio_status fit(mio_probe *probe, size_t dim, size_t classes, const mio__samples *train,
                      const mio__samples *validation)
{
    mio_context *context = probe->context;
    mio_probe model = {.context = context};
    mio_status status = mio__linear_init(&model.linear, context, dim, classes);
    if (!status && probe->settings.values[MIO__PROBE_STANDARDIZE] != 0) {
        model.mean = mio__alloc_zeroed(context, dim, sizeof(double));
        model.deviation = mio__alloc_zeroed(context, dim, sizeof(double));
        if (model.mean && model.deviation)
            mio__rows_statistics(context, train->count, dim, train->features, model.mean, model.deviation);
        else
            status = MIO_ERROR_MEMORY;
    }
    const mio__scaling scaling = {model.mean, model.deviation};
    if (!status)
        status = probe->solver->fit(&probe->settings, &scaling, train, validation, &model.linear);
    if (status) {
        drop_model(&model);
        return status;
    }
    drop_model(probe);
    probe->linear = model.linear;
    probe->mean = model.mean;
    probe->deviation = model.deviation;
    return MIO_OK;
}

static mio_status check(const char *what, const mio__samples *samples, size_t dim, size_t classes)
{
    const mio_status status = mio__rows_check(what, samples->count, dim, samples->features);
    return status ? status : mio__labels_check(what, samples->count, samples->labels, classes);
}

mio_status mio_probe_fit(mio_probe *probe, size_t count, size_t dim, const float *features, const int32_t *labels,
                         size_t classes)
{
    if (!probe)
        return mio__settings_null("probe");
    if (classes < 1 || classes > INT32_MAX)
        return mio__fail(MIO_ERROR_ARGUMENT, "a probe needs 1 to 2147483647 classes, not %zu", classes);
    const mio__samples train = {count, features, labels}, none = {0};
    const mio_status status = check("probe features", &train, dim, classes);
    return status ? status : fit(probe, dim, classes, &train, &none);
}

mio_status mio_probe_fit_validated(mio_probe *probe, size_t count, size_t dim, const float *features,
                                   const int32_t *labels, size_t classes, size_t validation_count,
                                   const float *validation_features, const int32_t *validation_labels)
{
    if (!probe)
        return mio__settings_null("probe");
    if (classes < 1 || classes > INT32_MAX)
        return mio__fail(MIO_ERROR_ARGUMENT, "a probe needs 1 to 2147483647 classes, not %zu", classes);
    const mio__samples train = {count, features, labels};
    const mio__samples validation = {validation_count, validation_features, validation_labels};
    mio_status status = check("probe features", &train, dim, classes);
    if (!status)
        status = check("probe validation features", &validation, dim, classes);
    return status ? status : fit(probe, dim, classes, &train, &validation);
}

mio_status mio_probe_predict(mio_probe *probe, size_t count, size_t dim, const float *features, int32_t *predictions,
                             float *logits)
{
    if (!probe)
        return mio__settings_null("probe");
    if (!probe->linear.dim)
        return mio__fail(MIO_ERROR_STATE, "the probe has not been fitted; call mio_probe_fit first");
    if (dim != probe->linear.dim)
        return mio__fail(MIO_ERROR_ARGUMENT, "the features have %zu columns; the probe was fitted on %zu", dim,
                         probe->linear.dim);
    if (!predictions)
        return mio__fail(MIO_ERROR_ARGUMENT, "the place for the predictions is NULL");
    const mio_status status = mio__rows_check("features", count, dim, features);
    const mio__scaling scaling = {probe->mean, probe->deviation};
    return status ? status
                  : mio__linear_apply(&probe->linear, &scaling, count, features, NULL, predictions, logits, NULL);
}
