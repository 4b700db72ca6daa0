/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Multifd: pages travel in packets over connections of their own, each with a thread, while the
 * main stream carries everything else, zero pages included. docs/spec/migration-stream.md.
 *
 * All functions are for the main loop. The threads share no state with it: a thread has its channel
 * to itself until its call has returned.
 */
#ifndef MIGRATION_MULTIFD_H
#define MIGRATION_MULTIFD_H

#include "io/channel.h"
#include "migration/ram.h"
#include "util/endian.h"

enum {
    MULTIFD_MAGIC = 0x11223344, MULTIFD_VERSION = 1, MULTIFD_PAGES = 128,
    MULTIFD_SYNC = 1, MULTIFD_COMPRESSION_SHIFT = 1, MULTIFD_COMPRESSION_MASK = 7 << 1,
    MULTIFD_CHANNELS_MAX = 255,
};

/* The numbers are those of the packets' flags. */
typedef enum { MULTIFD_NONE, MULTIFD_ZLIB, MULTIFD_ZSTD } MultifdCompression;

/* The first bytes of each channel. */
typedef struct {
    be32 magic, version;
    uint8_t uuid[16];
    uint8_t id;
    uint8_t reserved[39];
} MultifdHello;
G_STATIC_ASSERT(sizeof(MultifdHello) == 64);

typedef struct {
    be32 magic, version, flags;
    be32 pages_alloc;         /* room for offsets: MULTIFD_PAGES */
    be32 pages;
    be32 size;                /* of the body, bytes; says nothing if there are no pages */
    be64 number;
    uint8_t reserved[32];
    char block[256];          /* all pages are of this one */
    be64 off[MULTIFD_PAGES];  /* in the block */
} MultifdPacket;
G_STATIC_ASSERT(sizeof(MultifdPacket) == 1344);

typedef struct {
    unsigned channels;
    MultifdCompression compression;
    int level;
    uint8_t uuid[16];         /* of the guest; zeroes: it has none */
} MultifdConfig;

/* ---- sending --------------------------------------------------------------------------------- */

typedef struct MultifdSend MultifdSend;

MultifdSend *multifd_send_new(const MultifdConfig *config);
/*
 * Takes connected channel @c, also if it fails, and greets on it. A target may look at nothing else
 * until that has come, so the next one is connected afterwards. False with @err.
 */
CO bool multifd_send_add(MultifdSend *m, Channel *c, GError **err);
/* Sends the page at @off of @b soon; reads it any time before multifd_send_sync returns. */
CO void multifd_send_page(MultifdSend *s, const RamBlock *b, uint64_t off);
/*
 * All pages have been handed to the kernel, and the target is told that a round ends here. 0 or the
 * first error of all that was sent, a negative errno.
 */
CO int multifd_send_sync(MultifdSend *s);
/* Bytes that were sent. */
uint64_t multifd_send_bytes(const MultifdSend *s);
/* Calls that wait, now or later, fail soon. */
void multifd_send_interrupt(MultifdSend *s);
CO void multifd_send_free(MultifdSend *s);

/* ---- receiving ------------------------------------------------------------------------------- */

typedef struct MultifdReceive MultifdReceive;

/*
 * Receives pages of @ram. @failed is called when a channel fails, since the main stream may wait
 * for what comes no more.
 */
MultifdReceive *multifd_receive_new(const MultifdConfig *config, RamBlocks *ram,
                                    void (*failed)(void *opaque), void *opaque);
/* Takes connected channel @c, also if it fails. False with @err. */
bool multifd_receive_add(MultifdReceive *m, Channel *c, GError **err);
/* Waits until all channels have greeted, and lets the first round begin. False: @in has failed. */
CO bool multifd_receive_greeted(MultifdReceive *m, Input *in);
/* Waits for all pages of the round, and lets the next one begin. False: @in has failed. */
CO bool multifd_receive_sync(MultifdReceive *m, Input *in);
/* If a channel failed: replaces *@err by that channel's error. */
void multifd_receive_error(MultifdReceive *m, GError **err);
void multifd_receive_interrupt(MultifdReceive *m);
CO void multifd_receive_free(MultifdReceive *m);

#endif
