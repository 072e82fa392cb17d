/* An allocator hook that counts what is held and can refuse the n-th request: for tests of leaks and of running out of
   memory. Thread-safe. */
#ifndef TESTS_SUPPORT_ALLOCATOR_H
#define TESTS_SUPPORT_ALLOCATOR_H

#include <mio/context.h>
#include <stdatomic.h>

typedef struct test_allocator {
    mio_allocator hook;      /* give &allocator.hook to mio_context_options */
    atomic_size_t requests;  /* allocations asked for since init or the last arming, refused ones included */
    atomic_size_t fail_from; /* refuse request number fail_from (from 1) ... */
    atomic_size_t fail_to;   /* ... up to fail_to; 0, 0: none */
    atomic_size_t blocks;    /* held now */
    atomic_size_t bytes;     /* held now */
    atomic_size_t peak;      /* most bytes held at once */
    atomic_size_t mistakes;  /* frees with another size or alignment than asked for, or of what was not allocated */
} test_allocator;

void test_allocator_init(test_allocator *allocator);
/** Starts counting anew and refuses request number n (from 1), once; 0 refuses none. */
void test_allocator_fail_at(test_allocator *allocator, size_t n);
/** Starts counting anew and refuses request n and all after it. */
void test_allocator_fail_from(test_allocator *allocator, size_t n);
/** A context on this allocator with `threads` threads; NULL if it could not be made. */
mio_context *test_allocator_context(test_allocator *allocator, size_t threads);

#endif
