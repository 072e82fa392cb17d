/* Calls on threads of their own: promises. */
#include "addon.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct later {
    const task *kind;
    void *what;
    mio_status status;
    char message[512];
    napi_deferred promise;
    napi_async_work work;
} later;

static void run_later(napi_env env, void *data)
{
    later *l = data;
    (void)env;
    l->status = l->kind->run(l->what);
    snprintf(l->message, sizeof l->message, "%s", l->status ? mio_last_error() : "");
}

static void drop_later(napi_env env, later *l)
{
    if (l->work)
        napi_delete_async_work(env, l->work);
    l->kind->release(env, l->what);
    free(l);
}

static void finish_later(napi_env env, napi_status ended, void *data)
{
    later *l = data;
    call c = {.env = env};
    if (ended != napi_ok) /* it never ran */
        l->status = MIO_ERROR_CANCELLED;
    napi_value error = NULL, result = l->status ? NULL : l->kind->answer(&c, l->what);
    if (result) {
        napi_resolve_deferred(env, l->promise, result);
    } else {
        napi_create_error(env, of_text(&c, mio_status_name(l->status ? l->status : MIO_ERROR_MEMORY)),
                          of_text(&c, l->status ? l->message : "out of memory"), &error);
        napi_reject_deferred(env, l->promise, error);
    }
    drop_later(env, l);
}

napi_value start_task(call *c, const task *kind, void *what)
{
    napi_value promise = NULL, label = of_text(c, kind->name);
    later *l = calloc(1, sizeof *l);
    if (!l) {
        kind->release(c->env, what);
        refuse_memory(c);
        return NULL;
    }
    l->kind = kind;
    l->what = what;
    if (napi_create_promise(c->env, &l->promise, &promise) != napi_ok ||
        napi_create_async_work(c->env, NULL, label, run_later, finish_later, l, &l->work) != napi_ok ||
        napi_queue_async_work(c->env, l->work) != napi_ok) {
        drop_later(c->env, l);
        refuse_memory(c);
        return NULL;
    }
    return promise;
}
