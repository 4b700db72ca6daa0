/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing x86-64 host instructions. Only the few forms that a translator needs of its own; operands
 * in memory are [GS + displacement], the state of the processor, or [register].
 */
#ifndef TCG_EMIT_X86_64_H
#define TCG_EMIT_X86_64_H

#include "tcg/code.h"
#include <string.h>

typedef enum {
    H_RAX, H_RCX, H_RDX, H_RBX, H_RSP, H_RBP, H_RSI, H_RDI,
    H_R8, H_R9, H_R10, H_R11, H_R12, H_R13, H_R14, H_R15,
} HostReg;

/* Conditions, as in the low bits of jcc. */
enum { H_O, H_NO, H_B, H_AE, H_E, H_NE, H_BE, H_A, H_S, H_NS, H_P, H_NP, H_L, H_GE, H_LE, H_G };

static inline void emit8(CodeMemory *c, uint8_t v)
{
    *c->at++ = v;
}

static inline void emit_bytes(CodeMemory *c, uint64_t v, unsigned n)
{
    memcpy(c->at, &v, n);
    c->at += n;
}

static inline void emit32(CodeMemory *c, uint32_t v)
{
    emit_bytes(c, v, 4);
}

/* REX with its bits taken from the registers; none if it would be empty. */
static inline void emit_rex(CodeMemory *c, bool w, unsigned reg, unsigned index, unsigned rm)
{
    unsigned rex = (w ? 8 : 0) | (reg >> 3) << 2 | (index >> 3) << 1 | rm >> 3;

    if (rex)
        emit8(c, 0x40 | rex);
}

static inline void emit_modrm(CodeMemory *c, unsigned mod, unsigned reg, unsigned rm)
{
    emit8(c, mod << 6 | (reg & 7) << 3 | (rm & 7));
}

/* @opcode @reg, @rm between registers, 64 bits. */
static inline void emit_rr(CodeMemory *c, uint8_t opcode, HostReg reg, HostReg rm)
{
    emit_rex(c, true, reg, 0, rm);
    emit8(c, opcode);
    emit_modrm(c, 3, reg, rm);
}

static inline void emit_mov(CodeMemory *c, HostReg to, HostReg from)
{
    emit_rr(c, 0x8b, to, from);
}

/* mov of 16 bits, which keeps the rest of @to; movzx of them. */
static inline void emit_mov_word(CodeMemory *c, HostReg to, HostReg from)
{
    emit8(c, 0x66);
    emit_rex(c, false, from, 0, to);
    emit8(c, 0x89);
    emit_modrm(c, 3, from, to);
}

static inline void emit_movzx_word(CodeMemory *c, HostReg to, HostReg from)
{
    emit_rex(c, false, to, 0, from);
    emit8(c, 0x0f);
    emit8(c, 0xb7);
    emit_modrm(c, 3, to, from);
}

/* @opcode @reg with [GS:@disp]; @w: 64 bits, else 32. */
static inline void emit_gs(CodeMemory *c, uint8_t opcode, bool w, HostReg reg, uint32_t disp)
{
    emit8(c, 0x65);
    emit_rex(c, w, reg, 0, 0);
    emit8(c, opcode);
    emit_modrm(c, 0, reg, 4);
    emit8(c, 0x25);
    emit32(c, disp);
}

static inline void emit_load_gs(CodeMemory *c, HostReg to, uint32_t disp)
{
    emit_gs(c, 0x8b, true, to, disp);
}

static inline void emit_store_gs(CodeMemory *c, uint32_t disp, HostReg from)
{
    emit_gs(c, 0x89, true, from, disp);
}

/* @opcode @reg with [GS:@base + @disp], 64 bits. */
static inline void emit_gs_indexed(CodeMemory *c, uint8_t opcode, HostReg reg, HostReg base,
                                   uint32_t disp)
{
    emit8(c, 0x65);
    emit_rex(c, true, reg, 0, base);
    emit8(c, opcode);
    emit_modrm(c, 2, reg, base);
    emit32(c, disp);
}

/* What stands behind an opcode whose operand is [GS:@disp]; @reg may be a digit of the opcode. */
static inline void emit_gs_operand(CodeMemory *c, unsigned reg, uint32_t disp)
{
    emit_modrm(c, 0, reg, 4);
    emit8(c, 0x25);
    emit32(c, disp);
}

/* Arithmetic 0 to 7 (add, or, adc, sbb, and, sub, xor, cmp) of a byte there with @v. */
static inline void emit_gs_byte(CodeMemory *c, unsigned op, uint32_t disp, uint8_t v)
{
    emit8(c, 0x65);
    emit8(c, 0x80);
    emit_gs_operand(c, op, disp);
    emit8(c, v);
}

/* The same for 32 bits. */
static inline void emit_gs_word(CodeMemory *c, unsigned op, uint32_t disp, uint32_t v)
{
    emit8(c, 0x65);
    emit8(c, 0x81);
    emit_gs_operand(c, op, disp);
    emit32(c, v);
}

/* The same for 64 bits. */
static inline void emit_gs_quad(CodeMemory *c, unsigned op, uint32_t disp, int32_t v)
{
    emit8(c, 0x65);
    emit_rex(c, true, 0, 0, 0);
    emit8(c, 0x81);
    emit_gs_operand(c, op, disp);
    emit32(c, v);
}

/* mov of a byte or of 32 bits. */
static inline void emit_gs_set_byte(CodeMemory *c, uint32_t disp, uint8_t v)
{
    emit8(c, 0x65);
    emit8(c, 0xc6);
    emit_gs_operand(c, 0, disp);
    emit8(c, v);
}

static inline void emit_gs_set_word(CodeMemory *c, uint32_t disp, uint32_t v)
{
    emit8(c, 0x65);
    emit8(c, 0xc7);
    emit_gs_operand(c, 0, disp);
    emit32(c, v);
}

/* 0F @opcode @reg with it; @reg may be an XMM register. */
static inline void emit_gs_0f(CodeMemory *c, uint8_t opcode, unsigned reg, uint32_t disp)
{
    emit8(c, 0x65);
    emit_rex(c, false, reg, 0, 0);
    emit8(c, 0x0f);
    emit8(c, opcode);
    emit_gs_operand(c, reg, disp);
}

/* jmp to the address that stands there; or there plus @base. */
static inline void emit_jmp_gs(CodeMemory *c, uint32_t disp)
{
    emit8(c, 0x65);
    emit8(c, 0xff);
    emit_gs_operand(c, 4, disp);
}

static inline void emit_jmp_gs_indexed(CodeMemory *c, HostReg base, uint32_t disp)
{
    emit8(c, 0x65);
    emit_rex(c, false, 0, 0, base);
    emit8(c, 0xff);
    emit_modrm(c, 2, 4, base);
    emit32(c, disp);
}

static inline void emit_imm(CodeMemory *c, HostReg to, uint64_t v)
{
    if (v <= UINT32_MAX) {
        emit_rex(c, false, 0, 0, to);
        emit8(c, 0xb8 | (to & 7));
        emit32(c, v);
    } else if ((int64_t)v == (int32_t)v) {
        emit_rex(c, true, 0, 0, to);
        emit8(c, 0xc7);
        emit_modrm(c, 3, 0, to);
        emit32(c, v);
    } else {
        emit_rex(c, true, 0, 0, to);
        emit8(c, 0xb8 | (to & 7));
        emit_bytes(c, v, 8);
    }
}

/* lea of [@base + @index * @scale + @disp]; @index may be H_RSP for none; @w: 64 bits, else 32. */
static inline void emit_lea(CodeMemory *c, bool w, HostReg to, HostReg base, HostReg index,
                            unsigned scale,
                            int32_t disp)
{
    emit_rex(c, w, to, index, base);
    emit8(c, 0x8d);
    emit_modrm(c, 2, to, 4);
    emit8(c, __builtin_ctz(scale) << 6 | (index & 7) << 3 | (base & 7));
    emit32(c, disp);
}

/* The same without a base. */
static inline void emit_lea_index(CodeMemory *c, bool w, HostReg to, HostReg index, unsigned scale,
                                  int32_t disp)
{
    emit_rex(c, w, to, index, 0);
    emit8(c, 0x8d);
    emit_modrm(c, 0, to, 4);
    emit8(c, __builtin_ctz(scale) << 6 | (index & 7) << 3 | 5);
    emit32(c, disp);
}

/*
 * One of the arithmetic operations 0 to 7 (add, or, adc, sbb, and, sub, xor, cmp) with an
 * immediate.
 */
static inline void emit_alu_imm(CodeMemory *c, unsigned op, HostReg reg, int32_t v)
{
    emit_rex(c, true, 0, 0, reg);
    emit8(c, 0x81);
    emit_modrm(c, 3, op, reg);
    emit32(c, v);
}

/* Shifts: 4 shl, 5 shr, 7 sar. */
static inline void emit_shift(CodeMemory *c, unsigned op, HostReg reg, uint8_t n)
{
    emit_rex(c, true, 0, 0, reg);
    emit8(c, 0xc1);
    emit_modrm(c, 3, op, reg);
    emit8(c, n);
}

/* @to := @from * @factor >> @shift & @mask. */
static inline void emit_hash(CodeMemory *c, HostReg to, HostReg from, int32_t factor, uint8_t shift,
                             int32_t mask)
{
    emit_rex(c, true, to, 0, from); /* imul */
    emit8(c, 0x69);
    emit_modrm(c, 3, to, from);
    emit32(c, factor);
    emit_shift(c, 5, to, shift);
    emit_alu_imm(c, 4, to, mask);
}

/* Where a jump's distance stands that is not known yet. */
static inline uint8_t *emit_jcc(CodeMemory *c, unsigned condition)
{
    emit8(c, 0x0f);
    emit8(c, 0x80 | condition);
    emit32(c, 0);
    return c->at - 4;
}

static inline uint8_t *emit_jmp(CodeMemory *c)
{
    emit8(c, 0xe9);
    emit32(c, 0);
    return c->at - 4;
}

/* Makes the jump whose distance stands at @field lead to @to. */
static inline void emit_fix(uint8_t *field, const uint8_t *to)
{
    int32_t distance = to - (field + 4);

    memcpy(field, &distance, 4);
}

static inline void emit_jcc_to(CodeMemory *c, unsigned condition, const uint8_t *to)
{
    emit_fix(emit_jcc(c, condition), to);
}

static inline void emit_jmp_to(CodeMemory *c, const uint8_t *to)
{
    emit_fix(emit_jmp(c), to);
}

static inline void emit_call_to(CodeMemory *c, const uint8_t *to)
{
    emit8(c, 0xe8);
    emit32(c, 0);
    emit_fix(c->at - 4, to);
}

/* call through a register. */
static inline void emit_call_reg(CodeMemory *c, HostReg reg)
{
    emit_rex(c, false, 0, 0, reg);
    emit8(c, 0xff);
    emit_modrm(c, 3, 2, reg);
}

static inline void emit_push(CodeMemory *c, HostReg reg)
{
    emit_rex(c, false, 0, 0, reg);
    emit8(c, 0x50 | (reg & 7));
}

static inline void emit_pop(CodeMemory *c, HostReg reg)
{
    emit_rex(c, false, 0, 0, reg);
    emit8(c, 0x58 | (reg & 7));
}

#endif
