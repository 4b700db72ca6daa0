/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How much memory this process may use: what it takes at once should follow that. */
#ifndef IO_MEMORY_H
#define IO_MEMORY_H

#include <stdint.h>

/*
 * Bytes: the least of the limits of its control groups and its own (RLIMIT_AS, RLIMIT_DATA), as
 * they were at the first call; UINT64_MAX if there is none. Any thread.
 */
uint64_t memory_limit(void);

/* The same of the control groups alone, which count what is in the page cache, too. */
uint64_t memory_limit_with_cache(void);

/*
 * At most @wanted shares of @each bytes, so many that they take a quarter of the limit; at least 1.
 */
unsigned memory_shares(unsigned wanted, uint64_t each);

#endif
