/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How much data a walk over an image may find. */
#include "qemu-img/plausible.h"
#include "util/size.h"
#include <errno.h>

enum { SHARES = 64 };                   /* how often each byte of a file may be used */
#define ALWAYS (UINT64_C(1) << 30)      /* bytes that are read without a question */

static uint64_t limit_of(Node *n)
{
    uint64_t sum = 0;

    for (n = node_skip_filters(n); n; n = node_backing_chain_next(n)) {
        Node *data = node_data(n);

        if (!size_add(sum, node_size(data ? data : n), &sum))
            return UINT64_MAX;
    }
    if (!size_mul(sum, SHARES, &sum) || !size_add(sum, ALWAYS, &sum))
        return UINT64_MAX;
    return sum;
}

int plausible_add(Plausible *p, Node *top, const Extent *e)
{
    if (!(e->flags & EXTENT_DATA) || e->flags & EXTENT_COMPRESSED)
        return 0;
    if (!p->limit)
        p->limit = limit_of(top);
    p->found += e->len;
    return p->found > p->limit ? -EUCLEAN : 0;
}
