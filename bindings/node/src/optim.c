#include "addon.h"

NOUN(optimizer, 0)
NOUN(schedule, 0)
PARAMETERS(optimizer)
PARAMETERS(schedule)
NAMES(optimizer_name_at, mio_optimizer_name_at)
NAMES(schedule_name_at, mio_schedule_name_at)
MAKER(optimizer, optimizer_create, void *context = handle(&c, 0);
      const char *name = text(&c, 1), mio_optimizer_create(context, name, &made))
MAKER(schedule, schedule_create, void *context = handle(&c, 0);
      const char *name = text(&c, 1), mio_schedule_create(context, name, &made))

/* schedule, step, steps of an epoch */
static napi_value schedule_at(napi_env env, napi_callback_info info)
{
    call c;
    double rate = 0;
    begin(&c, env, info);
    void *schedule = handle(&c, 0);
    const size_t step = size(&c, 1), steps_per_epoch = size(&c, 2);
    if (!c.failed)
        check(&c, mio_schedule_at(schedule, step, steps_per_epoch, &rate));
    return c.failed ? NULL : of_number(&c, rate);
}

const entry optim_entries[] = {
    ENTRY(optimizer_create), ENTRY(optimizer_set), ENTRY(optimizer_get), ENTRY(optimizer_name_at),
    ENTRY(schedule_create),  ENTRY(schedule_set),  ENTRY(schedule_get),  ENTRY(schedule_name_at),
    ENTRY(schedule_at),      {NULL, NULL},
};
