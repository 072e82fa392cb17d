/* What the trainer sees of a loader: its parts and its place. */
#ifndef MIO_DATA_LOADER_H
#define MIO_DATA_LOADER_H

#include <mio/augment.h>

/** The parts it was made from, borrowed. */
mio_dataset *mio__loader_dataset(const mio_loader *loader);
mio_augment *mio__loader_augment(const mio_loader *loader);
/** Which batch mio_loader_next gives next. */
void mio__loader_position(const mio_loader *loader, uint64_t *epoch, uint64_t *step);
/** Goes back to a place that mio__loader_position gave, and throws away what was assembled ahead. */
void mio__loader_return(mio_loader *loader, uint64_t epoch, uint64_t step);

#endif
