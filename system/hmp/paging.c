/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the page tables of a processor map. */
#include "system/base/lock.h"
#include "system/debug.h"
#include "system/hmp/commands.h"
#include "util/endian.h"
#include <inttypes.h>

enum { ENTRY_P = 1, ENTRY_W = 2, ENTRY_U = 4, ENTRY_LARGE = 0x80 };
#define ENTRY_NX (UINT64_C(1) << 63)
#define ENTRY_ADDRESS UINT64_C(0x000ffffffffff000)

/* How the tables of a mode are made: levels from the top, each with the shift of its index. */
typedef struct {
    unsigned levels, top_shift, bits, entry_size;
    uint64_t top;
} Shape;

/* @rights are those of all levels together; @entry is the last. */
typedef void PageFn(void *opaque, uint64_t linear, uint64_t size, uint64_t entry, uint64_t rights);

typedef struct {
    const Machine *m;
    const X86Cpu *c;
    Shape shape;
    PageFn *fn;
    void *opaque;
} Walk;

static bool shape_of(const X86Cpu *c, Shape *s)
{
    if (!(c->cr0 & X86_CR0_PG))
        return false;
    if (c->is_long)
        *s = (Shape){ 4, 39, 9, 8, c->cr3 & ENTRY_ADDRESS };
    else if (c->cr4 & X86_CR4_PAE)
        *s = (Shape){ 3, 30, 9, 8, c->cr3 & 0xffffffe0 };
    else
        *s = (Shape){ 2, 22, 10, 4, c->cr3 & 0xfffff000 };
    return true;
}

static uint64_t entry_at(const Walk *w, uint64_t table, unsigned i)
{
    uint8_t e[8] = { 0 };

    debug_read_physical(w->m, table + (uint64_t)i * w->shape.entry_size, e, w->shape.entry_size);
    return le64_at(e);
}

static bool is_last(const Walk *w, unsigned shift, uint64_t entry)
{
    bool large = w->shape.entry_size == 4 ? w->c->cr4 & X86_CR4_PSE && shift == 22
                                          : shift == 21 || (shift == 30 && w->c->is_long);

    return shift == 12 || (large && entry & ENTRY_LARGE);
}

/* Recursion is as deep as the tables are. */
static void walk(const Walk *w, uint64_t table, unsigned shift, uint64_t linear, uint64_t rights)
{
    bool no_rights = w->shape.levels == 3 && shift == 30; /* entries of PAE's first level */
    unsigned count = no_rights ? 4 : 1u << w->shape.bits;

    for (unsigned i = 0; i < count; i++) {
        uint64_t e = entry_at(w, table, i), at = linear | (uint64_t)i << shift;
        uint64_t both = no_rights ? rights : (rights & e & (ENTRY_W | ENTRY_U)) |
                                             ((rights | e) & ENTRY_NX);

        if (!(e & ENTRY_P))
            continue;
        if (w->shape.top_shift == 39 && shift == 39 && i >= 256)
            at |= UINT64_C(0xffff000000000000);
        if (is_last(w, shift, e))
            w->fn(w->opaque, at, UINT64_C(1) << shift, e, both);
        else
            walk(w, e & ENTRY_ADDRESS, shift - w->shape.bits, at, both);
    }
}

static CO void walk_all(Hmp *h, PageFn *fn, void *opaque, void (*finish)(void *opaque))
{
    Vcpu *v = hmp_vcpu(h);
    Walk w = { vcpu_machine(v), vcpu_cpu(v), { 0 }, fn, opaque };

    if (!hmp_begin_look(h))
        return;
    if (!shape_of(w.c, &w.shape))
        g_string_append(h->out, "PG disabled\n");
    else
        walk(&w, w.shape.top, w.shape.top_shift, 0, ENTRY_W | ENTRY_U);
    if (finish)
        finish(opaque);
    debug_end();
}

/* ---- info mem -------------------------------------------------------------------------------- */

typedef struct {
    GString *out;
    uint64_t start, end; /* a range of one kind; empty: none yet */
    uint64_t rights;
    int digits;
} Ranges;

static void end_range(void *opaque)
{
    Ranges *r = opaque;

    if (r->end != r->start)
        g_string_append_printf(r->out, "%0*" PRIx64 "-%0*" PRIx64 " %0*" PRIx64 " %cr%c\n",
                               r->digits, r->start, r->digits, r->end, r->digits, r->end - r->start,
                               r->rights & ENTRY_U ? 'u' : '-', r->rights & ENTRY_W ? 'w' : '-');
    r->start = r->end;
}

static void add_page(void *opaque, uint64_t linear, uint64_t size, uint64_t entry, uint64_t rights)
{
    Ranges *r = opaque;
    uint64_t kind = rights & (ENTRY_W | ENTRY_U);

    if (r->end != linear || r->rights != kind || r->end == r->start) {
        end_range(r);
        r->start = linear;
        r->rights = kind;
    }
    r->end = linear + size;
}

HMP_COMMAND(hmp_info_mem)
{
    Ranges r = { .out = h->out };

    if (!hmp_has_vcpu(h))
        return;
    r.digits = vcpu_cpu(hmp_vcpu(h))->is_long ? 16 : 8;
    walk_all(h, add_page, &r, end_range);
}

/* ---- info tlb -------------------------------------------------------------------------------- */

static void show_page(void *opaque, uint64_t linear, uint64_t size, uint64_t entry, uint64_t rights)
{
    static const struct {
        uint64_t bit;
        char letter;
    } flags[] = { { ENTRY_NX, 'X' }, { 0x100, 'G' }, { ENTRY_LARGE, 'P' }, { 0x40, 'D' },
                  { 0x20, 'A' }, { 0x10, 'C' }, { 8, 'T' }, { ENTRY_U, 'U' }, { ENTRY_W, 'W' } };
    GString *out = opaque;

    g_string_append_printf(out, "%016" PRIx64 ": %016" PRIx64 " ", linear,
                           entry & ENTRY_ADDRESS & ~(size - 1));
    for (size_t i = 0; i < G_N_ELEMENTS(flags); i++)
        g_string_append_c(out, entry & flags[i].bit ? flags[i].letter : '-');
    g_string_append_c(out, '\n');
}

HMP_COMMAND(hmp_info_tlb)
{
    if (!hmp_has_vcpu(h))
        return;
    walk_all(h, show_page, h->out, NULL);
}
