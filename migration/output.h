/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing a stream: what is put is collected, and written when that is much, or by output_flush.
 * The first failure stays; the rest is dropped.
 */
#ifndef MIGRATION_OUTPUT_H
#define MIGRATION_OUTPUT_H

#include "io/co.h"
#include <glib.h>
#include <stddef.h>
#include <sys/uio.h>

enum { OUTPUT_BUFFER = 256 << 10, OUTPUT_PIECES = 128 };

typedef struct {
    uint8_t *buf;    /* of OUTPUT_BUFFER bytes: those that were copied */
    size_t len;
    /* of .buf and of others' memory, as they follow each other */
    struct iovec piece[OUTPUT_PIECES];
    int pieces;
    uint64_t total;  /* bytes that have been put */
    int error;       /* a negative errno */
    /* All of them: 0 or a negative errno. */
    CO int (*write)(void *opaque, const struct iovec *iov, int niov);
    void *opaque;
} Output;

void output_init(Output *out, CO int (*write)(void *opaque, const struct iovec *iov, int niov),
                 void *opaque);
/* What is put from now on goes to @opaque; what was not written, and the failure, are forgotten. */
void output_restart(Output *out, void *opaque);
void output_clear(Output *out);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Output, output_clear)

CO void output_bytes(Output *out, const void *from, size_t len);
/*
 * The same without a copy: they go as they are when they are written, so they have to stay until
 * then.
 */
CO void output_uncopied(Output *out, const void *from, size_t len);
CO void output_zeroes(Output *out, size_t len);
CO void output_u8(Output *out, uint8_t v);
CO void output_u16(Output *out, uint16_t v);
CO void output_u32(Output *out, uint32_t v);
CO void output_u64(Output *out, uint64_t v);
/* A length byte and the name. */
CO void output_name(Output *out, const char *name);
/* What has been put is written. The first error. */
CO int output_flush(Output *out);

#endif
