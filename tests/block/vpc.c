/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests to VHD images, and power cuts while they grow; vpc.slow.c looks at more moments. */
#include "tests/block/vpc.h"
#include "io/co-lock.h"
#include "tests/lib/disk.h"
#include "tests/lib/harness.h"
#include "util/size.h"

static CO void test_dynamic(void)
{
    disk_random_requests(&(DiskRandom){ "vpc", "force_size=on", NULL, 40 * MiB, .max = 3 * MiB });
}

static CO void test_fixed(void)
{
    disk_random_requests(&(DiskRandom){ "vpc", "subformat=fixed,force_size=on", NULL, 9 * MiB + 512,
                                        .max = 300000 });
}

static CO void test_power_cut(void)
{
    for (const PowerCutWorkload *w = vpc_workloads; w->name; w++)
        g_assert_cmpuint(power_cut_run(w, 0, 1), >=, 3);
}

enum { BLOCKS = 4, BLOCK = 2 << 20 };

static CO void write_far(void *arg)
{
    Disk *d = arg;

    disk_write(d, round_down(d->size - 1, BLOCK) + MiB, 900 * KiB);
}

/* Until a write past the end has completed, the file is longer than the node knows. */
static CO void test_zeroes_behind_the_end(void)
{
    Disk *d = disk_new("disk.image", "vpc", "force_size=on", "file.aio=threads", BLOCKS * BLOCK);

    for (unsigned i = 0; i < BLOCKS; i++) {
        CoGroup group = { 0 };

        disk_write(d, i * BLOCK, 512);
        d->size = (i + 1) * BLOCK;
        co_group_start(&group, write_far, d);
        co_yield();
        g_usleep(20 * 1000);
        disk_zero(d, i * BLOCK + 64 * KiB, 64 * KiB, i % 4 ? REQ_MAY_UNMAP : 0);
        co_group_wait(&group);
    }
    disk_verify(d);
    disk_free(d);
}

static CO void test_handed_over(void)
{
    disk_handed_over("vpc", "force_size=on");
}

const Test tests[] = {
    { "/vpc/random/dynamic", test_dynamic },
    { "/vpc/random/fixed", test_fixed },
    { "/vpc/zeroes-behind-the-end-leave-other-writes-alone", test_zeroes_behind_the_end },
    { "/vpc/power-cut/loses-nothing", test_power_cut },
    { "/vpc/active/handed-over", test_handed_over },
    {}
};
