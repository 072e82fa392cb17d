#include "core/status.h"

#include <mio/evaluate.h>

mio_status mio_evaluate_accuracy(size_t count, const int32_t *labels, const int32_t *predictions, double *accuracy)
{
    if (!count || !labels || !predictions || !accuracy)
        return mio__fail(MIO_ERROR_ARGUMENT, "accuracy needs at least one label and its prediction, and a place for "
                                             "the result");
    size_t equal = 0;
    for (size_t i = 0; i < count; i++)
        equal += labels[i] == predictions[i];
    *accuracy = (double)equal / (double)count;
    return MIO_OK;
}
