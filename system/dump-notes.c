/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/dump-notes.h"
#include "system/vcpu.h"
#include <elf.h>
#include <string.h>

/* Sizes of the contents of notes, and offsets in them. */
enum {
    STATUS_64 = 336, STATUS_64_PID = 32, STATUS_64_REGISTERS = 112,
    STATUS_32 = 144, STATUS_32_PID = 24, STATUS_32_REGISTERS = 72,
    CPU_STATE = 440, CPU_STATE_VERSION = 1,
};

void dump_put(GByteArray *out, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        uint8_t byte = value >> 8 * i;

        g_byte_array_append(out, &byte, 1);
    }
}

bool dump_is_64_bit(const Machine *m)
{
    return vcpu_cpu(m->vcpus->pdata[0])->efer & X86_EFER_LMA;
}

static void put_zeroes(GByteArray *out, guint end)
{
    while (out->len < end)
        dump_put(out, 0, 1);
}

/* Names are padded to 4 bytes, and so is what follows. */
static void begin_note(GByteArray *out, const char *name, unsigned type, unsigned size)
{
    dump_put(out, strlen(name) + 1, 4);
    dump_put(out, size, 4);
    dump_put(out, type, 4);
    g_byte_array_append(out, (const guint8 *)name, strlen(name));
    put_zeroes(out, out->len - strlen(name) + ((strlen(name) + 4) & ~(size_t)3));
}

static void put_status_64(GByteArray *out, const X86Cpu *c, unsigned pid)
{
    const X86Segment *s = c->segment;
    const uint64_t *g = c->gpr;
    const uint64_t registers[] = {
        g[15], g[14], g[13], g[12], g[X86_RBP], g[X86_RBX], g[11], g[10], g[9], g[8], g[X86_RAX],
        g[X86_RCX], g[X86_RDX], g[X86_RSI], g[X86_RDI], 0, c->rip, s[X86_CS].selector, c->flags,
        g[X86_RSP], s[X86_SS].selector, s[X86_FS].base, s[X86_GS].base, s[X86_DS].selector,
        s[X86_ES].selector, s[X86_FS].selector, s[X86_GS].selector,
    };
    guint start;

    begin_note(out, "CORE", NT_PRSTATUS, STATUS_64);
    start = out->len;
    put_zeroes(out, start + STATUS_64_PID);
    dump_put(out, pid, 4);
    put_zeroes(out, start + STATUS_64_REGISTERS);
    for (size_t i = 0; i < G_N_ELEMENTS(registers); i++)
        dump_put(out, registers[i], 8);
    put_zeroes(out, start + STATUS_64);
}

static void put_status_32(GByteArray *out, const X86Cpu *c, unsigned pid)
{
    const X86Segment *s = c->segment;
    const uint64_t *g = c->gpr;
    const uint32_t registers[] = {
        g[X86_RBX], g[X86_RCX], g[X86_RDX], g[X86_RSI], g[X86_RDI], g[X86_RBP], g[X86_RAX],
        s[X86_DS].selector, s[X86_ES].selector, s[X86_FS].selector, s[X86_GS].selector, 0, c->rip,
        s[X86_CS].selector, c->flags, g[X86_RSP], s[X86_SS].selector,
    };
    guint start;

    begin_note(out, "CORE", NT_PRSTATUS, STATUS_32);
    start = out->len;
    put_zeroes(out, start + STATUS_32_PID);
    dump_put(out, pid, 4);
    put_zeroes(out, start + STATUS_32_REGISTERS);
    for (size_t i = 0; i < G_N_ELEMENTS(registers); i++)
        dump_put(out, registers[i], 4);
    put_zeroes(out, start + STATUS_32);
}

static void put_segment(GByteArray *out, const X86Segment *s)
{
    uint32_t limit = s->rights & X86_AR_G ? s->limit >> 12 : s->limit;

    dump_put(out, s->selector, 4);
    dump_put(out, s->limit, 4);
    dump_put(out, (uint32_t)s->rights << 8 | (limit & 0xf0000), 4);
    dump_put(out, 0, 4);
    dump_put(out, s->base, 8);
}

static void put_table(GByteArray *out, const X86Table *t)
{
    put_segment(out, &(X86Segment){ .limit = t->limit, .base = t->base });
}

static void put_cpu_state(GByteArray *out, const X86Cpu *c)
{
    static const uint8_t general[] = {
        X86_RAX, X86_RBX, X86_RCX, X86_RDX, X86_RSI, X86_RDI, X86_RSP, X86_RBP,
        8, 9, 10, 11, 12, 13, 14, 15,
    };
    static const uint8_t segments[] = { X86_CS, X86_DS, X86_ES, X86_FS, X86_GS, X86_SS };
    const uint64_t cr[] = { c->cr0, 0, c->cr2, c->cr3, c->cr4 };

    begin_note(out, "QEMU", 0, CPU_STATE);
    dump_put(out, CPU_STATE_VERSION, 4);
    dump_put(out, CPU_STATE, 4);
    for (size_t i = 0; i < G_N_ELEMENTS(general); i++)
        dump_put(out, c->gpr[general[i]], 8);
    dump_put(out, c->rip, 8);
    dump_put(out, c->flags, 8);
    for (size_t i = 0; i < G_N_ELEMENTS(segments); i++)
        put_segment(out, &c->segment[segments[i]]);
    put_segment(out, &c->ldt);
    put_segment(out, &c->task);
    put_table(out, &c->gdt);
    put_table(out, &c->idt);
    for (size_t i = 0; i < G_N_ELEMENTS(cr); i++)
        dump_put(out, cr[i], 8);
    dump_put(out, c->kernel_gs_base, 8);
}

void dump_put_notes(GByteArray *out, const Machine *m)
{
    for (guint i = 0; i < m->vcpus->len; i++) {
        const X86Cpu *c = vcpu_cpu(m->vcpus->pdata[i]);

        if (dump_is_64_bit(m))
            put_status_64(out, c, i + 1);
        else
            put_status_32(out, c, i + 1);
    }
    for (guint i = 0; i < m->vcpus->len; i++)
        put_cpu_state(out, vcpu_cpu(m->vcpus->pdata[i]));
}
