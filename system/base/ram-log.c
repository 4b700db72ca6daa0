/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/base/ram-log.h"
#include <glib.h>
#include <string.h>

RamLog ram_log;

void ram_log_begin(const uint8_t *host, size_t size)
{
    ram_log = (RamLog){ host, size, g_malloc0((size >> 12) + 8) };
}

void ram_log_end(void)
{
    g_free(ram_log.pages);
    ram_log = (RamLog){ 0 };
}

void ram_log_collect(void (*fn)(void *opaque, size_t page), void *opaque)
{
    size_t count = ram_log.size >> 12;

    for (size_t i = 0; i < count; i += 8) {
        uint64_t some;

        memcpy(&some, ram_log.pages + i, 8);
        for (unsigned k = 0; some && k < 8; k++)
            if (ram_log.pages[i + k]) {
                ram_log.pages[i + k] = 0;
                fn(opaque, i + k);
            }
    }
}
