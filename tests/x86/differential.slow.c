/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The comparison with the host's processor at length: ten million cases a run in both modes and of
 * three seeds together. FERRY_SEED gives one other seed, FERRY_CASES another number for each.
 */
#include "tests/lib/harness.h"
#include "tests/x86/lib/compare.h"
#include <stdio.h>

static const uint64_t seeds[] = { 20786, 771, 20261129 };

static void run_seed(unsigned bits, uint64_t seed)
{
    const char *cases = g_getenv("FERRY_CASES");

    printf("# seed %" G_GUINT64_FORMAT "\n", seed);
    if (!compare_with_host(bits, seed,
                           cases ? g_ascii_strtoull(cases, NULL, 0) : test_share(1800000)))
        test_skip("no Linux on a processor of AMD's, or without code of these bits");
}

static void run(unsigned bits)
{
    const char *given = g_getenv("FERRY_SEED");

    if (given) {
        run_seed(bits, g_ascii_strtoull(given, NULL, 0));
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(seeds); i++)
        run_seed(bits, seeds[i]);
}

static void test_64(void)
{
    run(64);
}

static void test_32(void)
{
    run(32);
}

const Test tests[] = {
    { "/x86/differential-long/64-bit", test_64 },
    { "/x86/differential-long/32-bit", test_32 },
    {}
};
