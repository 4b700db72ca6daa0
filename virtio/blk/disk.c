/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "virtio/blk/disk.h"
#include "util/endian.h"
#include "util/err.h"
#include "util/size.h"
#include <errno.h>
#include <string.h>

enum {
    SECTOR = 512, HEADER_SIZE = 16, RANGE_SIZE = 16, RANGES_MAX = 32,

    TYPE_WRITE = 1, TYPE_FLUSH = 4, TYPE_DISCARD = 11, TYPE_WRITE_ZEROES = 13,
    STATUS_OK = 0, STATUS_IOERR = 1, STATUS_UNSUPPORTED = 2,
    RANGE_UNMAP = 1,

    CONFIG_CAPACITY = 0, CONFIG_SEG_MAX = 12, CONFIG_BLK_SIZE = 20, CONFIG_PHYSICAL_EXP = 24,
    CONFIG_MIN_IO = 26, CONFIG_OPT_IO = 28, CONFIG_QUEUES = 34,
    CONFIG_DISCARD_MAX = 36, CONFIG_DISCARD_SEGS = 40, CONFIG_DISCARD_ALIGN = 44,
    CONFIG_ZEROES_MAX = 48, CONFIG_ZEROES_SEGS = 52, CONFIG_ZEROES_UNMAP = 56,
};

#define F_SEG_MAX (UINT64_C(1) << 2)
#define F_READ_ONLY (UINT64_C(1) << 5)
#define F_BLK_SIZE (UINT64_C(1) << 6)
#define F_FLUSH (UINT64_C(1) << 9)
#define F_TOPOLOGY (UINT64_C(1) << 10)
#define F_QUEUES (UINT64_C(1) << 12)
#define F_DISCARD (UINT64_C(1) << 13)
#define F_WRITE_ZEROES (UINT64_C(1) << 14)

/* ---- what it is ------------------------------------------------------------------------------ */

static uint64_t sectors(const VirtioDisk *d)
{
    return handle_size(d->handle) / SECTOR;
}

bool virtio_disk_check(VirtioDisk *d, GError **err)
{
    if (!d->logical_block_size)
        d->logical_block_size = SECTOR;
    if (!d->physical_block_size)
        d->physical_block_size = d->logical_block_size;
    if (!is_power_of_2(d->logical_block_size) || !is_power_of_2(d->physical_block_size) ||
        d->logical_block_size < SECTOR || d->physical_block_size > 2 * MiB)
        return err_set(err, EINVAL, "Block sizes are powers of two from 512 to 2 MiB");
    if (d->logical_block_size > d->physical_block_size)
        return err_set(err, EINVAL, "The logical block is not larger than the physical one");
    if (!d->discard_granularity)
        d->discard_granularity = d->logical_block_size;
    if (d->min_io_size % d->logical_block_size || d->opt_io_size % d->logical_block_size ||
        d->discard_granularity % d->logical_block_size ||
        d->min_io_size / d->logical_block_size > UINT16_MAX)
        return err_set(err, EINVAL, "min_io_size, opt_io_size and discard_granularity are "
                       "multiples of logical_block_size");
    return true;
}

uint64_t virtio_disk_features(const VirtioDisk *d)
{
    uint64_t f = F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY;

    if (d->queues > 1)
        f |= F_QUEUES;
    if (d->offers_writeback)
        f |= VIRTIO_BLK_F_CONFIG_WCE;
    if (!handle_is_writable(d->handle))
        return f | F_READ_ONLY;
    return f | (d->offers_discard ? F_DISCARD : 0) | (d->offers_zeroes ? F_WRITE_ZEROES : 0);
}

void virtio_disk_take_size(VirtioDisk *d)
{
    d->capacity = sectors(d);
}

void virtio_disk_config(const VirtioDisk *d, uint8_t *c)
{
    uint32_t max = REQ_LEN_MAX / SECTOR / 8 * 8;

    le64_put(c + CONFIG_CAPACITY, d->capacity);
    le32_put(c + CONFIG_SEG_MAX, d->queue_size - 2);
    le32_put(c + CONFIG_BLK_SIZE, d->logical_block_size);
    c[CONFIG_PHYSICAL_EXP] = __builtin_ctz(d->physical_block_size / d->logical_block_size);
    c[VIRTIO_BLK_CONFIG_WRITEBACK] = d->writeback;
    le16_put(c + CONFIG_MIN_IO, d->min_io_size / d->logical_block_size);
    le32_put(c + CONFIG_OPT_IO, d->opt_io_size / d->logical_block_size);
    le16_put(c + CONFIG_QUEUES, d->queues);
    le32_put(c + CONFIG_DISCARD_MAX, max);
    le32_put(c + CONFIG_DISCARD_SEGS, RANGES_MAX);
    le32_put(c + CONFIG_DISCARD_ALIGN, d->discard_granularity / SECTOR);
    le32_put(c + CONFIG_ZEROES_MAX, max);
    le32_put(c + CONFIG_ZEROES_SEGS, 1);
    c[CONFIG_ZEROES_UNMAP] = 1;
}

/* ---- requests -------------------------------------------------------------------------------- */

bool virtio_disk_request(const RingChain *c, VirtioDiskRequest *q)
{
    uint8_t header[HEADER_SIZE];

    if (c->out_len < HEADER_SIZE || !c->in_len)
        return false;
    ring_chain_read(c, 0, header, sizeof(header));
    *q = (VirtioDiskRequest){ le32_at(header), le64_at(header + 8) };
    return true;
}

/* The bytes of @sector and those behind it, all on the disk. False: they are not. */
static bool locate(const VirtioDisk *d, uint64_t sector, uint64_t bytes, uint64_t *offset)
{
    uint64_t block = d->logical_block_size;

    if (sector > sectors(d) || bytes % block || bytes / SECTOR > sectors(d) - sector)
        return false;
    *offset = sector * SECTOR;
    return *offset % block == 0;
}

static CO int transfer(const VirtioDisk *d, VirtioDiskRequest *q, const RingChain *c)
{
    bool is_read = q->type == VIRTIO_BLK_READ;
    uint64_t len = is_read ? c->in_len - 1 : c->out_len - HEADER_SIZE, offset;
    const struct iovec *iov = is_read ? c->iov + c->out : c->iov;
    Span all = span_of_iov(iov, is_read ? c->in : c->out);

    if (!locate(d, q->sector, len, &offset))
        return -EINVAL;
    q->has_read = is_read;
    if (is_read)
        return handle_pread(d->handle, offset, span_slice(all, 0, len), 0);
    return handle_pwrite(d->handle, offset, span_slice(all, HEADER_SIZE, len),
                         d->writeback ? 0 : REQ_FUA);
}

static CO int change_range(const VirtioDisk *d, const uint8_t *range, bool zero)
{
    uint64_t sector = le64_at(range), len = (uint64_t)le32_at(range + 8) * SECTOR, offset;
    uint32_t flags = le32_at(range + 12);

    if (!zero && flags)
        return -ENOTSUP;
    if (zero && flags & ~(uint32_t)RANGE_UNMAP)
        return -ENOTSUP;
    if (len > REQ_LEN_MAX || !locate(d, sector, len, &offset))
        return -EINVAL;
    if (!zero)
        return handle_discard(d->handle, offset, len);
    return handle_zero(d->handle, offset, len, flags & RANGE_UNMAP ? REQ_MAY_UNMAP : 0);
}

static CO int change_ranges(const VirtioDisk *d, const RingChain *c, bool zero)
{
    uint8_t ranges[RANGES_MAX * RANGE_SIZE];
    uint64_t len = c->out_len - HEADER_SIZE;
    int r = 0;

    if (!len || len % RANGE_SIZE || len > sizeof(ranges) || (zero && len != RANGE_SIZE))
        return -EINVAL;
    ring_chain_read(c, HEADER_SIZE, ranges, len);
    for (uint64_t at = 0; at < len && r >= 0; at += RANGE_SIZE)
        r = change_range(d, ranges + at, zero);
    return r;
}

static int give_id(const VirtioDisk *d, const RingChain *c, const RingMemory *m)
{
    char id[VIRTIO_BLK_ID_SIZE] = { 0 };

    if (d->id)
        memcpy(id, d->id, MIN(strlen(d->id), sizeof(id)));
    ring_chain_write(c, m, 0, id, MIN(c->in_len - 1, sizeof(id)));
    return 0;
}

CO int virtio_disk_perform(const VirtioDisk *d, VirtioDiskRequest *q, const RingChain *c,
                           const RingMemory *m)
{
    bool changes = q->type == TYPE_WRITE || q->type == TYPE_DISCARD ||
                   q->type == TYPE_WRITE_ZEROES;

    if (changes && !handle_is_writable(d->handle))
        return -EROFS;
    switch (q->type) {
    case VIRTIO_BLK_READ:
    case TYPE_WRITE:
        return transfer(d, q, c);
    case TYPE_FLUSH:
        return handle_flush(d->handle);
    case VIRTIO_BLK_GET_ID:
        return give_id(d, c, m);
    case TYPE_DISCARD:
    case TYPE_WRITE_ZEROES:
        return change_ranges(d, c, q->type == TYPE_WRITE_ZEROES);
    default:
        return -ENOTSUP;
    }
}

uint32_t virtio_disk_answer(const VirtioDiskRequest *q, const RingChain *c, const RingMemory *m,
                            int r)
{
    bool has_data = q->type == VIRTIO_BLK_READ || q->type == VIRTIO_BLK_GET_ID;
    uint64_t status_at = c->in_len - 1;
    uint8_t status = r >= 0 ? STATUS_OK : r == -ENOTSUP ? STATUS_UNSUPPORTED : STATUS_IOERR;

    /* What was refused has written nothing, however much room it has. */
    if (q->has_read)
        ring_chain_written(c, m, status_at);
    ring_chain_write(c, m, status_at, &status, 1);
    return has_data ? c->in_len : 1;
}
