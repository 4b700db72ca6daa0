/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The decoder and the disassembler against objdump of binutils: a part of a
 * library and a program of this machine, and generated instructions in each mode.
 */
#include "tests/lib/harness.h"
#include "tests/x86/lib/objdump.h"

enum { PROGRAM = 30000, GENERATED = 5000 };

static void test_bash(void)
{
    objdump_compare_program("/bin/bash", PROGRAM);
}

static void test_libc(void)
{
    objdump_compare_program("/lib/x86_64-linux-gnu/libc.so.6", PROGRAM);
}

static void test_generated_64(void)
{
    objdump_compare_generated(64, "i386:x86-64", GENERATED);
}

static void test_generated_32(void)
{
    objdump_compare_generated(32, "i386", GENERATED);
}

static void test_generated_16(void)
{
    objdump_compare_generated(16, "i8086", GENERATED);
}

const Test tests[] = {
    { "/x86/decode/bash-as-objdump", test_bash },
    { "/x86/decode/libc-as-objdump", test_libc },
    { "/x86/decode/generated-64-bit", test_generated_64 },
    { "/x86/decode/generated-32-bit", test_generated_32 },
    { "/x86/decode/generated-16-bit", test_generated_16 },
    {}
};
