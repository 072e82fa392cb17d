/* Status codes, the last error, and named parameters. */
#define _POSIX_C_SOURCE 200809L
#include "suite.h"

#include "core/boundary.h"
#include "core/settings.h"
#include "core/status.h"

#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const reductions[] = {"balanced", "pooled", NULL};
static const mio__parameter table[] = {
    {"temperature", MIO_PARAMETER_REAL, 0.5, 0, INFINITY, 1, 1, NULL, "divides similarities", ""},
    {"offset", MIO_PARAMETER_REAL, -1, -INFINITY, INFINITY, 1, 1, NULL, "any number", ""},
    {"share", MIO_PARAMETER_REAL, 0.25, 0, 1, 0, 1, NULL, "a share", ""},
    {"queue_size", MIO_PARAMETER_INTEGER, 65536, 1, 1e6, 0, 0, NULL, "how many rows are kept", "rows"},
    {"nesterov", MIO_PARAMETER_BOOLEAN, 1, 0, 0, 0, 0, NULL, "looks ahead", NULL},
    {"reduction", MIO_PARAMETER_CHOICE, 0, 0, 0, 0, 0, reductions, "how rows are weighted", ""},
};
enum { COUNT = sizeof table / sizeof table[0] };

static mio__settings make_settings(void)
{
    mio__settings settings;
    mio__settings_init(&settings, "loss", "mio", table, COUNT);
    return settings;
}

static void assert_error(mio_status got, mio_status expected, const char *const *words)
{
    ck_assert_int_eq(got, expected);
    for (; *words; words++)
        ck_assert_msg(strstr(mio_last_error(), *words) != NULL, "'%s' is not in '%s'", *words, mio_last_error());
    ck_assert_msg(!strchr(mio_last_error(), '\n'), "more than one line: %s", mio_last_error());
}
#define ASSERT_REFUSED(call, ...) assert_error(call, MIO_ERROR_ARGUMENT, (const char *const[]){__VA_ARGS__, NULL})

START_TEST(status_names)
{
    static const char *const names[] = {
        "MIO_OK",           "MIO_ERROR_ARGUMENT",    "MIO_ERROR_MEMORY", "MIO_ERROR_IO",
        "MIO_ERROR_FORMAT", "MIO_ERROR_UNSUPPORTED", "MIO_ERROR_STATE",  "MIO_ERROR_CANCELLED",
        "MIO_ERROR_COMM",   "MIO_ERROR_INTERNAL"};
    for (int i = 0; i < 10; i++)
        ck_assert_str_eq(mio_status_name((mio_status)i), names[i]);
    ck_assert_str_eq(mio_status_name((mio_status)10), "MIO_STATUS_UNKNOWN");
    ck_assert_str_eq(mio_status_name((mio_status)-1), "MIO_STATUS_UNKNOWN");
    ck_assert_uint_eq(mio_version(), MIO_VERSION_MAJOR << 16 | MIO_VERSION_MINOR << 8 | MIO_VERSION_PATCH);
}
END_TEST

static void *fail_in_thread(void *argument)
{
    const int untouched = !strcmp(mio_last_error(), "");
    mio__fail(MIO_ERROR_IO, "thread %d", 7);
    *(int *)argument = untouched && !strcmp(mio_last_error(), "thread 7");
    return NULL;
}

START_TEST(last_error_belongs_to_its_thread)
{
    ck_assert_str_eq(mio_last_error(), "");
    ck_assert_int_eq(mio__fail(MIO_ERROR_FORMAT, "file '%s', offset %d", "a.mio", 12), MIO_ERROR_FORMAT);
    int good = 0;
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, fail_in_thread, &good), 0);
    pthread_join(thread, NULL);
    ck_assert(good);
    ck_assert_str_eq(mio_last_error(), "file 'a.mio', offset 12");
    /* One error may quote another, and a long one is cut. */
    mio__fail(MIO_ERROR_IO, "record 3: %s", mio_last_error());
    ck_assert_str_eq(mio_last_error(), "record 3: file 'a.mio', offset 12");
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    mio__fail(MIO_ERROR_IO, "%s", text);
    ck_assert_uint_gt(strlen(mio_last_error()), 255);
    ck_assert(!strncmp(mio_last_error(), text, strlen(mio_last_error())));
}
END_TEST

START_TEST(values_are_kept_and_checked)
{
    mio__settings s = make_settings();
    double value;
    for (size_t i = 0; i < COUNT; i++) {
        ck_assert_int_eq(mio__settings_get(&s, table[i].name, &value), MIO_OK);
        ck_assert_double_eq(value, table[i].initial);
    }
    static const struct {
        const char *name;
        double good, bad;
    } rows[] = {{"temperature", 1e-30, 0}, {"temperature", 3, -1},   {"temperature", 1e300, INFINITY},
                {"offset", -1e300, NAN},   {"offset", 0, -INFINITY}, {"share", 0, 1},
                {"share", 0.999, -1e-9},   {"queue_size", 1, 0},     {"queue_size", 1e6, 1e6 + 1},
                {"queue_size", 5, 4.5},    {"nesterov", 0, 2},       {"nesterov", 1, 0.5},
                {"reduction", 1, 2},       {"reduction", 0, -1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_int_eq(mio__settings_set(&s, rows[i].name, rows[i].good), MIO_OK);
        ASSERT_REFUSED(mio__settings_set(&s, rows[i].name, rows[i].bad), "loss 'mio'", rows[i].name, "it takes");
        ck_assert_int_eq(mio__settings_get(&s, rows[i].name, &value), MIO_OK);
        ck_assert_double_eq(value, rows[i].good);
    }
}
END_TEST

/* A table whose names do not fit into a message: the nearest are named, and where the others are to be found. */
START_TEST(long_tables_name_the_nearest)
{
    enum { LONG = MIO__SETTINGS_LIMIT };
    static char names[LONG][32];
    mio__parameter rows[LONG];
    for (int i = 0; i < LONG; i++) {
        snprintf(names[i], sizeof names[i], "some_parameter_%02d", i);
        rows[i] = table[0];
        rows[i].name = names[i];
    }
    rows[40].name = "crop_scale_min";
    rows[41].name = "hue_probability";
    rows[42].name = "hue";
    char given[2000];
    memset(given, 'x', sizeof given - 1);
    given[sizeof given - 1] = 0;
    mio__settings s;
    mio__settings_init(&s, "augment", "mio-small", rows, LONG);
    ASSERT_REFUSED(mio__settings_set(&s, "crop_scale_mni", 1),
                   "augment 'mio-small' has no parameter 'crop_scale_mni'; ", "nearest of its 48 are crop_scale_min, ",
                   "; mio_augment_parameter tells them all");
    ASSERT_REFUSED(mio__settings_set(&s, "hues", 1), "are hue, ");
    ASSERT_REFUSED(mio__settings_set(&s, "probability", 1), "are hue_probability, ");
    ASSERT_REFUSED(mio__settings_set(&s, "some_parametr_07", 1), "are some_parameter_07, ");
    ASSERT_REFUSED(mio__settings_set(&s, given, 1), "mio_augment_parameter tells them all");
    ASSERT_REFUSED(mio__settings_set(&s, "", 1), "mio_augment_parameter tells them all");
    ASSERT_REFUSED(mio__settings_set(&s, NULL, 1), "NULL", "mio_augment_parameter tells them all");
    mio__settings_init(&s, "loss", "none", rows, 0);
    ASSERT_REFUSED(mio__settings_set(&s, given, 1), "loss 'none'", "it has none");
}
END_TEST

START_TEST(refusals_name_culprit_and_remedy)
{
    mio__settings s = make_settings();
    double value;
    ASSERT_REFUSED(mio__settings_set(&s, "temprature", 1), "loss 'mio' has no parameter 'temprature'; it has",
                   "temperature", "offset", "share", "queue_size", "nesterov", "reduction");
    ASSERT_REFUSED(mio__settings_get(&s, "temprature", &value), "temprature", "temperature");
    ASSERT_REFUSED(mio__settings_set_text(&s, "Temperature", "1"), "'Temperature'");
    ASSERT_REFUSED(mio__settings_set(&s, NULL, 1), "NULL", "temperature");
    ASSERT_REFUSED(mio__settings_get(&s, "share", NULL), "NULL", "share");
    ASSERT_REFUSED(mio__settings_set(&s, "temperature", 0), "'temperature' cannot be 0", "a finite number > 0");
    ASSERT_REFUSED(mio__settings_set(&s, "share", 1.1), "1.1", ">= 0 and < 1");
    ASSERT_REFUSED(mio__settings_set(&s, "queue_size", 0.1), "cannot be 0.1;", "an integer >= 1 and <= 1000000");
    ASSERT_REFUSED(mio__settings_set(&s, "nesterov", 3), "0 or 1");
    ASSERT_REFUSED(mio__settings_set(&s, "reduction", 3), "0 (balanced), 1 (pooled)");
    ASSERT_REFUSED(mio__settings_set_text(&s, "reduction", "polled"), "'polled'", "0 (balanced), 1 (pooled)");
    ASSERT_REFUSED(mio__settings_set_text(&s, "temperature", NULL), "NULL");
    ASSERT_REFUSED(mio__settings_null("loss"), "loss handle is NULL", "create");
    mio__settings none;
    mio__settings_init(&none, "context", "", table, 0);
    ASSERT_REFUSED(mio__settings_set(&none, "threads", 1), "context has no parameter 'threads'; it has none");
}
END_TEST

static void assert_numbers(void)
{
    mio__settings s = make_settings();
    static const struct {
        const char *text;
        double value;
    } good[] = {{"0.1", 0.1},
                {"1e-4", 1e-4},
                {"-3", -3},
                {"+.5", .5},
                {"5.", 5},
                {"1E+3", 1000},
                {"0", 0},
                {"-0.0", 0},
                {"0.30000000000000004", 0.30000000000000004},
                {"1.7976931348623157e308", 1.7976931348623157e308},
                {"2.2250738585072014e-308", 2.2250738585072014e-308},
                {"0.000123456789012345678", 0.000123456789012345678},
                {"123456789012345678901234567890", 123456789012345678901234567890.0},
                {"1e-400", 0},
                {"4.9e-324", 4.9e-324},
                {"0.02", 0.02},
                {"1e22", 1e22},
                {"1e23", 1e23},
                {"0.0000001e7", 1}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        ck_assert_msg(mio__settings_set_text(&s, "offset", good[i].text) == MIO_OK, "'%s': %s", good[i].text,
                      mio_last_error());
        ck_assert_msg(s.values[1] == good[i].value, "'%s' gives %.17g", good[i].text, s.values[1]);
    }
    static const char *const bad[] = {"",      " ",   "1 ",   " 1",    "1,5", "0x10", "inf",   "nan",
                                      "-",     "+",   ".",    "e5",    "1e",  "1e+",  "1.2.3", "--1",
                                      "1e400", "one", "1e5x", "1_000", "-.",  ".e1",  "true"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_msg(mio__settings_set_text(&s, "offset", bad[i]) == MIO_ERROR_ARGUMENT, "'%s' is taken", bad[i]);
        ck_assert_ptr_nonnull(strstr(mio_last_error(), "offset"));
    }
}

START_TEST(text_gives_what_it_says)
{
    assert_numbers();
    mio__settings s = make_settings();
    ck_assert_int_eq(mio__settings_set_text(&s, "reduction", "pooled"), MIO_OK);
    ck_assert_double_eq(s.values[5], 1);
    ck_assert_int_eq(mio__settings_set_text(&s, "reduction", "0"), MIO_OK);
    ck_assert_double_eq(s.values[5], 0);
    ck_assert_int_eq(mio__settings_set_text(&s, "nesterov", "false"), MIO_OK);
    ck_assert_double_eq(s.values[4], 0);
    ck_assert_int_eq(mio__settings_set_text(&s, "nesterov", "true"), MIO_OK);
    ck_assert_double_eq(s.values[4], 1);
    ASSERT_REFUSED(mio__settings_set_text(&s, "nesterov", "yes"), "'yes'", "0 or 1");
    /* What %.17g writes comes back. */
    for (int i = 1; i < 2000; i++) {
        char text[40];
        const double value = exp(i * 0.7 - 690) / 3;
        snprintf(text, sizeof text, "%.17g", value);
        ck_assert_int_eq(mio__settings_set_text(&s, "offset", text), MIO_OK);
        ck_assert_double_eq(s.values[1], value);
    }
}
END_TEST

START_TEST(text_means_the_same_in_every_locale)
{
    static const char *const commas[] = {"de_DE.UTF-8", "de_DE.utf8",  "fr_FR.UTF-8",
                                         "fr_FR.utf8",  "it_IT.UTF-8", "de_DE"};
    for (size_t i = 0; i < sizeof commas / sizeof commas[0]; i++)
        if (setlocale(LC_ALL, commas[i])) {
            ck_assert_double_eq(strtod("1,5", NULL), 1.5);
            assert_numbers();
            ck_assert_double_eq(strtod("1,5", NULL), 1.5); /* still the host's */
            return;
        }
    /* None is installed: the C locale alone could be tried, and was. */
}
END_TEST

START_TEST(info_fills_what_the_caller_knows)
{
    mio__settings s = make_settings();
    mio_parameter_info info = {.struct_size = sizeof info};
    ck_assert_int_eq(mio__settings_info(&s, 5, &info), MIO_OK);
    ck_assert_str_eq(info.name, "reduction");
    ck_assert_int_eq(info.kind, MIO_PARAMETER_CHOICE);
    ck_assert_uint_eq(info.choice_count, 2);
    ck_assert_str_eq(info.choices[1], "pooled");
    ck_assert_double_eq(info.maximum, 1);
    ck_assert_int_eq(mio__settings_info(&s, 4, &info), MIO_OK);
    ck_assert_double_eq(info.minimum, 0);
    ck_assert_double_eq(info.maximum, 1);
    ck_assert_str_eq(info.unit, "");
    ck_assert_int_eq(mio__settings_info(&s, 0, &info), MIO_OK);
    ck_assert_double_eq(info.default_value, 0.5);
    ck_assert(isinf(info.maximum) && info.minimum_exclusive == 1);
    ck_assert_str_eq(info.meaning, "divides similarities");
    ck_assert_uint_eq(info.struct_size, sizeof info);
    /* An older caller's struct ends sooner, and a newer one's goes on. */
    memset(&info, 0x77, sizeof info);
    info.struct_size = offsetof(mio_parameter_info, minimum);
    ck_assert_int_eq(mio__settings_info(&s, 3, &info), MIO_OK);
    ck_assert_double_eq(info.default_value, 65536);
    for (size_t i = offsetof(mio_parameter_info, minimum); i < sizeof info; i++)
        ck_assert_int_eq(((const unsigned char *)&info)[i], 0x77);
    struct {
        mio_parameter_info info;
        double later;
    } newer = {.info = {.struct_size = sizeof newer}, .later = 42};
    ck_assert_int_eq(mio__settings_info(&s, 3, &newer.info), MIO_OK);
    ck_assert_str_eq(newer.info.unit, "rows");
    ck_assert_double_eq(newer.later, 42);
    ASSERT_REFUSED(mio__settings_info(&s, COUNT, &newer.info), "6", "loss");
    ASSERT_REFUSED(mio__settings_info(&s, 0, NULL), "NULL");
    info.struct_size = 0;
    ASSERT_REFUSED(mio__settings_info(&s, 0, &info), "struct_size");
}
END_TEST

/* Structs of callers with earlier and later headers, on their way in. */
START_TEST(structs_of_any_age_are_taken)
{
    typedef struct known {
        size_t struct_size;
        int32_t first, later;
    } known;
    const struct {
        known known;
        int32_t unknown;
    } newer = {{sizeof newer, 1, 2}, 3};
    const known older = {MIO__UP_TO(known, first), 4, 5}, broken = {sizeof(size_t), 6, 7};
    known taken;
    ck_assert_int_eq(mio__struct_take(&taken, sizeof taken, &newer, MIO__UP_TO(known, first), "known"), MIO_OK);
    ck_assert(taken.first == 1 && taken.later == 2);
    ck_assert_int_eq(mio__struct_take(&taken, sizeof taken, &older, MIO__UP_TO(known, first), "known"), MIO_OK);
    ck_assert(taken.first == 4 && taken.later == 0);
    ASSERT_REFUSED(mio__struct_take(&taken, sizeof taken, &broken, MIO__UP_TO(known, first), "known"), "sizeof(known)",
                   "8");
    ASSERT_REFUSED(mio__struct_take(&taken, sizeof taken, NULL, MIO__UP_TO(known, first), "known"), "known is NULL");
    /* And on their way out. */
    const known full = {0, 8, 9};
    known given = {MIO__UP_TO(known, first), 1, 2};
    ck_assert_int_eq(mio__struct_check(&given, MIO__UP_TO(known, first), "known"), MIO_OK);
    mio__struct_give(&given, &full, sizeof full);
    ck_assert(given.struct_size == MIO__UP_TO(known, first) && given.first == 8 && given.later == 2);
    ASSERT_REFUSED(mio__struct_check(&given, MIO__UP_TO(known, later), "known"), "sizeof(known)");
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("settings");
    tcase_add_test(tests, last_error_belongs_to_its_thread);
    tcase_add_test(tests, status_names);
    tcase_add_test(tests, structs_of_any_age_are_taken);
    tcase_add_test(tests, values_are_kept_and_checked);
    tcase_add_test(tests, refusals_name_culprit_and_remedy);
    tcase_add_test(tests, long_tables_name_the_nearest);
    tcase_add_test(tests, text_gives_what_it_says);
    tcase_add_test(tests, text_means_the_same_in_every_locale);
    tcase_add_test(tests, info_fills_what_the_caller_knows);
    return run_suite(suite_create("settings"), tests);
}
