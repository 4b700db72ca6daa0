/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The entries of a FAT folder: short names that are unique in it, long names, times. */
#ifndef BLOCK_PROTOCOLS_VVFAT_NAME_H
#define BLOCK_PROTOCOLS_VVFAT_NAME_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

enum {
    FAT_READ_ONLY = 0x01, FAT_HIDDEN = 0x02, FAT_SYSTEM = 0x04, FAT_VOLUME = 0x08,
    FAT_FOLDER = 0x10, FAT_ARCHIVE = 0x20,
};

/* The names that a folder has so far. */
typedef struct FatNames FatNames;
FatNames *fat_names_new(void);
void fat_names_free(FatNames *names);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FatNames, fat_names_free)

/*
 * Appends the entries of a file named @name to @entries: its long name, and an entry with the short
 * name, attributes and times, without cluster and size. *@at: bytes of @entries before that one.
 * False if @name is not UTF-8, and so has no long name.
 */
bool fat_entry_add(GByteArray *entries, FatNames *names, const char *name, const struct stat *st,
                   uint32_t *at);
/* Appends one entry that has no long name. @name: 11 bytes. @st NULL: no times. */
void fat_entry_add_plain(GByteArray *entries, const char *name, unsigned attributes,
                         const struct stat *st);
/* Says where the content of the entry at @entry is. */
void fat_entry_set_content(uint8_t *entry, uint32_t cluster, uint32_t size);

#endif
