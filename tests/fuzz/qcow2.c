/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Any bytes as a qcow2 image. */
#include "tests/fuzz/lib/format.h"
#include "util/endian.h"
#include "util/json.h"

enum { HEADER_MIN = 112, DISK_MAX = 2 << 20, L1_MAX = 1024, SNAPSHOTS_MAX = 64 };

static void add_options(json_t *o, const uint8_t *image, size_t len, uint8_t how)
{
    if (how & 16) {
        json_put_str(o, "l2-cache-size", "1024");
        json_put_str(o, "refcount-cache-size", "2048");
    }
    if (how & 32)
        json_put_str(o, "overlap-check", "all");
    /* Without it, there is no way to the operations of images that want one. */
    if (len >= 80 && be32_at(image + 4) == 3 && be64_at(image + 72) & 4)
        json_put_str(o, "data-file", "data");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const char *const amend[][2] = {
        { "compat", "0.10" }, { "compat", "1.1" }, { "lazy_refcounts", "on" },
        { "refcount_bits", "1" }, { "refcount_bits", "64" }, { "refcount_bits", "16" },
        { "backing_file", "x" }, { "data_file_raw", "off" }, { NULL, NULL },
    };
    static const FuzzFormat qcow2 = { .driver = "qcow2", .disk_max = DISK_MAX, .amend = amend,
                                      .add_options = add_options, .has_data_file = true };

    /* Large tables only take time; tests/block/hostile-images has them. */
    if (len < FUZZ_IMAGE_OFF + HEADER_MIN || be32_at(data + FUZZ_IMAGE_OFF + 36) > L1_MAX ||
        be32_at(data + FUZZ_IMAGE_OFF + 60) > SNAPSHOTS_MAX)
        return -1;
    return fuzz_format(&qcow2, data, len);
}
