#define _POSIX_C_SOURCE 200809L
#include "common.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *program = "example";

_Noreturn void leave(int code, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    fflush(stdout);
    fprintf(stderr, "%s: ", program);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
    va_end(values);
    exit(code);
}

void check(mio_status status)
{
    if (status)
        leave(status == MIO_ERROR_ARGUMENT ? EXIT_USAGE : EXIT_FAILED, "%s", mio_last_error());
}

void close_written(FILE *file, const char *path)
{
    const int wrong = ferror(file);
    if (fclose(file) || wrong)
        leave(EXIT_FAILED, "cannot write '%s'", path);
}

void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    if (!memory)
        leave(EXIT_FAILED, "out of memory: %zu x %zu bytes", count, size);
    return memory;
}

double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- the command line ---- */

arguments arguments_of(int count, char **values)
{
    const char *slash = count ? strrchr(values[0], '/') : NULL;
    if (count)
        program = slash ? slash + 1 : values[0];
    return (arguments){count, 1, values};
}

bool option(arguments *line, const char *name)
{
    if (strcmp(line->values[line->next], name))
        return false;
    line->next++;
    return true;
}

const char *value(arguments *line, const char *owner)
{
    const char *found = optional_value(line);
    if (!found)
        leave(EXIT_USAGE, "%s needs a value; see --help", owner);
    return found;
}

const char *optional_value(arguments *line)
{
    if (line->next >= line->count || !strncmp(line->values[line->next], "--", 2))
        return NULL;
    return line->values[line->next++];
}

double number(arguments *line, const char *owner, double minimum, double maximum)
{
    const char *text = value(line, owner);
    char *end;
    const double parsed = strtod(text, &end);
    if (end == text || *end || !(parsed >= minimum && parsed <= maximum))
        leave(EXIT_USAGE, "%s takes a number from %g to %g, not '%s'", owner, minimum, maximum, text);
    return parsed;
}

_Noreturn void unknown_argument(const arguments *line)
{
    leave(EXIT_USAGE, "unknown argument '%s'; see --help", line->values[line->next]);
}

void print_names(const char *title, const char *(*name_at)(size_t))
{
    printf("%-12s", title);
    for (size_t i = 0; name_at(i); i++)
        printf(" %s", name_at(i));
    putchar('\n');
}

void print_parameter(const mio_parameter_info *info, double present)
{
    printf("  %-32s ", info->name);
    if (info->kind == MIO_PARAMETER_CHOICE) {
        for (size_t i = 0; i < info->choice_count; i++)
            printf("%s%s%s", i ? " | " : "", info->choices[i], (double)i == present ? "*" : "");
    } else if (info->kind == MIO_PARAMETER_BOOLEAN) {
        printf("%s", present != 0 ? "true" : "false");
    } else {
        printf("%g%s%s in %c%g, %g%c", present, *info->unit ? " " : "", info->unit, info->minimum_exclusive ? '(' : '[',
               info->minimum, info->maximum, info->maximum_exclusive ? ')' : ']');
    }
    printf("\n      %s\n", info->meaning);
}

void recipe_set_pair(mio_recipe *recipe, const char *pair)
{
    char name[128];
    const char *equals = strchr(pair, '=');
    if (!equals || (size_t)(equals - pair) >= sizeof name)
        leave(EXIT_USAGE, "--set takes NAME=VALUE, not '%s'", pair);
    snprintf(name, sizeof name, "%.*s", (int)(equals - pair), pair);
    check(mio_recipe_set_text(recipe, name, equals + 1));
}

/* ---- data ---- */

mio_dataset *dataset_for(mio_context *context, const mio_encoder *encoder, const char *format, const char *path,
                         const char *split)
{
    mio_dataset_options options = {.struct_size = sizeof options};
    mio_dataset *dataset;
    size_t channels;
    check(mio_encoder_input_shape(encoder, &channels, NULL, NULL));
    options.channels = channels == 3 ? 3 : 0;
    check(mio_dataset_open_with(context, format, path, split, &options, &dataset));
    return dataset;
}

int32_t *labels_of(const mio_dataset *dataset)
{
    const size_t count = mio_dataset_count(dataset);
    int32_t *labels = allocate(count, sizeof *labels);
    for (size_t i = 0; i < count; i++) {
        check(mio_dataset_label(dataset, i, &labels[i]));
        if (labels[i] < 0)
            leave(EXIT_FAILED, "image %zu has no label: accuracy needs a labelled dataset", i);
    }
    return labels;
}

float *features_of(mio_encoder *encoder, const mio_dataset *dataset, size_t *dim)
{
    check(mio_encoder_feature_dim(encoder, dim));
    float *features = allocate(mio_dataset_count(dataset), *dim * sizeof *features);
    check(mio_evaluate_embed(encoder, dataset, features));
    return features;
}

mio_encoder *untrained_copy(mio_context *context, const char *path, uint64_t seed)
{
    mio_encoder *encoder;
    check(mio_encoder_load(context, path, &encoder));
    check(mio_encoder_initialize(encoder, seed));
    return encoder;
}

/* ---- JSON lines ---- */

void json_number(FILE *file, const char *name, double number)
{
    fprintf(file, isfinite(number) ? "\"%s\": %.17g" : "\"%s\": null", name, number);
}

/* What follows `"name": ` in the line, or NULL. */
static const char *json_value_of(const char *line, const char *name)
{
    const size_t length = strlen(name);
    for (const char *at = strchr(line, '"'); at; at = strchr(at + 1, '"'))
        if (!strncmp(at + 1, name, length) && !strncmp(at + 1 + length, "\": ", 3))
            return at + length + 4;
    return NULL;
}

double json_number_in(const char *line, const char *name)
{
    const char *text = json_value_of(line, name);
    char *end = NULL;
    const double found = text ? strtod(text, &end) : NAN;
    return end == text ? NAN : found;
}

bool json_text_in(const char *line, const char *name, char *text, size_t capacity)
{
    const char *from = json_value_of(line, name);
    const size_t length = from && *from == '"' ? strcspn(from + 1, "\"") : capacity;
    if (length >= capacity)
        return false;
    memcpy(text, from + 1, length);
    text[length] = 0;
    return true;
}
