#define _POSIX_C_SOURCE 200809L
#include "allocator.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* In front of each block: what was asked for, and a mark that tells a live block from anything else. */
typedef struct header {
    size_t size, alignment;
    uint64_t mark;
} header;

static const uint64_t live = UINT64_C(0x6d696f2d6c697665), dead = UINT64_C(0x6d696f2d64656164);

/* Room for the header that keeps the block aligned. */
static size_t margin(size_t alignment)
{
    return alignment < 64 ? 64 : alignment;
}

static void *counted_alloc(void *user, size_t size, size_t alignment)
{
    test_allocator *a = user;
    const size_t request = atomic_fetch_add(&a->requests, 1) + 1;
    if (request >= a->fail_from && request <= a->fail_to)
        return NULL;
    void *memory;
    if (size > SIZE_MAX / 2 || posix_memalign(&memory, margin(alignment), size + margin(alignment)))
        return NULL;
    char *block = (char *)memory + margin(alignment);
    const header h = {size, alignment, live};
    memcpy(block - sizeof h, &h, sizeof h);
    /* No zeros by luck. */
    memset(block, 0xA5, size);
    atomic_fetch_add(&a->blocks, 1);
    const size_t bytes = atomic_fetch_add(&a->bytes, size) + size;
    size_t peak = a->peak;
    while (bytes > peak && !atomic_compare_exchange_weak(&a->peak, &peak, bytes))
        ;
    return block;
}

static void counted_free(void *user, void *pointer, size_t size, size_t alignment)
{
    test_allocator *a = user;
    header h;
    if (!pointer) {
        atomic_fetch_add(&a->mistakes, 1);
        return;
    }
    memcpy(&h, (char *)pointer - sizeof h, sizeof h);
    if (h.mark != live || h.size != size || h.alignment != alignment) {
        atomic_fetch_add(&a->mistakes, 1);
        return;
    }
    h.mark = dead;
    memcpy((char *)pointer - sizeof h, &h, sizeof h);
    memset(pointer, 0x5A, size);
    atomic_fetch_sub(&a->blocks, 1);
    atomic_fetch_sub(&a->bytes, size);
    free((char *)pointer - margin(alignment));
}

void test_allocator_init(test_allocator *allocator)
{
    memset(allocator, 0, sizeof *allocator);
    allocator->hook = (mio_allocator){sizeof allocator->hook, allocator, counted_alloc, counted_free};
}

void test_allocator_fail_at(test_allocator *allocator, size_t n)
{
    allocator->requests = 0;
    allocator->fail_from = allocator->fail_to = n;
}

void test_allocator_fail_from(test_allocator *allocator, size_t n)
{
    allocator->requests = 0;
    allocator->fail_from = n;
    allocator->fail_to = n ? SIZE_MAX : 0;
}

mio_context *test_allocator_context(test_allocator *allocator, size_t threads)
{
    const mio_context_options options = {sizeof options, &allocator->hook, NULL, NULL};
    mio_context *context;
    if (mio_context_create_with(&options, &context))
        return NULL;
    mio_context_set(context, "threads", (double)threads);
    return context;
}
