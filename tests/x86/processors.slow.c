/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Several processors on one memory: order of accesses, locked operations, code of one by another,
 * at length. */
#include "tests/lib/harness.h"

#if defined(__x86_64__)

#include "tests/x86/lib/pair.h"

enum { ROUNDS = 10000000 };
#define SECONDS 120

static void test_message(void)
{
    pair_message(test_share(ROUNDS), SECONDS);
}

static void test_store_buffer(void)
{
    pair_store_buffer(test_share(ROUNDS), SECONDS);
}

static void test_locked(void)
{
    pair_locked(test_share(ROUNDS), SECONDS);
}

static void test_code(void)
{
    pair_code(test_share(ROUNDS), SECONDS);
}

const Test tests[] = {
    { "/x86/processors-long/message", test_message },
    { "/x86/processors-long/store-buffer", test_store_buffer },
    { "/x86/processors-long/locked", test_locked },
    { "/x86/processors-long/code", test_code },
    {}
};

#else

static void test_no_assembler(void)
{
    test_skip("guest code is assembled by the host's compiler, which is none for x86-64");
}

const Test tests[] = { { "/x86/processors-long", test_no_assembler }, {} };

#endif
