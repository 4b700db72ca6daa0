/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading a stream: from memory, or from wherever .read takes it. The first failure stays and is
 * told with the place: byte, section and field. After it all reads give zeroes.
 */
#ifndef MIGRATION_INPUT_H
#define MIGRATION_INPUT_H

#include "io/co.h"
#include <glib.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct {
    const uint8_t *start, *at, *end; /* what is in memory */
    uint64_t base;                   /* the place in the stream of .start */
    /*
     * As many bytes as are there, up to @len; 0: the end; or a negative errno. NULL: there is no
     * more.
     */
    CO ssize_t (*read)(void *opaque, void *buf, size_t len);
    void *opaque;
    uint8_t *buf;                    /* of INPUT_BUFFER bytes; NULL: .start is the caller's */
    char *section;                   /* where we are, for messages; NULL: between sections */
    const char *field;
    GError *err;
} Input;

enum { INPUT_BUFFER = 256 << 10 };

void input_init_memory(Input *in, const void *data, size_t len);
void input_init(Input *in, CO ssize_t (*read)(void *opaque, void *buf, size_t len), void *opaque);
/* What is read from now on is another stream: failures and unread bytes are forgotten. */
void input_restart(Input *in);
void input_clear(Input *in);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Input, input_clear)

/* The place of the next byte. */
static inline uint64_t input_place(const Input *in)
{
    return in->base + (in->at - in->start);
}

static inline bool input_ok(const Input *in)
{
    return !in->err;
}

/* Says what is wrong here, unless something was wrong before. Returns false. */
bool input_fail(Input *in, int code, const char *fmt, ...) G_GNUC_PRINTF(3, 4);
/* From now on we are in section @fmt (NULL: in none), at no field. */
void input_enter(Input *in, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* Hands the failure over. Returns false. */
bool input_report(Input *in, GError **err);

/*
 * The next @len bytes, up to INPUT_BUFFER, good until the next read; they stay to be read. NULL:
 * no.
 */
CO const uint8_t *input_peek(Input *in, size_t len);
/* The same, and they count as read. */
CO const uint8_t *input_take(Input *in, size_t len);
CO bool input_bytes(Input *in, void *to, size_t len);
CO bool input_skip(Input *in, uint64_t len);
/* True if there is no more byte. */
CO bool input_at_end(Input *in);

CO uint8_t input_u8(Input *in);
CO uint16_t input_u16(Input *in);
CO uint32_t input_u32(Input *in);
CO uint64_t input_u64(Input *in);
/* A length byte and a name without control characters. */
CO bool input_name(Input *in, char name[256]);

#endif
