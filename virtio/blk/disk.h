/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk by the virtio specification, section "Block Device": its features, its configuration and
 * what its requests do, whoever has the rings: docs/spec/virtio.md.
 */
#ifndef VIRTIO_BLK_DISK_H
#define VIRTIO_BLK_DISK_H

#include "block/block.h"
#include "virtio/ring.h"

enum {
    VIRTIO_BLK_ID_SIZE = 20, VIRTIO_BLK_CONFIG_SIZE = 60, VIRTIO_BLK_CONFIG_WRITEBACK = 32,
    VIRTIO_BLK_READ = 0, VIRTIO_BLK_GET_ID = 8,
};

#define VIRTIO_BLK_F_CONFIG_WCE (UINT64_C(1) << 11)

typedef struct {
    Handle *handle;
    const char *id;           /* up to VIRTIO_BLK_ID_SIZE characters; NULL: none */
    uint32_t logical_block_size, physical_block_size, min_io_size, opt_io_size;
    uint32_t discard_granularity;
    uint64_t capacity;        /* in sectors, as the driver reads it */
    uint16_t queues, queue_size;
    bool offers_discard, offers_zeroes, offers_writeback;
    uint8_t writeback;        /* 0: a write is durable when it is answered */
} VirtioDisk;

/* Completes what is 0 of the sizes, and checks them. */
bool virtio_disk_check(VirtioDisk *d, GError **err);
/* The capacity becomes that of the handle, which has to be there. */
void virtio_disk_take_size(VirtioDisk *d);
/* Those of virtio-blk alone. */
uint64_t virtio_disk_features(const VirtioDisk *d);
/* Fills in the VIRTIO_BLK_CONFIG_SIZE bytes at @config, which are zeroes. */
void virtio_disk_config(const VirtioDisk *d, uint8_t *config);

/* What a chain begins with. */
typedef struct {
    uint32_t type;
    uint64_t sector;
    bool has_read;            /* data of the disk may have come into the chain */
} VirtioDiskRequest;

/* False: the chain has no room for a header or a status, which breaks its ring. */
bool virtio_disk_request(const RingChain *c, VirtioDiskRequest *q);
/* Does what is asked for. 0, or a negative errno: EINVAL, EROFS and ENOTSUP for requests that no
 * driver should make. */
CO int virtio_disk_perform(const VirtioDisk *d, VirtioDiskRequest *q, const RingChain *c,
                           const RingMemory *m);
/* Writes the status for the result @r. How many bytes of the chain are written now. */
uint32_t virtio_disk_answer(const VirtioDiskRequest *q, const RingChain *c, const RingMemory *m,
                            int r);

#endif
