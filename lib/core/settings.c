#define _POSIX_C_SOURCE 200809L /* uselocale */
#include "core/settings.h"

#include "core/boundary.h"
#include "core/status.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mio__settings_init(mio__settings *settings, const char *noun, const char *name, const mio__parameter *table,
                        size_t count)
{
    settings->noun = noun;
    settings->name = name;
    settings->table = table;
    settings->count = count;
    settings->check = NULL;
    for (size_t i = 0; i < count; i++)
        settings->values[i] = table[i].initial;
}

mio_status mio__settings_null(const char *noun)
{
    return mio__fail(MIO_ERROR_ARGUMENT, "the %s handle is NULL; create it first", noun);
}

/* "loss 'mio'" or, for a noun of one kind, "context". */
static const char *settings_title(const mio__settings *settings, char *buffer, size_t size)
{
    if (settings->name[0])
        snprintf(buffer, size, "%s '%s'", settings->noun, settings->name);
    else
        snprintf(buffer, size, "%s", settings->noun);
    return buffer;
}

static size_t choice_count(const mio__parameter *row)
{
    size_t count = 0;
    while (row->choices && row->choices[count])
        count++;
    return count;
}

enum { NAME_LIMIT = 60, NEAREST = 4 }; /* bytes of a name that count; how many names are proposed */

/* How many letters of one name must be changed, added or dropped to make the other; 0 also where one holds the
   other. */
static size_t name_distance(const char *given, const char *name)
{
    size_t
        row[NAME_LIMIT + 1]; /* of Levenshtein's table: distances from what has been read of name to each given[0..j) */
    const size_t length = strnlen(given, NAME_LIMIT);
    if (length && (strstr(name, given) || strstr(given, name)))
        return 0;
    for (size_t j = 0; j <= length; j++)
        row[j] = j;
    for (size_t i = 0; name[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < length; j++) {
            const size_t changed = diagonal + (given[j] != name[i]);
            const size_t shorter = row[j] < row[j + 1] ? row[j] : row[j + 1];
            diagonal = row[j + 1];
            row[j + 1] = changed < shorter + 1 ? changed : shorter + 1;
        }
    }
    return row[length];
}

/* The names of the table in its order, with commas; 0 if they do not fit. */
static int list_names(const mio__settings *settings, char *buffer, size_t size)
{
    size_t used = (size_t)snprintf(buffer, size, "%s", settings->count ? "it has " : "it has none");
    for (size_t i = 0; i < settings->count && used < size; i++)
        used += (size_t)snprintf(buffer + used, size - used, "%s%s", i ? ", " : "", settings->table[i].name);
    return used < size;
}

/* Of a table too long to list: the names nearest to the given one, and where to find the others. */
static void list_nearest(const mio__settings *settings, const char *given, char *buffer, size_t size)
{
    size_t distances[MIO__SETTINGS_LIMIT];
    for (size_t i = 0; i < settings->count; i++)
        distances[i] = name_distance(given, settings->table[i].name);
    size_t used = (size_t)snprintf(buffer, size, "nearest of its %zu are ", settings->count);
    for (size_t k = 0; k < NEAREST && used < size; k++) {
        size_t best = 0;
        for (size_t i = 1; i < settings->count; i++)
            best = distances[i] < distances[best] ? i : best;
        distances[best] = SIZE_MAX;
        used += (size_t)snprintf(buffer + used, size - used, "%s%s", k ? ", " : "", settings->table[best].name);
    }
    if (used < size)
        snprintf(buffer + used, size - used, "; mio_%s_parameter tells them all", settings->noun);
}

/* Index of a parameter, or settings->count after recording who has what. */
static size_t settings_find(const mio__settings *settings, const char *parameter)
{
    for (size_t i = 0; parameter && i < settings->count; i++)
        if (!strcmp(parameter, settings->table[i].name))
            return i;
    char title[96], known[320];
    if (!list_names(settings, known, sizeof known))
        list_nearest(settings, parameter ? parameter : "", known, sizeof known);
    settings_title(settings, title, sizeof title);
    if (parameter)
        mio__fail(MIO_ERROR_ARGUMENT, "%s has no parameter '%.*s'; %s", title, NAME_LIMIT, parameter, known);
    else
        mio__fail(MIO_ERROR_ARGUMENT, "the parameter name for %s is NULL; %s", title, known);
    return settings->count;
}

static int value_fits(const mio__parameter *row, double value)
{
    if (!isfinite(value))
        return 0;
    if (row->kind != MIO_PARAMETER_REAL && value != floor(value))
        return 0;
    if (row->kind == MIO_PARAMETER_BOOLEAN)
        return value == 0 || value == 1;
    if (row->kind == MIO_PARAMETER_CHOICE)
        return value >= 0 && value < (double)choice_count(row);
    return (row->minimum_exclusive ? value > row->minimum : value >= row->minimum) &&
           (row->maximum_exclusive ? value < row->maximum : value <= row->maximum);
}

/* What the parameter accepts, in words. */
static void describe_range(const mio__parameter *row, char *buffer, size_t size)
{
    if (row->kind == MIO_PARAMETER_BOOLEAN) {
        snprintf(buffer, size, "0 or 1");
    } else if (row->kind == MIO_PARAMETER_CHOICE) {
        size_t used = 0;
        for (size_t i = 0; row->choices[i] && used < size; i++)
            used += (size_t)snprintf(buffer + used, size - used, "%s%zu (%s)", i ? ", " : "", i, row->choices[i]);
    } else {
        const char *what = row->kind == MIO_PARAMETER_INTEGER ? "an integer" : "a finite number";
        int used = snprintf(buffer, size, "%s", what);
        if (isfinite(row->minimum))
            used += snprintf(buffer + used, size - (size_t)used, " %s %.16g",
                             row->minimum_exclusive ? ">" : ">=", row->minimum);
        if (isfinite(row->maximum))
            snprintf(buffer + used, size - (size_t)used, "%s %s %.16g", isfinite(row->minimum) ? " and" : "",
                     row->maximum_exclusive ? "<" : "<=", row->maximum);
    }
}

static mio_status refuse(const mio__settings *settings, const mio__parameter *row, const char *given)
{
    char title[96], range[256];
    settings_title(settings, title, sizeof title);
    describe_range(row, range, sizeof range);
    return mio__fail(MIO_ERROR_ARGUMENT, "%s: '%s' cannot be %s; it takes %s", title, row->name, given, range);
}

mio_status mio__settings_set(mio__settings *settings, const char *parameter, double value)
{
    const size_t index = settings_find(settings, parameter);
    if (index == settings->count)
        return MIO_ERROR_ARGUMENT;
    if (!value_fits(&settings->table[index], value)) {
        char given[40];
        snprintf(given, sizeof given, "%.16g", value);
        return refuse(settings, &settings->table[index], given);
    }
    const mio_status status = settings->check ? settings->check(index, value) : MIO_OK;
    if (!status)
        settings->values[index] = value;
    return status;
}

static const char *skip_digits(const char *text)
{
    while (*text >= '0' && *text <= '9')
        text++;
    return text;
}

/* Digits with at most one point, an optional sign and an optional exponent, and nothing else. */
static int is_decimal(const char *text)
{
    text += *text == '-' || *text == '+';
    const char *whole = skip_digits(text);
    const char *fraction = *whole == '.' ? skip_digits(whole + 1) : whole;
    if (fraction - text - (*whole == '.') == 0)
        return 0;
    if (*fraction == 'e' || *fraction == 'E') {
        const char *exponent = fraction + 1 + (fraction[1] == '-' || fraction[1] == '+');
        fraction = skip_digits(exponent);
        if (fraction == exponent)
            return 0;
    }
    return *fraction == 0;
}

/* A number in the C locale's notation whatever the host's locale is. */
static int parse_number(const char *text, double *value)
{
    if (!is_decimal(text))
        return 0;
    const locale_t plain = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    if (!plain)
        return 0;
    const locale_t before = uselocale(plain);
    *value = strtod(text, NULL);
    uselocale(before);
    freelocale(plain);
    return 1;
}

mio_status mio__settings_set_text(mio__settings *settings, const char *parameter, const char *text)
{
    const size_t index = settings_find(settings, parameter);
    if (index == settings->count)
        return MIO_ERROR_ARGUMENT;
    const mio__parameter *row = &settings->table[index];
    if (!text)
        return refuse(settings, row, "NULL");
    for (size_t i = 0; row->kind == MIO_PARAMETER_CHOICE && row->choices[i]; i++)
        if (!strcmp(text, row->choices[i]))
            return mio__settings_set(settings, parameter, (double)i);
    if (row->kind == MIO_PARAMETER_BOOLEAN && (!strcmp(text, "true") || !strcmp(text, "false")))
        return mio__settings_set(settings, parameter, text[0] == 't');
    double value;
    if (parse_number(text, &value))
        return mio__settings_set(settings, parameter, value);
    char given[80];
    snprintf(given, sizeof given, "'%.60s'", text);
    return refuse(settings, row, given);
}

mio_status mio__settings_get(const mio__settings *settings, const char *parameter, double *value)
{
    const size_t index = settings_find(settings, parameter);
    if (index == settings->count)
        return MIO_ERROR_ARGUMENT;
    if (!value)
        return mio__fail(MIO_ERROR_ARGUMENT, "the place for the value of '%s' is NULL", parameter);
    *value = settings->values[index];
    return MIO_OK;
}

mio_status mio__settings_info(const mio__settings *settings, size_t index, mio_parameter_info *info)
{
    if (index >= settings->count)
        return mio__fail(MIO_ERROR_ARGUMENT, "%s has %zu parameters; there is no index %zu", settings->noun,
                         settings->count, index);
    const mio_status status = mio__struct_check(info, MIO__UP_TO(mio_parameter_info, name), "mio_parameter_info");
    if (status)
        return status;
    const mio__parameter *row = &settings->table[index];
    const int boolean = row->kind == MIO_PARAMETER_BOOLEAN, choice = row->kind == MIO_PARAMETER_CHOICE;
    const size_t choices = choice_count(row);
    const mio_parameter_info full = {
        .name = row->name,
        .kind = row->kind,
        .default_value = row->initial,
        .minimum = boolean || choice ? 0 : row->minimum,
        .maximum = boolean  ? 1
                   : choice ? (double)choices - 1
                            : row->maximum,
        .minimum_exclusive = row->minimum_exclusive,
        .maximum_exclusive = row->maximum_exclusive,
        .choice_count = choices,
        .choices = row->choices,
        .meaning = row->meaning,
        .unit = row->unit ? row->unit : "",
    };
    mio__struct_give(info, &full, sizeof full);
    return MIO_OK;
}
