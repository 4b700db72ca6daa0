/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of operations, made of operations.def. */
#include "target/x86/insn.h"

#define WRITES(flags) .flags_written = X86_##flags
#define READS(flags) .flags_read = X86_##flags
#define UNDEFINED(flags) .flags_undefined = X86_##flags
#define ATTR(bits) .attributes = X86_A_##bits
#define CLASS(name) .class_ = X86_C_##name
#define SYSTEM(bits) ATTR(bits), CLASS(SYSTEM)
#define FPSTATE(bits) .attributes = X86_A_##bits | X86_A_CAN_FAULT, CLASS(FPSTATE)
#define REGS(read, written) .regs_read = read, .regs_written = written

/* Implied registers, as masks. */
enum {
    A = 1 << X86_RAX,
    B = 1 << X86_RBX,
    C = 1 << X86_RCX,
    D = 1 << X86_RDX,
    SP = 1 << X86_RSP,
    BP = 1 << X86_RBP,
    SI = 1 << X86_RSI,
    DI = 1 << X86_RDI,
    ALL8 = 0xff,
};

const X86Operation x86_operations[X86_OP_COUNT] = {
#define OP(id, text, ...) [X86_##id] = { .mnemonic = text, __VA_ARGS__ },
#include "target/x86/operations.def"
#undef OP
};
