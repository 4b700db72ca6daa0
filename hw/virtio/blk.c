/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-blk-device: a disk. Chains are taken from the ring on the main loop, each becomes a
 * request with a coroutine of its own, whose data goes straight from or to the guest's memory.
 */
#include "block/account.h"
#include "hw/sleeper.h"
#include "hw/virtio/device.h"
#include "hw/virtio/disk-work.h"
#include "hw/virtio/drives.h"
#include "hw/virtio/section.h"
#include "io/co-lock.h"
#include "util/err.h"
#include "util/size.h"
#include "virtio/blk/disk.h"
#include <string.h>

enum { ID = 2, QUEUE_SIZE = 256, CONFIG_CAPACITY = 0, CONFIG_SEG_MAX = 12, CONFIG_IN_STREAMS = 57 };

typedef struct {
    VirtioDevice virtio;
    /* Properties. */
    char *drive, *serial;
    DiskWork work;

    VirtioDisk disk; /* most of it are properties, too */
    bool owns_handle;
    CoGroup running;
    Sleeper worker;
    uint64_t kicked;     /* a bit for each queue */
    bool resumed, ending;
} VirtioBlk;

static const Property blk_properties[] = {
    VIRTIO_PROPERTIES,
    LOCAL_PROPERTY("drive", DEVICE_STR, VirtioBlk, drive,
                   "the image: id of a -drive, or a node's name"),
    PROPERTY("serial", DEVICE_STR, VirtioBlk, serial, "serial number, 20 characters at most"),
    PROPERTY("logical_block_size", DEVICE_UINT32, VirtioBlk, disk.logical_block_size,
             "bytes the guest reads and writes at least [512]"),
    PROPERTY("physical_block_size", DEVICE_UINT32, VirtioBlk, disk.physical_block_size,
             "as the storage has them [512]"),
    PROPERTY("min_io_size", DEVICE_UINT32, VirtioBlk, disk.min_io_size,
             "bytes that the guest is advised of"),
    PROPERTY("opt_io_size", DEVICE_UINT32, VirtioBlk, disk.opt_io_size, "the same, for best speed"),
    PROPERTY("discard_granularity", DEVICE_UINT32, VirtioBlk, disk.discard_granularity,
             "bytes that discards should be aligned to [logical_block_size]"),
    PROPERTY("num-queues", DEVICE_UINT16, VirtioBlk, disk.queues, "queues, up to 64 [1]"),
    PROPERTY("queue-size", DEVICE_UINT16, VirtioBlk, disk.queue_size,
             "a power of two, 4 to 256 [256]"),
    PROPERTY("discard", DEVICE_BOOL, VirtioBlk, disk.offers_discard, "the guest may discard [on]"),
    PROPERTY("write-zeroes", DEVICE_BOOL, VirtioBlk, disk.offers_zeroes, "and write zeroes [on]"),
    PROPERTY("config-wce", DEVICE_BOOL, VirtioBlk, disk.offers_writeback,
             "the guest chooses whether writes are cached [on]"),
    LOCAL_PROPERTY("werror", DEVICE_STR, VirtioBlk, work.on_write,
             "after a failed write: report, ignore, stop, enospc [enospc]"),
    LOCAL_PROPERTY("rerror", DEVICE_STR, VirtioBlk, work.on_read,
             "after a failed read: report, ignore, stop, enospc [report]"), {}
};

/* ---- one request ----------------------------------------------------------------------------- */

typedef struct {
    VirtioBlk *blk;
    unsigned queue;
    uint32_t resets;
    VirtioDiskRequest request;
    RingChain chain;
} Request;

static void finish(Request *q, int r)
{
    VirtioBlk *s = q->blk;
    VirtioDevice *d = &s->virtio;

    machine_lock();
    if (q->resets == d->resets)
        virtio_push(d, q->queue, &q->chain,
                    virtio_disk_answer(&q->request, &q->chain, &d->memory, r));
    disk_work_leave(&s->work);
    machine_unlock();
    g_free(q);
}

/* True: try it again. A request of before a reset is forgotten. */
static CO bool retry(Request *q, int *r)
{
    VirtioBlk *s = q->blk;
    bool known;

    /* What the guest should not have asked for is no failure of the disk. */
    if (*r == -EINVAL || *r == -ENOTSUP || *r == -EROFS ||
        !disk_work_retry(&s->work, &s->virtio.dev, s->disk.handle,
                         q->request.type == VIRTIO_BLK_READ, r))
        return false;
    machine_lock();
    known = q->resets == s->virtio.resets;
    machine_unlock();
    return known;
}

static CO void request_run(void *arg)
{
    Request *q = arg;
    VirtioBlk *s = q->blk;
    int r;

    do
        r = virtio_disk_perform(&s->disk, &q->request, &q->chain, &s->virtio.memory);
    while (r < 0 && retry(q, &r));
    finish(q, r);
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
    if (!virtio_disk_request(&q->chain, &q->request)) {
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
    Request *q;

    do {
        virtio_want_kicks(&s->virtio, queue, false);
        while ((q = next_request(s, queue))) {
            machine_unlock();
            co_start_now(request_run, q);
            machine_lock();
        }
    } while (virtio_want_kicks(&s->virtio, queue, true) && virtio_is_running(&s->virtio));
}

static CO void work(void *arg)
{
    VirtioBlk *s = arg;

    machine_lock();
    while (!s->ending) {
        if (s->resumed) {
            s->resumed = false;
            disk_work_resume(&s->work, s->virtio.dev.board);
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
    disk_work_wait(&s->work, s->disk.handle);
    s->disk.writeback = 1;
}

static CO void blk_drain(Device *d)
{
    disk_work_drain(&((VirtioBlk *)d)->work, ((VirtioBlk *)d)->disk.handle);
}

/* ---- configuration --------------------------------------------------------------------------- */

static uint64_t blk_features(const VirtioDevice *d)
{
    return virtio_disk_features(&((const VirtioBlk *)d)->disk);
}

static void blk_config_read(const VirtioDevice *d, uint8_t *c)
{
    virtio_disk_config(&((const VirtioBlk *)d)->disk, c);
}

static void blk_config_write(VirtioDevice *d, unsigned offset, uint8_t value)
{
    if (offset == VIRTIO_BLK_CONFIG_WRITEBACK && virtio_has(d, VIRTIO_BLK_F_CONFIG_WCE))
        ((VirtioBlk *)d)->disk.writeback = value & 1;
}

static void blk_resized(void *owner)
{
    VirtioBlk *s = owner;

    machine_lock();
    virtio_disk_take_size(&s->disk);
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
    if (virtio_has(d, VIRTIO_BLK_F_CONFIG_WCE) && config[CONFIG_CAPACITY + 7] == 0 &&
        config[CONFIG_SEG_MAX])
        s->disk.writeback = config[VIRTIO_BLK_CONFIG_WRITEBACK];
    return true;
}

static unsigned blk_config_size(const VirtioDevice *d)
{
    return CONFIG_IN_STREAMS;
}

static const VirtioPart blk_part = {
    .name = "virtio-blk", .version = 2, .config_size = blk_config_size, .layout = &image_layout,
    .load = blk_load,
};

static const VirtioType blk_type = {
    .has_fixed_layout = true,
    .part = &blk_part,
    .id = ID,
    .queues = 1,
    .features = blk_features,
    .config_size = VIRTIO_BLK_CONFIG_SIZE,
    .config_read = blk_config_read,
    .config_write = blk_config_write,
    .kick = blk_kick,
    .reset = blk_reset,
};

/* ---- the device ------------------------------------------------------------------------------ */

static bool check_queues(const VirtioDisk *s, GError **err)
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

    s->disk.queues = 1;
    s->disk.queue_size = QUEUE_SIZE;
    s->disk.offers_discard = s->disk.offers_zeroes = s->disk.offers_writeback = true;
}

static CO bool blk_realize(Device *d, GError **err)
{
    VirtioBlk *s = (VirtioBlk *)d;
    g_autofree char *name = NULL;

    if (!s->drive)
        return err_set(err, EINVAL, "drive property not set");
    if (s->serial && strlen(s->serial) > VIRTIO_BLK_ID_SIZE)
        return err_set(err, EINVAL, "A serial number has at most %d characters",
                       VIRTIO_BLK_ID_SIZE);
    if (!virtio_disk_check(&s->disk, err) || !check_queues(&s->disk, err) ||
        !disk_work_init(&s->work, err))
        return false;
    s->disk.id = s->serial;
    s->disk.handle = drive_claim(s->drive, &s->owns_handle, err);
    if (!s->disk.handle)
        return false;
    name = device_name(d);
    account_open(s->disk.handle, NULL, name);
    virtio_init(&s->virtio, &blk_type, s->disk.queue_size);
    s->virtio.queues = s->disk.queues;
    virtio_disk_take_size(&s->disk);
    handle_listen(s->disk.handle, &blk_handle_ops, s);
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
    disk_work_end(&s->work, d->board, s->disk.handle);
    drive_release(s->drive, s->disk.handle, s->owns_handle);
    s->disk.handle = NULL;
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
    .properties = blk_properties,
    .defaults = blk_defaults,
    .realize = blk_realize,
    .drain = blk_drain,
    .resume = blk_resume,
    .disconnect = blk_disconnect,
    .unrealize = blk_unrealize,
};
