/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where things are on a FAT disk: geometry, partition table, boot sector. */
#include "block/protocols/vvfat/layout.h"
#include "util/endian.h"
#include "util/size.h"

enum {
    TABLES = 2,
    TRACK = 63,                  /* sectors of a hard disk's track */
    MEDIA_FLOPPY = 0xf0, MEDIA_DISK = 0xf8,
    DRIVE_DISK = 0x80,
    PARTITION_AT = 0x1be, PARTITION_FAT12 = 0x01, PARTITION_FAT16 = 0x06, PARTITION_FAT32 = 0x0b,
    EXTENDED_BOOT = 0x29,        /* serial number, label and type follow */
    FAT32_RESERVED = 32, FAT32_INFO = 1, FAT32_BACKUP = 6,
};

/* Of the disk and of the volume: the one that the reference's have. */
#define SERIAL 0xbe1afdfaU
#define VOLUME_SERIAL 0xfabe1afdU

/*
 * Systems tell the type of a volume by the number of its clusters alone (below 4085 FAT12, below
 * 65525 FAT16), so clusters are small enough for the type that was asked for.
 */
bool fat_layout(FatLayout *l, unsigned bits, bool floppy)
{
    uint32_t clusters;
    bool small = floppy && bits == 12;   /* 1.44 MB rather than 2.88 MB */

    if (floppy && bits == 32)
        return false;
    if (!bits)
        bits = floppy ? 12 : 16;
    *l = (FatLayout){
        .bits = bits,
        .floppy = floppy,
        .cylinders = floppy ? 80 : bits == 12 ? 64 : 1024,
        .heads = floppy ? 2 : 16,
        .track_sectors = !floppy ? TRACK : small ? 18 : 36,
        .cluster_sectors = bits == 32 ? 8 : floppy && bits == 16 ? 1 : 16,
        .hidden = floppy ? 0 : TRACK,
        .reserved = bits == 32 ? FAT32_RESERVED : 1,
        .root_sectors = bits == 32 ? 0 : FAT_ROOT_ENTRIES * FAT_ENTRY_LEN / FAT_SECTOR,
    };
    l->sectors = l->cylinders * l->heads * l->track_sectors - l->hidden;
    /* The tables are large enough for a volume that had no tables. */
    clusters = l->sectors / l->cluster_sectors + FAT_FIRST_CLUSTER;
    l->table_sectors = div_round_up((uint64_t)clusters * bits, 8 * FAT_SECTOR);
    l->clusters = (l->sectors - l->reserved - TABLES * l->table_sectors - l->root_sectors) /
                  l->cluster_sectors;
    memset(l->label, ' ', FAT_LABEL_LEN);
    return true;
}

uint32_t fat_table_start(const FatLayout *l, unsigned table)
{
    return l->hidden + l->reserved + table * l->table_sectors;
}

uint32_t fat_root_start(const FatLayout *l)
{
    return fat_table_start(l, TABLES);
}

uint32_t fat_clusters_start(const FatLayout *l)
{
    return fat_root_start(l) + l->root_sectors;
}

uint32_t fat_disk_sectors(const FatLayout *l)
{
    return l->hidden + l->sectors;
}

uint32_t fat_cluster_len(const FatLayout *l)
{
    return l->cluster_sectors * FAT_SECTOR;
}

/* A sector as a BIOS counts: head, sector from 1 with two bits of the cylinder, cylinder. */
static void put_chs(const FatLayout *l, uint8_t *p, uint32_t sector)
{
    uint32_t cylinder = sector / (l->heads * l->track_sectors);

    p[0] = sector / l->track_sectors % l->heads;
    p[1] = (sector % l->track_sectors + 1) | (cylinder >> 8 << 6);
    p[2] = cylinder;
}

static void put_signature(uint8_t *sector)
{
    sector[FAT_SECTOR - 2] = 0x55;
    sector[FAT_SECTOR - 1] = 0xaa;
}

void fat_partition_table(const FatLayout *l, uint8_t sector[FAT_SECTOR])
{
    uint8_t *p = sector + PARTITION_AT;

    memset(sector, 0, FAT_SECTOR);
    le32_put(sector + 0x1b8, SERIAL);
    p[0] = 0x80;                 /* active */
    put_chs(l, p + 1, l->hidden);
    p[4] = l->bits == 12 ? PARTITION_FAT12 : l->bits == 16 ? PARTITION_FAT16 : PARTITION_FAT32;
    put_chs(l, p + 5, fat_disk_sectors(l) - 1);
    le32_put(p + 8, l->hidden);
    le32_put(p + 12, l->sectors);
    put_signature(sector);
}

/* What ends the fields of a boot sector: at 36, or at 64 with FAT32. */
static void put_extended_boot(const FatLayout *l, uint8_t *p)
{
    p[0] = l->floppy ? 0 : DRIVE_DISK;
    p[2] = EXTENDED_BOOT;
    le32_put(p + 3, VOLUME_SERIAL);
    memcpy(p + 7, l->label, FAT_LABEL_LEN);
    memcpy(p + 18, l->bits == 12 ? "FAT12   " : l->bits == 16 ? "FAT16   " : "FAT32   ", 8);
}

/* "BIOS Parameter Block" of the specification. There is no program to boot. */
static void put_boot_sector(const FatLayout *l, uint8_t *b)
{
    bool fat32 = l->bits == 32, large = l->sectors > UINT16_MAX;

    memcpy(b, fat32 ? "\xeb\x58\x90" : "\xeb\x3e\x90", 3);
    memcpy(b + 3, "MSWIN4.1", 8);
    le16_put(b + 11, FAT_SECTOR);
    b[13] = l->cluster_sectors;
    le16_put(b + 14, l->reserved);
    b[16] = TABLES;
    le16_put(b + 17, fat32 ? 0 : FAT_ROOT_ENTRIES);
    le16_put(b + 19, fat32 || large ? 0 : l->sectors);
    b[21] = l->floppy ? MEDIA_FLOPPY : MEDIA_DISK;
    le16_put(b + 22, fat32 ? 0 : l->table_sectors);
    le16_put(b + 24, l->track_sectors);
    le16_put(b + 26, l->heads);
    le32_put(b + 28, l->hidden);
    le32_put(b + 32, fat32 || large ? l->sectors : 0);
    if (fat32) {
        le32_put(b + 36, l->table_sectors);
        le32_put(b + 44, FAT_FIRST_CLUSTER);   /* of the root folder */
        le16_put(b + 48, FAT32_INFO);
        le16_put(b + 50, FAT32_BACKUP);
    }
    put_extended_boot(l, b + (fat32 ? 64 : 36));
    put_signature(b);
}

/* "FSInfo Sector Structure": what is free. */
static void put_info_sector(const FatLayout *l, uint32_t used, uint8_t *b)
{
    le32_put(b, 0x41615252);
    le32_put(b + 484, 0x61417272);
    le32_put(b + 488, l->clusters - used);
    le32_put(b + 492, used < l->clusters ? FAT_FIRST_CLUSTER + used : UINT32_MAX);
    put_signature(b);
}

void fat_reserved_sector(const FatLayout *l, unsigned number, uint32_t used,
                         uint8_t sector[FAT_SECTOR])
{
    unsigned of_copy = number >= FAT32_BACKUP ? number - FAT32_BACKUP : number;

    memset(sector, 0, FAT_SECTOR);
    if (of_copy == 0)
        put_boot_sector(l, sector);
    else if (of_copy == FAT32_INFO)
        put_info_sector(l, used, sector);
    else if (of_copy == 2)
        put_signature(sector);   /* the third boot sector */
}
