/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random requests on qcow2 images of all kinds. */
#include "tests/lib/disk.h"
#include "tests/lib/harness.h"
#include "util/size.h"
#include <string.h>

static CO void qcow2_requests(const char *options, const char *open_options, uint64_t size,
                              uint64_t cluster, bool backing, uint64_t max)
{
    /* Nothing can be unmapped in version 2 above a backing file. */
    if (strstr(options, "0.10") || (open_options && strstr(open_options, "no-unref")))
        cluster = 0;
    disk_random_requests(
        &(DiskRandom){ "qcow2", options, open_options, size, cluster, backing, max });
}

#define RANDOM(name, ...)                                                                          \
    static CO void test_##name(void)                                                               \
    {                                                                                              \
        qcow2_requests(__VA_ARGS__);                                                               \
    }

RANDOM(default, "", NULL, 16 * MiB, 65536, false, 300000)
RANDOM(backing, "", NULL, 16 * MiB, 65536, true, 300000)
RANDOM(512, "cluster_size=512", NULL, 1 * MiB, 512, false, 20000)
RANDOM(512_backing, "cluster_size=512", NULL, 1 * MiB + 512 * 3, 512, true, 20000)
RANDOM(2m, "cluster_size=2M", NULL, 64 * MiB, 2 * MiB, true, 3000000)
RANDOM(v2, "compat=0.10,cluster_size=4k", NULL, 2 * MiB, 4096, false, 50000)
RANDOM(v2_backing, "compat=0.10,cluster_size=4k", NULL, 2 * MiB, 4096, true, 50000)
RANDOM(refcount_1, "refcount_bits=1,cluster_size=4k", NULL, 2 * MiB, 4096, true, 50000)
RANDOM(refcount_64, "refcount_bits=64,cluster_size=512", NULL, 1 * MiB, 512, true, 50000)
RANDOM(extended, "extended_l2=on,cluster_size=64k", NULL, 16 * MiB, 65536, true, 300000)
RANDOM(extended_16k, "extended_l2=on,cluster_size=16k", NULL, 4 * MiB, 16384, false, 100000)
RANDOM(zstd, "compression_type=zstd", NULL, 16 * MiB, 65536, true, 300000)
RANDOM(tiny, "cluster_size=512", "l2-cache-size=1024,refcount-cache-size=2048", 1 * MiB, 512, true,
       20000)
RANDOM(tiny_slices, "cluster_size=64k", "l2-cache-size=1024,l2-cache-entry-size=512", 16 * MiB,
       65536, true, 300000)
RANDOM(lazy, "lazy_refcounts=on,cluster_size=4k", NULL, 2 * MiB, 4096, true, 50000)
RANDOM(prealloc, "preallocation=metadata", NULL, 16 * MiB, 65536, false, 300000)
RANDOM(odd_size, "", NULL, 16 * MiB + 1536, 65536, true, 300000)
RANDOM(no_unref, "", "discard-no-unref=on", 16 * MiB, 65536, true, 300000)
RANDOM(overlap_all, "cluster_size=4k", "overlap-check=all", 2 * MiB, 4096, true, 50000)

const Test tests[] = {
    { "/qcow2/random/default", test_default },
    { "/qcow2/random/backing", test_backing },
    { "/qcow2/random/512", test_512 },
    { "/qcow2/random/512-backing", test_512_backing },
    { "/qcow2/random/2m", test_2m },
    { "/qcow2/random/v2", test_v2 },
    { "/qcow2/random/v2-backing", test_v2_backing },
    { "/qcow2/random/refcount-1", test_refcount_1 },
    { "/qcow2/random/refcount-64", test_refcount_64 },
    { "/qcow2/random/extended", test_extended },
    { "/qcow2/random/extended-16k", test_extended_16k },
    { "/qcow2/random/zstd", test_zstd },
    { "/qcow2/random/tiny-caches", test_tiny },
    { "/qcow2/random/tiny-slices", test_tiny_slices },
    { "/qcow2/random/lazy", test_lazy },
    { "/qcow2/random/preallocated", test_prealloc },
    { "/qcow2/random/odd-size", test_odd_size },
    { "/qcow2/random/discard-no-unref", test_no_unref },
    { "/qcow2/random/overlap-check-all", test_overlap_all },
    {}
};
