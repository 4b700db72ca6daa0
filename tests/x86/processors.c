/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Several processors on one memory: order of accesses, locked operations, code of one by another.
 */
#include "tests/lib/harness.h"

#if defined(__x86_64__)

#include "tests/x86/lib/pair.h"

enum { ROUNDS = 100000 };
#define SECONDS 0.4

static void test_message(void)
{
    pair_message(ROUNDS, SECONDS);
}

static void test_store_buffer(void)
{
    pair_store_buffer(ROUNDS, SECONDS);
}

static void test_locked(void)
{
    pair_locked(ROUNDS, SECONDS);
}

static void test_code(void)
{
    pair_code(ROUNDS, SECONDS);
}

const Test tests[] = {
    { "/x86/processors/message", test_message },
    { "/x86/processors/store-buffer", test_store_buffer },
    { "/x86/processors/locked", test_locked },
    { "/x86/processors/code", test_code },
    {}
};

#else

static void test_no_assembler(void)
{
    test_skip("guest code is assembled by the host's compiler, which is none for x86-64");
}

const Test tests[] = { { "/x86/processors", test_no_assembler }, {} };

#endif
