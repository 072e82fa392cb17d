#include "addon.h"

NOUN(context, 0)
PARAMETERS(context)
MAKER(context, context_create, (void)0, mio_context_create(&made))

static napi_value context_target(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    void *context = handle(&c, 0);
    return c.failed ? NULL : of_text(&c, mio_context_target(context));
}

const entry context_entries[] = {
    ENTRY(context_create), ENTRY(context_set), ENTRY(context_get), ENTRY(context_target), {NULL, NULL},
};
