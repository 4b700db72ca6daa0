/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An image and a plain copy in memory of what it must read as. Operations assert success, reads
 * assert the content.
 */
#ifndef TESTS_LIB_DISK_H
#define TESTS_LIB_DISK_H

#include "block/block.h"

typedef struct {
    char *path;
    const char *format;
    char *open_options;  /* key=value, or NULL */
    Handle *h;
    uint8_t *model;
    uint64_t size;
    uint64_t cluster;    /* for compressed writes; 0: none are made */
    uint64_t max;        /* bytes of a random request */
    GRand *rand;
} Disk;

/* Creates an image of format @fmt in test_dir() with -o @options, opens it for writing. */
CO Disk *disk_new(const char *name, const char *fmt, const char *options, const char *open_options,
                  uint64_t size);
CO void disk_free(Disk *d);
CO void disk_reopen(Disk *d, OpenFlags flags);

CO void disk_write(Disk *d, uint64_t off, uint64_t len);
CO void disk_read(Disk *d, uint64_t off, uint64_t len);
CO void disk_zero(Disk *d, uint64_t off, uint64_t len, ReqFlags flags);
/* A discard, and zeroes there afterwards. */
CO void disk_discard(Disk *d, uint64_t off, uint64_t len);
/* The whole clusters in the range, unmapped before. */
CO void disk_write_compressed(Disk *d, uint64_t off, uint64_t len);
/* Any of these within [@from, @to). */
CO void disk_random_op(Disk *d, uint64_t from, uint64_t to);

/* Runs a line of shell with the reference's qemu-img in front; fails unless it succeeds. False if
 * there is no reference. */
bool disk_reference(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
/* Reads all, closes; the reference checks the image and compares its content. Leaves it closed. */
CO void disk_verify(Disk *d);

/* A disk, and what is done to it. */
typedef struct {
    const char *format, *options, *open_options;
    uint64_t size;
    uint64_t cluster;    /* for compressed writes; 0: none are made */
    bool backing;        /* the first half shows a raw backing file */
    uint64_t max;        /* bytes of a request */
} DiskRandom;

/*
 * Random requests, several at once, against a plain copy in memory. In the end the reference checks
 * the image and compares its content, where one is installed.
 */
CO void disk_random_requests(const DiskRandom *t);

/*
 * An image changes hands as in a migration: two nodes on one file are active in turn, and each
 * writes.
 */
CO void disk_handed_over(const char *format, const char *options);

#endif
