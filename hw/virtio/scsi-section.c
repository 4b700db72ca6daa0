/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks on the bus of virtio-scsi-device in migration streams: docs/spec/migration-stream.md. */
#include "hw/virtio/scsi.h"
#include "util/err.h"
#include <errno.h>
#include <inttypes.h>

enum { SENSE_BUFFER = 96 };

typedef struct {
    uint8_t key, asc, ascq;
    bool sense_is_attention;
    uint8_t sense[SENSE_BUFFER]; /* empty: commands return theirs at once here */
    uint32_t sense_len;
    uint8_t requests;            /* that have failed and wait to be retried: 0 here */
    bool media_changed, media_event, eject_request, tray_open, tray_locked;
    bool writes_through;
} DiskImage;

static uint32_t no_requests(const void *image)
{
    return ((const DiskImage *)image)->requests;
}

static const StateField common_fields[] = {
    STATE_U("unit_attention.key", DiskImage, key), STATE_U("unit_attention.asc", DiskImage, asc),
    STATE_U("unit_attention.ascq", DiskImage, ascq),
    STATE_B("sense_is_ua", DiskImage, sense_is_attention), STATE_US("sense", DiskImage, sense),
    STATE_U_UP_TO("sense_len", DiskImage, sense_len, SENSE_BUFFER),
    STATE_U("requests", DiskImage, requests),
    { "waiting requests", STATE_FILLER, 0, 0, 0, 0, NULL, 0, no_requests }, {}
};
static const StateLayout common_layout = {
    "SCSIDevice", 1, 1, sizeof(DiskImage), common_fields
};
static const StateField disk_fields[] = {
    { "qdev", STATE_STRUCT, 0, sizeof(DiskImage), 1, 0, &common_layout, 0 },
    STATE_B("media_changed", DiskImage, media_changed),
    STATE_B("media_event", DiskImage, media_event),
    STATE_B("eject_request", DiskImage, eject_request), STATE_B("tray_open", DiskImage, tray_open),
    STATE_B("tray_locked", DiskImage, tray_locked), {}
};
/* QEMU refuses this part: without it, it would turn on a cache that the guest turned off. */
static const StateField through_fields[] = { {} };
static const StateLayout through_layout = {
    "scsi-disk/x-write-through", 1, 1, sizeof(DiskImage), through_fields, NULL,
    offsetof(DiskImage, writes_through)
};
static const StateLayout *const disk_parts[] = { &through_layout, NULL };
static const StateLayout disk_layout = {
    "scsi-disk", 1, 1, sizeof(DiskImage), disk_fields, disk_parts
};

static void disk_save(const Device *d, unsigned n, void *image)
{
    const ScsiDisk *s = (const ScsiDisk *)d;

    *(DiskImage *)image = (DiskImage){
        .key = s->attention_key, .asc = s->attention_asc, .ascq = s->attention_ascq,
        .eject_request = s->eject_asked, .tray_open = s->tray_open, .tray_locked = s->tray_locked,
        .writes_through = !s->writeback,
    };
}

static bool disk_load(Device *d, unsigned n, const void *image, GError **err)
{
    ScsiDisk *s = (ScsiDisk *)d;
    const DiskImage *i = image;

    s->attention_key = i->key;
    s->attention_asc = i->asc;
    s->attention_ascq = i->ascq;
    s->eject_asked = i->eject_request;
    s->tray_open = i->tray_open;
    s->tray_locked = i->tray_locked;
    s->writeback = !i->writes_through;
    return true;
}

DeviceSection *scsi_section_new(const ScsiDisk *s, const char *path)
{
    DeviceSection *section = g_new(DeviceSection, 1);

    *section = (DeviceSection){
        .name = g_strdup_printf("%s/0:%" PRIu32 ":%" PRIu32 "/scsi-disk", path, s->target, s->lun),
        .layout = &disk_layout, .save = disk_save, .load = disk_load,
    };
    return section;
}

void scsi_section_free(DeviceSection *s)
{
    if (!s)
        return;
    g_free((char *)s->name);
    g_free(s);
}
