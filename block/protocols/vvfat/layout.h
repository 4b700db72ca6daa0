/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where things are on a FAT disk, and the sectors before its first table: docs/spec/vvfat.md.
 *
 *     disk      partition table, then nothing up to the second track; floppies have neither
 *     volume    reserved sectors, two tables (FATs), root folder (FAT32: in clusters), clusters
 */
#ifndef BLOCK_PROTOCOLS_VVFAT_LAYOUT_H
#define BLOCK_PROTOCOLS_VVFAT_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

enum {
    FAT_SECTOR = 512,
    FAT_LABEL_LEN = 11,
    FAT_FIRST_CLUSTER = 2,
    FAT_ENTRY_LEN = 32,          /* of a folder */
    FAT_ROOT_ENTRIES = 512,      /* of the root folder of FAT12 and FAT16 */
};

typedef struct {
    unsigned bits;               /* 12, 16, 32: of an entry of the table */
    bool floppy;
    unsigned cylinders, heads, track_sectors;
    unsigned cluster_sectors;
    unsigned hidden;             /* sectors before the volume */
    unsigned reserved;           /* sectors of the volume before its tables */
    unsigned table_sectors;      /* of each of the two tables */
    unsigned root_sectors;       /* 0: the root folder is in clusters */
    uint32_t sectors;            /* of the volume */
    uint32_t clusters;
    char label[FAT_LABEL_LEN];   /* padded with spaces */
} FatLayout;

/*
 * Lays out a disk whose table has entries of @bits bits: 12, 16 or 32, or 0 for what is usual.
 * False: there is no such disk (a floppy with FAT32).
 */
bool fat_layout(FatLayout *l, unsigned bits, bool floppy);

/* Sectors of the disk before each part of the volume, and of the whole disk. */
uint32_t fat_table_start(const FatLayout *l, unsigned table);
uint32_t fat_root_start(const FatLayout *l);
uint32_t fat_clusters_start(const FatLayout *l);
uint32_t fat_disk_sectors(const FatLayout *l);
uint32_t fat_cluster_len(const FatLayout *l);   /* bytes */

/* Writes the sector with the partition table to @sector. */
void fat_partition_table(const FatLayout *l, uint8_t sector[FAT_SECTOR]);
/*
 * Writes sector @number of the reserved ones to @sector. @used: clusters, which FAT32 tells there.
 */
void fat_reserved_sector(const FatLayout *l, unsigned number, uint32_t used,
                         uint8_t sector[FAT_SECTOR]);

#endif
