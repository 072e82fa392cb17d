/* The main function that the suites of this folder share. */
#ifndef TESTS_CORE_SUITE_H
#define TESTS_CORE_SUITE_H

#include <check.h>

static inline int run_suite(Suite *suite, TCase *tests)
{
    tcase_set_timeout(tests, 60);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}

#endif
