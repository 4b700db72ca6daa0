/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stream that lies in memory as a whole, taken apart without the machine it is of: the
 * description at its end says what the sections of devices hold.
 */
#ifndef MIGRATION_SAVED_H
#define MIGRATION_SAVED_H

#include "migration/ram.h"
#include "util/json.h"

typedef struct {
    char *machine;      /* NULL: the stream does not say */
    RamBlocks ram;
    /*
     * A section of a device each: "name", "instance", "version", "offset", "size" and, where the
     * stream describes it, "fields": a list of "name", "type", "value", and of objects with "part",
     * "version" and "fields" for subsections.
     */
    json_t *sections;
    unsigned commands;
    bool is_described, is_whole;
} SavedStream;

/*
 * Takes [@data, @data + @len) apart. @memory gives a block of that name and size a place for its
 * content (which the caller owns), or NULL to only count pages; NULL: all are only counted. False
 * with
 * @err: it is damaged, and @s has what came before.
 */
bool saved_read(SavedStream *s, const void *data, size_t len,
                uint8_t *(*memory)(void *opaque, const char *name, uint64_t size), void *opaque,
                GError **err);
void saved_clear(SavedStream *s);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(SavedStream, saved_clear)

#endif
