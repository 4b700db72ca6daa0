/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What module "iscsi" gives to drivers: a logical unit of an iSCSI target, by libiscsi. */
#ifndef BLOCK_ISCSI_H
#define BLOCK_ISCSI_H

#include "io/co.h"
#include "util/span.h"
#include <glib.h>

/* A logical unit with the session to its target. Belongs to the loop it was opened on. */
typedef struct IscsiLun IscsiLun;

/* All copied by open. Texts may be NULL: there is none. */
typedef struct {
    const char *portal, *target, *initiator;
    const char *user, *password;
    const char *header_digest; /* "crc32c", "none", "crc32c-none", "none-crc32c" */
    unsigned lun;
    unsigned timeout_s;        /* of each command; 0: none */
} IscsiConfig;

/* What the unit is like. Lengths in bytes, 0: no limit, or not known. */
typedef struct {
    uint64_t size;
    uint32_t block_len;
    bool is_read_only;
    uint64_t max_transfer, opt_transfer;
    bool has_unmap;            /* UNMAP; what it frees may read as anything unless @unmap_zeroes */
    bool unmap_zeroes;
    uint64_t max_unmap, unmap_align;
    bool has_same;             /* WRITE SAME (16) of zeroes */
    bool same_unmaps;          /* it may free what it zeroes */
    uint64_t max_same;
    bool is_thin;              /* GET LBA STATUS may tell something */
} IscsiFound;

/* Offsets and lengths are multiples of block_len. 0 or a negative errno. */
typedef struct {
    CO IscsiLun *(*open)(const IscsiConfig *config, IscsiFound *found, GError **err);
    CO int (*read)(IscsiLun *l, uint64_t off, Span buf);
    CO int (*write)(IscsiLun *l, uint64_t off, Span buf, bool fua);
    CO int (*zero)(IscsiLun *l, uint64_t off, uint64_t len, bool may_unmap);
    CO int (*unmap)(IscsiLun *l, uint64_t off, uint64_t len);
    CO int (*sync)(IscsiLun *l);
    /* *@len: how far from @off on it is alike. */
    CO int (*status)(IscsiLun *l, uint64_t off, uint64_t *len, bool *mapped);
    /* No call is under way. */
    CO void (*close)(IscsiLun *l);
} IscsiModule;

#endif
