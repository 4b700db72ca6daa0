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

/* One way to recognise a format: all pieces are there. */
typedef struct {
    const char *format;
    Piece pieces[PIECES_MAX];
} Signature;

#define AT(offset, text) { .off = offset, .len = sizeof(text) - 1, .bytes = text }

static const Signature signatures[] = {
    { "qcow", { AT(0, "QFI\xfb\0\0\0\1") } },
};

static bool signature_matches(const Signature *s, const char *head, size_t len)
{
    for (const Piece *p = s->pieces; p < s->pieces + PIECES_MAX && p->len; p++)
        if (len < p->off + p->len || memcmp(head + p->off, p->bytes, p->len))
            return false;
    return true;
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
        if (signature_matches(&signatures[i], (const char *)head, len) &&
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
