/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Any bytes as a file of zstd. */
#include "tests/fuzz/lib/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    return fuzz_driver("zstd", data, len);
}
