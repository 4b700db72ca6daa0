/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pages of compressed dumps by LZO1X-1, by lzo2. */
#include "system/dump-kdump.h"
#include "util/module.h"
#include <lzo/lzo1x.h>

static size_t lzo_pack(void *work, const uint8_t *page, uint8_t *packed)
{
    lzo_uint len = KDUMP_PACKED_MAX;

    /* The library says that more than this does not come. */
    G_STATIC_ASSERT(KDUMP_PACKED_MAX >= KDUMP_PAGE + KDUMP_PAGE / 16 + 64 + 3);
    return lzo1x_1_compress(page, KDUMP_PAGE, packed, &len, work) == LZO_E_OK ? len : 0;
}

MODULE_EXPORT const KdumpPacker ferry_module_lzo = {
    .flag = 2, .work = LZO1X_1_MEM_COMPRESS, .pack = lzo_pack,
};
