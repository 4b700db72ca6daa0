/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random programs of several instructions, interpreted and translated: what a block keeps in
 * registers and flags from one instruction to the next must not show. No host is asked. FERRY_SEED
 * chooses others.
 */
#include "tests/lib/harness.h"
#include "tests/x86/lib/prepare.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LENGTH = 12, PROGRAMS = 30000, TRIES = 20, TEXT = 100 };

typedef struct {
    uint8_t code[CODE_SIZE];
    unsigned at, begin;
    uint64_t insns[LENGTH];
    unsigned count;
} Program;

/* What a program is made of, besides what all are made of. */
typedef enum { INTEGER, VECTOR, MIXED } Kind;

static bool is_of_kind(const X86Insn *in, Kind kind)
{
    switch (x86_operations[in->op].class_) {
    case X86_C_INTEGER:
    case X86_C_ATOMIC:
    case X86_C_BMI:
    case X86_C_HINT:
        return true;
    case X86_C_SSE_INT:
    case X86_C_SSE_FP:
    case X86_C_CRYPTO:
        return kind != INTEGER && in->op != X86_maskmovdqu && in->op != X86_maskmovq;
    case X86_C_X87:
        /* Condition codes that are not defined must not become registers or memory. */
        return kind == MIXED && in->op != X86_fnstsw && in->op != X86_fnstsw_ax &&
               in->op != X86_fnsave && in->op != X86_fnstenv;
    case X86_C_BRANCH:
        return in->op == X86_jcc;
    default:
        return in->op == X86_emms && kind == MIXED;
    }
}

/* Straight-line code, whose memory is named without registers, and short jumps forward. */
static bool fits(const X86Insn *in, Kind kind)
{
    if (!is_of_kind(in, kind))
        return false;
    if (in->op == X86_enter || in->op == X86_leave || in->op == X86_popf || in->op == X86_xlat)
        return false;
    for (unsigned i = 0; i < in->operands; i++) {
        if (in->operand[i].kind == X86_OPD_MEM && in->op != X86_lea && in->op != X86_nop &&
            !in->mem.rip)
            return false;
        /* The stack stays where it is. */
        if (in->operand[i].kind == X86_OPD_GPR && in->operand[i].reg == X86_RSP && i == 0 &&
            !(in->attributes & X86_A_NO_WRITE))
            return false;
    }
    return in->segment_prefix == X86_NO_REG;
}

/* Points a RIP-relative operand into the data, or to its end. */
static void aim(uint8_t *code, const X86Insn *in, uint64_t rip, Random *r)
{
    int32_t disp = DATA_AT + random_below(r, DATA_SIZE - 64) - rip - in->length;

    for (unsigned at = 1; at + 4 <= in->length; at++) {
        int32_t found;

        memcpy(&found, code + at, 4);
        if (found == (int32_t)in->mem.disp) {
            memcpy(code + at, &disp, 4);
            return;
        }
    }
}

static void add_instruction(Program *p, Random *r, Kind kind)
{
    X86DecodeMode mode = { .bits = 64, .features = X86_FEATURES_ALL };
    Generated g;

    for (unsigned i = 0; i < TRIES * 10; i++) {
        const X86Form *f = &x86_forms[random_below(r, x86_form_count)];

        generate(&g, r, f, mode);
        if (g.decoded == X86_DECODED && fits(&g.insn, kind) && p->at + 64 < CODE_SIZE)
            break;
        g.decoded = X86_UNDEFINED;
    }
    if (g.decoded != X86_DECODED)
        return;
    memcpy(p->code + p->at, g.code, g.insn.length);
    if (g.insn.mem.rip)
        aim(p->code + p->at, &g.insn, CODE_AT + p->at, r);
    /* A conditional jump skips nothing or one byte of the padding that follows it. */
    if (g.insn.op == X86_jcc && g.insn.length >= 2) {
        unsigned near = p->code[p->at] == 0x0f || g.insn.length > 5;

        memset(p->code + p->at + g.insn.length - (near ? 4 : 1), 0, near ? 4 : 1);
    }
    p->insns[p->count++] = p->at;
    p->at += g.insn.length;
}

static void make_program(Program *p, Random *r, Kind kind)
{
    memset(p->code, 0xcc, CODE_SIZE);
    p->count = 0;
    p->begin = p->at = 64 + random_below(r, 2 * PAGE - 512);
    for (unsigned i = 0; i < LENGTH; i++)
        add_instruction(p, r, kind);
}

static void make_state(State *s, Random *r, uint64_t rip, Kind kind)
{
    static const X86Insn x87 = { .op = X86_fld1 };

    memset(s, 0, sizeof(*s));
    for (unsigned i = 0; i < 16; i++)
        s->gpr[i] = random_chance(r, 30) ? random_below(r, 3) : random_next(r) >> random_below(r,
                64);
    for (unsigned i = 0; i < DATA_SIZE; i += 8)
        memcpy(s->data + i, &(uint64_t){ i * UINT64_C(0x9e3779b97f4a7c15) }, 8);
    s->gpr[X86_RSP] = DATA_AT + 1024 + 8 * random_below(r, 64);
    s->rip = rip;
    s->flags = (random_next(r) & X86_ARITH) | X86_FIXED;
    random_float_state(r, &s->fp, &x87);
    if (kind == INTEGER || random_chance(r, 70)) {
        s->fp.control |= 0x3f;
        s->fp.mxcsr = 0x1f80;
    }
}

static uint32_t hidden_flags(const Program *p)
{
    X86DecodeMode mode = { .bits = 64, .features = X86_FEATURES_ALL };
    uint32_t hidden = 0;

    /* The host's undefined flags are others than ours, and go on into what reads them. */
    for (unsigned i = 0; i < p->count; i++) {
        X86Insn in;

        x86_decode(&in, p->code + p->insns[i], X86_INSN_MAX, mode);
        hidden |= in.flags_undefined;
    }
    return hidden;
}

static bool reads_undefined(const Program *p)
{
    X86DecodeMode mode = { .bits = 64, .features = X86_FEATURES_ALL };
    uint32_t undefined = 0;

    for (unsigned i = 0; i < p->count; i++) {
        X86Insn in;
        bool is_shift;

        x86_decode(&in, p->code + p->insns[i], X86_INSN_MAX, mode);
        /* Shifts keep flags only if they shift by nothing; rcl and rcr read CF. */
        is_shift = in.op >= X86_rol && in.op <= X86_shrd && in.op != X86_rcl && in.op != X86_rcr;
        if (in.op == X86_shld || in.op == X86_shrd)
            return true;
        if (!is_shift && in.flags_read & undefined)
            return true;
        if (in.op == X86_pushf || in.op == X86_lahf)
            return true;
        undefined |= in.flags_undefined;
        if (in.op >= X86_rol && in.op <= X86_shrd)
            undefined |= X86_OF | X86_AF | X86_CF;
        if (in.op >= X86_bt && in.op <= X86_btc)
            undefined |= X86_OF | X86_SF | X86_AF | X86_PF;
    }
    return false;
}

static void show(const Program *p)
{
    X86DecodeMode mode = { .bits = 64, .features = X86_FEATURES_ALL };

    for (unsigned i = 0; i < p->count; i++) {
        X86Insn in;
        char text[TEXT];

        x86_decode(&in, p->code + p->insns[i], X86_INSN_MAX, mode);
        printf("#   %s\n", x86_disassemble(&in, CODE_AT + p->insns[i], text, sizeof(text)));
    }
}

enum { X87_CODES = 0x4700 };

static bool same_float(const FloatState *a, const FloatState *b)
{
    if (a->control != b->control || (a->status & ~X87_CODES) != (b->status & ~X87_CODES) ||
        a->in_use != b->in_use || a->ip != b->ip || a->dp != b->dp) {
        printf("# x87 %x %x %x %" PRIx64 " %" PRIx64 " interpreted, %x %x %x %" PRIx64 " %" PRIx64
               " translated\n", a->control, a->status, a->in_use, a->ip, a->dp, b->control,
               b->status, b->in_use, b->ip, b->dp);
        return false;
    }
    for (unsigned i = 0; i < 8; i++) {
        const X87Number *x = &a->st[i], *y = &b->st[i];

        if (x->mantissa != y->mantissa || x->sign_exponent != y->sign_exponent) {
            printf("# st%u differs\n", i);
            return false;
        }
    }
    if (a->mxcsr != b->mxcsr || memcmp(a->xmm, b->xmm, sizeof(a->xmm)) ||
        memcmp(a->ymm_high, b->ymm_high, sizeof(a->ymm_high))) {
        printf("# mxcsr %x interpreted, %x translated, or vectors\n", a->mxcsr, b->mxcsr);
        return false;
    }
    return true;
}

static bool same(const State *a, const State *b, const Program *p)
{
    uint32_t flags = X86_ARITH & ~hidden_flags(p) & ~(X86_OF | X86_AF | X86_CF);

    for (unsigned i = 0; i < 16; i++)
        if (a->gpr[i] != b->gpr[i]) {
            printf("# register %u: %" PRIx64 " interpreted, %" PRIx64 " translated\n", i, a->gpr[i],
                   b->gpr[i]);
            return false;
        }
    if (a->rip != b->rip || a->vector != b->vector || a->error != b->error || a->address !=
        b->address) {
        printf("# rip %" PRIx64 " vector %u interpreted, %" PRIx64 " %u translated\n", a->rip,
               a->vector, b->rip, b->vector);
        return false;
    }
    if ((a->flags ^ b->flags) & flags) {
        printf("# flags %x interpreted, %x translated\n", a->flags & flags, b->flags & flags);
        return false;
    }
    return same_float(&a->fp, &b->fp) && !memcmp(a->data, b->data, DATA_SIZE);
}

static uint64_t seed(void)
{
    const char *given = g_getenv("FERRY_SEED");

    return given ? g_ascii_strtoull(given, NULL, 0) | 1 : 4711;
}

static void compare_programs(Kind kind)
{
    static State start, interpreted, translated;
    static Program p;
    Bases bases = { 0 };
    g_autoptr(Executor) a = executor_new(bases, false);
    g_autoptr(Executor) b = executor_new(bases, true);
    Random r = { .state = seed() };
    unsigned differ = 0, compared = 0;

    for (unsigned i = 0; i < (test_is_slowed() ? PROGRAMS / 20 : PROGRAMS); i++) {
        make_program(&p, &r, kind);
        make_state(&start, &r, CODE_AT + p.begin, kind);
        if (reads_undefined(&p))
            continue;
        interpreted = translated = start;
        executor_run(a, &interpreted, p.code, 64);
        executor_run(b, &translated, p.code, 64);
        compared++;
        if (!same(&interpreted, &translated, &p) && differ++ < 5)
            show(&p);
    }
    printf("# %u programs compared\n", compared);
    g_assert_cmpuint(differ, ==, 0);
    g_assert_cmpuint(compared, >, 100);
}

static void test_integer(void)
{
    compare_programs(INTEGER);
}

static void test_vectors(void)
{
    compare_programs(VECTOR);
}

static void test_mixed(void)
{
    compare_programs(MIXED);
}

const Test tests[] = {
    { "/x86/sequences/integer", test_integer },
    { "/x86/sequences/vectors", test_vectors },
    { "/x86/sequences/mixed", test_mixed },
    {}
};
