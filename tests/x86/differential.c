/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Each instruction by the interpreter and by the host's processor: same registers, flags, memory,
 * exception. The cases are random, made from the decoder's table, and the same in every run of a seed.
 *
 * FERRY_CASES and FERRY_SEED choose how many and which; FERRY_MNEMONIC only one kind.
 */
#include "tests/lib/harness.h"
#include "tests/x86/lib/compare.h"
#include <stdlib.h>

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = g_getenv(name);

    return text ? g_ascii_strtoull(text, NULL, 0) : otherwise;
}

static void run(unsigned bits)
{
    uint64_t cases = number_from("FERRY_CASES", test_is_slowed() ? 5000 : 50000);

    if (!compare_with_host(bits, number_from("FERRY_SEED", 1), cases))
        test_skip("the host is no x86-64 Linux");
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
    { "/x86/differential/64-bit", test_64 },
    { "/x86/differential/32-bit", test_32 },
    {}
};
