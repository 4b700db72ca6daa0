/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as the structures of a VHDX image. They lie megabytes apart, so the input has only what
 * is in them (pieces), one after the other; checksums are made right, or nothing behind them would
 * be reached.
 */
#include "block/formats/vhdx/vhdx.h"
#include "tests/fuzz/lib/format.h"
#include <string.h>

enum { LOG_AT = 1 << 20, LOG_LEN = 12288, IMAGE_LEN = 4 << 20, EXTRA_MAX = 64 << 10 };

/* As seeds_vhdx in tests/fuzz/run has them. */
static const struct {
    uint32_t at, len;
} pieces[] = {
    { 0, 8 }, { VHDX_HEADER_1, 80 }, { VHDX_HEADER_2, 80 }, { VHDX_REGIONS_1, 144 }, { LOG_AT,
    LOG_LEN },
    { 2 << 20, 512 }, { 3 << 20, 288 }, { (3 << 20) + VHDX_TABLE, 64 },
    { (3 << 20) + 2 * VHDX_TABLE, 256 },
};

static void checksum_set(uint8_t *at, size_t len)
{
    le32_put(at + 4, vhdx_checksum(at, len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static uint8_t whole[FUZZ_IMAGE_OFF + IMAGE_LEN + EXTRA_MAX];
    uint8_t *image = whole + FUZZ_IMAGE_OFF;
    size_t used = FUZZ_IMAGE_OFF, extra, entry;

    if (len < FUZZ_IMAGE_OFF)
        return -1;
    memcpy(whole, data, FUZZ_IMAGE_OFF);
    for (size_t i = 0; i < G_N_ELEMENTS(pieces); i++) {
        size_t now = MIN(pieces[i].len, len - used);

        memcpy(image + pieces[i].at, data + used, now);
        memset(image + pieces[i].at + now, 0, pieces[i].len - now);
        used += now;
    }
    extra = MIN(len - used, EXTRA_MAX);
    memcpy(image + IMAGE_LEN, data + used, extra);
    checksum_set(image + VHDX_HEADER_1, sizeof(VhdxHeader));
    checksum_set(image + VHDX_HEADER_2, sizeof(VhdxHeader));
    checksum_set(image + VHDX_REGIONS_1, sizeof(VhdxRegions));
    entry = le32_at(image + LOG_AT + 8);
    if (entry >= 64 && entry <= 1 << 20)
        checksum_set(image + LOG_AT, entry);
    return fuzz_driver("vhdx", whole, FUZZ_IMAGE_OFF + IMAGE_LEN + extra);
}
