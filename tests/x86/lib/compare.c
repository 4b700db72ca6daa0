/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/x86/lib/compare.h"
#include "target/x86/x87.h"
#include "tests/x86/lib/prepare.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { INTERPRETED, TRANSLATED, EXECUTORS };
enum { SHOWN_PER_OPERATION = 3, TEXT = 100, DIFFERENCE = 400 };

static const char *const class_names[X86_C_COUNT] = {
    "integer", "branch", "string", "atomic", "bit", "hint", "system", "x87", "sse-integer",
    "sse-float", "crypto", "avx", "fma", "fp-state",
};

/* ---- differences ----------------------------------------------------------------------------- */

typedef struct {
    char text[DIFFERENCE];
    size_t len;
} Difference;

static void G_GNUC_PRINTF(2, 3) note(Difference *d, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    d->len += g_vsnprintf(d->text + d->len, sizeof(d->text) - d->len, format, args);
    va_end(args);
    d->len = MIN(d->len, sizeof(d->text) - 1);
}

static void compare_number(Difference *d, const char *name, uint64_t host, uint64_t ours)
{
    if (host != ours)
        note(d, " %s host %" PRIx64 " ours %" PRIx64, name, host, ours);
}

static void compare_x87(Difference *d, const FloatState *host, const FloatState *ours,
                        uint16_t codes)
{
    compare_number(d, "fcw", host->control, ours->control);
    compare_number(d, "fsw", host->status & ~codes, ours->status & ~codes);
    compare_number(d, "in-use", host->in_use, ours->in_use);
    for (unsigned i = 0; i < 8; i++) {
        const X87Number *a = &host->st[i], *b = &ours->st[i];

        if (a->mantissa != b->mantissa || a->sign_exponent != b->sign_exponent)
            note(d, " st%u host %04x:%016" PRIx64 " ours %04x:%016" PRIx64, i, a->sign_exponent,
                 a->mantissa,
                 b->sign_exponent, b->mantissa);
    }
}

static void compare_vectors(Difference *d, const FloatState *host, const FloatState *ours,
                            unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (memcmp(&host->xmm[i], &ours->xmm[i], 16))
            note(d, " xmm%u host %016" PRIx64 "%016" PRIx64 " ours %016" PRIx64 "%016" PRIx64, i,
                 host->xmm[i].q[1], host->xmm[i].q[0], ours->xmm[i].q[1], ours->xmm[i].q[0]);
    for (unsigned i = 0; i < count; i++)
        if (memcmp(&host->ymm_high[i], &ours->ymm_high[i], 16))
            note(d, " ymm%u above host %016" PRIx64 "%016" PRIx64 " ours %016" PRIx64 "%016" PRIx64,
                 i, host->ymm_high[i].q[1], host->ymm_high[i].q[0], ours->ymm_high[i].q[1],
                 ours->ymm_high[i].q[0]);
}

static void compare_data(Difference *d, const State *host, const State *ours)
{
    if (!memcmp(host->data, ours->data, DATA_SIZE))
        return;
    for (unsigned i = 0; i < DATA_SIZE; i++) {
        if (host->data[i] != ours->data[i]) {
            note(d, " [%" PRIx64 "] host %02x ours %02x", DATA_AT + i, host->data[i],
                 ours->data[i]);
            return;
        }
    }
}

/* Condition codes of x87 that the manuals leave undefined after @in. */
static uint16_t undefined_codes(const X86Insn *in)
{
    switch (in->op) {
    case X86_fcom:
    case X86_fcomp:
    case X86_fcompp:
    case X86_ifcom:
    case X86_ifcomp:
    case X86_fucom:
    case X86_fucomp:
    case X86_fucompp:
    case X86_ftst:
    case X86_fxam:
    case X86_fprem:
    case X86_fprem1:
        return 0;
    case X86_fsin:
    case X86_fcos:
    case X86_fsincos:
    case X86_fptan:
        return X87_C0 | X87_C3;
    default:
        return X87_C0 | X87_C2 | X87_C3;
    }
}

/*
 * Linux tells programs that all of the upper half were mapped, so that they learn nothing of it.
 * And a jump may have hit what else this process has in memory.
 */
static uint32_t hidden_by_kernel(const State *host)
{
    bool is_ours = host->address - CODE_AT < 2 * DATA_AT;

    if (host->vector != X86_PF_FAULT)
        return 0;
    return host->address >> 63 || (host->error & X86_PFE_I && !is_ours) ? host->error & X86_PFE_P
                                                                        : 0;
}

/* Which page is touched first, of a long image or of two operands, is up to the processor. */
static bool touches_in_any_order(const X86Insn *in)
{
    switch (in->op) {
    case X86_cmps:
    case X86_fxsave:
    case X86_fxrstor:
    case X86_fnsave:
    case X86_frstor:
    case X86_fnstenv:
    case X86_fldenv:
        return true;
    default:
        return false;
    }
}

/* Whether a result that overflows or is tiny is also inexact is not known if that is not masked. */
static uint32_t unknown_mxcsr(const State *host)
{
    uint32_t unmasked = host->fp.mxcsr & ~(host->fp.mxcsr >> 7) & 0x18;

    return host->vector == X86_XM && unmasked ? 0x20 : 0;
}

/* Compares the ends of a run of @in, NULL if it is undefined, that began with @start. */
static void compare_ends(Difference *d, const X86Insn *in, const State *start, const State *host,
                         const State *ours, unsigned bits)
{
    static const char *const names[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                           "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };
    uint64_t mask = bits == 64 ? UINT64_MAX : UINT32_MAX;
    uint32_t flags = X86_ARITH | X86_DF;
    bool ran = host->vector == X86_BP || host->rip != start->rip;
    bool any_page = in && touches_in_any_order(in) && host->vector == X86_PF_FAULT;

    compare_number(d, "vector", host->vector, ours->vector);
    if (!any_page) {
        compare_number(d, "error", host->error, ours->error | hidden_by_kernel(host));
        compare_number(d, "address", host->address & mask, ours->address & mask);
    }
    compare_number(d, "rip", host->rip & mask, ours->rip & mask);
    /* Some processors have loaded registers when popa faults; it is done again as a whole. */
    for (unsigned i = 0; i < bits / 4 && !(in && in->op == X86_popa && !ran); i++)
        compare_number(d, names[i], host->gpr[i] & mask, ours->gpr[i] & mask);
    if (in && ran)
        flags &= ~undefined_flags(in, start);
    compare_number(d, "flags", host->flags & flags, ours->flags & flags);
    compare_x87(d, &host->fp, &ours->fp, in ? undefined_codes(in) : 0);
    compare_number(d, "mxcsr", host->fp.mxcsr & ~unknown_mxcsr(host),
                   ours->fp.mxcsr & ~unknown_mxcsr(host));
    compare_vectors(d, &host->fp, &ours->fp, bits / 4);
    compare_data(d, host, ours);
}

/* Bit 17 of MXCSR; see prepare.c. */
enum { MISALIGNED_MODE = 1 << 17 };

/* ---- cases ----------------------------------------------------------------------------------- */

typedef struct {
    Executor *executors[EXECUTORS];
    Bases bases;
    unsigned bits;
    bool takes_any_rsp;          /* the host runs code whose stack pointer is no address */
    uint64_t compared[X86_C_COUNT], undefined, faulted, differ;
    unsigned shown[X86_OP_COUNT];
    uint8_t code[CODE_SIZE];
} Comparison;

static void show(Comparison *c, const Generated *g, uint64_t number, const char *difference)
{
    unsigned op = g->decoded == X86_DECODED ? g->insn.op : 0;
    char text[TEXT] = "undefined";

    c->differ++;
    if (c->shown[op]++ >= SHOWN_PER_OPERATION)
        return;
    if (g->decoded == X86_DECODED)
        x86_disassemble(&g->insn, CODE_AT, text, sizeof(text));
    printf("# %" PRIu64 ": ", number);
    for (unsigned i = 0; i < MAX(g->insn.length, 1); i++)
        printf("%02x ", g->code[i]);
    printf("%s:%s\n", text, difference);
}

/*
 * What an image of the x87 state in memory says of the last instruction's address is not compared.
 */
static void forget_pointers(const X86Insn *in, State *host, State *ours)
{
    if (in->op == X86_fxsave || in->op == X86_fnsave || in->op == X86_fnstenv)
        memcpy(ours->data, host->data, DATA_SIZE);
}

/* Of SSE those with a VEX prefix are another class. */
static X86Class class_of(const X86Insn *in)
{
    X86Class class = x86_operations[in->op].class_;

    return in->vex && class >= X86_C_SSE_INT && class <= X86_C_CRYPTO ? X86_C_AVX : class;
}

/* Does @code begin with an EVEX prefix, which stands for much on processors with AVX-512? */
static bool has_evex(const uint8_t *code)
{
    static const uint8_t before[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x67 };
    unsigned i = 0;

    while (i < X86_INSN_MAX && memchr(before, code[i], sizeof(before)))
        i++;
    return i < X86_INSN_MAX && code[i] == 0x62;
}

static bool is_canonical(uint64_t address)
{
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

static void run_case(Comparison *c, Generated *g, Random *r, uint64_t number)
{
    static State start, host, ours;
    const X86Insn *in = g->decoded == X86_DECODED ? &g->insn : NULL;
    Difference d = { .len = 0 };
    unsigned length, at;

    if (!prepare(g, r, &start, c->bases, c->bits))
        return;
    if (!in && __builtin_cpu_supports("avx512f") && has_evex(g->code))
        return;
    if (!c->takes_any_rsp && !is_canonical(start.gpr[X86_RSP]))
        return;
    length = in ? in->length : X86_INSN_MAX;
    at = start.rip - CODE_AT;
    memset(c->code, 0xcc, CODE_SIZE);
    memcpy(c->code + at, g->code, MIN(length, CODE_SIZE - at));
    host = start;
    native_run(&host, c->code, c->bits);
    if (!c->takes_any_rsp && !is_canonical(host.gpr[X86_RSP]))
        return;
    /* Operands whose base is their index cannot be aimed, so not all of this could be kept away. */
    if (host.fp.mxcsr & MISALIGNED_MODE)
        return;
    for (unsigned i = 0; i < EXECUTORS; i++) {
        ours = start;
        executor_run(c->executors[i], &ours, c->code, c->bits);
        if (in)
            forget_pointers(in, &host, &ours);
        compare_ends(&d, in, &start, &host, &ours, c->bits);
        if (d.len)
            note(&d, " (%s)", i == INTERPRETED ? "interpreted" : "translated");
        if (d.len)
            break;
    }
    if (in)
        c->compared[class_of(in)]++;
    else
        c->undefined++;
    c->faulted += host.vector != X86_BP;
    if (d.len)
        show(c, g, number, d.text);
}

static void report(const Comparison *c)
{
    uint64_t all = c->undefined;

    printf("# %u bits:", c->bits);
    for (unsigned i = 0; i < X86_C_COUNT; i++) {
        all += c->compared[i];
        if (c->compared[i])
            printf(" %s %" PRIu64 ",", class_names[i], c->compared[i]);
    }
    printf(" undefined %" PRIu64 "; %" PRIu64 " in all, %" PRIu64 " of them with an exception\n",
           c->undefined,
           all, c->faulted);
}

/*
 * Does the host run code of @bits with this stack pointer? Some virtual machines have no segments
 * for 32 bits, or refuse a stack pointer that is no address.
 */
static bool host_runs(unsigned bits, uint64_t rsp)
{
    static State s;
    uint8_t code[CODE_SIZE];

    memset(code, 0xcc, sizeof(code));
    s = (State){ .rip = CODE_AT, .gpr[X86_RSP] = rsp, .fp = { .control = 0x37f, .mxcsr = 0x1f80 } };
    native_run(&s, code, bits);
    return s.vector == X86_BP;
}

/* NULL if the host cannot be asked. */
static Comparison *comparison_new(unsigned bits)
{
    Comparison *c = g_new0(Comparison, 1);

    c->bits = bits;
    if (!native_start(&c->bases) || !host_runs(bits, DATA_AT)) {
        g_free(c);
        return NULL;
    }
    c->takes_any_rsp = host_runs(64, UINT64_C(1) << 63);
    c->executors[INTERPRETED] = executor_new(c->bases, false);
    c->executors[TRANSLATED] = executor_new(c->bases, true);
    return c;
}

static void comparison_free(Comparison *c)
{
    executor_free(c->executors[INTERPRETED]);
    executor_free(c->executors[TRANSLATED]);
    g_free(c);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Comparison, comparison_free)

bool compare_with_host(unsigned bits, uint64_t seed, uint64_t cases)
{
    g_autoptr(Comparison) c = comparison_new(bits);
    X86DecodeMode mode = { .bits = bits, .features = X86_FEATURES_ALL };
    const char *only = g_getenv("FERRY_MNEMONIC"), *first = g_getenv("FERRY_FIRST");

    if (!c)
        return false;
    for (uint64_t i = first ? g_ascii_strtoull(first, NULL, 0) : 0; i < cases; i++) {
        /* Each case has a seed of its own, so that it can be run alone. */
        Random r = { .state = (seed << 40 ^ i * UINT64_C(0x9e3779b97f4a7c15)) | 1 };
        const X86Form *f = &x86_forms[random_below(&r, x86_form_count)];
        Generated g;

        if (!can_compare(f) || (only && !g_str_has_prefix(x86_operations[f->op].mnemonic, only)))
            continue;
        generate(&g, &r, f, mode);
        run_case(c, &g, &r, i);
    }
    report(c);
    g_assert_cmpuint(c->differ, ==, 0);
    return true;
}

static Generated known(const KnownCode *k)
{
    X86DecodeMode mode = { .bits = k->bits, .features = X86_FEATURES_ALL };
    Generated g;

    memset(g.code, 0xcc, sizeof(g.code));
    for (size_t i = 0; k->code[2 * i]; i++)
        g.code[i] = g_ascii_xdigit_value(k->code[2 * i]) << 4 |
            g_ascii_xdigit_value(k->code[2 * i + 1]);
    g.decoded = x86_decode(&g.insn, g.code, sizeof(g.code), mode);
    return g;
}

bool compare_known_with_host(const KnownCode *codes, uint64_t cases)
{
    g_autoptr(Comparison) c = comparison_new(64);

    if (!c)
        return false;
    for (; codes->code; codes++) {
        c->bits = codes->bits;
        if (!host_runs(c->bits, DATA_AT))
            continue;
        for (uint64_t i = 0; i < cases; i++) {
            Random r = { .state = (i + 1) * UINT64_C(0x9e3779b97f4a7c15) };
            Generated g = known(codes);

            run_case(c, &g, &r, i);
        }
    }
    g_assert_cmpuint(c->differ, ==, 0);
    return true;
}
