/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which pages of the machine's memory have been written, while somebody wants to know.
 *
 * Whoever gives a host address out to write through says so first; processors keep such addresses,
 * so after ram_log_collect, for which they stand still, they have to forget them.
 */
#ifndef SYSTEM_BASE_RAM_LOG_H
#define SYSTEM_BASE_RAM_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *host;  /* NULL: nobody wants to know */
    size_t size;
    uint8_t *pages;       /* a byte each; atomic */
} RamLog;
extern RamLog ram_log;

/* The page that has @p, if it is of the memory. Any thread. */
static inline void ram_log_note(const uint8_t *p)
{
    if (ram_log.host && (size_t)(p - ram_log.host) < ram_log.size)
        __atomic_store_n(&ram_log.pages[(p - ram_log.host) >> 12], 1, __ATOMIC_RELAXED);
}

/* While processors stand still. */
void ram_log_begin(const uint8_t *host, size_t size);
void ram_log_end(void);
/* Calls @fn for each page that was noted since, by its number, and forgets them. */
void ram_log_collect(void (*fn)(void *opaque, size_t page), void *opaque);

#endif
