/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Any bytes as a file of bzip2. A few bytes may decode to very many: mostly the size is given. */
#include "block/block.h"
#include "tests/fuzz/lib/format.h"
#include "util/json.h"

enum { CONTENT = 3 << 20, SCANNED_MAX = 500 };

static void add_size(json_t *options, const uint8_t *image, size_t len, uint8_t how)
{
    if (how & 16 || len > SCANNED_MAX)
        json_put_int(options, "size", CONTENT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    FuzzFormat format = { .driver = "bzip2", .add_options = add_size };

    return fuzz_format(&format, data, len);
}
