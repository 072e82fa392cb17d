/* Names of the images in a folder, in the order in which dataset format "flat" has them. */
#ifndef EXAMPLES_NAMES_H
#define EXAMPLES_NAMES_H

#include <stddef.h>

/** Paths below folder, count of them; release with image_names_free. Leaves if there are not exactly `count`. */
char **image_names(const char *folder, size_t count);
void image_names_free(char **names, size_t count);

#endif
