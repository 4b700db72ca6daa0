/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The comparison with the host's processor at length: ten million cases a run in both modes
 * together. FERRY_SEED gives another seed, FERRY_CASES another number.
 */
#include "tests/lib/harness.h"
#include "tests/x86/lib/compare.h"
#include <stdio.h>

enum { SEED = 20786 };

static void run(unsigned bits)
{
    const char *given = g_getenv("FERRY_SEED"), *cases = g_getenv("FERRY_CASES");
    uint64_t seed = given ? g_ascii_strtoull(given, NULL, 0) : SEED;

    printf("# seed %" G_GUINT64_FORMAT "\n", seed);
    if (!compare_with_host(bits, seed, cases ? g_ascii_strtoull(cases, NULL, 0) : 5400000))
        test_skip("the host is no Linux on a processor of AMD's");
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
