/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages from the target to the source, as the source reads them. docs/spec/migration-stream.md
 */
#ifndef MIGRATION_RETURN_PATH_H
#define MIGRATION_RETURN_PATH_H

#include "io/co.h"
#include <glib.h>
#include <sys/types.h>

typedef struct {
    unsigned message; /* one of RETURN_* */
    uint32_t value;   /* of RETURN_SHUT, RETURN_PONG, RETURN_RESUMED */
    /* Of a request for memory, bytes: nothing of it is checked. */
    uint64_t start;
    uint32_t len;
    char block[256];  /* also of RETURN_RECEIVED; "": the one of the request before */
} ReturnMessage;

/* Reads the next message by @read, as channel_read. False with @err. */
CO bool return_message_read(CO ssize_t (*read)(void *opaque, void *buf, size_t len), void *opaque,
                            ReturnMessage *m, GError **err);

/*
 * Reads what follows RETURN_RECEIVED: a map of @pages pages, bit n of little-endian words is page
 * n. Caller frees. NULL with @err.
 */
CO uint8_t *return_map_read(CO ssize_t (*read)(void *opaque, void *buf, size_t len), void *opaque,
                            uint64_t pages, GError **err);

#endif
