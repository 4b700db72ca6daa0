/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What disks tell of themselves: SPC-4, SBC-3, MMC-6. */
#include "gen/qmp.h"
#include "hw/virtio/scsi.h"
#include "util/endian.h"
#include <string.h>

enum {
    TEST_UNIT_READY = 0x00, REQUEST_SENSE = 0x03, INQUIRY = 0x12, MODE_SELECT_6 = 0x15,
    MODE_SENSE_6 = 0x1a, START_STOP = 0x1b, PREVENT_REMOVAL = 0x1e, READ_CAPACITY_10 = 0x25,
    READ_TOC = 0x43, GET_CONFIGURATION = 0x46, GET_EVENT = 0x4a, MODE_SELECT_10 = 0x55,
    MODE_SENSE_10 = 0x5a, SERVICE_IN_16 = 0x9e, READ_CAPACITY_16 = 0x10,

    TYPE_DISK = 0, TYPE_CD = 5, CD_BLOCK = 2048,
    PAGE_RECOVERY = 0x01, PAGE_CACHING = 0x08, PAGE_CD = 0x2a, PAGE_ALL = 0x3f,
    REPLY = 512,
};

bool scsi_fail(ScsiCommand *c, uint8_t key, uint8_t asc, uint8_t ascq)
{
    c->status = SCSI_CHECK_CONDITION;
    c->sense = (ScsiSense){ key, asc, ascq };
    return true;
}

static bool invalid_field(ScsiCommand *c)
{
    return scsi_fail(c, SENSE_ILLEGAL, 0x24, 0);
}

bool scsi_give(ScsiCommand *c, const void *data, size_t len, size_t wanted)
{
    c->done = MIN(MIN(len, wanted), c->in.len);
    span_write(span_slice(c->in, 0, c->done), data);
    return true;
}

void scsi_sense_put(uint8_t *to, ScsiSense sense)
{
    memset(to, 0, SCSI_SENSE_SIZE);
    to[0] = 0x70;
    to[2] = sense.key;
    to[7] = SCSI_SENSE_SIZE - 8;
    to[12] = sense.asc;
    to[13] = sense.ascq;
}

uint64_t scsi_blocks(const ScsiDisk *s)
{
    return handle_size(s->handle) / s->logical_block_size;
}

/* ---- inquiry --------------------------------------------------------------------------------- */

/* @text in @size bytes, filled up with blanks. */
static void put_text(uint8_t *to, const char *text, size_t size)
{
    size_t n = MIN(strlen(text), size);

    memset(to, ' ', size);
    memcpy(to, text, n);
}

static size_t standard_inquiry(const ScsiDisk *s, uint8_t *p)
{
    p[0] = s->is_cd ? TYPE_CD : TYPE_DISK;
    p[1] = s->removable ? 0x80 : 0;
    p[2] = 5;
    p[3] = 0x12;
    p[4] = 36 - 5;
    p[7] = 0x12;
    put_text(p + 8, s->vendor ? s->vendor : "QEMU", 8);
    put_text(p + 16, s->product ? s->product : s->is_cd ? "QEMU CD-ROM" : "QEMU HARDDISK", 16);
    put_text(p + 32, s->version ? s->version : "2.5+", 4);
    return 36;
}

static size_t page_limits(const ScsiDisk *s, uint8_t *p)
{
    uint32_t most = REQ_LEN_MAX / s->logical_block_size / 8 * 8;

    p[4] = 1; /* WRITE SAME of no blocks is refused */
    be32_put(p + 8, most);
    be32_put(p + 20, most);
    be32_put(p + 24, 255);
    be32_put(p + 28, s->physical_block_size / s->logical_block_size);
    be64_put(p + 36, most);
    return 60;
}

static size_t page_id(const ScsiDisk *s, uint8_t *p)
{
    const char *id = s->device_id ? s->device_id : s->serial ? s->serial : s->drive ? s->drive : "";
    size_t len = MIN(strlen(id), 200);

    p[0] = 2; /* text */
    p[1] = 0; /* of the vendor */
    p[3] = len;
    memcpy(p + 4, id, len);
    return len ? 4 + len : 0;
}

/* The body of page @page; -1: it is not there. */
static int vital_page(const ScsiDisk *s, uint8_t page, uint8_t *p)
{
    static const uint8_t of_disks[] = { 0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2 };

    switch (page) {
    case 0x00:
        memcpy(p, of_disks, sizeof(of_disks));
        return s->is_cd ? 3 : sizeof(of_disks);
    case 0x80:
        put_text(p, s->serial ? s->serial : "", s->serial ? MIN(strlen(s->serial), 36) : 0);
        return s->serial ? MIN(strlen(s->serial), 36) : 0;
    case 0x83:
        return page_id(s, p);
    case 0xb0:
        return s->is_cd ? -1 : (int)page_limits(s, p - 4);
    case 0xb1:
        be16_put(p, 1); /* nothing rotates */
        return s->is_cd ? -1 : 60;
    case 0xb2:
        p[1] = 0xe0; /* UNMAP, WRITE SAME (10 and 16) with UNMAP */
        p[2] = 2;    /* thin */
        return s->is_cd ? -1 : 4;
    default:
        return -1;
    }
}

static bool inquiry(const ScsiDisk *s, ScsiCommand *c)
{
    uint8_t p[REPLY] = { 0 };
    size_t wanted = be16_at(c->cdb + 3);
    int len;

    if (!(c->cdb[1] & 1))
        return c->cdb[2] ? invalid_field(c) : scsi_give(c, p, standard_inquiry(s, p), wanted);
    len = vital_page(s, c->cdb[2], p + 4);
    if (len < 0)
        return invalid_field(c);
    p[0] = s->is_cd ? TYPE_CD : TYPE_DISK;
    p[1] = c->cdb[2];
    be16_put(p + 2, len);
    return scsi_give(c, p, 4 + len, wanted);
}

/* ---- mode pages ------------------------------------------------------------------------------ */

static size_t put_page(const ScsiDisk *s, uint8_t page, bool changeable, uint8_t *p)
{
    switch (page) {
    case PAGE_RECOVERY:
        p[0] = PAGE_RECOVERY;
        p[1] = 10;
        p[2] = changeable ? 0 : 0x80;
        return 12;
    case PAGE_CACHING:
        if (s->is_cd)
            return 0;
        p[0] = PAGE_CACHING;
        p[1] = 18;
        p[2] = changeable || s->writeback ? 4 : 0;
        return 20;
    case PAGE_CD:
        if (!s->is_cd)
            return 0;
        p[0] = PAGE_CD;
        p[1] = 20;
        if (changeable)
            return 22;
        p[2] = 0x3b; /* reads CD-R, CD-RW, DVD */
        p[4] = 0x01;
        p[6] = 0x2d | (s->tray_locked ? 2 : 0); /* locks, ejects, a tray */
        be16_put(p + 8, 50 * 176);
        be16_put(p + 14, 50 * 176);
        return 22;
    default:
        return 0;
    }
}

static size_t put_block_descriptor(const ScsiDisk *s, uint8_t *p)
{
    if (s->is_cd || !s->handle)
        return 0;
    be32_put(p, MIN(scsi_blocks(s), 0xffffff));
    be32_put(p + 4, s->logical_block_size);
    return 8;
}

static bool mode_sense(const ScsiDisk *s, ScsiCommand *c, bool is_long)
{
    static const uint8_t pages[] = { PAGE_RECOVERY, PAGE_CACHING, PAGE_CD };
    uint8_t p[REPLY] = { 0 }, page = c->cdb[2] & 0x3f, control = c->cdb[2] >> 6;
    size_t head = is_long ? 8 : 4, descriptor = 0, len;

    if (control == 3)
        return scsi_fail(c, SENSE_ILLEGAL, 0x39, 0);
    if (!(c->cdb[1] & 8))
        descriptor = put_block_descriptor(s, p + head);
    len = head + descriptor;
    for (size_t i = 0; i < G_N_ELEMENTS(pages); i++)
        if (page == pages[i] || page == PAGE_ALL)
            len += put_page(s, pages[i], control == 1, p + len);
    if (len == head + descriptor && page)
        return invalid_field(c);
    p[is_long ? 3 : 2] = s->is_cd ? 0 : (handle_is_writable(s->handle) ? 0 : 0x80) | 0x10;
    if (is_long) {
        be16_put(p, len - 2);
        be16_put(p + 6, descriptor);
        return scsi_give(c, p, len, be16_at(c->cdb + 7));
    }
    p[0] = len - 1;
    p[3] = descriptor;
    return scsi_give(c, p, len, c->cdb[4]);
}

static bool mode_select(ScsiDisk *s, ScsiCommand *c, bool is_long)
{
    uint8_t p[REPLY] = { 0 };
    size_t len = MIN(MIN(is_long ? be16_at(c->cdb + 7) : c->cdb[4], sizeof(p)), c->out.len), at;

    span_read(span_slice(c->out, 0, len), p);
    c->done = len;
    if (!len)
        return true;
    at = is_long ? 8 + (size_t)be16_at(p + 6) : 4 + (size_t)p[3];
    while (at + 2 <= len) {
        size_t size = 2 + (size_t)p[at + 1];

        if (at + size > len)
            return scsi_fail(c, SENSE_ILLEGAL, 0x1a, 0);
        if ((p[at] & 0x3f) == PAGE_CACHING && size == 20 && !s->is_cd)
            s->writeback = p[at + 2] >> 2 & 1;
        else if ((p[at] & 0x3f) != PAGE_RECOVERY)
            return scsi_fail(c, SENSE_ILLEGAL, 0x26, 0);
        at += size;
    }
    return at == len || scsi_fail(c, SENSE_ILLEGAL, 0x1a, 0);
}

/* ---- the medium ------------------------------------------------------------------------------ */

static bool has_medium(const ScsiDisk *s)
{
    return handle_node(s->handle) && !s->tray_open;
}

static bool no_medium(ScsiCommand *c)
{
    return scsi_fail(c, SENSE_NOT_READY, 0x3a, 0);
}

static bool read_capacity_10(const ScsiDisk *s, ScsiCommand *c)
{
    uint8_t p[8];

    if (!has_medium(s))
        return no_medium(c);
    be32_put(p, MIN(scsi_blocks(s) - 1, UINT32_MAX));
    be32_put(p + 4, s->logical_block_size);
    return scsi_give(c, p, sizeof(p), sizeof(p));
}

static bool read_capacity_16(const ScsiDisk *s, ScsiCommand *c)
{
    uint8_t p[32] = { 0 };

    if ((c->cdb[1] & 31) != READ_CAPACITY_16)
        return invalid_field(c);
    if (!has_medium(s))
        return no_medium(c);
    be64_put(p, scsi_blocks(s) - 1);
    be32_put(p + 8, s->logical_block_size);
    p[13] = __builtin_ctz(s->physical_block_size / s->logical_block_size);
    p[14] = s->is_cd ? 0 : 0xc0; /* thin, and what was given up reads as zeroes */
    return scsi_give(c, p, sizeof(p), be32_at(c->cdb + 10));
}

static bool start_stop(ScsiDisk *s, ScsiCommand *c)
{
    bool start = c->cdb[4] & 1, eject = c->cdb[4] & 2;

    if (c->cdb[4] >> 4 || !eject || !s->is_cd)
        return true;
    if (!start && s->tray_locked && !s->tray_open)
        return scsi_fail(c, SENSE_ILLEGAL, 0x53, 2);
    scsi_disk_move_tray(s, !start, true);
    return true;
}

/* ---- discs ----------------------------------------------------------------------------------- */

/* One track of data, and where the disc ends. */
static bool read_toc(const ScsiDisk *s, ScsiCommand *c)
{
    uint8_t p[20] = { 0 };
    bool msf = c->cdb[1] & 2;
    uint32_t end;

    if (!has_medium(s))
        return no_medium(c);
    if (c->cdb[2] & 15 || c->cdb[6] > 1)
        return invalid_field(c);
    end = MIN(scsi_blocks(s), UINT32_MAX);
    be16_put(p, sizeof(p) - 2);
    p[2] = p[3] = p[6] = 1;
    p[5] = p[13] = 0x14;
    p[14] = 0xaa;
    if (msf) {
        uint32_t frames = end + 150;

        p[10] = 2;
        p[17] = frames / 75 / 60;
        p[18] = frames / 75 % 60;
        p[19] = frames % 75;
    } else {
        be32_put(p + 16, end);
    }
    return scsi_give(c, p, sizeof(p), be16_at(c->cdb + 7));
}

/* Of the events of media there are only requests of the user to open a locked tray. */
static bool get_event(ScsiDisk *s, ScsiCommand *c)
{
    uint8_t p[8] = { 0, 6, 4, 0x10 };

    if (!(c->cdb[1] & 1))
        return invalid_field(c);
    if (!(c->cdb[4] & 0x10)) {
        p[1] = 2;
        p[2] = 0x80;
        return scsi_give(c, p, 4, be16_at(c->cdb + 7));
    }
    p[4] = s->eject_asked;
    s->eject_asked = 0;
    p[5] = (s->tray_open ? 1 : 0) | (has_medium(s) ? 2 : 0);
    return scsi_give(c, p, sizeof(p), be16_at(c->cdb + 7));
}

static bool get_configuration(const ScsiDisk *s, ScsiCommand *c)
{
    uint8_t p[20] = { 0 };
    bool dvd = has_medium(s) && handle_size(s->handle) > UINT64_C(700) << 20;

    be32_put(p, sizeof(p) - 4);
    be16_put(p + 6, !has_medium(s) ? 0 : dvd ? 0x10 : 0x08);
    p[10] = 3; /* the list of profiles, always there */
    p[11] = 8;
    be16_put(p + 12, 0x10);
    p[14] = has_medium(s) && dvd;
    be16_put(p + 16, 0x08);
    p[18] = has_medium(s) && !dvd;
    return scsi_give(c, p, sizeof(p), be16_at(c->cdb + 7));
}

/* ---- all of them ----------------------------------------------------------------------------- */

static bool request_sense(ScsiDisk *s, ScsiCommand *c)
{
    uint8_t p[SCSI_SENSE_SIZE];

    scsi_sense_put(p, (ScsiSense){ s->attention_key, s->attention_asc, s->attention_ascq });
    s->attention_key = s->attention_asc = s->attention_ascq = 0;
    return scsi_give(c, p, sizeof(p), c->cdb[4]);
}

static bool describe_disc(ScsiDisk *s, ScsiCommand *c)
{
    switch (c->cdb[0]) {
    case READ_TOC:
        return read_toc(s, c);
    case GET_EVENT:
        return get_event(s, c);
    case GET_CONFIGURATION:
        return get_configuration(s, c);
    default:
        return false;
    }
}

bool scsi_disk_describe(ScsiDisk *s, ScsiCommand *c)
{
    switch (c->cdb[0]) {
    case TEST_UNIT_READY:
        return has_medium(s) || no_medium(c);
    case REQUEST_SENSE:
        return request_sense(s, c);
    case INQUIRY:
        return inquiry(s, c);
    case MODE_SENSE_6:
        return mode_sense(s, c, false);
    case MODE_SENSE_10:
        return mode_sense(s, c, true);
    case MODE_SELECT_6:
        return mode_select(s, c, false);
    case MODE_SELECT_10:
        return mode_select(s, c, true);
    case START_STOP:
        return start_stop(s, c);
    case PREVENT_REMOVAL:
        s->tray_locked = c->cdb[4] & 1;
        return true;
    case READ_CAPACITY_10:
        return read_capacity_10(s, c);
    case SERVICE_IN_16:
        return read_capacity_16(s, c);
    default:
        return s->is_cd && describe_disc(s, c);
    }
}
