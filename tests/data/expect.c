#include "expect.h"

#include <stdlib.h>
#include <string.h>

mio_context *context;
mio_dataset *dataset;

void expect_start(void)
{
    sample_begin();
    dataset = NULL;
    ck_assert_int_eq(mio_context_create(&context), MIO_OK);
}

void expect_stop(void)
{
    mio_dataset_release(dataset);
    mio_context_release(context);
    sample_end();
}

void expect(const char *format, const char *name, const char *split, size_t count, size_t classes)
{
    mio_dataset_release(dataset);
    dataset = NULL;
    const mio_status status = mio_dataset_open(context, format, sample_path(name), split, &dataset);
    ck_assert_msg(!status, "%s %s: %s", format, name, mio_last_error());
    ck_assert_uint_eq(mio_dataset_count(dataset), count);
    ck_assert_uint_eq(mio_dataset_class_count(dataset), classes);
}

void expect_refusal(const char *format, const char *name, const char *split, mio_status status, const char *words)
{
    mio_dataset *none = NULL;
    ck_assert_int_eq(mio_dataset_open(context, format, sample_path(name), split, &none), status);
    ck_assert_msg(strstr(mio_last_error(), words), "'%s' is not in: %s", words, mio_last_error());
    ck_assert_ptr_null(none);
}

void expect_image(size_t index, size_t height, size_t width, const uint8_t *pixels, int label)
{
    size_t real_height, real_width;
    int32_t real_label;
    ck_assert_int_eq(mio_dataset_image_size(dataset, index, &real_height, &real_width), MIO_OK);
    ck_assert_uint_eq(real_height, height);
    ck_assert_uint_eq(real_width, width);
    const size_t size = height * width * mio_dataset_channels(dataset);
    uint8_t *real = malloc(size);
    ck_assert_int_eq(mio_dataset_image(dataset, index, size, real), MIO_OK);
    ck_assert_mem_eq(real, pixels, size);
    free(real);
    ck_assert_int_eq(mio_dataset_label(dataset, index, &real_label), MIO_OK);
    ck_assert_int_eq(real_label, label);
}

int expect_run(const char *name, size_t count, const TTest *const *tests)
{
    TCase *cases = tcase_create(name);
    tcase_add_checked_fixture(cases, expect_start, expect_stop);
    tcase_set_timeout(cases, 60);
    for (size_t i = 0; i < count; i++)
        tcase_add_test(cases, tests[i]);
    Suite *suite = suite_create(name);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
