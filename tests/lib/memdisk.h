/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk in memory that keeps a log of what was done to it, to replay any moment of its life: what
 * a power cut could have left.
 */
#ifndef TESTS_LIB_MEMDISK_H
#define TESTS_LIB_MEMDISK_H

#include "block/block.h"

typedef enum { MEMDISK_WRITE, MEMDISK_ZERO, MEMDISK_RESIZE, MEMDISK_FLUSH } MemdiskOp;

typedef struct {
    MemdiskOp op;
    uint64_t off, len;  /* RESIZE: @len is the new size */
    uint8_t *data;      /* WRITE */
    Node *disk;
} MemdiskEntry;

/*
 * A new node named @name that holds a copy of @len bytes at @data; options can refer to it as
 * "file": NAME. One reference, the caller's. Grows when written past its end.
 */
Node *memdisk_new(const char *name, const uint8_t *data, size_t len);
/* The same, writing to the log of @first, which lives longer: so the order of all is known. */
Node *memdisk_new_beside(Node *first, const char *name, const uint8_t *data, size_t len);
/* The same without a log and an origin; writes beyond @max bytes fail with ENOSPC. */
Node *memdisk_new_scratch(const char *name, const uint8_t *data, size_t len, uint64_t max);

/* Drops the reference that the maker gave. */
CO void memdisk_free(Node *disk);

/* Entries logged so far. */
size_t memdisk_log_len(Node *disk);
const MemdiskEntry *memdisk_log(Node *disk, size_t i);

/* The content as it is now; *@len bytes. Owned by the disk. */
const uint8_t *memdisk_data(Node *disk, size_t *len);

/* Calls with @disk as it was born, before the first entry. */
const uint8_t *memdisk_origin(Node *disk, size_t *len);

/*
 * Can images of @format name a backing file, so that option "backing" has to say that there is
 * none?
 */
bool memdisk_format_has_backing(const char *format);

/* An image being put together from entries. */
typedef struct {
    uint8_t *data;
    size_t len, room;
} MemdiskImage;

void memdisk_image_set(MemdiskImage *m, const uint8_t *data, size_t len);
/* Carries out @e; of a write only the 512-byte sectors for which @keep says so (NULL: all). */
void memdisk_image_apply(MemdiskImage *m, const MemdiskEntry *e,
                         bool (*keep)(void *arg, size_t sector), void *arg);
void memdisk_image_clear(MemdiskImage *m);

#endif
