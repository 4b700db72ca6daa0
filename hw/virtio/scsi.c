/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-scsi-device: takes requests from its queues on the main loop; each becomes a coroutine
 * that runs a command on a disk, whose data goes straight from or to the guest's memory.
 */
#include "hw/virtio/scsi.h"
#include "hw/sleeper.h"
#include "hw/virtio/section.h"
#include "util/endian.h"
#include "util/err.h"
#include "util/size.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum {
    ID = 8, QUEUE_SIZE = 256, CONTROL = 0, EVENT = 1, REQUESTS = 2,
    HEADER_MIN = 19, RESPONSE_MIN = 12, SENSE_DEFAULT = 96, SENSE_MAX = 252, CDB_DEFAULT = 32,

    CONFIG_QUEUES = 0, CONFIG_SEG_MAX = 4, CONFIG_MAX_SECTORS = 8, CONFIG_CMD_PER_LUN = 12,
    CONFIG_EVENT_SIZE = 16, CONFIG_SENSE_SIZE = 20, CONFIG_CDB_SIZE = 24, CONFIG_MAX_TARGET = 30,
    CONFIG_MAX_LUN = 32, CONFIG_SIZE = 36, EVENT_SIZE = 16,

    RESPONSE_OK = 0, RESPONSE_OVERRUN = 1, RESPONSE_BAD_TARGET = 3, RESPONSE_FAILURE = 9,
    RESPONSE_FUNCTION_DONE = 0, RESPONSE_REJECTED = 11, RESPONSE_BAD_LUN = 12,
    TYPE_TMF = 0, TYPE_QUERY = 1, TYPE_SUBSCRIBE = 2, TMF_SIZE = 24, NOTIFY_SIZE = 16,
    TMF_ABORT = 0, TMF_ABORT_SET = 1, TMF_CLEAR_SET = 3, TMF_NEXUS_RESET = 4, TMF_LUN_RESET = 5,
    TMF_QUERY = 6, TMF_QUERY_SET = 7,
    EVENT_TRANSPORT_RESET = 1, EVENT_PARAM_CHANGE = 3, EVENT_MISSED = 1 << 31,
    REASON_RESCAN = 1, REASON_REMOVED = 2,
    REPORT_LUNS = 0xa0, INQUIRY = 0x12, LUNS_MAX = 256,
};

#define F_HOTPLUG (UINT64_C(1) << 1)
#define F_CHANGE (UINT64_C(1) << 2)

typedef struct {
    VirtioDevice virtio;
    uint32_t queues;
    uint16_t queue_size;
    GPtrArray *disks;   /* of ScsiDisk; with the lock held */
    CoGroup running;
    Sleeper worker;
    uint64_t kicked;    /* a bit for each queue of requests */
    bool resumed, ending, managing; /* .managing: a request of the control queue is under way */

    /* State of the guest. */
    uint32_t sense_size, cdb_size;
    uint8_t missed;     /* an event for which there was no room */
} VirtioScsi;

static const Property scsi_properties[] = {
    VIRTIO_PROPERTIES,
    PROPERTY("num_queues", DEVICE_UINT32, VirtioScsi, queues, "queues of requests, up to 62 [1]"),
    PROPERTY("virtqueue_size", DEVICE_UINT16, VirtioScsi, queue_size,
             "a power of two, 4 to 256 [256]"), {}
};

/* ---- who is there ---------------------------------------------------------------------------- */

static ScsiDisk *find(const VirtioScsi *s, unsigned target, unsigned lun)
{
    for (guint i = 0; i < s->disks->len; i++) {
        ScsiDisk *d = s->disks->pdata[i];

        if (d->target == target && d->lun == lun)
            return d;
    }
    return NULL;
}

static ScsiDisk *first_of(const VirtioScsi *s, unsigned target)
{
    for (guint i = 0; i < s->disks->len; i++)
        if (((ScsiDisk *)s->disks->pdata[i])->target == target)
            return s->disks->pdata[i];
    return NULL;
}

/* The number of the unit in an address of a request; -1: it is no such address. */
static int lun_of(const uint8_t *address)
{
    return address[0] == 1 ? be16_at(address + 2) & 0x3fff : -1;
}

static void put_lun(uint8_t *address, unsigned target, unsigned lun)
{
    memset(address, 0, 8);
    address[0] = 1;
    address[1] = target;
    be16_put(address + 2, lun < 256 ? lun : lun | 0x4000);
}

/* ---- one request ----------------------------------------------------------------------------- */

typedef struct {
    VirtioScsi *scsi;
    ScsiDisk *disk;     /* NULL: there is none, the answer is ready */
    unsigned queue;
    uint32_t resets;
    uint8_t response;
    uint8_t cdb[SENSE_MAX];
    ScsiCommand command;
    RingChain chain;
} Request;

static size_t header_size(const VirtioScsi *s)
{
    return HEADER_MIN + s->cdb_size;
}

static size_t response_size(const VirtioScsi *s)
{
    return RESPONSE_MIN + s->sense_size;
}

/* With the lock held. */
static void answer(Request *q)
{
    VirtioScsi *s = q->scsi;
    const ScsiCommand *c = &q->command;
    uint8_t head[RESPONSE_MIN + SENSE_MAX] = { 0 };
    bool failed = c->status == SCSI_CHECK_CONDITION;
    uint64_t expected = c->out.len ? c->out.len : c->in.len;
    uint64_t given = c->out.len ? 0 : c->done;

    if (failed) {
        uint8_t sense[SCSI_SENSE_SIZE];
        size_t n = MIN(sizeof(sense), s->sense_size);

        scsi_sense_put(sense, c->sense);
        memcpy(head + RESPONSE_MIN, sense, n);
        le32_put(head, n);
    }
    le32_put(head + 4, MIN(expected - c->done, UINT32_MAX));
    head[10] = c->status;
    head[11] = c->overrun ? RESPONSE_OVERRUN : q->response;
    ring_chain_written(&q->chain, &s->virtio.memory, response_size(s) + given);
    ring_chain_write(&q->chain, &s->virtio.memory, 0, head, response_size(s));
    virtio_push(&s->virtio, q->queue, &q->chain, response_size(s) + given);
}

static CO void request_run(void *arg)
{
    Request *q = arg;

    scsi_disk_run(q->disk, &q->command);
    machine_lock();
    if (q->resets == q->scsi->virtio.resets)
        answer(q);
    disk_work_leave(&q->disk->work);
    machine_unlock();
    g_free(q);
}

/* The units of a target. */
static void report_luns(Request *q, unsigned target)
{
    uint8_t list[8 + 8 * LUNS_MAX] = { 0 };
    size_t len = 16; /* unit 0 is always told of */

    for (guint i = 0; i < q->scsi->disks->len && len < sizeof(list); i++) {
        const ScsiDisk *d = q->scsi->disks->pdata[i];

        if (d->target != target || !d->lun)
            continue;
        be16_put(list + len, d->lun < 256 ? d->lun : d->lun | 0x4000);
        len += 8;
    }
    be32_put(list, len - 8);
    scsi_give(&q->command, list, len, be32_at(q->cdb + 6));
}

/* What a target says of a unit that it does not have. */
static void refuse(Request *q)
{
    uint8_t nobody[36] = { 0x7f, 0, 5, 0x12, 36 - 5 };

    if (q->cdb[0] == INQUIRY && !(q->cdb[1] & 1))
        scsi_give(&q->command, nobody, sizeof(nobody), be16_at(q->cdb + 3));
    else
        scsi_fail(&q->command, SENSE_ILLEGAL, 0x25, 0);
}

/* Looks who it is for; without a disk the command is complete. With the lock held. */
static void direct(Request *q, const uint8_t *address)
{
    int lun = lun_of(address);
    ScsiDisk *any = lun < 0 ? NULL : first_of(q->scsi, address[1]);

    if (!any)
        q->response = RESPONSE_BAD_TARGET;
    else if (q->cdb[0] == REPORT_LUNS)
        report_luns(q, address[1]);
    else if (!(q->disk = find(q->scsi, address[1], lun)))
        refuse(q);
}

/* The next request, with the lock held; NULL: there is none. */
static Request *next_request(VirtioScsi *s, unsigned queue)
{
    Request *q = g_new0(Request, 1);
    uint8_t head[HEADER_MIN + SENSE_MAX] = { 0 };
    RingChain *c = &q->chain;

    q->scsi = s;
    q->queue = queue;
    q->resets = s->virtio.resets;
    if (!virtio_pop(&s->virtio, queue, c)) {
        g_free(q);
        return NULL;
    }
    if (c->out_len < header_size(s) || c->in_len < response_size(s)) {
        virtio_fail(&s->virtio);
        g_free(q);
        return NULL;
    }
    ring_chain_read(c, 0, head, header_size(s));
    memcpy(q->cdb, head + HEADER_MIN, s->cdb_size);
    q->command.cdb = q->cdb;
    q->command.out = span_of_iov(c->iov, c->out);
    q->command.out = span_slice(q->command.out, header_size(s), c->out_len - header_size(s));
    q->command.in = span_of_iov(c->iov + c->out, c->in);
    q->command.in = span_slice(q->command.in, response_size(s), c->in_len - response_size(s));
    direct(q, head);
    if (q->disk) {
        q->command.resets = q->disk->resets;
        disk_work_enter(&q->disk->work);
    }
    return q;
}

/* With the lock held, which is given up meanwhile. */
static CO void start_requests(VirtioScsi *s, unsigned queue)
{
    Request *q;

    do {
        virtio_want_kicks(&s->virtio, queue, false);
        while ((q = next_request(s, queue))) {
            if (!q->disk) {
                answer(q);
                g_free(q);
                continue;
            }
            machine_unlock();
            co_start_now(request_run, q);
            machine_lock();
        }
    } while (virtio_want_kicks(&s->virtio, queue, true) && virtio_is_running(&s->virtio));
}

/* ---- task management ------------------------------------------------------------------------- */

/* Waits until what units of @target (@lun -1: all) do has ended. The lock is given up meanwhile. */
static CO void settle(VirtioScsi *s, unsigned target, int lun)
{
    for (;;) {
        unsigned left = 0;

        for (guint i = 0; i < s->disks->len; i++) {
            const ScsiDisk *d = s->disks->pdata[i];

            if (d->target == target && (lun < 0 || d->lun == lun))
                left += d->work.in_flight;
        }
        if (!left || s->ending)
            return;
        machine_unlock();
        co_sleep(100000);
        machine_lock();
    }
}

static CO uint8_t manage(VirtioScsi *s, const uint8_t *request)
{
    uint32_t what = le32_at(request + 4);
    unsigned target = request[9];
    int lun = lun_of(request + 8);
    ScsiDisk *d = lun < 0 ? NULL : find(s, target, lun);

    if (lun < 0 || !first_of(s, target))
        return RESPONSE_BAD_TARGET;
    switch (what) {
    case TMF_ABORT:
    case TMF_ABORT_SET:
    case TMF_CLEAR_SET:
    case TMF_QUERY:
    case TMF_QUERY_SET:
        if (!d)
            return RESPONSE_BAD_LUN;
        if (what < TMF_QUERY)
            settle(s, target, lun);
        return RESPONSE_FUNCTION_DONE;
    case TMF_LUN_RESET:
        if (!d)
            return RESPONSE_BAD_LUN;
        settle(s, target, lun);
        if ((d = find(s, target, lun)))
            scsi_disk_reset(d);
        return RESPONSE_FUNCTION_DONE;
    case TMF_NEXUS_RESET:
        settle(s, target, -1);
        for (guint i = 0; i < s->disks->len; i++)
            if (((ScsiDisk *)s->disks->pdata[i])->target == target)
                scsi_disk_reset(s->disks->pdata[i]);
        return RESPONSE_FUNCTION_DONE;
    default:
        return RESPONSE_REJECTED;
    }
}

/* One request of the control queue. With the lock held, which is given up meanwhile. */
static CO void control(VirtioScsi *s, const RingChain *c)
{
    uint8_t request[TMF_SIZE] = { 0 }, reply[5] = { 0 };
    uint32_t resets = s->virtio.resets, type;
    size_t len = 1;

    ring_chain_read(c, 0, request, sizeof(request));
    type = le32_at(request);
    if (c->out_len < (type == TYPE_TMF ? TMF_SIZE : NOTIFY_SIZE) || type > TYPE_SUBSCRIBE) {
        virtio_fail(&s->virtio);
        return;
    }
    if (type == TYPE_TMF)
        reply[0] = manage(s, request);
    else
        len = sizeof(reply); /* there are no asynchronous notifications: the set is empty */
    if (resets != s->virtio.resets)
        return;
    len = ring_chain_write(c, &s->virtio.memory, 0, reply, len);
    virtio_push(&s->virtio, CONTROL, c, len);
}

static CO void run_control(VirtioScsi *s)
{
    g_autofree RingChain *c = g_new(RingChain, 1);

    virtio_want_kicks(&s->virtio, CONTROL, true);
    for (unsigned i = 0; i < QUEUE_SIZE && virtio_pop(&s->virtio, CONTROL, c); i++) {
        s->managing = true;
        control(s, c);
        s->managing = false;
        virtio_want_kicks(&s->virtio, CONTROL, true);
    }
}

/* ---- events ---------------------------------------------------------------------------------- */

/* To a driver that has accepted @feature, which stands for events of this sort. */
static void send_event(VirtioScsi *s, uint64_t feature, uint32_t event, uint32_t reason,
                       const ScsiDisk *d)
{
    g_autofree RingChain *c = g_new(RingChain, 1);
    uint8_t e[EVENT_SIZE] = { 0 };

    if (!virtio_has_driver(&s->virtio) || !virtio_has(&s->virtio, feature))
        return;
    if (!virtio_await(&s->virtio, EVENT, c)) {
        s->missed = 1;
        return;
    }
    ring_take(&s->virtio.ring[EVENT], c);
    le32_put(e, event | (s->missed ? EVENT_MISSED : 0));
    s->missed = 0;
    if (d)
        put_lun(e + 4, d->target, d->lun);
    le32_put(e + 12, reason);
    virtio_push(&s->virtio, EVENT, c,
                ring_chain_write(c, &s->virtio.memory, 0, e, sizeof(e)));
}

/* ---- queues ---------------------------------------------------------------------------------- */

static CO void work(void *arg)
{
    VirtioScsi *s = arg;

    machine_lock();
    while (!s->ending) {
        if (s->resumed) {
            s->resumed = false;
            for (guint i = 0; i < s->disks->len; i++)
                disk_work_resume(&((ScsiDisk *)s->disks->pdata[i])->work, s->virtio.dev.board);
        } else if (s->kicked) {
            unsigned queue = __builtin_ctzll(s->kicked);

            s->kicked &= s->kicked - 1;
            if (queue == CONTROL)
                run_control(s);
            else
                start_requests(s, queue);
        } else {
            sleeper_wait(&s->worker);
        }
    }
    machine_unlock();
}

static void scsi_kick(VirtioDevice *d, unsigned queue)
{
    VirtioScsi *s = (VirtioScsi *)d;

    if (queue == EVENT) {
        if (s->missed)
            send_event(s, F_HOTPLUG | F_CHANGE, 0, 0, NULL);
        return;
    }
    s->kicked |= UINT64_C(1) << queue;
    sleeper_wake(&s->worker);
}

/* Nothing of before may reach the guest's memory once the reset is done. */
static void scsi_reset(VirtioDevice *d)
{
    VirtioScsi *s = (VirtioScsi *)d;

    s->kicked = 0;
    for (guint i = 0; i < s->disks->len; i++)
        ((ScsiDisk *)s->disks->pdata[i])->resets++;
    s->resumed = true;
    sleeper_wake(&s->worker);
    for (guint i = 0; i < s->disks->len; i++) {
        ScsiDisk *disk = s->disks->pdata[i];

        disk_work_wait(&disk->work, disk->handle);
        scsi_disk_reset(disk);
    }
    s->sense_size = SENSE_DEFAULT;
    s->cdb_size = CDB_DEFAULT;
    s->missed = 0;
}

/* ---- configuration --------------------------------------------------------------------------- */

static uint64_t scsi_features(const VirtioDevice *d)
{
    return F_HOTPLUG | F_CHANGE;
}

static void scsi_config_read(const VirtioDevice *d, uint8_t *c)
{
    const VirtioScsi *s = (const VirtioScsi *)d;

    le32_put(c + CONFIG_QUEUES, s->queues);
    le32_put(c + CONFIG_SEG_MAX, s->queue_size - 2);
    le32_put(c + CONFIG_MAX_SECTORS, 0xffff);
    le32_put(c + CONFIG_CMD_PER_LUN, 128);
    le32_put(c + CONFIG_EVENT_SIZE, EVENT_SIZE);
    le32_put(c + CONFIG_SENSE_SIZE, s->sense_size);
    le32_put(c + CONFIG_CDB_SIZE, s->cdb_size);
    le16_put(c + CONFIG_MAX_TARGET, SCSI_TARGET_MAX);
    le32_put(c + CONFIG_MAX_LUN, SCSI_LUN_MAX);
}

/* The sizes of both fields may be changed before the driver is ready; they stay below 256. */
static void scsi_config_write(VirtioDevice *d, unsigned offset, uint8_t value)
{
    VirtioScsi *s = (VirtioScsi *)d;

    if (d->status & VIRTIO_STATUS_DRIVER_OK)
        return;
    if (offset == CONFIG_SENSE_SIZE)
        s->sense_size = MIN(value, SENSE_MAX);
    else if (offset == CONFIG_CDB_SIZE)
        s->cdb_size = CLAMP(value, SCSI_CDB_SIZE, SENSE_MAX);
}

/* The driver's choices are in the configuration, which QEMU fills in only when it is read. */
static bool scsi_load(VirtioDevice *d, const void *part, const uint8_t *config, GError **err)
{
    VirtioScsi *s = (VirtioScsi *)d;
    uint32_t sense = le32_at(config + CONFIG_SENSE_SIZE), cdb = le32_at(config + CONFIG_CDB_SIZE);

    if (sense > SENSE_MAX || (cdb && (cdb < SCSI_CDB_SIZE || cdb > SENSE_MAX)))
        return err_set(err, ERANGE, "Its driver has chosen %" PRIu32 " bytes of sense data and "
                       "%" PRIu32 " of commands", sense, cdb);
    s->sense_size = cdb ? sense : SENSE_DEFAULT;
    s->cdb_size = cdb ? cdb : CDB_DEFAULT;
    return true;
}

/* Beyond rings and configuration there is nothing; disks have sections of their own. */
static const VirtioPart scsi_part = { .name = "virtio-scsi", .version = 1, .load = scsi_load };

static const VirtioType scsi_type = {
    .part = &scsi_part,
    .id = ID,
    .queues = 3,
    .features = scsi_features,
    .config_size = CONFIG_SIZE,
    .config_read = scsi_config_read,
    .config_write = scsi_config_write,
    .kick = scsi_kick,
    .reset = scsi_reset,
};

/* ---- disks come and go ----------------------------------------------------------------------- */

static void disk_left(void *bus, Device *d)
{
    VirtioScsi *s = bus;

    g_ptr_array_remove(s->disks, d);
    send_event(s, F_HOTPLUG, EVENT_TRANSPORT_RESET, REASON_REMOVED, (ScsiDisk *)d);
}

static void disk_changed(void *bus, Device *d, ScsiSense why)
{
    send_event(bus, F_CHANGE, EVENT_PARAM_CHANGE, why.asc | (uint32_t)why.ascq << 8, (ScsiDisk *)d);
}

static bool scsi_plug(Device *bus, Device *child, GError **err)
{
    VirtioScsi *s = (VirtioScsi *)bus;
    ScsiDisk *d = (ScsiDisk *)child;
    bool any = d->target == SCSI_ANY;

    if (d->lun == SCSI_ANY)
        d->lun = 0;
    for (d->target = any ? 0 : d->target; any && find(s, d->target, d->lun); d->target++)
        ;
    if (d->target > SCSI_TARGET_MAX || d->lun > SCSI_LUN_MAX)
        return err_set(err, EINVAL, "scsi-id is at most %u, lun at most %u", SCSI_TARGET_MAX,
                       SCSI_LUN_MAX);
    if (find(s, d->target, d->lun))
        return err_set(err, EBUSY, "lun already used by another device: scsi-id %u, lun %u",
                       d->target, d->lun);
    d->section = scsi_section_new(d, s->virtio.path);
    machine_lock();
    d->bus = s;
    d->left = disk_left;
    d->changed = disk_changed;
    scsi_disk_reset(d);
    g_ptr_array_add(s->disks, d);
    send_event(s, F_HOTPLUG, EVENT_TRANSPORT_RESET, REASON_RESCAN, d);
    machine_unlock();
    return true;
}

/* ---- the device ------------------------------------------------------------------------------ */

static void scsi_defaults(Device *d)
{
    ((VirtioScsi *)d)->queues = 1;
    ((VirtioScsi *)d)->queue_size = QUEUE_SIZE;
}

static bool scsi_realize(Device *d, GError **err)
{
    VirtioScsi *s = (VirtioScsi *)d;

    s->disks = g_ptr_array_new();
    if (!s->queues || s->queues > VIRTIO_QUEUES_MAX - REQUESTS)
        return err_set(err, EINVAL, "num_queues is 1 to %d, not %u", VIRTIO_QUEUES_MAX - REQUESTS,
                       s->queues);
    if (s->queue_size < 4 || s->queue_size > QUEUE_SIZE || !is_power_of_2(s->queue_size))
        return err_set(err, EINVAL, "virtqueue_size is a power of two from 4 to %d, not %u",
                       QUEUE_SIZE, s->queue_size);
    virtio_init(&s->virtio, &scsi_type, s->queue_size);
    s->virtio.queues = REQUESTS + s->queues;
    s->sense_size = SENSE_DEFAULT;
    s->cdb_size = CDB_DEFAULT;
    co_group_start(&s->running, work, s);
    return true;
}

/* Each disk waits for its own requests. */
static CO void scsi_drain(Device *d)
{
    VirtioScsi *s = (VirtioScsi *)d;

    machine_lock();
    while (s->managing) {
        machine_unlock();
        co_sleep(100000);
        machine_lock();
    }
    machine_unlock();
}

static CO void scsi_disconnect(Device *d)
{
    VirtioScsi *s = (VirtioScsi *)d;

    machine_lock();
    s->ending = true;
    sleeper_wake(&s->worker);
    machine_unlock();
    co_group_wait(&s->running);
}

static void scsi_unrealize(Device *d)
{
    g_ptr_array_unref(((VirtioScsi *)d)->disks);
}

const DeviceClass device_virtio_scsi = {
    .name = "virtio-scsi-device",
    .bus = "virtio-bus",
    .provides = SCSI_BUS,
    .is_stateless = true,
    .size = sizeof(VirtioScsi),
    .properties = scsi_properties,
    .defaults = scsi_defaults,
    .realize = scsi_realize,
    .plug = scsi_plug,
    .drain = scsi_drain,
    .disconnect = scsi_disconnect,
    .unrealize = scsi_unrealize,
};
