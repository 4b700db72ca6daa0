/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One instruction with all it starts from, run by the host's processor and by ourselves.
 *
 * Both see the same linear addresses below 4 GiB:
 *
 *     CODE_AT   two executable pages full of int3, then nothing
 *     DATA_AT   nothing, two pages to read and write, one to read, nothing
 *
 * An instruction stands in the first of the pages of code; whatever it does, execution ends with an
 * exception: its own, or that of an int3.
 */
#ifndef TESTS_X86_LIB_SNIPPET_H
#define TESTS_X86_LIB_SNIPPET_H

#include "target/x86/cpu.h"

#define CODE_AT UINT64_C(0x10000000)
#define DATA_AT UINT64_C(0x20000000) /* the first page that can be read */
enum { PAGE = 4096, CODE_SIZE = 2 * PAGE, DATA_SIZE = 3 * PAGE, WRITABLE_SIZE = 2 * PAGE };

/* The legacy area of FXSAVE, as far as it is compared. */
typedef struct {
    uint16_t control, status;
    uint8_t in_use;
    X87Number st[8];
    uint32_t mxcsr;
    X86Vector xmm[16], ymm_high[16];
    uint64_t ip, dp; /* of the last x87 instruction; only of our own runs */
} FloatState;

typedef struct {
    uint64_t gpr[16];
    uint64_t rip;
    uint32_t flags;
    FloatState fp;
    uint8_t data[DATA_SIZE];
    /* How it ended. */
    unsigned vector;
    uint32_t error;
    uint64_t address; /* of a page fault */
} State;

/* Bases of FS and GS in the host process; FS is that of the C library. */
typedef struct {
    uint64_t fs, gs;
} Bases;

/* Prepares this process for native runs. False if the host is not an x86-64 Linux. */
bool native_start(Bases *bases);

/* Runs what stands at @s->rip of @code in @bits (32 or 64) on the host; replaces *@s by the end. */
void native_run(State *s, const uint8_t code[CODE_SIZE], unsigned bits);

/* The same by ourselves, interpreted or translated. */
typedef struct Executor Executor;
Executor *executor_new(Bases bases, bool translates);
void executor_free(Executor *e);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Executor, executor_free)
void executor_run(Executor *e, State *s, const uint8_t code[CODE_SIZE], unsigned bits);

#endif
