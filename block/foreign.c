/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Formats that the reference programs read and that have no driver here yet. Their files are not taken
 * for raw, whose content would then be the container instead of the disk; they are refused by name.
 *
 * Each format has rows of its own; those of a format that has got a driver with a probe count no more. The
 * signatures and where they are described stand in docs/spec/foreign.md.
 */
#include "block/internal.h"
#include <string.h>

enum { PIECES_MAX = 4 };

/* Bytes that have to be at an offset. */
typedef struct {
    size_t off, len;
    const char *bytes;
} Piece;

/* One way to recognise a format: all pieces there are, and what @looks says if there is one. */
typedef struct {
    const char *format;
    Piece pieces[PIECES_MAX];
    bool (*looks)(const char *head, size_t len, const char *filename);
} Signature;

#define AT(offset, text) { .off = offset, .len = sizeof(text) - 1, .bytes = text }

/* A dmg has its signature at the end of the file, so the name has to do. */
static bool is_named_dmg(const char *head, size_t len, const char *filename)
{
    return filename && strlen(filename) > strlen(".dmg") && g_str_has_suffix(filename, ".dmg");
}

static const Signature signatures[] = {
    { "bochs", { AT(0, "Bochs Virtual HD Image\0"), AT(32, "Redolog\0"), AT(48, "Growing\0"),
                 AT(64, "\0\0\1\0") } },
    { "bochs", { AT(0, "Bochs Virtual HD Image\0"), AT(32, "Redolog\0"), AT(48, "Growing\0"),
                 AT(64, "\0\0\2\0") } },
    { "cloop", { AT(0, "#!/bin/sh\n#V2.0 Format\n"
                       "modprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n") } },
    { "qcow", { AT(0, "QFI\xfb\0\0\0\1") } },
    { "dmg", .looks = is_named_dmg },   /* last: content is surer than a name */
};

static bool signature_matches(const Signature *s, const char *head, size_t len, const char *filename)
{
    for (const Piece *p = s->pieces; p < s->pieces + PIECES_MAX && p->len; p++)
        if (len < p->off + p->len || memcmp(head + p->off, p->bytes, p->len))
            return false;
    return !s->looks || s->looks(head, len, filename);
}

/* Has nobody but this file a way to recognise @format? */
static bool format_is_foreign(const char *format)
{
    const BlockDriver *d = driver_find(format);

    return !d || !d->probe;
}

const char *foreign_format(const uint8_t *head, size_t len, const char *filename)
{
    for (size_t i = 0; i < G_N_ELEMENTS(signatures); i++)
        if (signature_matches(&signatures[i], (const char *)head, len, filename) &&
            format_is_foreign(signatures[i].format))
            return signatures[i].format;
    return NULL;
}

bool foreign_is_known(const char *format)
{
    for (size_t i = 0; i < G_N_ELEMENTS(signatures); i++)
        if (!strcmp(signatures[i].format, format))
            return true;
    return false;
}
