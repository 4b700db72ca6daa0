/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Objects that are memory for a guest: memory-backend-ram, -file and -memfd. Main loop only.
 */
#ifndef SYSTEM_MEMORY_BACKEND_H
#define SYSTEM_MEMORY_BACKEND_H

#include "qapi/object.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    char *id;
    char *block_name;   /* in migration streams */
    uint8_t *host;
    uint64_t size;
    uint64_t page_size; /* of the host there */
    int fd;             /* of a file that is mapped; -1: none */
    bool is_shared, is_preallocated, is_dumped, is_merged, is_reserved;
    bool is_discarded;  /* the file's content is thrown away at the end */
    bool is_used;       /* by the machine */
} MemoryBackend;

/* The object @id; NULL with @err. */
MemoryBackend *memory_backend_find(const char *id, GError **err);

/*
 * Memory that no object describes, called @id: the file @path, or an unnamed file in the folder
 * @path, or anonymous (@path NULL). NULL with @err.
 */
MemoryBackend *memory_backend_new(const char *id, uint64_t size, const char *path, bool preallocate,
                                  GError **err);
/* Only of what memory_backend_new made. NULL is fine. */
void memory_backend_free(MemoryBackend *b);

/* Calls @fn with each object. */
void memory_backend_foreach(void (*fn)(const MemoryBackend *b, void *arg), void *arg);

#endif
