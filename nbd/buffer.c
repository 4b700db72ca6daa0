/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory for the data of requests, in sizes that are powers of two. What is given back is kept for
 * the next request, as far as it is not much: each loop asks the server how much it may keep.
 */
#include "nbd/internal.h"
#include "util/size.h"
#include <stdatomic.h>

enum {
    SMALLEST = 4 << 10,
    KEPT_MAX = 32 << 20, /* bytes, by one loop */
};

/* At the start of a buffer that nobody uses. */
struct NbdFreeBuffer {
    NbdFreeBuffer *next;
};

G_STATIC_ASSERT((uint64_t)SMALLEST << (NBD_BUFFER_CLASSES - 1) == NBD_PAYLOAD_MAX);

static unsigned class_of(size_t len)
{
    return len <= SMALLEST ? 0 : g_bit_storage(len - 1) - (g_bit_storage(SMALLEST) - 1);
}

void *nbd_buffer_take(NbdBuffers *b, size_t len)
{
    unsigned class = class_of(len);
    NbdFreeBuffer *f = b->free[class];

    g_assert(len <= NBD_PAYLOAD_MAX);
    if (!f)
        return aligned_try_alloc((size_t)SMALLEST << class);
    b->free[class] = f->next;
    b->bytes -= (size_t)SMALLEST << class;
    return f;
}

/* May @b keep @size bytes more? It has that right until it is trimmed. */
static bool may_keep(NbdBuffers *b, size_t size)
{
    size_t wanted, left = *b->left;

    if (b->bytes + size <= b->may_keep)
        return true;
    if (b->bytes + size > KEPT_MAX)
        return false;
    wanted = b->bytes + size - b->may_keep;
    do {
        if (wanted > left)
            return false;
    } while (!atomic_compare_exchange_weak(b->left, &left, left - wanted));
    b->may_keep += wanted;
    return true;
}

void nbd_buffer_give(NbdBuffers *b, void *p, size_t len)
{
    unsigned class = class_of(len);
    size_t size = (size_t)SMALLEST << class;
    NbdFreeBuffer *f = p;

    if (!p)
        return;
    if (!may_keep(b, size)) {
        aligned_free(p);
        return;
    }
    f->next = b->free[class];
    b->free[class] = f;
    b->bytes += size;
}

void nbd_buffers_trim(NbdBuffers *b)
{
    for (unsigned i = 0; i < NBD_BUFFER_CLASSES; i++)
        while (b->free[i]) {
            NbdFreeBuffer *f = b->free[i];

            b->free[i] = f->next;
            aligned_free(f);
        }
    b->bytes = 0;
    *b->left += b->may_keep;
    b->may_keep = 0;
}
