/* Arguments and results of one call from JavaScript. */
#include "addon.h"

#include <stdlib.h>
#include <string.h>

void begin(call *c, napi_env env, napi_callback_info info)
{
    size_t count = ARGUMENTS;
    c->env = env;
    c->failed = c->texts = 0;
    napi_get_cb_info(env, info, &count, c->arguments, NULL, NULL); /* missing ones are undefined */
}

/* ---- refusals ---- */

void refuse(call *c, const char *what)
{
    if (!c->failed)
        napi_throw_type_error(c->env, mio_status_name(MIO_ERROR_ARGUMENT), what);
    c->failed = 1;
}

void refuse_size(call *c, const char *what)
{
    if (!c->failed)
        napi_throw_range_error(c->env, mio_status_name(MIO_ERROR_ARGUMENT), what);
    c->failed = 1;
}

void refuse_memory(call *c)
{
    if (!c->failed)
        napi_throw_error(c->env, mio_status_name(MIO_ERROR_MEMORY), "out of memory");
    c->failed = 1;
}

void check(call *c, mio_status status)
{
    bool thrown = false;
    if (status == MIO_OK || c->failed)
        return;
    napi_is_exception_pending(c->env, &thrown);
    if (!thrown)
        napi_throw_error(c->env, mio_status_name(status), mio_last_error());
    c->failed = 1;
}

/* ---- arguments ---- */

napi_valuetype kind_of(const call *c, size_t index)
{
    napi_valuetype kind = napi_undefined;
    napi_typeof(c->env, c->arguments[index], &kind);
    return kind;
}

int is_absent(const call *c, size_t index)
{
    const napi_valuetype kind = kind_of(c, index);
    return kind == napi_undefined || kind == napi_null;
}

/* What an external points to. */
typedef struct holder {
    void *object; /* NULL once closed */
    release_function release;
    int64_t bytes; /* that the collector is told of */
} holder;

static holder *holder_of(call *c, size_t index)
{
    void *pointer = NULL;
    if (kind_of(c, index) != napi_external || napi_get_value_external(c->env, c->arguments[index], &pointer) != napi_ok)
        refuse(c, "a libmio object is expected");
    return pointer;
}

void *handle(call *c, size_t index)
{
    const holder *h = holder_of(c, index);
    if (h && !h->object)
        refuse(c, "the object has been closed");
    return h ? h->object : NULL;
}

void *handle_or_null(call *c, size_t index)
{
    return is_absent(c, index) ? NULL : handle(c, index);
}

double number(call *c, size_t index)
{
    double value = 0;
    if (kind_of(c, index) != napi_number || napi_get_value_double(c->env, c->arguments[index], &value) != napi_ok)
        refuse(c, "a number is expected");
    return value;
}

size_t size(call *c, size_t index)
{
    const double value = number(c, index);
    if (!c->failed && !(value >= 0 && value <= 9007199254740991.0 && value == (double)(size_t)value))
        refuse_size(c, "a whole number of at least 0 is expected");
    return c->failed ? 0 : (size_t)value;
}

const char *text(call *c, size_t index)
{
    size_t length = 0;
    char *place = c->text[c->texts < TEXTS ? c->texts++ : TEXTS - 1];
    place[0] = 0;
    if (kind_of(c, index) != napi_string ||
        napi_get_value_string_utf8(c->env, c->arguments[index], place, TEXT_SIZE, &length) != napi_ok)
        refuse(c, "a string is expected");
    else if (length == TEXT_SIZE - 1 || strlen(place) != length)
        refuse(c, "a string is too long or holds a zero character");
    return place;
}

const char *text_or_null(call *c, size_t index)
{
    return is_absent(c, index) ? NULL : text(c, index);
}

void *array(call *c, size_t index, napi_typedarray_type type, size_t count)
{
    static double nothing; /* where an empty array is: it has no place */
    napi_typedarray_type found;
    size_t length;
    void *values;
    bool is_array = false;
    if (is_absent(c, index))
        return NULL;
    if (napi_is_typedarray(c->env, c->arguments[index], &is_array) != napi_ok || !is_array ||
        napi_get_typedarray_info(c->env, c->arguments[index], &found, &length, &values, NULL, NULL) != napi_ok) {
        refuse(c, "a typed array is expected");
        return NULL;
    }
    /* Buffers are Uint8Arrays; clamped ones hold the same bytes. */
    if (found != type && !(type == napi_uint8_array && found == napi_uint8_clamped_array))
        refuse(c, "a typed array of another type is expected");
    else if (length != count)
        refuse_size(c, "a typed array has another length than its shape");
    return c->failed ? NULL : values ? values : &nothing;
}

void *needed(call *c, size_t index, napi_typedarray_type type, size_t count)
{
    if (!c->failed && is_absent(c, index))
        refuse(c, "a typed array is expected");
    return array(c, index, type, count);
}

napi_typedarray_type type_of(const call *c, size_t index)
{
    napi_typedarray_type type = napi_float32_array;
    bool is_array = false;
    if (!c->failed && napi_is_typedarray(c->env, c->arguments[index], &is_array) == napi_ok && is_array)
        napi_get_typedarray_info(c->env, c->arguments[index], &type, NULL, NULL, NULL, NULL);
    return type == napi_float64_array ? type : napi_float32_array;
}

size_t product(call *c, const size_t *extents, size_t count)
{
    size_t all = 1;
    for (size_t i = 0; i < count; i++)
        if (__builtin_mul_overflow(all, extents[i], &all) || all > (size_t)1 << 53)
            refuse_size(c, "the shape is too large");
    return c->failed ? 0 : all;
}

size_t area(call *c, size_t rows, size_t columns)
{
    return product(c, (size_t[]){rows, columns}, 2);
}

/* ---- results ---- */

napi_value of_number(const call *c, double value)
{
    napi_value made = NULL;
    napi_create_double(c->env, value, &made);
    return made;
}

napi_value of_text(const call *c, const char *value)
{
    napi_value made = NULL;
    if (value)
        napi_create_string_utf8(c->env, value, NAPI_AUTO_LENGTH, &made);
    else
        napi_get_null(c->env, &made);
    return made;
}

static void let_go(napi_env env, holder *h)
{
    int64_t all;
    if (!h->object)
        return;
    h->release(h->object);
    h->object = NULL;
    napi_adjust_external_memory(env, -h->bytes, &all);
}

static void finalize(napi_env env, void *data, void *unused)
{
    (void)unused;
    let_go(env, data);
    free(data);
}

napi_value of_handle(call *c, void *object, release_function release, int64_t bytes)
{
    napi_value made = NULL;
    int64_t all;
    if (c->failed)
        return NULL;
    holder *h = malloc(sizeof *h);
    if (!h || napi_create_external(c->env, h, finalize, NULL, &made) != napi_ok) {
        release(object);
        free(h);
        refuse_memory(c);
        return NULL;
    }
    *h = (holder){object, release, bytes};
    napi_adjust_external_memory(c->env, bytes, &all);
    return made;
}

napi_value close_object(napi_env env, napi_callback_info info)
{
    call c;
    begin(&c, env, info);
    holder *h = holder_of(&c, 0);
    if (h)
        let_go(env, h);
    return NULL;
}

void put(const call *c, napi_value object, const char *name, napi_value value)
{
    napi_set_named_property(c->env, object, name, value);
}
