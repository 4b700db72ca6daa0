/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Each instruction by the interpreter and by the host's processor: same registers, flags, memory,
 * exception. The cases are random, made from the decoder's table, and the same in every run of a
 * seed.
 *
 * FERRY_CASES and FERRY_SEED choose how many and which, FERRY_MNEMONIC only one kind, FERRY_FIRST
 * those from that number on.
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
        test_skip("no Linux on a processor of AMD's, or without code of these bits");
}

static void test_64(void)
{
    run(64);
}

static void test_32(void)
{
    run(32);
}

/* Instructions that once came out differently, or that a decoder easily takes for others. */
static void test_regressions(void)
{
    static const KnownCode codes[] = {
        { 64, "f34b90" },       /* pause with REX.B is xchg */
        { 64, "4190" },         /* xchg %rax,%r8, no nop */
        { 64, "0fb1d3" },       /* cmpxchg leaves a register alone that it does not change */
        { 64, "0fbcc1" },       /* bsf of zero */
        { 64, "66c1e015" },     /* a word shifted by more than its bits */
        { 64, "d3d0" },         /* rcl by all counts */
        { 64, "66d3d8" },
        { 64, "48f7f9" },       /* idiv with its edges */
        { 64, "f6f9" },
        { 64, "d9f8" },         /* fprem, C2 and the quotient's bits */
        { 64, "d9f5" },
        { 64, "d9fb" },         /* fsincos, out of range and full stack */
        { 64, "d9f2" },
        { 64, "d9d9" },         /* the old fstp */
        { 64, "dfc1" },         /* ffreep */
        { 64, "dec9" },         /* scaled results of unmasked underflow */
        { 64, "d943f0" },       /* flds of a denormal, not masked */
        { 64, "dbf1" },         /* fcomi leaves C1 */
        { 64, "dac1" },         /* fcmov from an empty register */
        { 64, "f20f5ce9" },     /* a tiny exact difference, underflow not masked */
        { 64, "660f3a41ca9e" }, /* dppd, likewise */
        { 64, "660f2dd8" },     /* cvtpd2pi enters MMX even if it faults */
        { 64, "660f3a60c10c" }, /* pcmpestrm, substring */
        { 64, "660f3a63c118" },
        { 64, "f348a5" },
        { 64, "67f3a6" },
        { 64, "ff542408" },     /* call through the stack it pushes to */
        { 64, "8f442410" },     /* pop to memory by RSP */
        { 32, "c4e34540dc97" }, /* vdpps, whose lanes raise in different steps */
        { 64, "c8080003" },     /* enter with nesting */
        { 64, "480fc70b" },     /* cmpxchg16b */
        { 32, "61" },           /* popa */
        { 32, "0fc70b" },
        { 32, "27" },           /* decimal adjustment */
        { 32, "2f" },
        { 32, "37" },
        { 32, "3f" },
        { 32, "d40a" },
        { 32, "62442408" },     /* bound */
        {}
    };

    if (!compare_known_with_host(codes, test_is_slowed() ? 20 : 300))
        test_skip("no Linux on a processor of AMD's, or without code of these bits");
}

const Test tests[] = {
    { "/x86/differential/64-bit", test_64 },
    { "/x86/differential/32-bit", test_32 },
    { "/x86/differential/regressions", test_regressions },
    {}
};
