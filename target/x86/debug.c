/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Debuggers' points and registers. Blocks end before breakpoints and none begins there, so that
 * the loop sees them; watched pages are kept from translated code, so that the interpreter sees all
 * that is done there.
 */
#include "target/x86/debug.h"
#include "target/x86/interpret.h"
#include "target/x86/translate.h"
#include "target/x86/x87.h"
#include "util/endian.h"
#include <string.h>

/* ---- points ---------------------------------------------------------------------------------- */

static unsigned point_count(const X86Debug *d)
{
    return d->breaks + d->watches;
}

/* What has been translated, or may be used without asking, does not know of the points. */
static void points_changed(X86Cpu *cpu)
{
    x86_forget_code(cpu);
    x86_tlb_flush(cpu);
}

static unsigned *counter_of(X86Debug *d, X86PointKind kind)
{
    return kind == X86_POINT_BREAK ? &d->breaks : &d->watches;
}

bool x86_debug_add(X86Cpu *cpu, X86PointKind kind, uint64_t linear, uint64_t len)
{
    X86Debug *d = &cpu->debug;

    if (point_count(d) == X86_POINTS || (kind != X86_POINT_BREAK && !len))
        return false;
    d->point[point_count(d)] = (X86Point){ kind, linear, len };
    ++*counter_of(d, kind);
    points_changed(cpu);
    return true;
}

bool x86_debug_remove(X86Cpu *cpu, X86PointKind kind, uint64_t linear, uint64_t len)
{
    X86Debug *d = &cpu->debug;

    for (unsigned i = 0; i < point_count(d); i++) {
        X86Point *p = &d->point[i];

        if (p->kind != kind || p->linear != linear || (kind != X86_POINT_BREAK && p->len != len))
            continue;
        *p = d->point[point_count(d) - 1];
        --*counter_of(d, kind);
        points_changed(cpu);
        return true;
    }
    return false;
}

void x86_debug_clear(X86Cpu *cpu)
{
    cpu->debug = (X86Debug){ .breaks = 0 };
    points_changed(cpu);
}

bool x86_debug_has_break(const X86Cpu *cpu, uint64_t linear)
{
    const X86Debug *d = &cpu->debug;

    for (unsigned i = 0; i < point_count(d); i++)
        if (d->point[i].kind == X86_POINT_BREAK && d->point[i].linear == linear)
            return true;
    return false;
}

bool x86_debug_is_at_break(const X86Cpu *cpu)
{
    return x86_debug_has_break(cpu, x86_code_address(cpu));
}

/* True if the two ranges, which may end at the very end, have a byte in common. */
static bool touches(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
    return a - b < b_len || b - a < a_len;
}

bool x86_debug_watches_page(const X86Cpu *cpu, uint64_t page)
{
    const X86Debug *d = &cpu->debug;

    for (unsigned i = 0; i < point_count(d); i++)
        if (d->point[i].kind != X86_POINT_BREAK &&
            touches(page, 4096, d->point[i].linear, d->point[i].len))
            return true;
    return false;
}

void x86_debug_note_access(X86Cpu *cpu, uint64_t linear, size_t len, X86Access access)
{
    X86PointKind kind = access == X86_WRITE ? X86_POINT_WRITE : X86_POINT_READ;
    X86Debug *d = &cpu->debug;

    for (unsigned i = 0; i < point_count(d) && !d->is_hit; i++) {
        const X86Point *p = &d->point[i];

        if ((p->kind != kind && p->kind != X86_POINT_ACCESS) ||
            !touches(linear, len, p->linear, p->len))
            continue;
        d->is_hit = true;
        d->hit = *p;
        d->accessed = linear - p->linear < p->len ? linear : p->linear;
    }
}

const X86Point *x86_debug_watch_hit(const X86Cpu *cpu, uint64_t *address)
{
    if (!cpu->debug.is_hit)
        return NULL;
    *address = cpu->debug.accessed;
    return &cpu->debug.hit;
}

X86Exit x86_debug_step(X86Cpu *cpu, bool interrupts)
{
    jmp_buf trap;

    cpu->trap = &trap;
    cpu->debug.is_hit = false;
    if (setjmp(trap))
        return x86_handle(cpu) ? X86_DEBUGGED : X86_SHUTDOWN;
    if (interrupts && !x86_take_events(cpu))
        return X86_RAN;
    if (cpu->halted)
        return X86_HALTED;
    x86_step(cpu);
    return X86_DEBUGGED;
}

/* ---- registers ------------------------------------------------------------------------------- */

typedef enum { GPR, IP, FLAGS, SELECTOR, ST, FLOAT_WORD, XMM, MXCSR, BASE, YMM_HIGH } Kind;
enum { CONTROL, STATUS, TAGS, CODE_SELECTOR, CODE_OFFSET, DATA_SELECTOR, DATA_OFFSET, OPCODE };

const X86DebugRegister x86_debug_registers[] = {
#define G(name, number) { name, "core", 64, "int64", GPR, number }
    G("rax", X86_RAX), G("rbx", X86_RBX), G("rcx", X86_RCX), G("rdx", X86_RDX), G("rsi", X86_RSI),
    G("rdi", X86_RDI), { "rbp", "core", 64, "data_ptr", GPR, X86_RBP },
    { "rsp", "core", 64, "data_ptr", GPR, X86_RSP }, G("r8", 8), G("r9", 9), G("r10", 10),
    G("r11", 11), G("r12", 12), G("r13", 13), G("r14", 14), G("r15", 15),
    { "rip", "core", 64, "code_ptr", IP, 0 }, { "eflags", "core", 32, "i386_eflags", FLAGS, 0 },
#define S(name, number) { name, "core", 32, "int32", SELECTOR, number }
    S("cs", X86_CS), S("ss", X86_SS), S("ds", X86_DS), S("es", X86_ES), S("fs", X86_FS),
    S("gs", X86_GS),
#define F(number) { "st" #number, "core", 80, "i387_ext", ST, number }
    F(0), F(1), F(2), F(3), F(4), F(5), F(6), F(7),
#define W(name, number) { name, "core", 32, "int", FLOAT_WORD, number }
    W("fctrl", CONTROL), W("fstat", STATUS), W("ftag", TAGS), W("fiseg", CODE_SELECTOR),
    W("fioff", CODE_OFFSET), W("foseg", DATA_SELECTOR), W("fooff", DATA_OFFSET), W("fop", OPCODE),
#define X(number) { "xmm" #number, "sse", 128, "vec128", XMM, number }
    X(0), X(1), X(2), X(3), X(4), X(5), X(6), X(7), X(8), X(9), X(10), X(11), X(12), X(13), X(14),
    X(15), { "mxcsr", "sse", 32, "i386_mxcsr", MXCSR, 0 },
    { "fs_base", "segments", 64, "int", BASE, X86_FS },
    { "gs_base", "segments", 64, "int", BASE, X86_GS },
#define Y(number) { "ymm" #number "h", "avx", 128, "uint128", YMM_HIGH, number }
    Y(0), Y(1), Y(2), Y(3), Y(4), Y(5), Y(6), Y(7), Y(8), Y(9), Y(10), Y(11), Y(12), Y(13), Y(14),
    Y(15),
    {}
};

static uint32_t float_word(const X87 *f, unsigned number)
{
    switch (number) {
    case CONTROL:
        return f->control;
    case STATUS:
        return x87_status(f);
    case TAGS:
        return x87_tags(f);
    case CODE_SELECTOR:
        return f->cs;
    case CODE_OFFSET:
        return f->ip;
    case DATA_SELECTOR:
        return f->ds;
    case DATA_OFFSET:
        return f->dp;
    default:
        return f->opcode;
    }
}

static const X87Number *st(const X87 *f, unsigned i)
{
    return &f->r[(f->top + i) & 7];
}

void x86_debug_read_register(const X86Cpu *cpu, const X86DebugRegister *r,
                             uint8_t to[X86_DEBUG_REGISTER_MAX])
{
    switch ((Kind)r->kind) {
    case GPR:
        le64_put(to, cpu->gpr[r->number]);
        break;
    case IP:
        le64_put(to, cpu->rip);
        break;
    case FLAGS:
        le32_put(to, cpu->flags);
        break;
    case SELECTOR:
        le32_put(to, cpu->segment[r->number].selector);
        break;
    case ST:
        le64_put(to, st(&cpu->x87, r->number)->mantissa);
        le16_put(to + 8, st(&cpu->x87, r->number)->sign_exponent);
        break;
    case FLOAT_WORD:
        le32_put(to, float_word(&cpu->x87, r->number));
        break;
    case XMM:
        memcpy(to, &cpu->xmm[r->number], 16);
        break;
    case MXCSR:
        le32_put(to, cpu->mxcsr);
        break;
    case BASE:
        le64_put(to, cpu->segment[r->number].base);
        break;
    case YMM_HIGH:
        memcpy(to, &cpu->ymm_high[r->number], 16);
        break;
    }
}

static void set_tags(X87 *f, uint16_t tags)
{
    f->in_use = 0;
    for (unsigned i = 0; i < 8; i++)
        if ((tags >> 2 * i & 3) != 3)
            f->in_use |= 1 << i;
}

static void set_float_word(X87 *f, unsigned number, uint32_t v)
{
    switch (number) {
    case CONTROL:
        x87_set_control(f, v);
        break;
    case STATUS:
        x87_set_status(f, v);
        break;
    case TAGS:
        set_tags(f, v);
        break;
    case CODE_SELECTOR:
        f->cs = v;
        break;
    case CODE_OFFSET:
        f->ip = v;
        break;
    case DATA_SELECTOR:
        f->ds = v;
        break;
    case DATA_OFFSET:
        f->dp = v;
        break;
    case OPCODE:
        f->opcode = v & 0x7ff;
        break;
    }
}

/* What a program could change by popf at level 0; the mode stays. */
static void set_flags(X86Cpu *cpu, uint32_t v)
{
    uint32_t which = X86_ARITH | X86_TF | X86_IF | X86_DF | X86_IOPL | X86_NT | X86_RF | X86_AC |
                     X86_ID;

    cpu->flags = (cpu->flags & ~which) | (v & which);
}

bool x86_debug_write_register(X86Cpu *cpu, const X86DebugRegister *r, const uint8_t *from)
{
    X87Number *n = &cpu->x87.r[(cpu->x87.top + r->number) & 7];

    switch ((Kind)r->kind) {
    case GPR:
        cpu->gpr[r->number] = le64_at(from);
        break;
    case IP:
        cpu->rip = le64_at(from);
        break;
    case FLAGS:
        set_flags(cpu, le32_at(from));
        break;
    case SELECTOR:
        return le32_at(from) == cpu->segment[r->number].selector;
    case ST:
        *n = (X87Number){ .mantissa = le64_at(from), .sign_exponent = le16_at(from + 8) };
        break;
    case FLOAT_WORD:
        set_float_word(&cpu->x87, r->number, le32_at(from));
        break;
    case XMM:
        memcpy(&cpu->xmm[r->number], from, 16);
        break;
    case MXCSR:
        if (le32_at(from) >> 16)
            return false;
        cpu->mxcsr = le32_at(from);
        break;
    case BASE:
        cpu->segment[r->number].base = le64_at(from);
        break;
    case YMM_HIGH:
        memcpy(&cpu->ymm_high[r->number], from, 16);
        break;
    }
    return true;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static size_t on_page(uint64_t linear, size_t len)
{
    return MIN(len, 4096 - (linear & 4095));
}

bool x86_debug_read_memory(X86Cpu *cpu, uint64_t linear, void *to, size_t len)
{
    uint8_t *at = to;

    for (size_t part; len; len -= part, linear += part) {
        uint64_t physical;

        part = on_page(linear, len);
        if (!x86_translate(cpu, linear, &physical))
            return false;
        for (size_t i = 0; i < part; i++)
            *at++ = memory_map_read(cpu->memory, physical + i, 1);
    }
    return true;
}

bool x86_debug_write_memory(X86Cpu *cpu, uint64_t linear, const void *from, size_t len)
{
    const uint8_t *at = from;

    for (size_t part; len; len -= part, linear += part) {
        uint64_t physical;

        part = on_page(linear, len);
        if (!x86_translate(cpu, linear, &physical))
            return false;
        for (size_t i = 0; i < part; i++)
            memory_map_write(cpu->memory, physical + i, 1, *at++);
        if (cpu->code_pages)
            x86_code_written(cpu->code_pages, physical, part);
    }
    return true;
}
