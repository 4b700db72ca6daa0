/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CRC-32C, eight bytes at a time. */
#include "util/crc32c.h"
#include "util/endian.h"
#include <glib.h>

enum { SLICES = 8 };

static uint32_t tables[SLICES][256];

static void tables_make(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t v = i;

        for (int bit = 0; bit < 8; bit++)
            v = v >> 1 ^ (v & 1 ? 0x82f63b78 : 0);
        tables[0][i] = v;
    }
    for (int s = 1; s < SLICES; s++)
        for (int i = 0; i < 256; i++)
            tables[s][i] = tables[s - 1][i] >> 8 ^ tables[0][tables[s - 1][i] & 0xff];
}

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    static gsize made;
    const uint8_t *p = data;

    if (g_once_init_enter(&made)) {
        tables_make();
        g_once_init_leave(&made, 1);
    }
    crc = ~crc;
    for (; len >= SLICES; p += SLICES, len -= SLICES) {
        uint64_t v = le64_at(p) ^ crc;

        crc = 0;
        for (int s = 0; s < SLICES; s++)
            crc ^= tables[SLICES - 1 - s][v >> 8 * s & 0xff];
    }
    for (; len; p++, len--)
        crc = crc >> 8 ^ tables[0][(crc ^ *p) & 0xff];
    return ~crc;
}
