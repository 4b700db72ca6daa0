/* SPDX-License-Identifier: GPL-2.0-or-later */
/* scsi-hd and scsi-cd: the commands that move data, and the devices. */
#include "hw/virtio/drives.h"
#include "gen/qmp.h"
#include "hw/virtio/scsi.h"
#include "util/endian.h"
#include "util/err.h"
#include "util/size.h"
#include <errno.h>
#include <string.h>

enum {
    READ_6 = 0x08, WRITE_6 = 0x0a, READ_10 = 0x28, WRITE_10 = 0x2a, WRITE_VERIFY_10 = 0x2e,
    VERIFY_10 = 0x2f, SYNC_10 = 0x35, WRITE_SAME_10 = 0x41, UNMAP = 0x42, READ_16 = 0x88,
    WRITE_16 = 0x8a, WRITE_VERIFY_16 = 0x8e, VERIFY_16 = 0x8f, SYNC_16 = 0x91, WRITE_SAME_16 = 0x93,
    READ_12 = 0xa8, WRITE_12 = 0xaa, INQUIRY = 0x12, REQUEST_SENSE = 0x03, REPORT_LUNS = 0xa0,

    FUA = 8, SAME_UNMAP = 8, SAME_NO_DATA = 1, VERIFY_BYTES = 6, UNMAP_HEADER = 8, UNMAP_RANGE = 16,
    PATTERN = 1 << 20, CD_BLOCK = 2048, SECTOR = 512,
};

static const Property disk_properties[] = {
    LOCAL_PROPERTY("drive", DEVICE_STR, ScsiDisk, drive,
                   "the image: id of a -drive, or a node's name"),
    PROPERTY("scsi-id", DEVICE_UINT32, ScsiDisk, target,
             "target, 0 to 255 [the first that is free]"),
    PROPERTY("lun", DEVICE_UINT32, ScsiDisk, lun, "logical unit, 0 to 16383 [0]"),
    PROPERTY("serial", DEVICE_STR, ScsiDisk, serial, "serial number, 36 characters at most"),
    PROPERTY("vendor", DEVICE_STR, ScsiDisk, vendor, "8 characters at most [QEMU]"),
    PROPERTY("product", DEVICE_STR, ScsiDisk, product, "16 characters at most"),
    PROPERTY("ver", DEVICE_STR, ScsiDisk, version, "4 characters at most"),
    PROPERTY("device_id", DEVICE_STR, ScsiDisk, device_id, "by which it is known [serial]"),
    PROPERTY("logical_block_size", DEVICE_UINT32, ScsiDisk, logical_block_size,
             "bytes the guest reads and writes at least [512, of discs 2048]"),
    PROPERTY("physical_block_size", DEVICE_UINT32, ScsiDisk, physical_block_size,
             "as the storage has them"),
    PROPERTY("removable", DEVICE_BOOL, ScsiDisk, removable, "the guest expects other media [off]"),
    LOCAL_PROPERTY("werror", DEVICE_STR, ScsiDisk, work.on_write,
             "after a failed write: report, ignore, stop, enospc [enospc]"),
    LOCAL_PROPERTY("rerror", DEVICE_STR, ScsiDisk, work.on_read,
             "after a failed read: report, ignore, stop, enospc [report]"), {}
};

/* ---- blocks ---------------------------------------------------------------------------------- */

typedef struct {
    uint64_t block, count;
} Blocks;

/* What a command of 6, 10, 12 or 16 bytes names. */
static Blocks blocks_of(const uint8_t *cdb)
{
    switch (cdb[0] >> 5) {
    case 0:
        return (Blocks){ be32_at(cdb) & 0x1fffff, cdb[4] ? cdb[4] : 256 };
    case 4:
        return (Blocks){ be64_at(cdb + 2), be32_at(cdb + 10) };
    case 5:
        return (Blocks){ be32_at(cdb + 2), be32_at(cdb + 6) };
    default:
        return (Blocks){ be32_at(cdb + 2), be16_at(cdb + 7) };
    }
}

/* False: they are not all on the disk, and the guest has been told. */
static bool check_blocks(const ScsiDisk *s, ScsiCommand *c, Blocks b)
{
    uint64_t all = scsi_blocks(s);

    if (b.block <= all && b.count <= all - b.block)
        return true;
    scsi_fail(c, SENSE_ILLEGAL, 0x21, 0);
    return false;
}

/* The bytes of @b in @data. False: there are fewer. */
static bool check_data(const ScsiDisk *s, ScsiCommand *c, Blocks b, Span data)
{
    if (b.count * s->logical_block_size <= data.len)
        return true;
    c->overrun = true;
    return false;
}

static uint64_t offset_of(const ScsiDisk *s, uint64_t block)
{
    return block * s->logical_block_size;
}

/* ---- commands; 0 or a negative errno, with which they may be tried again --------------------- */

static CO int do_read(ScsiDisk *s, ScsiCommand *c)
{
    Blocks b = blocks_of(c->cdb);
    int r;

    if (!check_blocks(s, c, b) || !check_data(s, c, b, c->in))
        return 0;
    r = handle_pread(s->handle, offset_of(s, b.block),
                     span_slice(c->in, 0, offset_of(s, b.count)), 0);
    c->done = r < 0 ? 0 : offset_of(s, b.count);
    return r;
}

static CO int do_write(ScsiDisk *s, ScsiCommand *c)
{
    Blocks b = blocks_of(c->cdb);
    bool through = !s->writeback || (c->cdb[0] >> 5 && c->cdb[1] & FUA);
    int r;

    if (!check_blocks(s, c, b) || !check_data(s, c, b, c->out))
        return 0;
    r = handle_pwrite(s->handle, offset_of(s, b.block),
                      span_slice(c->out, 0, offset_of(s, b.count)), through ? REQ_FUA : 0);
    c->done = r < 0 ? 0 : offset_of(s, b.count);
    return r;
}

/* Compares with what came along, if the command wants that. */
static CO int do_verify(ScsiDisk *s, ScsiCommand *c)
{
    Blocks b = blocks_of(c->cdb);
    g_autofree uint8_t *here = NULL, *there = NULL;
    size_t len;
    int r;

    if (!check_blocks(s, c, b) || !(c->cdb[1] & VERIFY_BYTES))
        return 0;
    if ((c->cdb[1] & VERIFY_BYTES) != 2) {
        scsi_fail(c, SENSE_ILLEGAL, 0x24, 0);
        return 0;
    }
    if (!check_data(s, c, b, c->out))
        return 0;
    len = offset_of(s, b.count);
    here = g_try_malloc(len);
    there = g_try_malloc(len);
    if (len && (!here || !there))
        return -ENOMEM;
    r = handle_pread(s->handle, offset_of(s, b.block), span_of(here, len), 0);
    span_read(span_slice(c->out, 0, len), there);
    c->done = len;
    if (r >= 0 && len && memcmp(here, there, len))
        scsi_fail(c, SENSE_MISCOMPARE, 0x1d, 0);
    return r;
}

static CO int write_pattern(ScsiDisk *s, Blocks b, const uint8_t *block)
{
    uint64_t at = offset_of(s, b.block), left = offset_of(s, b.count);
    size_t size = MIN(left, PATTERN), unit = s->logical_block_size;
    g_autofree uint8_t *many = g_malloc(size);
    int r = 0;

    for (size_t i = 0; i < size; i += unit)
        memcpy(many + i, block, unit);
    while (left && r >= 0) {
        size_t n = MIN(left, size);

        r = handle_pwrite(s->handle, at, span_of(many, n), s->writeback ? 0 : REQ_FUA);
        at += n;
        left -= n;
    }
    return r;
}

static CO int do_write_same(ScsiDisk *s, ScsiCommand *c)
{
    Blocks b = blocks_of(c->cdb);
    bool no_data = c->cdb[0] == WRITE_SAME_16 && c->cdb[1] & SAME_NO_DATA;
    size_t unit = s->logical_block_size;
    g_autofree uint8_t *block = g_malloc0(unit);

    if (!check_blocks(s, c, b))
        return 0;
    if (!b.count || b.count > REQ_LEN_MAX / unit) {
        scsi_fail(c, SENSE_ILLEGAL, 0x24, 0);
        return 0;
    }
    if (!no_data && c->out.len < unit) {
        c->overrun = true;
        return 0;
    }
    if (!no_data) {
        span_read(span_slice(c->out, 0, unit), block);
        c->done = unit;
    }
    if (!block[0] && !memcmp(block, block + 1, unit - 1))
        return handle_zero(s->handle, offset_of(s, b.block), offset_of(s, b.count),
                           c->cdb[1] & SAME_UNMAP ? REQ_MAY_UNMAP : 0);
    return write_pattern(s, b, block);
}

static CO int do_unmap(ScsiDisk *s, ScsiCommand *c)
{
    size_t len = MIN(be16_at(c->cdb + 7), c->out.len);
    g_autofree uint8_t *list = g_malloc0(MAX(len, UNMAP_HEADER));
    int r = 0;

    span_read(span_slice(c->out, 0, len), list);
    c->done = len;
    if (len < UNMAP_HEADER)
        return 0;
    len = MIN(len, UNMAP_HEADER + (size_t)be16_at(list + 2));
    for (size_t at = UNMAP_HEADER; at + UNMAP_RANGE <= len && r >= 0; at += UNMAP_RANGE) {
        Blocks b = { be64_at(list + at), be32_at(list + at + 8) };

        if (!check_blocks(s, c, b))
            return 0;
        if (b.count > REQ_LEN_MAX / s->logical_block_size) {
            scsi_fail(c, SENSE_ILLEGAL, 0x26, 0);
            return 0;
        }
        r = handle_discard(s->handle, offset_of(s, b.block), offset_of(s, b.count));
    }
    return r;
}

static bool changes(uint8_t opcode)
{
    switch (opcode) {
    case WRITE_6:
    case WRITE_10:
    case WRITE_12:
    case WRITE_16:
    case WRITE_VERIFY_10:
    case WRITE_VERIFY_16:
    case WRITE_SAME_10:
    case WRITE_SAME_16:
    case UNMAP:
        return true;
    default:
        return false;
    }
}

static CO int move_data(ScsiDisk *s, ScsiCommand *c)
{
    switch (c->cdb[0]) {
    case READ_6:
    case READ_10:
    case READ_12:
    case READ_16:
        return do_read(s, c);
    case WRITE_6:
    case WRITE_10:
    case WRITE_12:
    case WRITE_16:
    case WRITE_VERIFY_10:
    case WRITE_VERIFY_16:
        return do_write(s, c);
    case VERIFY_10:
    case VERIFY_16:
        return do_verify(s, c);
    case SYNC_10:
    case SYNC_16:
        return handle_flush(s->handle);
    case WRITE_SAME_10:
    case WRITE_SAME_16:
        return do_write_same(s, c);
    case UNMAP:
        return do_unmap(s, c);
    default:
        scsi_fail(c, SENSE_ILLEGAL, 0x20, 0);
        return 0;
    }
}

static bool is_data_command(uint8_t opcode)
{
    return changes(opcode) || opcode == READ_6 || opcode == READ_10 || opcode == READ_12 ||
           opcode == READ_16 || opcode == VERIFY_10 || opcode == VERIFY_16 || opcode == SYNC_10 ||
           opcode == SYNC_16;
}

/* ---- running --------------------------------------------------------------------------------- */

static void tell_error(ScsiCommand *c, int r)
{
    if (r == -ENOSPC)
        scsi_fail(c, SENSE_PROTECT, 0x27, 7);
    else
        scsi_fail(c, SENSE_MEDIUM, changes(c->cdb[0]) ? 0x0c : 0x11, 0);
}

/* What has happened since the last command comes first, but for some that must not be disturbed. */
static bool tell_attention(ScsiDisk *s, ScsiCommand *c)
{
    uint8_t op = c->cdb[0];

    if (!s->attention_key || op == INQUIRY || op == REQUEST_SENSE || op == REPORT_LUNS)
        return false;
    scsi_fail(c, s->attention_key, s->attention_asc, s->attention_ascq);
    s->attention_key = 0;
    return true;
}

static CO bool retry(ScsiDisk *s, const ScsiCommand *c, int *r)
{
    bool known;

    if (!disk_work_retry(&s->work, &s->dev, s->handle, !changes(c->cdb[0]), r))
        return false;
    machine_lock();
    known = c->resets == s->resets;
    machine_unlock();
    return known;
}

CO void scsi_disk_run(ScsiDisk *s, ScsiCommand *c)
{
    bool done;
    int r;

    machine_lock();
    done = tell_attention(s, c) || scsi_disk_describe(s, c);
    machine_unlock();
    if (done)
        return;
    if (is_data_command(c->cdb[0]) && (!handle_node(s->handle) || s->tray_open)) {
        scsi_fail(c, SENSE_NOT_READY, 0x3a, 0);
        return;
    }
    if (changes(c->cdb[0]) && (s->is_cd || !handle_is_writable(s->handle))) {
        scsi_fail(c, SENSE_PROTECT, 0x27, 0);
        return;
    }
    do
        r = move_data(s, c);
    while (r < 0 && retry(s, c, &r));
    if (r < 0)
        tell_error(c, r);
}

/* The next command is answered with it first. With the lock held. */
static void raise_attention(ScsiDisk *s, uint8_t asc, uint8_t ascq)
{
    s->attention_key = SENSE_ATTENTION;
    s->attention_asc = asc;
    s->attention_ascq = ascq;
}

void scsi_disk_reset(ScsiDisk *s)
{
    s->writeback = 1;
    s->tray_locked = 0;
    raise_attention(s, 0x29, 0);
}

static void disk_resized(void *owner)
{
    ScsiDisk *s = owner;

    if (s->is_cd)
        return;
    machine_lock();
    raise_attention(s, 0x2a, 9);
    if (s->bus)
        s->changed(s->bus, &s->dev, (ScsiSense){ SENSE_ATTENTION, 0x2a, 9 });
    machine_unlock();
}

void scsi_disk_move_tray(ScsiDisk *s, bool open, bool by_guest)
{
    if (s->tray_open == open)
        return;
    s->tray_open = open;
    s->eject_asked = 0;
    if (!open && !by_guest && handle_node(s->handle))
        raise_attention(s, 0x28, 0);
    event_device_tray_moved(s->owns_handle ? "" : s->drive, s->dev.id ? s->dev.id : "", open);
}

static const HandleOps disk_handle_ops = { .resized = disk_resized };

/* ---- the devices ----------------------------------------------------------------------------- */

static void disk_defaults(Device *d)
{
    ((ScsiDisk *)d)->target = SCSI_ANY;
    ((ScsiDisk *)d)->lun = SCSI_ANY;
}

static bool check_sizes(ScsiDisk *s, GError **err)
{
    if (!s->logical_block_size)
        s->logical_block_size = s->is_cd ? CD_BLOCK : SECTOR;
    if (!s->physical_block_size)
        s->physical_block_size = s->logical_block_size;
    if (!is_power_of_2(s->logical_block_size) || !is_power_of_2(s->physical_block_size) ||
        s->logical_block_size < SECTOR || s->logical_block_size > 32 * KiB ||
        s->physical_block_size > 2 * MiB || s->logical_block_size > s->physical_block_size)
        return err_set(err, EINVAL, "Block sizes are powers of two from 512, the logical one not "
                       "larger than the physical one");
    return true;
}

static CO bool realize(ScsiDisk *s, GError **err)
{
    if (!disk_work_init(&s->work, err) || !check_sizes(s, err))
        return false;
    if (s->serial && strlen(s->serial) > 36)
        return err_set(err, EINVAL, "A serial number has at most 36 characters");
    if (!s->drive && !s->is_cd)
        return err_set(err, EINVAL, "drive property not set");
    if (s->drive)
        s->handle = drive_claim(s->drive, &s->owns_handle, err);
    else
        s->handle = handle_new_empty();
    s->owns_handle |= !s->drive;
    if (!s->handle)
        return false;
    if (handle_size(s->handle) < s->logical_block_size && !s->is_cd) {
        drive_release(s->drive, s->handle, s->owns_handle);
        s->handle = NULL;
        return err_set(err, EINVAL, "The disk is smaller than a block");
    }
    handle_listen(s->handle, &disk_handle_ops, s);
    return true;
}

static CO bool hd_realize(Device *d, GError **err)
{
    return realize((ScsiDisk *)d, err);
}

static CO bool cd_realize(Device *d, GError **err)
{
    ScsiDisk *s = (ScsiDisk *)d;

    s->is_cd = s->removable = true;
    return realize(s, err);
}

static void disk_reset(Device *d)
{
    scsi_disk_reset((ScsiDisk *)d);
    ((ScsiDisk *)d)->tray_open = 0;
}

static CO void disk_drain(Device *d)
{
    disk_work_drain(&((ScsiDisk *)d)->work, ((ScsiDisk *)d)->handle);
}

static void disk_resume(Device *d)
{
    disk_work_resume(&((ScsiDisk *)d)->work, d->board);
}

static CO void disk_disconnect(Device *d)
{
    ScsiDisk *s = (ScsiDisk *)d;

    machine_lock();
    if (s->bus)
        s->left(s->bus, d);
    s->bus = NULL;
    machine_unlock();
    disk_work_end(&s->work, d->board, s->handle);
    drive_release(s->drive, s->handle, s->owns_handle);
    s->handle = NULL;
}

static void disk_unrealize(Device *d)
{
    ScsiDisk *s = (ScsiDisk *)d;

    disk_work_free(&s->work);
    scsi_section_free(s->section);
}

static const DeviceSection *disk_section(const Device *d)
{
    return ((const ScsiDisk *)d)->section;
}

#define DISK_CLASS(class_name, realize_fn)                                                         \
    .name = class_name, .bus = SCSI_BUS, .size = sizeof(ScsiDisk), .properties = disk_properties,  \
    .defaults = disk_defaults, .realize = realize_fn, .own_section = disk_section,                 \
    .reset = disk_reset, .drain = disk_drain, .resume = disk_resume,                               \
    .disconnect = disk_disconnect, .unrealize = disk_unrealize

const DeviceClass device_scsi_cd = {
    DISK_CLASS("scsi-cd", cd_realize),
};

const DeviceClass device_scsi_hd = {
    DISK_CLASS("scsi-hd", hd_realize),
};
