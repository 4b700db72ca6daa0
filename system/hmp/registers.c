/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The registers of a processor as text, and by name in expressions. */
#include "system/debug.h"
#include "system/hmp/commands.h"
#include "system/log.h"
#include <inttypes.h>
#include <string.h>

#define REG "%016" PRIx64

static bool is_64(const X86Cpu *c)
{
    return c->mode.bits == 64 || c->is_long;
}

/* ---- general --------------------------------------------------------------------------------- */

static void show_flags(GString *out, uint32_t f)
{
    static const struct {
        unsigned bit;
        char letter;
    } flags[] = { { 10, 'D' }, { 11, 'O' }, { 7, 'S' }, { 6, 'Z' },
                  { 4, 'A' },  { 2, 'P' },  { 0, 'C' } };

    for (size_t i = 0; i < G_N_ELEMENTS(flags); i++)
        g_string_append_c(out, f >> flags[i].bit & 1 ? flags[i].letter : '-');
}

static void show_general(GString *out, const X86Cpu *c)
{
    static const char *const wide[] = { "RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "RSP",
                                        "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15" };
    static const uint8_t order[] = { X86_RAX, X86_RBX, X86_RCX, X86_RDX, X86_RSI, X86_RDI, X86_RBP,
                                     X86_RSP, 8, 9, 10, 11, 12, 13, 14, 15 };
    bool w = is_64(c);

    for (unsigned i = 0; i < (w ? 16 : 8); i++) {
        char last = i % 4 == 3 ? '\n' : ' ';

        if (w)
            g_string_append_printf(out, "%s=" REG "%c", wide[i], c->gpr[order[i]], last);
        else
            g_string_append_printf(out, "E%s=%08x%c", wide[i] + 1, (uint32_t)c->gpr[order[i]],
                                   last);
    }
    if (w)
        g_string_append_printf(out, "RIP=" REG " RFL=%08x [", c->rip, c->flags);
    else
        g_string_append_printf(out, "EIP=%08x EFL=%08x [", (uint32_t)c->rip, c->flags);
    show_flags(out, c->flags);
    g_string_append_printf(out, "] CPL=%d II=%d A20=1 SMM=0 HLT=%d\n", c->cpl, c->shadow,
                           c->halted);
}

/* ---- segments -------------------------------------------------------------------------------- */

static void show_system_type(GString *out, const X86Cpu *c, unsigned type)
{
    static const char *const names[2][16] = {
        { "Reserved", "TSS16-avl", "LDT", "TSS16-busy", "CallGate16", "TaskGate", "IntGate16",
          "TrapGate16", "Reserved", "TSS32-avl", "Reserved", "TSS32-busy", "CallGate32", "Reserved",
          "IntGate32", "TrapGate32" },
        { "<hiword>", "Reserved", "LDT", "Reserved", "Reserved", "Reserved", "Reserved", "Reserved",
          "Reserved", "TSS64-avl", "Reserved", "TSS64-busy", "CallGate64", "Reserved", "IntGate64",
          "TrapGate64" },
    };

    g_string_append(out, names[c->is_long][type]);
}

static void show_code_or_data(GString *out, uint32_t rights)
{
    bool code = rights & X86_AR_CODE;

    if (code)
        g_string_append_printf(out, "%s [%c%c", rights & X86_AR_L ? "CS64" : rights & X86_AR_DB
                               ? "CS32" : "CS16", rights & X86_AR_DOWN ? 'C' : '-',
                               rights & X86_AR_WRITABLE ? 'R' : '-');
    else
        g_string_append_printf(out, "%s [%c%c", rights & X86_AR_DB ? "DS  " : "DS16",
                               rights & X86_AR_DOWN ? 'E' : '-',
                               rights & X86_AR_WRITABLE ? 'W' : '-');
    g_string_append_printf(out, "%c]", rights & X86_AR_ACCESSED ? 'A' : '-');
}

static void show_segment(GString *out, const X86Cpu *c, const char *name, const X86Segment *s)
{
    bool g = s->rights & X86_AR_G;
    /* The high half of the descriptor, with the limit's upper bits. */
    uint32_t high = (uint32_t)s->rights << 8 | ((g ? s->limit >> 12 : s->limit) & 0xf0000);
    unsigned type = s->rights & X86_AR_TYPE;

    g_string_append_printf(out, "%-3s=%04x ", name, s->selector);
    g_string_append_printf(out, is_64(c) ? REG : "%08" PRIx64, s->base);
    g_string_append_printf(out, " %08x %08x", s->limit, high);
    if (c->cr0 & X86_CR0_PE && s->rights & X86_AR_P) {
        g_string_append_printf(out, " DPL=%d ", s->rights >> X86_AR_DPL_SHIFT & 3);
        if (s->rights & X86_AR_S)
            show_code_or_data(out, s->rights);
        else
            show_system_type(out, c, type);
    }
    g_string_append_c(out, '\n');
}

static void show_segments(GString *out, const X86Cpu *c)
{
    static const char *const names[] = { "ES", "CS", "SS", "DS", "FS", "GS" };
    static const uint8_t order[] = { X86_ES, X86_CS, X86_SS, X86_DS, X86_FS, X86_GS };

    for (unsigned i = 0; i < G_N_ELEMENTS(order); i++)
        show_segment(out, c, names[i], &c->segment[order[i]]);
    show_segment(out, c, "LDT", &c->ldt);
    show_segment(out, c, "TR", &c->task);
}

static void show_table(GString *out, const X86Cpu *c, const char *name, const X86Table *t)
{
    g_string_append_printf(out,
                           is_64(c) ? "%s=     " REG " %08x\n" : "%s=     %08" PRIx64 " %08x\n",
                           name, t->base, t->limit);
}

static void show_control(GString *out, const X86Cpu *c)
{
    show_table(out, c, "GDT", &c->gdt);
    show_table(out, c, "IDT", &c->idt);
    if (is_64(c))
        g_string_append_printf(out, "CR0=%08x CR2=" REG " CR3=" REG " CR4=%08x\n", (uint32_t)c->cr0,
                               c->cr2, c->cr3, (uint32_t)c->cr4);
    else
        g_string_append_printf(out, "CR0=%08x CR2=%08x CR3=%08x CR4=%08x\n", (uint32_t)c->cr0,
                               (uint32_t)c->cr2, (uint32_t)c->cr3, (uint32_t)c->cr4);
    for (unsigned i = 0; i < 4; i++)
        g_string_append_printf(out, "DR%d=" REG " ", i, c->dr[i]);
    g_string_append_printf(out, "\nDR6=" REG " DR7=" REG "\nEFER=" REG "\n", c->dr[6], c->dr[7],
                           c->efer);
}

/* ---- floating point -------------------------------------------------------------------------- */

static void show_float(GString *out, const X86Cpu *c)
{
    uint16_t status = (c->x87.status & ~0x3800) | c->x87.top << 11;

    g_string_append_printf(out, "FCW=%04x FSW=%04x [ST=%d] FTW=%02x MXCSR=%08x\n", c->x87.control,
                           status, c->x87.top, c->x87.in_use, c->mxcsr);
    for (unsigned i = 0; i < 8; i++)
        g_string_append_printf(out, "FPR%d=%016" PRIx64 " %04x%c", i, c->x87.r[i].mantissa,
                               c->x87.r[i].sign_exponent, i % 2 ? '\n' : ' ');
    for (unsigned i = 0; i < (c->mode.bits == 64 ? 16 : 8); i++)
        g_string_append_printf(out, "XMM%02d=" REG " " REG "%c", i, c->xmm[i].q[1], c->xmm[i].q[0],
                               i % 2 ? '\n' : ' ');
}

void cpu_describe(GString *out, const X86Cpu *c, bool wide)
{
    show_general(out, c);
    show_segments(out, c);
    show_control(out, c);
    if (wide)
        show_float(out, c);
}

static void show_cpu(GString *out, const Vcpu *v)
{
    g_string_append_printf(out, "\nCPU#%u\n", vcpu_index(v));
    cpu_describe(out, vcpu_cpu((Vcpu *)v), true);
}

HMP_COMMAND(hmp_info_registers)
{
    GPtrArray *vcpus = run_state_machine()->vcpus;
    bool all = a->is_given[0], one = a->is_given[1];
    unsigned index = one ? a->number[1] : h->cpu;

    if (index >= vcpus->len) {
        g_string_append_printf(h->out, "CPU#%u not available\n", index);
        return;
    }
    if (!hmp_begin_look(h))
        return;
    for (guint i = 0; i < vcpus->len; i++)
        if (all || i == index)
            show_cpu(h->out, vcpus->pdata[i]);
    debug_end();
}

/* ---- by name --------------------------------------------------------------------------------- */

static bool segment_register(const X86Cpu *c, const char *name, uint64_t *value)
{
    static const char *const names[] = { "es", "cs", "ss", "ds", "fs", "gs" };
    static const uint8_t order[] = { X86_ES, X86_CS, X86_SS, X86_DS, X86_FS, X86_GS };

    for (unsigned i = 0; i < G_N_ELEMENTS(order); i++) {
        const X86Segment *s = &c->segment[order[i]];

        if (strncmp(name, names[i], 2))
            continue;
        *value = name[2] ? s->base : s->selector;
        return !name[2] || !strcmp(name + 2, ".base");
    }
    return false;
}

bool hmp_register(const Hmp *h, const char *name, uint64_t *value)
{
    static const char *const general[] = { "ax", "cx", "dx", "bx", "sp", "bp", "si", "di" };
    const X86Cpu *c;
    char *end;
    uint64_t n;

    if (!run_state_machine()->vcpus->len)
        return false;
    c = vcpu_cpu(hmp_vcpu(h));
    for (unsigned i = 0; i < G_N_ELEMENTS(general); i++)
        if ((*name == 'e' || *name == 'r') && !strcmp(name + 1, general[i])) {
            *value = *name == 'e' ? (uint32_t)c->gpr[i] : c->gpr[i];
            return true;
        }
    n = *name == 'r' ? g_ascii_strtoull(name + 1, &end, 10) : 0;
    if (n >= 8 && n < 16 && !*end) {
        *value = c->gpr[n];
        return true;
    }
    if (!strcmp(name, "eip") || !strcmp(name, "rip") || !strcmp(name, "pc"))
        *value = (*name == 'p' ? c->segment[X86_CS].base : 0) + c->rip;
    else if (!strcmp(name, "eflags"))
        *value = c->flags;
    else if (!strcmp(name, "sp") || !strcmp(name, "fp"))
        *value = c->gpr[*name == 's' ? X86_RSP : X86_RBP];
    else
        return segment_register(c, name, value);
    return true;
}
