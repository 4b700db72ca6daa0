/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tables of ranges: sorted, without overlap, each element beginning with uint64_t off, len. */
#ifndef UTIL_RANGES_H
#define UTIL_RANGES_H

#include <glib.h>
#include <stdint.h>

/* The first element of @table that ends after @off, around it or after it. NULL: none. */
const void *ranges_find(const GArray *table, uint64_t off);

#endif
