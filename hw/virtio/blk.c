/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-blk-device: a disk. Chains are taken from the ring on the main loop, each becomes a request
 * with a coroutine of its own, whose data goes straight from or to the guest's memory.
 */
#include "block/account.h"
#include "hw/sleeper.h"
#include "hw/virtio/device.h"
#include "hw/virtio/drives.h"
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
};

#define F_SEG_MAX (UINT64_C(1) << 2)
#define F_READ_ONLY (UINT64_C(1) << 5)
#define F_BLK_SIZE (UINT64_C(1) << 6)
#define F_FLUSH (UINT64_C(1) << 9)
#define F_TOPOLOGY (UINT64_C(1) << 10)
#define F_CONFIG_WCE (UINT64_C(1) << 11)
#define F_DISCARD (UINT64_C(1) << 13)
#define F_WRITE_ZEROES (UINT64_C(1) << 14)

typedef struct {
    VirtioDevice virtio;
    /* Properties. */
    char *drive, *serial;
    uint32_t logical_block_size, physical_block_size;

    Handle *handle;
    bool owns_handle;
    CoGroup running;
    Sleeper worker;
    MachineCond *idle;
    unsigned in_flight;  /* with the lock held */
    bool kicked, ending;

    uint8_t writeback;
} VirtioBlk;

static const StateField blk_state[] = { STATE(VirtioBlk, writeback), {} };

static const Property blk_properties[] = {
    PROPERTY("drive", DEVICE_STR, VirtioBlk, drive, "the image: id of a -drive, or a node's name"),
    PROPERTY("serial", DEVICE_STR, VirtioBlk, serial, "serial number, 20 characters at most"),
    PROPERTY("logical_block_size", DEVICE_UINT32, VirtioBlk, logical_block_size,
             "bytes the guest reads and writes at least [512]"),
    PROPERTY("physical_block_size", DEVICE_UINT32, VirtioBlk, physical_block_size,
             "as the storage has them [512]"), {}
};

/* ---- one request ----------------------------------------------------------------------------- */

typedef struct {
    VirtioBlk *blk;
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
        virtio_push(d, 0, &q->chain, has_data ? q->chain.in_len : 1);
    }
    if (!--s->in_flight)
        machine_cond_wake(s->idle);
    machine_unlock();
    g_free(q);
}

static CO void request_run(void *arg)
{
    Request *q = arg;
    uint8_t header[HEADER_SIZE];
    uint32_t type;

    ring_chain_read(&q->chain, 0, header, sizeof(header));
    type = le32_at(header);
    finish(q, perform(q, type, le64_at(header + 8)), type == TYPE_READ || type == TYPE_GET_ID);
}

/* ---- the ring -------------------------------------------------------------------------------- */

/* The next request, with the lock held; NULL: there is none. */
static Request *next_request(VirtioBlk *s)
{
    Request *q = g_new(Request, 1);

    q->blk = s;
    q->resets = s->virtio.resets;
    if (!virtio_pop(&s->virtio, 0, &q->chain)) {
        g_free(q);
        return NULL;
    }
    if (q->chain.out_len < HEADER_SIZE || !q->chain.in_len) {
        virtio_fail(&s->virtio);
        g_free(q);
        return NULL;
    }
    s->in_flight++;
    return q;
}

/* Starts all requests that wait in the ring. With the lock held, which is given up meanwhile. */
static CO void start_requests(VirtioBlk *s)
{
    Request *q;

    do {
        ring_want_kicks(&s->virtio.ring[0], &s->virtio.memory, false);
        while ((q = next_request(s))) {
            machine_unlock();
            co_start_now(request_run, q);
            machine_lock();
        }
    } while (ring_want_kicks(&s->virtio.ring[0], &s->virtio.memory, true) &&
             virtio_is_running(&s->virtio));
}

static CO void work(void *arg)
{
    VirtioBlk *s = arg;

    machine_lock();
    while (!s->ending) {
        if (s->kicked) {
            s->kicked = false;
            start_requests(s);
        } else {
            sleeper_wait(&s->worker);
        }
    }
    machine_unlock();
}

static void blk_kick(VirtioDevice *d, unsigned queue)
{
    VirtioBlk *s = (VirtioBlk *)d;

    s->kicked = true;
    sleeper_wake(&s->worker);
}

/* Nothing of before may reach the guest's memory once the reset is done. */
static void blk_reset(VirtioDevice *d)
{
    VirtioBlk *s = (VirtioBlk *)d;

    s->kicked = false;
    while (s->in_flight)
        machine_cond_wait(s->idle, INT64_MAX);
    s->writeback = 1;
}

static CO void blk_drain(Device *d)
{
    VirtioBlk *s = (VirtioBlk *)d;

    for (;;) {
        unsigned left;

        machine_lock();
        left = s->in_flight;
        machine_unlock();
        if (!left)
            return;
        co_sleep(100000);
    }
}

/* ---- configuration --------------------------------------------------------------------------- */

static uint64_t blk_features(const VirtioDevice *d)
{
    const VirtioBlk *s = (const VirtioBlk *)d;
    uint64_t f = F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY | F_CONFIG_WCE;

    return handle_is_writable(s->handle) ? f | F_DISCARD | F_WRITE_ZEROES : f | F_READ_ONLY;
}

static void blk_config_read(const VirtioDevice *d, uint8_t *c)
{
    const VirtioBlk *s = (const VirtioBlk *)d;
    uint32_t max = REQ_LEN_MAX / SECTOR / 8 * 8;

    le64_put(c + CONFIG_CAPACITY, sectors(s));
    le32_put(c + CONFIG_SEG_MAX, QUEUE_SIZE - 2);
    le32_put(c + CONFIG_BLK_SIZE, s->logical_block_size);
    c[CONFIG_PHYSICAL_EXP] = __builtin_ctz(s->physical_block_size / s->logical_block_size);
    c[CONFIG_WRITEBACK] = s->writeback;
    le16_put(c + CONFIG_QUEUES, 1);
    le32_put(c + CONFIG_DISCARD_MAX, max);
    le32_put(c + CONFIG_DISCARD_SEGS, RANGES_MAX);
    le32_put(c + CONFIG_DISCARD_ALIGN, s->logical_block_size / SECTOR);
    le32_put(c + CONFIG_ZEROES_MAX, max);
    le32_put(c + CONFIG_ZEROES_SEGS, 1);
    c[CONFIG_ZEROES_UNMAP] = 1;
}

static void blk_config_write(VirtioDevice *d, unsigned offset, uint8_t value)
{
    if (offset == CONFIG_WRITEBACK)
        ((VirtioBlk *)d)->writeback = value & 1;
}

static const VirtioType blk_type = {
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
    return true;
}

static CO bool blk_realize(Device *d, GError **err)
{
    VirtioBlk *s = (VirtioBlk *)d;
    g_autofree char *name = NULL;

    s->idle = machine_cond_new();
    if (!s->drive)
        return err_set(err, EINVAL, "drive property not set");
    if (s->serial && strlen(s->serial) > SERIAL_SIZE)
        return err_set(err, EINVAL, "A serial number has at most %d characters", SERIAL_SIZE);
    if (!check_sizes(s, err))
        return false;
    s->handle = drive_claim(s->drive, &s->owns_handle, err);
    if (!s->handle)
        return false;
    name = device_name(d);
    account_open(s->handle, NULL, name);
    virtio_init(&s->virtio, &blk_type, QUEUE_SIZE);
    co_group_start(&s->running, work, s);
    return true;
}

static CO void blk_disconnect(Device *d)
{
    VirtioBlk *s = (VirtioBlk *)d;

    blk_drain(d);
    machine_lock();
    s->ending = true;
    sleeper_wake(&s->worker);
    machine_unlock();
    co_group_wait(&s->running);
    if (s->handle && s->owns_handle)
        handle_close(s->handle);
    else if (s->handle)
        drive_release(s->drive);
    s->handle = NULL;
}

static void blk_unrealize(Device *d)
{
    machine_cond_free(((VirtioBlk *)d)->idle);
}

const DeviceClass device_virtio_blk = {
    .name = "virtio-blk-device",
    .bus = "virtio-bus",
    .size = sizeof(VirtioBlk),
    .version = 1,
    .state = blk_state,
    .base_state = virtio_state,
    .properties = blk_properties,
    .realize = blk_realize,
    .drain = blk_drain,
    .disconnect = blk_disconnect,
    .unrealize = blk_unrealize,
};
