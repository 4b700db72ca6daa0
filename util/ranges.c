/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tables of ranges, see the header. */
#include "util/ranges.h"

typedef struct {
    uint64_t off, len;
} Range;

const void *ranges_find(const GArray *table, uint64_t off)
{
    guint stride = g_array_get_element_size((GArray *)table), low = 0, high = table->len;

    while (low < high) {
        guint middle = low + (high - low) / 2;
        const Range *r = (const void *)(table->data + (size_t)middle * stride);

        if (r->off + r->len <= off)
            low = middle + 1;
        else
            high = middle;
    }
    return low < table->len ? table->data + (size_t)low * stride : NULL;
}
