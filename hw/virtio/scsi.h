/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks on the bus of virtio-scsi-device, and the commands they run: docs/spec/scsi.md. */
#ifndef HW_VIRTIO_SCSI_H
#define HW_VIRTIO_SCSI_H

#include "hw/virtio/disk-work.h"
#include "util/span.h"

#define SCSI_BUS "SCSI"
enum {
    SCSI_TARGET_MAX = 255, SCSI_LUN_MAX = 16383, SCSI_CDB_SIZE = 32, SCSI_SENSE_SIZE = 18,
    SCSI_ANY = UINT32_MAX,

    SCSI_GOOD = 0, SCSI_CHECK_CONDITION = 2,
};

/* Sense key, additional code and its qualifier. */
typedef struct {
    uint8_t key, asc, ascq;
} ScsiSense;

typedef struct {
    const uint8_t *cdb; /* SCSI_CDB_SIZE bytes */
    Span out, in;       /* what comes with the command; room for what it gives */
    uint64_t done;      /* bytes that were used of either */
    uint32_t resets;    /* of the disk, when the command came */
    bool overrun;       /* there was less than the command says */
    uint8_t status;
    ScsiSense sense;    /* with SCSI_CHECK_CONDITION */
} ScsiCommand;

typedef struct {
    Device dev;
    /* Properties. */
    char *drive, *serial, *vendor, *product, *version, *device_id;
    uint32_t target, lun, logical_block_size, physical_block_size;
    bool removable;
    DiskWork work;

    DeviceSection *section; /* how it goes into migration streams; NULL: not plugged in yet */
    void *bus;         /* the device it is plugged into; NULL: none (yet) */
    void (*left)(void *bus, Device *d);
    void (*changed)(void *bus, Device *d, ScsiSense why); /* the guest's driver should look again */
    bool is_cd;
    Handle *handle;    /* of a drive without a medium it is on no node */
    bool owns_handle;
    uint32_t resets;   /* what came before the last one is not tried again; with the lock held */

    /* State of the guest. */
    uint8_t writeback, tray_open, tray_locked, eject_asked;
    uint8_t attention_key, attention_asc, attention_ascq; /* to be told first; key 0: nothing */
} ScsiDisk;

/* Its place in migration streams, once its transport's path and its own numbers are known. */
DeviceSection *scsi_section_new(const ScsiDisk *s, const char *path);
void scsi_section_free(DeviceSection *s);

/* Runs a command, which is in flight (.work). */
CO void scsi_disk_run(ScsiDisk *s, ScsiCommand *c);
/* As after a reset of the bus. With the lock held. */
void scsi_disk_reset(ScsiDisk *s);
/*
 * The tray opens or closes, which the user is told if it moves. If it is not the guest who closes
 * it, with a medium in it, the guest is told that it may be another one. With the lock held.
 */
void scsi_disk_move_tray(ScsiDisk *s, bool open, bool by_guest);
/* Sense data in the fixed format. */
void scsi_sense_put(uint8_t *to, ScsiSense sense);

/* ---- scsi-command.c -------------------------------------------------------------------------- */

/* Commands about the device rather than its data. False: it is none of them. */
bool scsi_disk_describe(ScsiDisk *s, ScsiCommand *c);

bool scsi_fail(ScsiCommand *c, uint8_t key, uint8_t asc, uint8_t ascq);
/* Gives @len bytes, or as many as the guest wants. */
bool scsi_give(ScsiCommand *c, const void *data, size_t len, size_t wanted);
uint64_t scsi_blocks(const ScsiDisk *s);

enum {
    SENSE_NOT_READY = 2, SENSE_MEDIUM = 3, SENSE_ILLEGAL = 5, SENSE_ATTENTION = 6,
    SENSE_PROTECT = 7, SENSE_MISCOMPARE = 14,
};

#endif
