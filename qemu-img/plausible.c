/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How much data a walk over an image may find. */
#include "qemu-img/plausible.h"
#include "util/size.h"
#include <errno.h>

enum { SHARES = 64 };                   /* how often each byte of a file may be used */
#define ALWAYS (UINT64_C(1) << 30)      /* bytes that are read without a question */

static uint64_t data_file_size(Node *n)
{
    Node *data = node_data(n);

    return node_size(data ? data : n);
}

static uint64_t limit_of(Node *n)
{
    uint64_t sum = 0;

    for (n = node_skip_filters(n); n; n = node_backing_chain_next(n))
        if (!size_add(sum, data_file_size(n), &sum))
            return UINT64_MAX;
    if (!size_mul(sum, SHARES, &sum) || !size_add(sum, ALWAYS, &sum))
        return UINT64_MAX;
    return sum;
}

/* What all the files would hold if nothing else than compressed clusters was in them. */
static CO uint64_t compressed_limit_of(Node *n)
{
    uint64_t sum = ALWAYS;

    for (n = node_skip_filters(n); n; n = node_backing_chain_next(n)) {
        NodeInfo info = { 0 };
        uint64_t most;

        if (node_info(n, &info) < 0 || !info.expansion)
            continue;
        if (!size_mul(data_file_size(n), info.expansion, &most) || !size_add(sum, most, &sum))
            return UINT64_MAX;
    }
    return sum;
}

/* Looks at all of @top before much is inflated. What cannot be told, the walk itself will find. */
static CO int check_compressed(Node *top)
{
    uint64_t limit = compressed_limit_of(top), size = node_size(top), found = 0;
    Extent e;

    if (size <= limit)
        return 0;
    for (uint64_t off = 0; off < size && found <= limit; off += e.len) {
        if (node_extent_above(top, NULL, off, MIN(size - off, EXTENT_LEN_MAX), true, &e, NULL) < 0)
            return 0;
        if (e.flags & EXTENT_COMPRESSED)
            found += e.len;
    }
    return found > limit ? -EUCLEAN : 0;
}

static CO int add_compressed(Plausible *p, Node *top, uint64_t len)
{
    p->compressed += len;
    if (p->compressed <= ALWAYS || p->looked)
        return 0;
    p->looked = true;
    return check_compressed(top);
}

CO int plausible_add(Plausible *p, Node *top, const Extent *e)
{
    if (e->flags & EXTENT_COMPRESSED)
        return add_compressed(p, top, e->len);
    if (!(e->flags & EXTENT_DATA))
        return 0;
    if (!p->limit)
        p->limit = limit_of(top);
    p->found += e->len;
    return p->found > p->limit ? -EUCLEAN : 0;
}
