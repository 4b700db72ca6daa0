/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One instruction as a record: what the decoder makes of bytes, and all that the disassembler, the
 * interpreter and the translator know of them.
 *
 * Sizes are in bytes. A register's number is that of its encoding, 0 to 15.
 */
#ifndef TARGET_X86_INSN_H
#define TARGET_X86_INSN_H

#include "target/x86/features.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { X86_INSN_MAX = 15, X86_OPERANDS = 4 };

/* General registers; R8 to R15 are 8 to 15. */
enum { X86_RAX, X86_RCX, X86_RDX, X86_RBX, X86_RSP, X86_RBP, X86_RSI, X86_RDI, X86_NO_REG = 0xff };

/* Segment registers. */
enum { X86_ES, X86_CS, X86_SS, X86_DS, X86_FS, X86_GS, X86_SEGMENTS };

/* EFLAGS. */
enum {
    X86_CF = 1 << 0,
    X86_FIXED = 1 << 1, /* always set */
    X86_PF = 1 << 2,
    X86_AF = 1 << 4,
    X86_ZF = 1 << 6,
    X86_SF = 1 << 7,
    X86_TF = 1 << 8,
    X86_IF = 1 << 9,
    X86_DF = 1 << 10,
    X86_OF = 1 << 11,
    X86_IOPL = 3 << 12,
    X86_NT = 1 << 14,
    X86_RF = 1 << 16,
    X86_VM = 1 << 17,
    X86_AC = 1 << 18,
    X86_VIF = 1 << 19,
    X86_VIP = 1 << 20,
    X86_ID = 1 << 21,
    X86_ARITH = X86_CF | X86_PF | X86_AF | X86_ZF | X86_SF | X86_OF,
};

typedef enum {
    X86_OPD_NONE,
    X86_OPD_GPR,
    X86_OPD_HIGH, /* AH, CH, DH, BH as 0 to 3 */
    X86_OPD_SEG,
    X86_OPD_CR,
    X86_OPD_DR,
    X86_OPD_ST,
    X86_OPD_MMX,
    X86_OPD_XMM,
    X86_OPD_MEM, /* X86Insn.mem */
    X86_OPD_DI,  /* ES:[rDI] of a string instruction */
    X86_OPD_IMM, /* X86Insn.imm, extended to 64 bits as the operation wants it */
    X86_OPD_IMM2,
    X86_OPD_REL, /* imm, relative to the next instruction */
    X86_OPD_FAR, /* imm is the offset, imm2 the selector */
} X86OperandKind;

typedef struct {
    uint8_t kind; /* X86OperandKind */
    uint8_t reg;
    uint8_t size;
} X86Operand;

/* [segment : base + index * scale + disp], in address size. */
typedef struct {
    uint8_t segment;
    uint8_t base;  /* or X86_NO_REG */
    uint8_t index; /* or X86_NO_REG */
    uint8_t scale; /* 1, 2, 4, 8 */
    bool rip;      /* relative to the next instruction; base is X86_NO_REG */
    uint8_t disp_size;
    int64_t disp;
} X86Mem;

/* What an operation is and needs, beyond its operands. */
enum {
    X86_A_ENDS_BLOCK = 1 << 0, /* changes RIP otherwise than by going on, or the mode, or may */
    X86_A_CAN_FAULT = 1 << 1,  /* set in the record for memory operands too */
    X86_A_PRIVILEGED = 1 << 2, /* #GP unless CPL is 0 */
    X86_A_X87 = 1 << 3,        /* #NM if CR0.EM or CR0.TS */
    X86_A_UNALIGNED = 1 << 4,  /* a 16-byte memory operand needs no alignment */
    X86_A_STRING = 1 << 5,     /* takes rep prefixes */
    X86_A_IS_REPE = 1 << 6,    /* scas, cmps: rep looks at ZF */
    X86_A_WRITES_2 = 1 << 7,   /* operand 1 is written, too */
    X86_A_NO_READ = 1 << 8,    /* operand 0 is written only */
    X86_A_NO_WRITE = 1 << 9,   /* operand 0 is read only */
    X86_A_NO_ACCESS = 1 << 10, /* a memory operand is only an address */
    X86_A_X87_QUIET = 1 << 11, /* no #MF for pending exceptions */
    X86_A_SSE_FP = 1 << 12,    /* rounds by MXCSR and may raise #XM */
    X86_A_SSE = 1 << 13,       /* needs the SSE state enabled though no operand says so */
    X86_A_WIDE = 1 << 15,      /* only with a VEX prefix; the operation sees 256 bits */
    X86_A_LOAD_WRITE = 1 << 14, /* a read-modify-write that always writes memory back */
};

/* What kind of work an operation is, for statistics. */
typedef enum {
    X86_C_INTEGER,
    X86_C_BRANCH,
    X86_C_STRING,
    X86_C_ATOMIC,
    X86_C_BMI,
    X86_C_HINT,
    X86_C_SYSTEM,
    X86_C_X87,
    X86_C_SSE_INT,
    X86_C_SSE_FP,
    X86_C_CRYPTO,
    X86_C_AVX, /* what has no form without a VEX prefix */
    X86_C_FMA,
    X86_C_FPSTATE,
    X86_C_COUNT
} X86Class;

/* Every operation, from the table. */
typedef enum {
#define OP(id, ...) X86_##id,
#include "target/x86/operations.def"
#undef OP
    X86_OP_COUNT
} X86Op;

/* The properties of an operation that do not depend on its operands. */
typedef struct {
    const char *mnemonic; /* AT&T, a pattern; see disassemble.c */
    uint32_t attributes;
    uint32_t flags_read, flags_written, flags_undefined; /* undefined ones are written, too */
    uint16_t regs_read, regs_written;                    /* implied general registers, a bit each */
    uint8_t class_;
} X86Operation;

extern const X86Operation x86_operations[X86_OP_COUNT];

typedef struct {
    uint16_t op; /* X86Op */
    uint8_t length;
    uint8_t bits; /* 16, 32, 64: of the code segment */
    uint8_t operand_size;
    uint8_t address_size;
    uint8_t condition; /* of jcc, setcc, cmovcc, fcmovcc: the low four bits of the opcode */
    uint8_t operands;
    uint8_t rex;
    bool lock, repe, repne, prefix66;
    bool vex;        /* rex has the bits that a VEX prefix has of it */
    uint8_t vex_l;   /* 1: 256 bits */
    uint8_t vvvv;    /* the register named by the prefix */
    uint8_t segment_prefix; /* or X86_NO_REG */
    X86Operand operand[X86_OPERANDS];
    X86Mem mem;
    uint64_t imm, imm2;

    uint32_t attributes;
    uint16_t gpr_read, gpr_written; /* a partly written register counts as read */
    uint16_t xmm_read, xmm_written;
    uint32_t flags_read, flags_written, flags_undefined;
    const struct X86Form *form; /* the row of forms.c */
} X86Insn;

typedef enum {
    X86_DECODED,
    X86_UNDEFINED, /* #UD */
    X86_TOO_LONG,  /* #GP: more than 15 bytes */
    X86_TRUNCATED, /* more bytes are needed than were given */
} X86Decoded;

/* What the decoder needs to know of the processor. */
typedef struct {
    uint8_t bits; /* 16, 32, 64 */
    X86Features features;
} X86DecodeMode;

/*
 * Makes @in of the bytes at @code, of which @len may be read (never more than 15 are). If the
 * answer is not X86_DECODED, only @in's length (bytes looked at) and prefixes have a meaning.
 */
X86Decoded x86_decode(X86Insn *in, const uint8_t *code, size_t len, X86DecodeMode mode);

/*
 * Writes @in, which stands at @pc, as AT&T text without line end, cut at @size. Jump targets are
 * absolute. Returns @text.
 */
char *x86_disassemble(const X86Insn *in, uint64_t pc, char *text, size_t size);

#endif
