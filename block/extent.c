/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What ranges of nodes are made of: one layer, and whole backing chains.
 *
 * An answer says no more than the driver knows for certain: what it calls zero reads as zeroes.
 */
#include "block/internal.h"
#include "util/trace.h"
#include <inttypes.h>

/* The answer of a driver without an extent operation. */
static CO int extent_default(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    if (n->drv->kind == BLK_FILTER)
        return node_extent(node_filtered(n), off, len, precise, e);
    *e = (Extent){ .len = len, .flags = EXTENT_DATA | EXTENT_ALLOCATED };
    if (n->drv->kind == BLK_PROTOCOL) {
        e->flags |= EXTENT_HOST;
        e->host = n;
        e->host_off = off;
    }
    return 0;
}

/* What the file says of data in it: it may have a hole there, and there are zeroes past its end. */
static CO int extent_refine(Extent *e, bool precise)
{
    Extent sub;
    int r;

    if (!precise)
        return 0;
    r = node_extent(e->host, e->host_off, e->len, precise, &sub);
    if (r < 0)
        return r;
    e->flags |= sub.len ? sub.flags & EXTENT_ZERO : EXTENT_ZERO;
    if (sub.len)
        e->len = MIN(e->len, sub.len);
    return 0;
}

/*
 * The answer of the node below instead of ours; what it leaves to its backing files is not
 * allocated in it, but may be data.
 */
static CO int extent_take_below(Extent *e, bool precise)
{
    Node *below = e->host;
    uint64_t off = e->host_off, len = e->len;
    int r = node_extent(below, off, len, precise, e);

    if (r >= 0 && !e->len) {
        *e = (Extent){ .len = len, .flags = EXTENT_ZERO | EXTENT_ALLOCATED };
    } else if (r >= 0 && !(e->flags & (EXTENT_ALLOCATED | EXTENT_ZERO)) &&
               node_backing_chain_next(below)) {
        r = node_extent_above(below, NULL, off, e->len, precise, e, NULL);
        e->flags &= EXTENT_DATA | EXTENT_ZERO;
    }
    e->flags &= ~EXTENT_EOF;
    return r;
}

/*
 * What @n does not decide: zeroes in formats with backing files, unless one reaches that far;
 * unknown elsewhere (null-co).
 */
static void extent_unallocated(const Node *n, uint64_t off, Extent *e)
{
    const Node *backing = node_backing(n);

    if (!node_may_have_backing(n))
        return;
    if (!backing) {
        if (!n->backing_stored || !(n->flags & (OPEN_NO_BACKING | OPEN_GIVEN_BACKING)))
            e->flags |= EXTENT_ZERO;
    } else if (off >= backing->size) {
        e->flags |= EXTENT_ZERO;
    } else {
        e->len = MIN(e->len, backing->size - off);
    }
}

/* Makes the answer of the driver whole. */
static CO int extent_complete(const Node *n, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    int r;

    if (n->drv->kind == BLK_FILTER) {
        /* The answer is that of the node below, which may be shorter: reading will tell. */
        if (!e->len)
            *e = (Extent){ .len = len, .flags = EXTENT_DATA | EXTENT_ALLOCATED };
        e->flags &= ~EXTENT_EOF;
        return 0;
    }
    g_assert(e->len > 0);
    e->len = MIN(e->len, len);
    if (e->flags & EXTENT_RECURSE) {
        e->flags &= ~EXTENT_RECURSE;
        if (!(e->flags & EXTENT_DATA))
            return extent_take_below(e, precise);
        r = extent_refine(e, precise);
        if (r < 0)
            return r;
    }
    if (e->flags & (EXTENT_DATA | EXTENT_ZERO))
        e->flags |= EXTENT_ALLOCATED;
    else if (!(e->flags & EXTENT_ALLOCATED))
        extent_unallocated(n, off, e);
    return 0;
}

CO int node_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    int r;

    node_assert_home(n);
    *e = (Extent){ 0 };
    if (off >= n->size) {
        e->flags = EXTENT_EOF;
        return 0;
    }
    len = MIN(len, n->size - off);
    if (!len)
        return 0;
    r = n->drv->extent ? n->drv->extent(n, off, len, precise, e)
                       : extent_default(n, off, len, precise, e);
    if (r >= 0)
        r = extent_complete(n, off, len, precise, e);
    if (r < 0)
        return r;
    if (off + e->len == n->size)
        e->flags |= EXTENT_EOF;
    TRACE(node_extent, "%s off=%" PRIu64 " len=%" PRIu64 " flags=0x%x", n->name, off, e->len,
          e->flags);
    return 0;
}

CO int node_extent_above(Node *n, Node *base, uint64_t off, uint64_t len, bool precise, Extent *e,
                         int *depth)
{
    uint64_t top_size = n->size;
    int layers = 0;
    bool eof;

    *e = (Extent){ 0 };
    if (off >= n->size) {
        e->flags = EXTENT_EOF;
        return 0;
    }
    len = MIN(len, n->size - off);
    base = node_skip_filters(base);
    for (; n && node_skip_filters(n) != base; n = node_backing_chain_next(n)) {
        Extent layer;
        int r;

        if (off >= n->size) {
            /*
             * A short backing file: zeroes, decided here. The layer above may have space for them.
             */
            e->len = len;
            e->flags = EXTENT_ZERO | EXTENT_ALLOCATED | EXTENT_PAST_BACKING |
                       (e->flags & EXTENT_HOST);
            break;
        }
        r = node_extent(n, off, len, precise, &layer);
        if (r < 0)
            return r;
        len = MIN(len, layer.len);
        *e = layer;
        e->len = len;
        layers++;
        if (layer.flags & EXTENT_ALLOCATED)
            break;
        if (!node_backing_chain_next(n))
            break;
    }
    if (!layers && !e->len)
        e->len = len;
    eof = off + e->len == top_size;
    e->flags = (e->flags & ~EXTENT_EOF) | (eof ? EXTENT_EOF : 0);
    if (depth)
        *depth = MAX(layers - 1, 0);
    return 0;
}

CO int node_is_allocated_above(Node *n, Node *base, bool include_base, uint64_t off,
                               uint64_t *len)
{
    uint64_t left = *len;

    base = node_skip_filters(base);
    for (; n; n = node_backing_chain_next(n)) {
        bool is_base = node_skip_filters(n) == base;
        Extent layer;
        int r;

        if (is_base && !include_base)
            break;
        r = node_extent(n, off, left, false, &layer);
        if (r < 0)
            return r;
        /* Past the end of a shorter layer, only what is above counts. */
        if (layer.len)
            left = MIN(left, layer.len);
        if (layer.flags & EXTENT_ALLOCATED) {
            *len = left;
            return 1;
        }
        if (is_base)
            break;
    }
    *len = left;
    return 0;
}
