/* What the suites on readers share: a context, the dataset opened last, and what is expected of it. */
#ifndef TESTS_DATA_EXPECT_H
#define TESTS_DATA_EXPECT_H

#include "samples.h"

#include <check.h>

extern mio_context *context;
extern mio_dataset *dataset;

/** Fixtures: the folder of samples and the context. */
void expect_start(void);
void expect_stop(void);
/** Opens a path inside the samples' folder as `dataset`, letting go of the one before. */
void expect(const char *format, const char *name, const char *split, size_t count, size_t classes);
/** Opening is refused with this status and a message that holds these words. */
void expect_refusal(const char *format, const char *name, const char *split, mio_status status, const char *words);
/** Size, pixels and label of an image of `dataset`. */
void expect_image(size_t index, size_t height, size_t width, const uint8_t *pixels, int label);
/** Runs a suite of one case; the program's exit status. */
int expect_run(const char *name, size_t count, const TTest *const *tests);

#endif
