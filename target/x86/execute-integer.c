/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Arithmetic, logic, shifts and bits on general registers and memory. */
#include "target/x86/execute.h"
#include <string.h>

/* ---- one result from two values -------------------------------------------------------------- */

/* Returns the result and replaces the flags it changes in *@flags. */
typedef uint64_t Binary(uint64_t a, uint64_t b, unsigned size, uint32_t *flags);

static uint64_t add_carry(uint64_t a, uint64_t b, bool carry, unsigned size, uint32_t *flags)
{
    uint64_t r = x86_low(a + b + carry, size), sign = x86_sign_bit(size);
    bool out = carry ? r <= a : r < a;

    *flags = (*flags & ~X86_ARITH) | x86_flags_szp(r, size) | x86_flag_if(out, X86_CF) |
             x86_flag_if((a ^ b ^ r) & 16, X86_AF) | x86_flag_if((a ^ r) & (b ^ r) & sign, X86_OF);
    return r;
}

static uint64_t subtract_borrow(uint64_t a, uint64_t b, bool borrow, unsigned size, uint32_t *flags)
{
    uint64_t r = x86_low(a - b - borrow, size), sign = x86_sign_bit(size);
    bool out = borrow ? a <= b : a < b;

    *flags = (*flags & ~X86_ARITH) | x86_flags_szp(r, size) | x86_flag_if(out, X86_CF) |
             x86_flag_if((a ^ b ^ r) & 16, X86_AF) | x86_flag_if((a ^ b) & (a ^ r) & sign, X86_OF);
    return r;
}

static uint64_t logic(uint64_t r, unsigned size, uint32_t *flags)
{
    *flags = (*flags & ~X86_ARITH) | x86_flags_szp(r, size);
    return r;
}

static uint64_t do_add(uint64_t a, uint64_t b, unsigned size, uint32_t *flags)
{
    return add_carry(a, b, false, size, flags);
}

static uint64_t do_adc(uint64_t a, uint64_t b, unsigned size, uint32_t *flags)
{
    return add_carry(a, b, *flags & X86_CF, size, flags);
}

static uint64_t do_sub(uint64_t a, uint64_t b, unsigned size, uint32_t *flags)
{
    return subtract_borrow(a, b, false, size, flags);
}

static uint64_t do_sbb(uint64_t a, uint64_t b, unsigned size, uint32_t *flags)
{
    return subtract_borrow(a, b, *flags & X86_CF, size, flags);
}

static uint64_t do_and(uint64_t a, uint64_t b, unsigned size, uint32_t *flags)
{
    return logic(a & b, size, flags);
}

static uint64_t do_or(uint64_t a, uint64_t b, unsigned size, uint32_t *flags)
{
    return logic(a | b, size, flags);
}

static uint64_t do_xor(uint64_t a, uint64_t b, unsigned size, uint32_t *flags)
{
    return logic(a ^ b, size, flags);
}

/* inc and dec keep CF; @b is not looked at. */
static uint64_t do_inc(uint64_t a, uint64_t b, unsigned size, uint32_t *flags)
{
    uint32_t carry = *flags & X86_CF;
    uint64_t r = add_carry(a, 1, false, size, flags);

    *flags = (*flags & ~X86_CF) | carry;
    return r;
}

static uint64_t do_dec(uint64_t a, uint64_t b, unsigned size, uint32_t *flags)
{
    uint32_t carry = *flags & X86_CF;
    uint64_t r = subtract_borrow(a, 1, false, size, flags);

    *flags = (*flags & ~X86_CF) | carry;
    return r;
}

static uint64_t do_neg(uint64_t a, uint64_t b, unsigned size, uint32_t *flags)
{
    return subtract_borrow(0, a, false, size, flags);
}

static uint64_t do_not(uint64_t a, uint64_t b, unsigned size, uint32_t *flags)
{
    return ~a;
}

/* ---- shifts: @b is the count as given -------------------------------------------------------- */

static unsigned shift_count(uint64_t b, unsigned size)
{
    return b & (size == 8 ? 63 : 31);
}

static uint64_t shifted(uint64_t r, bool carry, bool overflow, unsigned size, uint32_t *flags)
{
    r = x86_low(r, size);
    *flags = (*flags & ~X86_ARITH) | x86_flags_szp(r, size) | x86_flag_if(carry, X86_CF) |
             x86_flag_if(overflow, X86_OF);
    return r;
}

static uint64_t do_shl(uint64_t a, uint64_t b, unsigned size, uint32_t *flags)
{
    unsigned n = shift_count(b, size), bits = 8 * size;
    bool carry;
    uint64_t r;

    if (!n)
        return a;
    carry = n <= bits && a >> (bits - n) & 1;
    r = n < bits ? a << n : 0;
    return shifted(r, carry, !!(r & x86_sign_bit(size)) != carry, size, flags);
}

static uint64_t do_shr(uint64_t a, uint64_t b, unsigned size, uint32_t *flags)
{
    unsigned n = shift_count(b, size), bits = 8 * size;

    if (!n)
        return a;
    return shifted(n < bits ? a >> n : 0, n <= bits && a >> (n - 1) & 1,
                   n == 1 && a & x86_sign_bit(size), size, flags);
}

static uint64_t do_sar(uint64_t a, uint64_t b, unsigned size, uint32_t *flags)
{
    unsigned n = shift_count(b, size);
    int64_t v = x86_signed(a, size);

    if (!n)
        return a;
    return shifted(v >> n, v >> (n - 1) & 1, false, size, flags);
}

static void rotate_flags(uint32_t *flags, bool carry, bool overflow)
{
    *flags = (*flags & ~(X86_CF | X86_OF)) | x86_flag_if(carry, X86_CF) |
             x86_flag_if(overflow, X86_OF);
}

static uint64_t rotate_left(uint64_t a, unsigned n, unsigned bits)
{
    return n ? a << n | a >> (bits - n) : a;
}

static uint64_t do_rol(uint64_t a, uint64_t b, unsigned size, uint32_t *flags)
{
    unsigned n = shift_count(b, size), bits = 8 * size;
    uint64_t r;

    if (!n)
        return a;
    r = x86_low(rotate_left(a, n % bits, bits), size);
    rotate_flags(flags, r & 1, (r ^ r >> (bits - 1)) & 1);
    return r;
}

static uint64_t do_ror(uint64_t a, uint64_t b, unsigned size, uint32_t *flags)
{
    unsigned n = shift_count(b, size), bits = 8 * size;
    uint64_t r;

    if (!n)
        return a;
    r = x86_low(rotate_left(a, (bits - n % bits) % bits, bits), size);
    rotate_flags(flags, r >> (bits - 1) & 1, (r >> (bits - 1) ^ r >> (bits - 2)) & 1);
    return r;
}

/* Turns @a with @carry above it left by @n, which is at most @bits. */
static uint64_t rotate_with_carry(uint64_t a, unsigned n, unsigned bits, bool *carry)
{
    uint64_t r;

    if (!n)
        return a;
    r = (n < bits ? a << n : 0) | (uint64_t)*carry << (n - 1) | (n > 1 ? a >> (bits + 1 - n) : 0);
    *carry = a >> (bits - n) & 1;
    return x86_low(r, bits / 8);
}

static uint64_t do_rcl(uint64_t a, uint64_t b, unsigned size, uint32_t *flags)
{
    unsigned bits = 8 * size;
    bool carry = *flags & X86_CF;

    if (!shift_count(b, size))
        return a;
    a = rotate_with_carry(a, shift_count(b, size) % (bits + 1), bits, &carry);
    rotate_flags(flags, carry, (a >> (bits - 1) & 1) != carry);
    return a;
}

/* Right by n is left by the rest of a whole turn. */
static uint64_t do_rcr(uint64_t a, uint64_t b, unsigned size, uint32_t *flags)
{
    unsigned bits = 8 * size, n = shift_count(b, size) % (bits + 1);
    bool carry = *flags & X86_CF;

    if (!shift_count(b, size))
        return a;
    a = rotate_with_carry(a, (bits + 1 - n) % (bits + 1), bits, &carry);
    rotate_flags(flags, carry, (a >> (bits - 1) ^ a >> (bits - 2)) & 1);
    return a;
}

/* ---- and the instructions -------------------------------------------------------------------- */

static void change(X86Cpu *cpu, const X86Insn *in, Binary *f)
{
    uint64_t b = in->operands > 1 ? x86_get(cpu, in, 1) : 0;
    X86Change c;
    uint64_t a = x86_change_begin(&c, cpu, in, 0), r;
    uint32_t flags;

    do {
        flags = cpu->flags;
        r = f(a, b, in->operand[0].size, &flags);
    } while (!x86_change_commit(&c, &a, r));
    cpu->flags = flags;
}

#define CHANGE(id)                                                                                 \
    EXEC(id)                                                                                       \
    {                                                                                              \
        change(cpu, in, do_##id);                                                                  \
    }
CHANGE(add)
CHANGE(adc)
CHANGE(sub)
CHANGE(sbb)
CHANGE(and)
CHANGE(or)
CHANGE(xor)
CHANGE(inc)
CHANGE(dec)
CHANGE(neg)
CHANGE(not)
CHANGE(shl)
CHANGE(shr)
CHANGE(sar)
CHANGE(rol)
CHANGE(ror)
CHANGE(rcl)
CHANGE(rcr)

uint32_t x86_flags_sub(uint64_t a, uint64_t b, unsigned size)
{
    uint32_t flags = 0;

    do_sub(a, b, size, &flags);
    return flags;
}

EXEC(cmp)
{
    uint64_t a = x86_get(cpu, in, 0), b = x86_get(cpu, in, 1);

    x86_set_flags(cpu, X86_ARITH, x86_flags_sub(a, b, in->operand[0].size));
}

EXEC(test)
{
    uint64_t a = x86_get(cpu, in, 0), b = x86_get(cpu, in, 1);

    do_and(a, b, in->operand[0].size, &cpu->flags);
}

/* ---- double shifts --------------------------------------------------------------------------- */

/* @a shifted left by @n, filled from the top of @b. More than 16 bits of a word take @a again. */
static uint64_t double_shift_left(uint64_t a, uint64_t b, unsigned n, unsigned size, bool *carry)
{
    unsigned bits = 8 * size;

    if (size == 2) {
        uint64_t all = a << 32 | b << 16 | a;

        *carry = all >> (48 - n) & 1;
        return all << n >> 32;
    }
    *carry = a >> (bits - n) & 1;
    return a << n | b >> (bits - n);
}

static uint64_t double_shift_right(uint64_t a, uint64_t b, unsigned n, unsigned size, bool *carry)
{
    *carry = a >> (n - 1) & 1;
    if (size == 2) {
        uint64_t all = a << 32 | b << 16 | a;

        *carry = all >> (n - 1) & 1;
        return all >> n;
    }
    return a >> n | b << (8 * size - n);
}

static void double_shift(X86Cpu *cpu, const X86Insn *in, bool left)
{
    unsigned size = in->operand[0].size, n = shift_count(x86_get(cpu, in, 2), size);
    uint64_t b = x86_get(cpu, in, 1), r;
    X86Change c;
    uint64_t a = x86_change_begin(&c, cpu, in, 0);
    uint32_t flags = cpu->flags;
    bool carry;

    if (n) {
        r = (left ? double_shift_left : double_shift_right)(a, b, n, size, &carry);
        r = shifted(r, carry, (r ^ a) & x86_sign_bit(size), size, &flags);
    } else {
        r = a;
    }
    x86_change_commit(&c, &a, r);
    cpu->flags = flags;
}

EXEC(shld)
{
    double_shift(cpu, in, true);
}

EXEC(shrd)
{
    double_shift(cpu, in, false);
}

/* ---- multiplication and division ------------------------------------------------------------- */

typedef unsigned __int128 Wide;
typedef __int128 SignedWide;

/* The double-width accumulator: AX, or DX:AX and wider. */
static Wide wide_accumulator(const X86Cpu *cpu, unsigned size)
{
    if (size == 1)
        return cpu->gpr[X86_RAX] & 0xffff;
    return (Wide)x86_reg(cpu, X86_RDX, size) << 8 * size | x86_reg(cpu, X86_RAX, size);
}

static void set_wide_accumulator(X86Cpu *cpu, unsigned size, Wide v)
{
    if (size == 1) {
        x86_set_reg(cpu, X86_RAX, 2, v);
        return;
    }
    x86_set_reg(cpu, X86_RAX, size, v);
    x86_set_reg(cpu, X86_RDX, size, v >> 8 * size);
}

static void multiply_flags(X86Cpu *cpu, bool overflow)
{
    x86_set_flags(cpu, X86_CF | X86_OF, overflow ? X86_CF | X86_OF : 0);
}

EXEC(mul)
{
    unsigned size = in->operand[0].size;
    Wide r = (Wide)x86_get(cpu, in, 0) * x86_reg(cpu, X86_RAX, size);

    set_wide_accumulator(cpu, size, r);
    multiply_flags(cpu, r >> 8 * size);
}

static bool fits_signed(SignedWide v, unsigned size)
{
    return v == x86_signed(v, size);
}

EXEC(imul1)
{
    unsigned size = in->operand[0].size;
    SignedWide r = (SignedWide)x86_signed(x86_get(cpu, in, 0), size) *
                   x86_signed(x86_reg(cpu, X86_RAX, size), size);

    set_wide_accumulator(cpu, size, r);
    multiply_flags(cpu, !fits_signed(r, size));
}

EXEC(imul)
{
    unsigned size = in->operand[0].size, first = in->operands == 3;
    SignedWide r = (SignedWide)x86_signed(x86_get(cpu, in, first), size) *
                   x86_signed(x86_get(cpu, in, first + 1), size);

    x86_set(cpu, in, 0, r);
    multiply_flags(cpu, !fits_signed(r, size));
}

/* Quotient and remainder go where mul takes its factors from. */
static void set_division(X86Cpu *cpu, unsigned size, uint64_t quotient, uint64_t remainder)
{
    set_wide_accumulator(cpu, size, (Wide)x86_low(remainder, size) << 8 * size |
                         x86_low(quotient, size));
}

EXEC(div)
{
    unsigned size = in->operand[0].size;
    uint64_t by = x86_get(cpu, in, 0);
    Wide v = wide_accumulator(cpu, size);

    if (!by || v / by >> 8 * size)
        x86_raise(cpu, X86_DE);
    set_division(cpu, size, v / by, v % by);
}

EXEC(idiv)
{
    unsigned size = in->operand[0].size, unused = 128 - 16 * size;
    int64_t by = x86_signed(x86_get(cpu, in, 0), size);
    SignedWide v = (SignedWide)(wide_accumulator(cpu, size) << unused) >> unused;

    /* The one quotient that 128 bits cannot hold. */
    if (!by || (by == -1 && v == (SignedWide)((Wide)1 << 127)) || !fits_signed(v / by, size))
        x86_raise(cpu, X86_DE);
    set_division(cpu, size, v / by, v % by);
}

/* ---- decimal arithmetic ---------------------------------------------------------------------- */

static void set_al(X86Cpu *cpu, unsigned v)
{
    x86_set_reg(cpu, X86_RAX, 1, v);
}

/* daa with @sign 1, das with -1. */
static void decimal_adjust(X86Cpu *cpu, int sign)
{
    unsigned al = cpu->gpr[X86_RAX] & 0xff, old = al;
    bool carry = cpu->flags & X86_CF, half = (al & 15) > 9 || cpu->flags & X86_AF;
    bool high = old > 0x99 || carry;
    bool out = high;

    if (half) {
        al += 6 * sign;
        out |= sign < 0 && old < 6;
    }
    if (high)
        al += 0x60 * sign;
    set_al(cpu, al);
    x86_set_flags(cpu, X86_ARITH, x86_flags_szp(al & 0xff, 1) | x86_flag_if(half, X86_AF) |
                                      x86_flag_if(out, X86_CF));
}

EXEC(daa)
{
    decimal_adjust(cpu, 1);
}

EXEC(das)
{
    decimal_adjust(cpu, -1);
}

static void ascii_adjust(X86Cpu *cpu, int sign)
{
    unsigned ax = cpu->gpr[X86_RAX] & 0xffff;
    bool adjust = (ax & 15) > 9 || cpu->flags & X86_AF;

    if (adjust)
        ax += 0x106 * sign;
    x86_set_reg(cpu, X86_RAX, 2, ax & 0xff0f);
    x86_set_flags(cpu, X86_ARITH, x86_flags_szp(ax & 15, 1) | (adjust ? X86_AF | X86_CF : 0));
}

EXEC(aaa)
{
    ascii_adjust(cpu, 1);
}

EXEC(aas)
{
    ascii_adjust(cpu, -1);
}

EXEC(aam)
{
    unsigned al = cpu->gpr[X86_RAX] & 0xff;

    if (!in->imm)
        x86_raise(cpu, X86_DE);
    x86_set_reg(cpu, X86_RAX, 2, al / in->imm << 8 | al % in->imm);
    x86_set_flags(cpu, X86_ARITH, x86_flags_szp(al % in->imm, 1));
}

EXEC(aad)
{
    unsigned ax = cpu->gpr[X86_RAX] & 0xffff, al = ((ax >> 8) * in->imm + ax) & 0xff;

    x86_set_reg(cpu, X86_RAX, 2, al);
    x86_set_flags(cpu, X86_ARITH, x86_flags_szp(al, 1));
}

EXEC(salc)
{
    set_al(cpu, cpu->flags & X86_CF ? 0xff : 0);
}

/* ---- bits ------------------------------------------------------------------------------------ */

/*
 * bt and its kin. With a register as index memory is a string of bits that goes on in both
 * directions from the operand.
 */
static void bit_operation(X86Cpu *cpu, const X86Insn *in, uint64_t (*f)(uint64_t v, uint64_t bit))
{
    unsigned size = in->operand[0].size, bits = 8 * size;
    int64_t index = x86_signed(x86_get(cpu, in, 1), in->operand[1].size);
    bool is_string = in->operand[0].kind == X86_OPD_MEM && in->operand[1].kind == X86_OPD_GPR;
    uint64_t bit = UINT64_C(1) << (index & (bits - 1)), offset, a;
    X86Change c;

    offset = x86_offset(cpu, in);
    if (is_string)
        offset = x86_low(offset + (index >> __builtin_ctz(bits)) * (int64_t)size, in->address_size);
    if (!f) {
        a = in->operand[0].kind == X86_OPD_MEM ? x86_load(cpu, in->mem.segment, offset, size)
                                               : x86_get(cpu, in, 0);
    } else {
        a = in->operand[0].kind == X86_OPD_MEM ? x86_change_begin_at(&c, cpu, in, 0, offset)
                                               : x86_change_begin(&c, cpu, in, 0);
        while (!x86_change_commit(&c, &a, f(a, bit)))
            ;
    }
    x86_set_flags(cpu, X86_CF, x86_flag_if(a & bit, X86_CF));
}

static uint64_t bit_set(uint64_t v, uint64_t bit)
{
    return v | bit;
}

static uint64_t bit_reset(uint64_t v, uint64_t bit)
{
    return v & ~bit;
}

static uint64_t bit_complement(uint64_t v, uint64_t bit)
{
    return v ^ bit;
}

EXEC(bt)
{
    bit_operation(cpu, in, NULL);
}

EXEC(bts)
{
    bit_operation(cpu, in, bit_set);
}

EXEC(btr)
{
    bit_operation(cpu, in, bit_reset);
}

EXEC(btc)
{
    bit_operation(cpu, in, bit_complement);
}

/* bsf and bsr leave the destination alone when there is no bit. */
EXEC(bsf)
{
    uint64_t v = x86_get(cpu, in, 1);

    if (v)
        x86_set(cpu, in, 0, __builtin_ctzll(v));
    x86_set_flags(cpu, X86_ZF, x86_flag_if(!v, X86_ZF));
}

EXEC(bsr)
{
    uint64_t v = x86_get(cpu, in, 1);

    if (v)
        x86_set(cpu, in, 0, 63 - __builtin_clzll(v));
    x86_set_flags(cpu, X86_ZF, x86_flag_if(!v, X86_ZF));
}

static void count_result(X86Cpu *cpu, const X86Insn *in, bool none, unsigned n)
{
    x86_set(cpu, in, 0, n);
    x86_set_flags(cpu, X86_CF | X86_ZF, x86_flag_if(none, X86_CF) | x86_flag_if(!n, X86_ZF));
}

EXEC(tzcnt)
{
    uint64_t v = x86_get(cpu, in, 1);

    count_result(cpu, in, !v, v ? __builtin_ctzll(v) : 8 * in->operand[1].size);
}

EXEC(lzcnt)
{
    uint64_t v = x86_get(cpu, in, 1);
    unsigned bits = 8 * in->operand[1].size;

    count_result(cpu, in, !v, v ? __builtin_clzll(v) - (64 - bits) : bits);
}

EXEC(popcnt)
{
    uint64_t v = x86_get(cpu, in, 1);

    x86_set(cpu, in, 0, __builtin_popcountll(v));
    x86_set_flags(cpu, X86_ARITH, x86_flag_if(!v, X86_ZF));
}

/* CRC-32C, one bit after the other. */
EXEC(crc32)
{
    uint32_t crc = x86_get(cpu, in, 0);
    uint64_t v = x86_get(cpu, in, 1);

    for (unsigned i = 0; i < in->operand[1].size; i++) {
        crc ^= v >> 8 * i & 0xff;
        for (unsigned k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
    }
    x86_set(cpu, in, 0, crc);
}

/* adcx and adox: an addition with one flag as its carry. */
static void add_with(X86Cpu *cpu, const X86Insn *in, uint32_t flag)
{
    uint32_t flags = 0;
    uint64_t b = x86_get(cpu, in, 1);
    uint64_t r = add_carry(x86_get(cpu, in, 0), b, cpu->flags & flag, in->operand[0].size, &flags);

    x86_set(cpu, in, 0, r);
    x86_set_flags(cpu, flag, x86_flag_if(flags & X86_CF, flag));
}

EXEC(adcx)
{
    add_with(cpu, in, X86_CF);
}

EXEC(adox)
{
    add_with(cpu, in, X86_OF);
}

/* ---- exchange -------------------------------------------------------------------------------- */

EXEC(xchg)
{
    uint64_t b = x86_get(cpu, in, 1);
    X86Change c;
    uint64_t a = x86_change_begin(&c, cpu, in, 0);

    while (!x86_change_commit(&c, &a, b))
        ;
    x86_set(cpu, in, 1, a);
}

EXEC(xadd)
{
    uint64_t b = x86_get(cpu, in, 1), r;
    X86Change c;
    uint64_t a = x86_change_begin(&c, cpu, in, 0);
    bool in_memory = in->operand[0].kind == X86_OPD_MEM;
    uint32_t flags;

    /* With one register as both operands the sum is what stays. */
    if (!in_memory)
        x86_set(cpu, in, 1, a);
    do {
        flags = cpu->flags;
        r = do_add(a, b, in->operand[0].size, &flags);
    } while (!x86_change_commit(&c, &a, r));
    if (in_memory)
        x86_set(cpu, in, 1, a);
    cpu->flags = flags;
}

EXEC(cmpxchg)
{
    unsigned size = in->operand[0].size;
    uint64_t expected = x86_reg(cpu, X86_RAX, size), b = x86_get(cpu, in, 1);
    X86Change c;
    uint64_t a = x86_change_begin(&c, cpu, in, 0);

    /* Memory is written in any case, a register only with the new value. */
    if (in->operand[0].kind == X86_OPD_MEM || a == expected)
        while (!x86_change_commit(&c, &a, a == expected ? b : a))
            ;
    if (a != expected)
        x86_set_reg(cpu, X86_RAX, size, a);
    x86_set_flags(cpu, X86_ARITH, x86_flags_sub(expected, a, size));
}

EXEC(cmpxchg8b)
{
    uint64_t expected = (uint64_t)x86_reg(cpu, X86_RDX, 4) << 32 | x86_reg(cpu, X86_RAX, 4);
    uint64_t b = (uint64_t)x86_reg(cpu, X86_RCX, 4) << 32 | x86_reg(cpu, X86_RBX, 4);
    X86Change c;
    uint64_t a = x86_change_begin(&c, cpu, in, 0);

    while (!x86_change_commit(&c, &a, a == expected ? b : a))
        ;
    if (a != expected) {
        x86_set_reg(cpu, X86_RDX, 4, a >> 32);
        x86_set_reg(cpu, X86_RAX, 4, a);
    }
    x86_set_flags(cpu, X86_ZF, x86_flag_if(a == expected, X86_ZF));
}

/* Sixteen bytes at once where the host can, or under a lock that all processors take. */
static bool exchange_16(X86Place p, uint64_t old[2], const uint64_t to[2])
{
    bool same;
#if defined(__x86_64__)
    asm volatile("lock cmpxchg16b %[mem]"
                 : [mem] "+m"(*(unsigned __int128 *)p.host), "=@ccz"(same), "+a"(old[0]),
                     "+d"(old[1])
                 : "b"(to[0]), "c"(to[1])
                 : "memory");
#else
    static GMutex lock;
    uint64_t now[2];

    g_mutex_lock(&lock);
    memcpy(now, p.host, 16);
    same = now[0] == old[0] && now[1] == old[1];
    memcpy(same ? p.host : (uint8_t *)old, same ? (const void *)to : (const void *)now, 16);
    g_mutex_unlock(&lock);
#endif
    return same;
}

EXEC(cmpxchg16b)
{
    uint64_t linear = x86_linear(cpu, in->mem.segment, x86_offset(cpu, in), 16, X86_WRITE);
    uint64_t old[2] = { cpu->gpr[X86_RAX], cpu->gpr[X86_RDX] };
    const uint64_t to[2] = { cpu->gpr[X86_RBX], cpu->gpr[X86_RCX] };
    X86Place p;
    bool same;

    if (linear & 15)
        x86_raise_error(cpu, X86_GP, 0);
    p = x86_place(cpu, linear, 16, X86_WRITE, X86_BY_PROGRAM);
    if (p.host) {
        same = exchange_16(p, old, to);
    } else {
        uint64_t now[2];

        x86_read_linear(cpu, linear, now, 16, X86_BY_PROGRAM);
        same = now[0] == old[0] && now[1] == old[1];
        x86_write_linear(cpu, linear, same ? to : now, 16, X86_BY_PROGRAM);
        memcpy(old, now, 16);
    }
    if (!same) {
        cpu->gpr[X86_RAX] = old[0];
        cpu->gpr[X86_RDX] = old[1];
    }
    x86_set_flags(cpu, X86_ZF, x86_flag_if(same, X86_ZF));
}
