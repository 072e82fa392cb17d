/* The module: what index.js is made of. */
#include "addon.h"

static napi_value version(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    return of_number(&c, mio_version());
}

static const entry common_entries[] = {ENTRY(version), {"close", close_object}, {NULL, NULL}};

static const entry *const lists[] = {
    common_entries, context_entries, encoder_entries,  data_entries,  augment_entries,
    loss_entries,   optim_entries,   analysis_entries, train_entries, evaluate_entries,
};

NAPI_MODULE_INIT()
{
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        for (const entry *e = lists[i]; e->name; e++) {
            napi_value function;
            if (napi_create_function(env, e->name, NAPI_AUTO_LENGTH, e->function, NULL, &function) != napi_ok ||
                napi_set_named_property(env, exports, e->name, function) != napi_ok)
                return NULL;
        }
    return exports;
}
