/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The string comparisons of SSE4.2: pcmpestri, pcmpestrm, pcmpistri, pcmpistrm.
 *
 * The immediate says: bit 0 words instead of bytes, bit 1 signed, bits 2-3 how the operands are
 * compared, bits 4-5 what is inverted, bit 6 which end of the result counts (or the form of the
 * mask).
 */
#include "target/x86/execute.h"
#include <stdlib.h>

enum { ANY_OF, IN_RANGES, SAME_EACH, SUBSTRING };

/* One of the two operands. */
typedef struct {
    X86Vector v;
    int length; /* of elements that count */
} Text;

static int element(const X86Vector *v, unsigned imm, int i)
{
    switch (imm & 3) {
    case 0:
        return v->b[i];
    case 1:
        return v->w[i];
    case 2:
        return v->sb[i];
    default:
        return v->sw[i];
    }
}

/* Up to the first zero. */
static int implicit_length(const X86Vector *v, unsigned imm, int n)
{
    int i = 0;

    while (i < n && element(v, imm, i))
        i++;
    return i;
}

static int explicit_length(const X86Cpu *cpu, unsigned reg, const X86Insn *in, int n)
{
    int64_t length = x86_signed(cpu->gpr[reg], in->rex & 8 ? 8 : 4);

    if (length < -n || length > n)
        return n;
    return labs(length);
}

static bool is_any_of(const Text *set, int c, unsigned imm)
{
    for (int i = 0; i < set->length; i++)
        if (element(&set->v, imm, i) == c)
            return true;
    return false;
}

static bool is_in_ranges(const Text *set, int c, unsigned imm)
{
    for (int i = 0; i + 1 < set->length; i += 2)
        if (element(&set->v, imm, i) <= c && c <= element(&set->v, imm, i + 1))
            return true;
    return false;
}

/* True if @what begins at @at of @text, as far as that is long; a rest beyond the register fits. */
static bool is_substring(const Text *what, const Text *text, int at, unsigned imm, int n)
{
    for (int i = 0; i < what->length && at + i < n; i++)
        if (at + i >= text->length || element(&what->v, imm, i) != element(&text->v, imm, at + i))
            return false;
    return true;
}

static bool is_same(const Text *a, const Text *b, int i, unsigned imm)
{
    bool in_a = i < a->length, in_b = i < b->length;

    return in_a && in_b ? element(&a->v, imm, i) == element(&b->v, imm, i) : in_a == in_b;
}

static bool matches(const Text *a, const Text *b, int i, unsigned imm, int n)
{
    switch (imm >> 2 & 3) {
    case ANY_OF:
        return i < b->length && is_any_of(a, element(&b->v, imm, i), imm);
    case IN_RANGES:
        return i < b->length && is_in_ranges(a, element(&b->v, imm, i), imm);
    case SAME_EACH:
        return is_same(a, b, i, imm);
    default:
        return is_substring(a, b, i, imm, n);
    }
}

/* The result, a bit for each element of @b, and the flags. */
static unsigned compare(X86Cpu *cpu, const Text *a, const Text *b, unsigned imm, int n)
{
    unsigned result = 0;

    for (int i = 0; i < n; i++) {
        bool bit = matches(a, b, i, imm, n);

        if (imm & 0x10 && (!(imm & 0x20) || i < b->length))
            bit = !bit;
        result |= (unsigned)bit << i;
    }
    x86_set_flags(cpu, X86_ARITH, x86_flag_if(result, X86_CF) | x86_flag_if(b->length < n, X86_ZF) |
                                      x86_flag_if(a->length < n, X86_SF) |
                                      x86_flag_if(result & 1, X86_OF));
    return result;
}

static unsigned compare_operands(X86Cpu *cpu, const X86Insn *in, bool is_explicit, int *n)
{
    Text b = { .v = x86_get_vector(cpu, in, 1) }, a = { .v = x86_get_vector(cpu, in, 0) };

    *n = in->imm & 1 ? 8 : 16;
    a.length = is_explicit ? explicit_length(cpu, X86_RAX, in, *n) : implicit_length(&a.v, in->imm,
            *n);
    b.length = is_explicit ? explicit_length(cpu, X86_RDX, in, *n) : implicit_length(&b.v, in->imm,
            *n);
    return compare(cpu, &a, &b, in->imm, *n);
}

static void to_index(X86Cpu *cpu, const X86Insn *in, bool is_explicit)
{
    int n;
    unsigned result = compare_operands(cpu, in, is_explicit, &n);
    unsigned index = n;

    if (result)
        index = in->imm & 0x40 ? 31 - __builtin_clz(result) : __builtin_ctz(result);
    x86_set_reg(cpu, X86_RCX, 4, index);
}

static void to_mask(X86Cpu *cpu, const X86Insn *in, bool is_explicit)
{
    int n;
    unsigned result = compare_operands(cpu, in, is_explicit, &n);
    X86Vector r = { .q = { result } };

    if (in->imm & 0x40) {
        for (int i = 0; i < n; i++) {
            if (n == 16)
                r.b[i] = result >> i & 1 ? 0xff : 0;
            else
                r.w[i] = result >> i & 1 ? 0xffff : 0;
        }
    }
    cpu->xmm[0] = r;
}

EXEC(pcmpestri)
{
    to_index(cpu, in, true);
}

EXEC(pcmpistri)
{
    to_index(cpu, in, false);
}

EXEC(pcmpestrm)
{
    to_mask(cpu, in, true);
}

EXEC(pcmpistrm)
{
    to_mask(cpu, in, false);
}
