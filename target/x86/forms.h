/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The encodings of all operations, as a table. The decoder looks into it, the tests make
 * instructions from it.
 */
#ifndef TARGET_X86_FORMS_H
#define TARGET_X86_FORMS_H

#include "target/x86/insn.h"

/* The high byte of an opcode in the table: which escape stands before it. */
enum {
    X86_MAP_1,
    X86_MAP_0F,
    X86_MAP_0F38,
    X86_MAP_0F3A,
    X86_MAP_VEX, /* those three with a VEX prefix */
    X86_MAP_VEX38,
    X86_MAP_VEX3A,
    X86_MAPS
};

/* When a form holds: the last prefix, the ModRM byte, the mode. */
enum {
    ANY = 0,
    NP = 1, /* none of 66, F3, F2 */
    P66 = 2,
    PF3 = 3,
    PF2 = 4,
    W_PREFIX = 7,
    W_REG = 1 << 3, /* the reg field is as given */
    W_RM = 1 << 4,  /* the rm field is as given */
    MEM = 1 << 5,   /* mod is not 3 */
    MOD3 = 1 << 6,
    W_MODRM = 1 << 7, /* there is a ModRM byte */
    NO64 = 1 << 8,    /* not in 64-bit mode */
    ONLY64 = 1 << 9,
    NO_REX_B = 1 << 10,
    SPAN8 = 1 << 11,  /* eight opcodes; the low bits are a register */
    SPAN16 = 1 << 12, /* sixteen opcodes; the low bits are a condition */
    IS_W = 1 << 13,   /* REX.W */
    NO_W = 1 << 14,
    IS_L0 = 1 << 24, /* VEX.L */
    IS_L1 = 1 << 25,
    W_REG_SHIFT = 16,
    W_RM_SHIFT = 20,
};
#define REG(n) (W_MODRM | W_REG | (n) << W_REG_SHIFT)
#define RM(n) (W_MODRM | W_RM | (n) << W_RM_SHIFT)
#define EXACT(modrm) (MOD3 | REG((modrm) >> 3 & 7) | RM((modrm)&7))

/* How a form is decoded and what else it allows. */
enum {
    LOCKABLE = 1 << 0,
    D64 = 1 << 1,  /* operands of 64 bits by default in 64-bit mode; 32 bits cannot be had */
    NO_REX_W = 1 << 3, /* REX.W does not make the operands larger (as AMD does it) */
    F64 = 1 << 2,  /* operands of 64 bits always in 64-bit mode */
};

/* Operands: how they are encoded, and their size. The letters are those of the manuals. */
typedef enum {
    OPD_END,
    /* E: ModRM rm, general register or memory. v: 16, 32 or 64; z: 16 or 32; y: 32 or 64. */
    Eb, Ew, Ed, Eq, Ev, Ey,
    Evw, /* register of size v, or 16 bits of memory */
    Edb, Edw, /* register of 32 bits, or 8 or 16 bits of memory */
    /* G: ModRM reg; B: VEX.vvvv; R: ModRM rm, register only; Z: low bits of the opcode */
    By,
    Gb, Gw, Gd, Gv, Gz, Gy, Gr,
    Rv, Ry, Rd, Rr, /* Gr, Rr: 64 bits in 64-bit mode, else 32; with Rr mod does not count */
    Zb, Zv,
    /* M: memory only */
    M0, Mb, Mw, Md, Mq, Mx, Mt, Mp, Ma, Ms, My, Mv, M2q, Mfx, Menv, Msave, Mxs,
    /* immediates: s is extended to the operand size; J is relative */
    Ib, Ibs, Iw, Iz, Iv, Ib2, Jb, Jz, Ap, One,
    /* implied */
    AL, CL, rAX, zAX, DX, CSr, DSr, ESr, SSr, FSr, GSr,
    /* O: absolute address; X: DS:[rSI]; Y: ES:[rDI] */
    Ob, Ov, Xb, Xv, Xz, Yb, Yv, Yz, Xlat,
    Sw, Cr, Dr,
    /* P: MMX by reg, Q: MMX or memory, N: MMX only by rm */
    Pq, Pd, Qq, Qd, Nq,
    /* V: XMM by reg; W: XMM or memory of that size; U: XMM only by rm */
    Vx, Vq, Vd, Wx, Wq, Wd, Ww, Wb, Ux, Uq, X0,
    /* with VEX x is 16 or 32 bytes, xh, xq, xo a half and so on; H: by vvvv, L: by an immediate */
    V16, W16, U16, Hx, H16, Hq, Hd, Lx, Wxh, Wxq, Wxo,
    /* memory by an index that is a vector */
    Md_v, Mq_v,
    /* x87 */
    ST0, STi,
    OPD_COUNT
} X86OperandCode;

typedef struct X86Form {
    uint16_t opcode; /* map in the high byte */
    uint32_t when;
    uint16_t op;
    uint8_t operand[X86_OPERANDS]; /* X86OperandCode */
    uint8_t attributes;
    uint8_t feature; /* X86Feature */
} X86Form;

extern const X86Form x86_forms[];
extern const size_t x86_form_count;

/* Memory and registers an operand code means; see decode.c. */
typedef enum {
    HOW_NONE, HOW_RM, HOW_RM_REG, HOW_RM_FORCED, HOW_RM_MEM, HOW_REG, HOW_OPCODE, HOW_FIXED,
        HOW_IMM, HOW_IMM2,
    HOW_VVVV, HOW_IS4, HOW_VSIB, HOW_REL, HOW_FAR, HOW_OFFSET, HOW_SI, HOW_DI, HOW_XLAT,
} X86How;

typedef struct {
    uint8_t how;      /* X86How */
    uint8_t kind;     /* X86OperandKind of a register */
    uint8_t size;     /* bytes, or one of the letters below */
    uint8_t mem_size; /* of memory, where it differs from the register; else 0 */
    uint8_t fixed;    /* register or value */
    bool is_signed;   /* an immediate is extended to the operand size */
} X86OperandShape;

/* Sizes that depend on the instruction. */
enum { SZ_V = 0x80, SZ_Z, SZ_Y, SZ_NATIVE, SZ_FAR, SZ_PAIR, SZ_TABLE, SZ_X, SZ_XH, SZ_XQ, SZ_XO };

extern const X86OperandShape x86_shapes[OPD_COUNT];

/* The number of bytes of @size in an instruction with these sizes. */
unsigned x86_size(unsigned size, unsigned operand_size, unsigned bits);

#endif
