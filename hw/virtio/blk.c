/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-blk-device: a disk. Chains are taken from the ring on the main loop, each becomes a request
 * with a coroutine of its own, whose data goes straight from or to the guest's memory.
 */
#include "block/account.h"
#include "hw/sleeper.h"
#include "hw/virtio/device.h"
#include "hw/virtio/disk-work.h"
#include "hw/virtio/drives.h"
#include "hw/virtio/section.h"
#include "io/co-lock.h"
#include "util/endian.h"
#include "util/err.h"
#include "util/size.h"
#include <string.h>

enum {
    ID = 2, SECTOR = 512, QUEUE_SIZE = 256, SERIAL_SIZE = 20, HEADER_SIZE = 16, RANGE_SIZE = 16,
    RANGES_MAX = 32,

    TYPE_READ = 0, TYPE_WRITE = 1, TYPE_FLUSH = 4, TYPE_GET_ID = 8, TYPE_DISCARD = 11,
    TYPE_WRITE_ZEROES = 13,
    STATUS_OK = 0, STATUS_IOERR = 1, STATUS_UNSUPPORTED = 2,
    RANGE_UNMAP = 1,

    CONFIG_CAPACITY = 0, CONFIG_SEG_MAX = 12, CONFIG_BLK_SIZE = 20, CONFIG_PHYSICAL_EXP = 24,
    CONFIG_MIN_IO = 26, CONFIG_OPT_IO = 28, CONFIG_WRITEBACK = 32, CONFIG_QUEUES = 34,
    CONFIG_DISCARD_MAX = 36, CONFIG_DISCARD_SEGS = 40, CONFIG_DISCARD_ALIGN = 44,
    CONFIG_ZEROES_MAX = 48, CONFIG_ZEROES_SEGS = 52, CONFIG_ZEROES_UNMAP = 56, CONFIG_SIZE = 60,
    CONFIG_IN_STREAMS = 57,
};

#define F_SEG_MAX (UINT64_C(1) << 2)
#define F_READ_ONLY (UINT64_C(1) << 5)
#define F_BLK_SIZE (UINT64_C(1) << 6)
#define F_FLUSH (UINT64_C(1) << 9)
#define F_TOPOLOGY (UINT64_C(1) << 10)
#define F_CONFIG_WCE (UINT64_C(1) << 11)
#define F_QUEUES (UINT64_C(1) << 12)
#define F_DISCARD (UINT64_C(1) << 13)
#define F_WRITE_ZEROES (UINT64_C(1) << 14)

typedef struct {
    VirtioDevice virtio;
    /* Properties. */
    char *drive, *serial;
    uint32_t logical_block_size, physical_block_size, min_io_size, opt_io_size, discard_granularity;
    uint16_t queues, queue_size;
    bool offers_discard, offers_zeroes, offers_writeback;
    DiskWork work;

    Handle *handle;
    bool owns_handle;
    CoGroup running;
    Sleeper worker;
    uint64_t kicked;     /* a bit for each queue */
    bool resumed, ending;

    uint64_t capacity;   /* in sectors, as the guest reads it; with the lock held */
    uint8_t writeback;
} VirtioBlk;

static const Property blk_properties[] = {
    VIRTIO_PROPERTIES,
    PROPERTY("drive", DEVICE_STR, VirtioBlk, drive, "the image: id of a -drive, or a node's name"),
    PROPERTY("serial", DEVICE_STR, VirtioBlk, serial, "serial number, 20 characters at most"),
    PROPERTY("logical_block_size", DEVICE_UINT32, VirtioBlk, logical_block_size,
             "bytes the guest reads and writes at least [512]"),
    PROPERTY("physical_block_size", DEVICE_UINT32, VirtioBlk, physical_block_size,
             "as the storage has them [512]"),
    PROPERTY("min_io_size", DEVICE_UINT32, VirtioBlk, min_io_size,
             "bytes that the guest is advised of"),
    PROPERTY("opt_io_size", DEVICE_UINT32, VirtioBlk, opt_io_size, "the same, for best speed"),
    PROPERTY("discard_granularity", DEVICE_UINT32, VirtioBlk, discard_granularity,
             "bytes that discards should be aligned to [logical_block_size]"),
    PROPERTY("num-queues", DEVICE_UINT16, VirtioBlk, queues, "queues, up to 64 [1]"),
    PROPERTY("queue-size", DEVICE_UINT16, VirtioBlk, queue_size, "a power of two, 2 to 256 [256]"),
    PROPERTY("discard", DEVICE_BOOL, VirtioBlk, offers_discard, "the guest may discard [on]"),
    PROPERTY("write-zeroes", DEVICE_BOOL, VirtioBlk, offers_zeroes, "and write zeroes [on]"),
    PROPERTY("config-wce", DEVICE_BOOL, VirtioBlk, offers_writeback,
             "the guest chooses whether writes are cached [on]"),
    PROPERTY("werror", DEVICE_STR, VirtioBlk, work.on_write,
             "after a failed write: report, ignore, stop, enospc [enospc]"),
    PROPERTY("rerror", DEVICE_STR, VirtioBlk, work.on_read, "the same of reads [report]"), {}
};

/* ---- one request ----------------------------------------------------------------------------- */

typedef struct {
    VirtioBlk *blk;
    unsigned queue;
    uint32_t resets;
    RingChain chain;
} Request;

static uint64_t sectors(const VirtioBlk *s)
{
    return handle_size(s->handle) / SECTOR;
}

/* The bytes of @sector and those behind it, all on the disk. False: they are not. */
static bool locate(const VirtioBlk *s, uint64_t sector, uint64_t bytes, uint64_t *offset)
{
    uint64_t block = s->logical_block_size;

    if (sector > sectors(s) || bytes % block || bytes / SECTOR > sectors(s) - sector)
        return false;
    *offset = sector * SECTOR;
    return *offset % block == 0;
}

static CO int transfer(Request *q, uint32_t type, uint64_t sector)
{
    VirtioBlk *s = q->blk;
    RingChain *c = &q->chain;
    bool is_read = type == TYPE_READ;
    uint64_t len = is_read ? c->in_len - 1 : c->out_len - HEADER_SIZE, offset;
    Span all = is_read ? span_of_iov(c->iov + c->out, c->in) : span_of_iov(c->iov, c->out);
    bool through = !s->writeback;

    if (!locate(s, sector, len, &offset))
        return -EINVAL;
    if (is_read)
        return handle_pread(s->handle, offset, span_slice(all, 0, len), 0);
    return handle_pwrite(s->handle, offset, span_slice(all, HEADER_SIZE, len),
                         through ? REQ_FUA : 0);
}

static CO int change_range(VirtioBlk *s, const uint8_t *range, bool zero)
{
    uint64_t sector = le64_at(range), len = (uint64_t)le32_at(range + 8) * SECTOR, offset;
    uint32_t flags = le32_at(range + 12);

    if (!zero && flags)
        return -ENOTSUP;
    if (zero && flags & ~(uint32_t)RANGE_UNMAP)
        return -ENOTSUP;
    if (len > REQ_LEN_MAX || !locate(s, sector, len, &offset))
        return -EINVAL;
    if (!zero)
        return handle_discard(s->handle, offset, len);
    return handle_zero(s->handle, offset, len, flags & RANGE_UNMAP ? REQ_MAY_UNMAP : 0);
}

static CO int change_ranges(Request *q, bool zero)
{
    uint8_t ranges[RANGES_MAX * RANGE_SIZE];
    uint64_t len = q->chain.out_len - HEADER_SIZE;
    int r = 0;

    if (!len || len % RANGE_SIZE || len > sizeof(ranges) || (zero && len != RANGE_SIZE))
        return -EINVAL;
    ring_chain_read(&q->chain, HEADER_SIZE, ranges, len);
    for (uint64_t at = 0; at < len && r >= 0; at += RANGE_SIZE)
        r = change_range(q->blk, ranges + at, zero);
    return r;
}

static int give_id(Request *q)
{
    char id[SERIAL_SIZE] = { 0 };
    VirtioBlk *s = q->blk;

    if (s->serial)
        memcpy(id, s->serial, MIN(strlen(s->serial), sizeof(id)));
    ring_chain_write(&q->chain, &s->virtio.memory, 0, id, MIN(q->chain.in_len - 1, sizeof(id)));
    return 0;
}

static CO int perform(Request *q, uint32_t type, uint64_t sector)
{
    bool changes = type == TYPE_WRITE || type == TYPE_DISCARD || type == TYPE_WRITE_ZEROES;

    if (changes && !handle_is_writable(q->blk->handle))
        return -EROFS;
    switch (type) {
    case TYPE_READ:
    case TYPE_WRITE:
        return transfer(q, type, sector);
    case TYPE_FLUSH:
        return handle_flush(q->blk->handle);
    case TYPE_GET_ID:
        return give_id(q);
    case TYPE_DISCARD:
    case TYPE_WRITE_ZEROES:
        return change_ranges(q, type == TYPE_WRITE_ZEROES);
    default:
        return -ENOTSUP;
    }
}

static void finish(Request *q, int r, bool has_data)
{
    VirtioBlk *s = q->blk;
    VirtioDevice *d = &s->virtio;
    uint64_t status_at = q->chain.in_len - 1;
    uint8_t status = r >= 0 ? STATUS_OK : r == -ENOTSUP ? STATUS_UNSUPPORTED : STATUS_IOERR;

    machine_lock();
    if (q->resets == d->resets) {
        if (has_data)
            ring_chain_written(&q->chain, &d->memory, status_at);
        ring_chain_write(&q->chain, &d->memory, status_at, &status, 1);
        virtio_push(d, q->queue, &q->chain, has_data ? q->chain.in_len : 1);
    }
    disk_work_leave(&s->work);
    machine_unlock();
    g_free(q);
}

/* True: try it again. A request of before a reset is forgotten. */
static CO bool retry(Request *q, uint32_t type, int *r)
{
    VirtioBlk *s = q->blk;
    bool known;

    /* What the guest should not have asked for is no failure of the disk. */
    if (*r == -EINVAL || *r == -ENOTSUP || *r == -EROFS ||
        !disk_work_retry(&s->work, &s->virtio.dev, s->handle, type == TYPE_READ, r))
        return false;
    machine_lock();
    known = q->resets == s->virtio.resets;
    machine_unlock();
    return known;
}

static CO void request_run(void *arg)
{
    Request *q = arg;
    uint8_t header[HEADER_SIZE];
    uint32_t type;
    int r;

    ring_chain_read(&q->chain, 0, header, sizeof(header));
    type = le32_at(header);
    do
        r = perform(q, type, le64_at(header + 8));
    while (r < 0 && retry(q, type, &r));
    finish(q, r, type == TYPE_READ || type == TYPE_GET_ID);
}

/* ---- the ring -------------------------------------------------------------------------------- */

/* The next request, with the lock held; NULL: there is none. */
static Request *next_request(VirtioBlk *s, unsigned queue)
{
    Request *q = g_new(Request, 1);

    q->blk = s;
    q->queue = queue;
    q->resets = s->virtio.resets;
    if (!virtio_pop(&s->virtio, queue, &q->chain)) {
        g_free(q);
        return NULL;
    }
    if (q->chain.out_len < HEADER_SIZE || !q->chain.in_len) {
        virtio_fail(&s->virtio);
        g_free(q);
        return NULL;
    }
    disk_work_enter(&s->work);
    return q;
}

/* Starts all requests that wait in the ring. With the lock held, which is given up meanwhile. */
static CO void start_requests(VirtioBlk *s, unsigned queue)
{
    Ring *ring = &s->virtio.ring[queue];
    Request *q;

    do {
        ring_want_kicks(ring, &s->virtio.memory, false);
        while ((q = next_request(s, queue))) {
            machine_unlock();
            co_start_now(request_run, q);
            machine_lock();
        }
    } while (ring_want_kicks(ring, &s->virtio.memory, true) &&
             virtio_is_running(&s->virtio));
}

static CO void work(void *arg)
{
    VirtioBlk *s = arg;

    machine_lock();
    while (!s->ending) {
        if (s->resumed) {
            s->resumed = false;
            disk_work_resume(&s->work);
        } else if (s->kicked) {
            unsigned queue = __builtin_ctzll(s->kicked);

            s->kicked &= s->kicked - 1;
            start_requests(s, queue);
        } else {
            sleeper_wait(&s->worker);
        }
    }
    machine_unlock();
}

static void blk_kick(VirtioDevice *d, unsigned queue)
{
    VirtioBlk *s = (VirtioBlk *)d;

    s->kicked |= UINT64_C(1) << queue;
    sleeper_wake(&s->worker);
}

static void resume(VirtioBlk *s)
{
    s->resumed = true;
    sleeper_wake(&s->worker);
}

static void blk_resume(Device *d)
{
    resume((VirtioBlk *)d);
}

/* Nothing of before may reach the guest's memory once the reset is done. */
static void blk_reset(VirtioDevice *d)
{
    VirtioBlk *s = (VirtioBlk *)d;

    s->kicked = 0;
    resume(s);
    disk_work_wait(&s->work);
    s->writeback = 1;
}

static CO void blk_drain(Device *d)
{
    disk_work_drain(&((VirtioBlk *)d)->work);
}

/* ---- configuration --------------------------------------------------------------------------- */

static uint64_t blk_features(const VirtioDevice *d)
{
    const VirtioBlk *s = (const VirtioBlk *)d;
    uint64_t f = F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY;

    if (s->queues > 1)
        f |= F_QUEUES;
    if (s->offers_writeback)
        f |= F_CONFIG_WCE;
    if (!handle_is_writable(s->handle))
        return f | F_READ_ONLY;
    return f | (s->offers_discard ? F_DISCARD : 0) | (s->offers_zeroes ? F_WRITE_ZEROES : 0);
}

static void blk_config_read(const VirtioDevice *d, uint8_t *c)
{
    const VirtioBlk *s = (const VirtioBlk *)d;
    uint32_t max = REQ_LEN_MAX / SECTOR / 8 * 8;

    le64_put(c + CONFIG_CAPACITY, s->capacity);
    le32_put(c + CONFIG_SEG_MAX, s->queue_size - 2);
    le32_put(c + CONFIG_BLK_SIZE, s->logical_block_size);
    c[CONFIG_PHYSICAL_EXP] = __builtin_ctz(s->physical_block_size / s->logical_block_size);
    c[CONFIG_WRITEBACK] = s->writeback;
    le16_put(c + CONFIG_MIN_IO, s->min_io_size / s->logical_block_size);
    le32_put(c + CONFIG_OPT_IO, s->opt_io_size / s->logical_block_size);
    le16_put(c + CONFIG_QUEUES, s->queues);
    le32_put(c + CONFIG_DISCARD_MAX, max);
    le32_put(c + CONFIG_DISCARD_SEGS, RANGES_MAX);
    le32_put(c + CONFIG_DISCARD_ALIGN, s->discard_granularity / SECTOR);
    le32_put(c + CONFIG_ZEROES_MAX, max);
    le32_put(c + CONFIG_ZEROES_SEGS, 1);
    c[CONFIG_ZEROES_UNMAP] = 1;
}

static void blk_config_write(VirtioDevice *d, unsigned offset, uint8_t value)
{
    if (offset == CONFIG_WRITEBACK && virtio_has(d, F_CONFIG_WCE))
        ((VirtioBlk *)d)->writeback = value & 1;
}

static void blk_resized(void *owner)
{
    VirtioBlk *s = owner;

    machine_lock();
    s->capacity = sectors(s);
    virtio_config_changed(&s->virtio);
    machine_unlock();
}

static const HandleOps blk_handle_ops = { .resized = blk_resized };

/* Requests that are under way when others stop; here all come to their end first. */
typedef struct {
    uint8_t requests;
} BlkImage;

static const StateField image_fields[] = { STATE_U("requests", BlkImage, requests), {} };
static const StateLayout image_layout = { "virtio-blk", 2, 2, sizeof(BlkImage), image_fields };

static bool blk_load(VirtioDevice *d, const void *part, const uint8_t *config, GError **err)
{
    VirtioBlk *s = (VirtioBlk *)d;

    if (((const BlkImage *)part)->requests)
        return err_set(err, ENOTSUP, "Requests have failed and wait, which cannot be taken over");
    /* A driver that never asked saw nothing of it. */
    if (virtio_has(d, F_CONFIG_WCE) && config[CONFIG_CAPACITY + 7] == 0 && config[CONFIG_SEG_MAX])
        s->writeback = config[CONFIG_WRITEBACK];
    return true;
}

static const VirtioPart blk_part = {
    .name = "virtio-blk", .version = 2, .config_size = CONFIG_IN_STREAMS, .layout = &image_layout,
    .load = blk_load,
};

static const VirtioType blk_type = {
    .part = &blk_part,
    .id = ID,
    .queues = 1,
    .features = blk_features,
    .config_size = CONFIG_SIZE,
    .config_read = blk_config_read,
    .config_write = blk_config_write,
    .kick = blk_kick,
    .reset = blk_reset,
};

/* ---- the device ------------------------------------------------------------------------------ */

static bool check_sizes(VirtioBlk *s, GError **err)
{
    if (!s->logical_block_size)
        s->logical_block_size = SECTOR;
    if (!s->physical_block_size)
        s->physical_block_size = s->logical_block_size;
    if (!is_power_of_2(s->logical_block_size) || !is_power_of_2(s->physical_block_size) ||
        s->logical_block_size < SECTOR || s->physical_block_size > 2 * MiB)
        return err_set(err, EINVAL, "Block sizes are powers of two from 512 to 2 MiB");
    if (s->logical_block_size > s->physical_block_size)
        return err_set(err, EINVAL, "The logical block is not larger than the physical one");
    if (!s->discard_granularity)
        s->discard_granularity = s->logical_block_size;
    if (s->min_io_size % s->logical_block_size || s->opt_io_size % s->logical_block_size ||
        s->discard_granularity % s->logical_block_size ||
        s->min_io_size / s->logical_block_size > UINT16_MAX)
        return err_set(err, EINVAL, "min_io_size, opt_io_size and discard_granularity are "
                       "multiples of logical_block_size");
    return true;
}

static bool check_queues(const VirtioBlk *s, GError **err)
{
    if (!s->queues || s->queues > VIRTIO_QUEUES_MAX)
        return err_set(err, EINVAL, "num-queues is 1 to %d, not %u", VIRTIO_QUEUES_MAX, s->queues);
    return (s->queue_size > 2 && s->queue_size <= QUEUE_SIZE && is_power_of_2(s->queue_size)) ||
           err_set(err, EINVAL, "queue-size is a power of two from 4 to %d, not %u", QUEUE_SIZE,
                   s->queue_size);
}

static void blk_defaults(Device *d)
{
    VirtioBlk *s = (VirtioBlk *)d;

    s->queues = 1;
    s->queue_size = QUEUE_SIZE;
    s->offers_discard = s->offers_zeroes = s->offers_writeback = true;
}

static CO bool blk_realize(Device *d, GError **err)
{
    VirtioBlk *s = (VirtioBlk *)d;
    g_autofree char *name = NULL;

    if (!s->drive)
        return err_set(err, EINVAL, "drive property not set");
    if (s->serial && strlen(s->serial) > SERIAL_SIZE)
        return err_set(err, EINVAL, "A serial number has at most %d characters", SERIAL_SIZE);
    if (!check_sizes(s, err) || !check_queues(s, err) || !disk_work_init(&s->work, err))
        return false;
    s->handle = drive_claim(s->drive, &s->owns_handle, err);
    if (!s->handle)
        return false;
    name = device_name(d);
    account_open(s->handle, NULL, name);
    virtio_init(&s->virtio, &blk_type, s->queue_size);
    s->virtio.queues = s->queues;
    s->capacity = sectors(s);
    handle_listen(s->handle, &blk_handle_ops, s);
    co_group_start(&s->running, work, s);
    return true;
}

static CO void blk_disconnect(Device *d)
{
    VirtioBlk *s = (VirtioBlk *)d;

    machine_lock();
    s->ending = true;
    resume(s);
    machine_unlock();
    co_group_wait(&s->running);
    disk_work_end(&s->work);
    drive_release(s->drive, s->handle, s->owns_handle);
    s->handle = NULL;
}

static void blk_unrealize(Device *d)
{
    disk_work_free(&((VirtioBlk *)d)->work);
}

const DeviceClass device_virtio_blk = {
    .name = "virtio-blk-device",
    .bus = "virtio-bus",
    .size = sizeof(VirtioBlk),
    .is_stateless = true,
    .can_migrate = virtio_can_migrate,
    .properties = blk_properties,
    .defaults = blk_defaults,
    .realize = blk_realize,
    .drain = blk_drain,
    .resume = blk_resume,
    .disconnect = blk_disconnect,
    .unrealize = blk_unrealize,
};
