/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pages of compressed dumps by snappy, without frames. */
#include "system/dump-kdump.h"
#include "util/module.h"
#include <snappy-c.h>

static size_t snappy_pack(void *work, const uint8_t *page, uint8_t *packed)
{
    size_t len = KDUMP_PACKED_MAX;

    return snappy_compress((const char *)page, KDUMP_PAGE, (char *)packed, &len) == SNAPPY_OK ? len
                                                                                              : 0;
}

MODULE_EXPORT const KdumpPacker ferry_module_snappy = { .flag = 4, .pack = snappy_pack };
