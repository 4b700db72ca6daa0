/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The page walk and the TLB.
 *
 * The TLB is direct-mapped. An entry keeps the rights of the page, not the answer to one access, so
 * that changes of privilege, CR0.WP, CR4.SMEP, CR4.SMAP and EFLAGS.AC need no flush. Entries carry
 * a PCID; one whose page is not yet dirty has no X86_TLB_DIRTY, and a write then walks again.
 */
#include "target/x86/mmu.h"
#include "system/base/ram-log.h"
#include "target/x86/access.h"
#include "target/x86/debug.h"
#include "target/x86/translate.h"
#include <string.h>

enum {
    X86_TLB_USER = 1,
    X86_TLB_WRITABLE = 2,
    X86_TLB_NO_EXECUTE = 4,
    X86_TLB_DIRTY = 8,
    X86_TLB_GLOBAL = 16,
    X86_TLB_READ_ONLY_HOST = 32, /* host may only be read */
};

enum {
    PTE_P = 1,
    PTE_W = 2,
    PTE_U = 4,
    PTE_A = 1 << 5,
    PTE_D = 1 << 6,
    PTE_PS = 1 << 7,
    PTE_G = 1 << 8,
};
#define PTE_NX (UINT64_C(1) << 63)
#define PTE_ADDRESS UINT64_C(0x000ffffffffff000)
#define PAGE_MASK UINT64_C(0xfff)

/* One way of paging: how many levels, how large an entry, how many bits a level has. */
typedef struct {
    unsigned levels, entry_size, bits;
} Format;

static const Format format_32 = { 2, 4, 10 }, format_pae = { 2, 8, 9 }, format_long = { 4, 8, 9 };

/* The result of a walk. */
typedef struct {
    uint64_t physical; /* of the 4 KiB page */
    uint8_t rights;
    uint8_t shift; /* of the page that maps it: 12 for 4 KiB */
    uint32_t error; /* PFE_P, PFE_RSVD if it failed */
    bool found;
} Walk;

static uint64_t reserved_bits(const X86Cpu *cpu, const Format *f, unsigned level, uint64_t entry)
{
    uint64_t reserved = 0;

    if (f->entry_size == 4) {
        /* PSE: bits 13 to 20 hold address bits 32 to 39. */
        if (level && entry & PTE_PS)
            reserved = 1 << 21 | (cpu->physical_bits < 40 ?
                                  0x1fe000 & (~0u << (cpu->physical_bits - 19)) : 0);
        return reserved & entry;
    }
    reserved = PTE_ADDRESS & ~((UINT64_C(1) << cpu->physical_bits) - 1);
    if (!(cpu->efer & X86_EFER_NXE))
        reserved |= PTE_NX;
    if (f == &format_pae)
        reserved |= UINT64_C(0x7ff) << 52;
    if (entry & PTE_PS) {
        if (level == 3 || (level == 2 && !x86_has(cpu, X86_F_1G_PAGES)))
            reserved |= PTE_PS;
        else if (level)
            reserved |= ((UINT64_C(1) << (12 + level * f->bits)) - 1) & ~UINT64_C(0x1fff);
    }
    return reserved & entry;
}

static uint64_t read_entry(const X86Cpu *cpu, uint64_t at, unsigned size)
{
    return memory_map_read(cpu->memory, at, size);
}

/* Sets @bits in the entry at @at if it is still @entry. False: it changed, walk again. */
static bool set_bits(X86Cpu *cpu, uint64_t at, unsigned size, uint64_t entry, uint64_t bits)
{
    uint8_t *host = memory_map_host(cpu->memory, at, true);

    if ((entry & bits) == bits)
        return true;
    x86_code_changed(cpu, at, size);
    if (!host) {
        memory_map_write(cpu->memory, at, size, entry | bits);
        return true;
    }
    ram_log_note(host);
    if (size == 4) {
        uint32_t expected = GUINT32_TO_LE((uint32_t)entry);

        return __atomic_compare_exchange_n((uint32_t *)host, &expected,
                                           GUINT32_TO_LE((uint32_t)(entry | bits)), false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    entry = GUINT64_TO_LE(entry);
    return __atomic_compare_exchange_n((uint64_t *)host, &entry, entry | GUINT64_TO_LE(bits), false,
                                       __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static const Format *paging_format(const X86Cpu *cpu)
{
    return cpu->is_long ? &format_long : cpu->cr4 & X86_CR4_PAE ? &format_pae : &format_32;
}

/* The physical address of the table a walk starts with; false if PAE has none. */
static bool walk_root(const X86Cpu *cpu, uint64_t linear, uint64_t *table)
{
    if (cpu->is_long) {
        *table = cpu->cr3 & PTE_ADDRESS;
    } else if (cpu->cr4 & X86_CR4_PAE) {
        uint64_t pdpte = cpu->pdpte[linear >> 30 & 3];

        *table = pdpte & PTE_ADDRESS;
        return pdpte & PTE_P;
    } else {
        *table = cpu->cr3 & UINT32_C(0xfffff000);
    }
    return true;
}

/* The 4 KiB page of @linear within the page that @entry, found at @level, maps. */
static uint64_t page_of_entry(const Format *f, unsigned level, uint64_t entry, uint64_t linear)
{
    uint64_t size = UINT64_C(1) << (12 + level * f->bits), base = entry & PTE_ADDRESS;

    if (f->entry_size == 4 && level)
        base = (entry & UINT32_C(0xffc00000)) | (entry & 0x1fe000) << 19;
    return ((base & ~(size - 1)) | (linear & (size - 1))) & ~PAGE_MASK;
}

/* True if @entry at @level maps a page. */
static bool is_leaf(const X86Cpu *cpu, const Format *f, unsigned level, uint64_t entry)
{
    if (!level)
        return true;
    return entry & PTE_PS && (f->entry_size == 8 || cpu->cr4 & X86_CR4_PSE);
}

static bool may_access(const X86Cpu *cpu, unsigned rights, X86Access access, X86By by)
{
    bool user = by == X86_BY_PROGRAM && cpu->cpl == 3;

    if (access == X86_FETCH && rights & X86_TLB_NO_EXECUTE)
        return false;
    if (user)
        return rights & X86_TLB_USER && (access != X86_WRITE || rights & X86_TLB_WRITABLE);
    if (rights & X86_TLB_USER) {
        if (access == X86_FETCH && cpu->cr4 & X86_CR4_SMEP)
            return false;
        if (access != X86_FETCH && cpu->cr4 & X86_CR4_SMAP &&
            !(by == X86_BY_PROGRAM && cpu->flags & X86_AC))
            return false;
    }
    return access != X86_WRITE || rights & X86_TLB_WRITABLE || !(cpu->cr0 & X86_CR0_WP);
}

static uint8_t entry_rights(const X86Cpu *cpu, uint64_t all_of, uint64_t leaf, bool no_execute)
{
    return (all_of & PTE_U ? X86_TLB_USER : 0) | (all_of & PTE_W ? X86_TLB_WRITABLE : 0) |
           (no_execute ? X86_TLB_NO_EXECUTE : 0) |
           (leaf & PTE_G && cpu->cr4 & X86_CR4_PGE ? X86_TLB_GLOBAL : 0) |
           (leaf & PTE_D ? X86_TLB_DIRTY : 0);
}

static unsigned table_index(const Format *f, unsigned level, uint64_t linear)
{
    return linear >> (12 + level * f->bits) & ((1 << f->bits) - 1);
}

/*
 * Walks the tables for @linear. Marks entries accessed, and the page dirty if it is to be written
 * and may be; with @quiet changes nothing.
 */
static Walk walk_once(X86Cpu *cpu, uint64_t linear, X86Access access, X86By by, bool quiet,
                      bool *again)
{
    const Format *f = paging_format(cpu);
    uint64_t all_of = PTE_U | PTE_W, table, at[4], entries[4];
    bool no_execute = false;
    unsigned level = f->levels;
    Walk w = { 0 };

    if (!walk_root(cpu, linear, &table))
        return w;
    for (;;) {
        uint64_t entry;

        level--;
        at[level] = table + table_index(f, level, linear) * f->entry_size;
        entry = entries[level] = read_entry(cpu, at[level], f->entry_size);
        if (!(entry & PTE_P))
            return w;
        if (reserved_bits(cpu, f, level, entry)) {
            w.error = X86_PFE_P | X86_PFE_RSVD;
            return w;
        }
        all_of &= entry;
        no_execute |= f->entry_size == 8 && entry & PTE_NX;
        if (is_leaf(cpu, f, level, entry))
            break;
        table = entry & PTE_ADDRESS;
    }
    w.rights = entry_rights(cpu, all_of, entries[level], no_execute);
    w.physical = page_of_entry(f, level, entries[level], linear);
    w.shift = 12 + level * f->bits;
    w.error = X86_PFE_P;
    w.found = true;
    if (quiet || !may_access(cpu, w.rights, access, by))
        return w;
    for (unsigned i = level; i < f->levels; i++) {
        uint64_t bits = PTE_A | (i == level && access == X86_WRITE ? PTE_D : 0);

        *again |= !set_bits(cpu, at[i], f->entry_size, entries[i], bits);
    }
    if (access == X86_WRITE)
        w.rights |= X86_TLB_DIRTY;
    return w;
}

static Walk walk(X86Cpu *cpu, uint64_t linear, X86Access access, X86By by, bool quiet)
{
    bool again;
    Walk w;

    if (!(cpu->cr0 & X86_CR0_PG))
        return (Walk){ .physical = linear & ~PAGE_MASK, .found = true, .shift = 12,
                       .rights = X86_TLB_USER | X86_TLB_WRITABLE | X86_TLB_DIRTY };
    do {
        again = false;
        w = walk_once(cpu, linear, access, by, quiet, &again);
    } while (again);
    return w;
}

static void G_GNUC_NORETURN page_fault(X86Cpu *cpu, uint64_t linear, uint32_t error,
                                       X86Access access,
                                       X86By by)
{
    bool shows_fetch = (cpu->cr4 & X86_CR4_SMEP) ||
                       (cpu->efer & X86_EFER_NXE && cpu->cr4 & X86_CR4_PAE);

    if (access == X86_WRITE)
        error |= X86_PFE_W;
    if (access == X86_FETCH && shows_fetch)
        error |= X86_PFE_I;
    if (by == X86_BY_PROGRAM && cpu->cpl == 3)
        error |= X86_PFE_U;
    cpu->cr2 = linear;
    x86_raise_error(cpu, X86_PF_FAULT, error);
}

static unsigned current_pcid(const X86Cpu *cpu)
{
    return cpu->cr4 & X86_CR4_PCIDE ? cpu->cr3 & 0xfff : 0;
}

static X86TlbEntry *tlb_slot(X86Cpu *cpu, uint64_t linear)
{
    return &cpu->tlb[(linear >> 12) * X86_HASH >> 20 & (X86_TLB_SIZE - 1)];
}

static void note_filled(X86Filled *f, uint64_t what)
{
    if (f->count < X86_FILLED)
        f->what[f->count] = what;
    f->count += f->count <= X86_FILLED;
}

static bool all_known(const X86Filled *f)
{
    return f->count <= X86_FILLED;
}

/* The bit for the page of @linear, of 1 << @shift bytes, in a set of 1024. */
static uint64_t *page_bit(uint64_t set[16], uint64_t linear, unsigned shift, uint64_t *bit)
{
    uint64_t hash = ((linear >> shift) + shift) * UINT64_C(0x9e3779b97f4a7c15) >> 54;

    *bit = UINT64_C(1) << (hash & 63);
    return &set[hash / 64];
}

static void set_page_bit(uint64_t set[16], uint64_t linear, unsigned shift)
{
    uint64_t bit, *word = page_bit(set, linear, shift, &bit);

    *word |= bit;
}

static bool has_page_bit(uint64_t set[16], uint64_t linear, unsigned shift)
{
    uint64_t bit, *word = page_bit(set, linear, shift, &bit);

    return *word & bit;
}

static bool tlb_hit(const X86Cpu *cpu, const X86TlbEntry *e, uint64_t linear)
{
    return e->page == (linear & ~PAGE_MASK) &&
           (e->pcid == current_pcid(cpu) || e->rights & X86_TLB_GLOBAL);
}

/* Fills @e for an @access to @linear; false with the *@error code if that is not allowed. */
static bool tlb_try_fill(X86Cpu *cpu, X86TlbEntry *e, uint64_t linear, X86Access access, X86By by,
                         uint32_t *error)
{
    Walk w = walk(cpu, linear, access, by, false);

    if (!w.found || !may_access(cpu, w.rights, access, by)) {
        /* A translation that leads to a fault is not kept: the next try walks again. */
        if (e->page == (linear & ~PAGE_MASK))
            x86_tlb_flush_page(cpu, linear);
        *error = w.error;
        return false;
    }
    *e = (X86TlbEntry){ .page = linear & ~PAGE_MASK, .physical = w.physical,
                        .pcid = current_pcid(cpu), .rights = w.rights };
    if (w.shift > 12)
        set_page_bit(cpu->large_pages, linear, w.shift);
    note_filled(w.rights & X86_TLB_GLOBAL ? &cpu->tlb_global : &cpu->tlb_filled, e->page);
    e->host = memory_map_host(cpu->memory, w.physical, true);
    if (!e->host) {
        e->host = memory_map_host(cpu->memory, w.physical, false);
        if (e->host)
            e->rights |= X86_TLB_READ_ONLY_HOST;
    }
    return true;
}

/* The entry for an @access to @linear; NULL with the *@error code if that is not allowed. */
static X86TlbEntry *tlb_find(X86Cpu *cpu, uint64_t linear, X86Access access, X86By by,
                             uint32_t *error)
{
    X86TlbEntry *e = tlb_slot(cpu, linear);

    if (tlb_hit(cpu, e, linear) && may_access(cpu, e->rights, access, by) &&
        (access != X86_WRITE || e->rights & X86_TLB_DIRTY))
        return e;
    return tlb_try_fill(cpu, e, linear, access, by, error) ? e : NULL;
}

unsigned x86_fast_table(const X86Cpu *cpu)
{
    if (cpu->cpl == 3)
        return X86_FAST_USER;
    return cpu->cr4 & X86_CR4_SMAP && cpu->flags & X86_AC ? X86_FAST_LET : X86_FAST_SYSTEM;
}

/*
 * Lets translated code use the page of @e, unless the answer depends on more than the table says,
 * or writes to it must be seen because there is code on it.
 */
static void note_access(X86Cpu *cpu, const X86TlbEntry *e, X86Access access, X86By by)
{
    unsigned table = x86_fast_table(cpu);
    bool write = access == X86_WRITE;
    X86FastEntry f = { .page = e->page, .add = (uintptr_t)e->host - e->page };

    if (access == X86_FETCH || by != X86_BY_PROGRAM || !e->host)
        return;
    if (cpu->debug.watches && x86_debug_watches_page(cpu, e->page))
        return;
    if (write && (e->rights & X86_TLB_READ_ONLY_HOST || x86_has_code(cpu, e->physical)))
        return;
    if (table == X86_FAST_SYSTEM && cpu->cr4 & X86_CR4_SMAP && e->rights & X86_TLB_USER)
        return;
    *x86_fast_slot(cpu, table, write, e->page) = f;
    if (x86_behind_slot(cpu, table, write, e->page)->page == e->page)
        return;
    *x86_behind_slot(cpu, table, write, e->page) = f;
    note_filled(e->rights & X86_TLB_GLOBAL ? &cpu->fast_global : &cpu->fast_filled,
                e->page | table << 1 | write);
}

bool x86_fast_fill(X86Cpu *cpu, uint64_t linear, bool write)
{
    X86Access access = write ? X86_WRITE : X86_READ;
    unsigned table = x86_fast_table(cpu);
    uint64_t page = linear & ~PAGE_MASK;
    uint32_t error;
    X86TlbEntry *e;

    /* Elsewhere it has been looked at before an address comes here. */
    if (cpu->is_long && !x86_is_canonical(linear))
        return false;
    e = tlb_find(cpu, linear, access, X86_BY_PROGRAM, &error);
    if (!e)
        return false;
    note_access(cpu, e, access, X86_BY_PROGRAM);
    if (write && e->host)
        ram_log_note(e->host);
    return x86_behind_slot(cpu, table, write, page)->page == page;
}

X86Place x86_place(X86Cpu *cpu, uint64_t linear, size_t len, X86Access access, X86By by)
{
    uint64_t within = linear & PAGE_MASK;
    uint32_t error;
    X86TlbEntry *e = tlb_find(cpu, linear, access, by, &error);

    if (!e)
        page_fault(cpu, linear, error, access, by);
    if (access == X86_WRITE && e->host)
        ram_log_note(e->host);
    if (access == X86_WRITE)
        x86_code_changed(cpu, e->physical | within, len);
    if (cpu->translator)
        note_access(cpu, e, access, by);
    return (X86Place){
        .physical = e->physical | within,
        .host = e->host && !(access == X86_WRITE && e->rights & X86_TLB_READ_ONLY_HOST)
                    ? e->host + within : NULL,
        .is_global = e->rights & X86_TLB_GLOBAL,
    };
}

bool x86_translate(X86Cpu *cpu, uint64_t linear, uint64_t *physical)
{
    Walk w = walk(cpu, linear, X86_READ, X86_BY_SYSTEM, true);

    *physical = w.physical | (linear & PAGE_MASK);
    return w.found;
}

/* ---- bytes and numbers ----------------------------------------------------------------------- */

/* The linear address after @linear, which has 32 bits outside long mode. */
static uint64_t linear_add(const X86Cpu *cpu, uint64_t linear, uint64_t n)
{
    return cpu->is_long ? linear + n : (uint32_t)(linear + n);
}

/* Registers of devices see the widest naturally aligned accesses. */
static unsigned mmio_step(uint64_t physical, size_t len)
{
    unsigned size = 8;

    while (size > len || physical & (size - 1))
        size /= 2;
    return size;
}

static void place_read(X86Cpu *cpu, X86Place p, uint8_t *to, size_t len)
{
    if (p.host) {
        memcpy(to, p.host, len);
        return;
    }
    while (len) {
        unsigned size = mmio_step(p.physical, len);
        uint64_t v = GUINT64_TO_LE(memory_map_read(cpu->memory, p.physical, size));

        memcpy(to, &v, size);
        to += size;
        p.physical += size;
        len -= size;
    }
}

static void place_write(X86Cpu *cpu, X86Place p, const uint8_t *from, size_t len)
{
    if (p.host) {
        memcpy(p.host, from, len);
        return;
    }
    while (len) {
        unsigned size = mmio_step(p.physical, len);
        uint64_t v = 0;

        memcpy(&v, from, size);
        memory_map_write(cpu->memory, p.physical, size, GUINT64_FROM_LE(v));
        from += size;
        p.physical += size;
        len -= size;
    }
}

static size_t part_on_page(uint64_t linear, size_t len)
{
    return MIN(len, 4096 - (linear & PAGE_MASK));
}

void x86_read_linear(X86Cpu *cpu, uint64_t linear, void *to, size_t len, X86By by)
{
    size_t part = part_on_page(linear, len);
    X86Place p = x86_place(cpu, linear, part, X86_READ, by);

    if (part == len) {
        place_read(cpu, p, to, len);
    } else {
        X86Place next = x86_place(cpu, linear_add(cpu, linear, part), len - part, X86_READ, by);

        place_read(cpu, p, to, part);
        place_read(cpu, next, (uint8_t *)to + part, len - part);
    }
}

void x86_write_linear(X86Cpu *cpu, uint64_t linear, const void *from, size_t len, X86By by)
{
    size_t part = part_on_page(linear, len);
    X86Place p = x86_place(cpu, linear, part, X86_WRITE, by);

    if (part == len) {
        place_write(cpu, p, from, len);
    } else {
        X86Place next = x86_place(cpu, linear_add(cpu, linear, part), len - part, X86_WRITE, by);

        place_write(cpu, p, from, part);
        place_write(cpu, next, (const uint8_t *)from + part, len - part);
    }
}

void x86_probe_write(X86Cpu *cpu, uint64_t linear, size_t len, X86By by)
{
    size_t part = part_on_page(linear, len);

    x86_place(cpu, linear, part, X86_WRITE, by);
    if (part < len)
        x86_place(cpu, linear_add(cpu, linear, part), len - part, X86_WRITE, by);
}

uint64_t x86_load_linear(X86Cpu *cpu, uint64_t linear, unsigned size, X86By by)
{
    uint64_t v = 0;

    x86_read_linear(cpu, linear, &v, size, by);
    return GUINT64_FROM_LE(v);
}

void x86_store_linear(X86Cpu *cpu, uint64_t linear, unsigned size, uint64_t value, X86By by)
{
    value = GUINT64_TO_LE(value);
    x86_write_linear(cpu, linear, &value, size, by);
}

/* ---- flushing -------------------------------------------------------------------------------- */

static const X86FastEntry no_page = { UINT64_MAX, 0 };

static void jumps_clear(X86Cpu *cpu, X86Filled *f)
{
    for (unsigned i = 0; i < f->count; i++)
        for (unsigned key = 0; key < X86_KEYS; key++)
            x86_jump_slot(cpu, key, f->what[i])->rip = X86_NO_JUMP;
    f->count = 0;
}

void x86_jumps_flush(X86Cpu *cpu)
{
    if (all_known(&cpu->jumps_filled) && all_known(&cpu->jumps_global)) {
        jumps_clear(cpu, &cpu->jumps_filled);
        jumps_clear(cpu, &cpu->jumps_global);
    } else {
        for (unsigned i = 0; i < X86_KEYS * X86_JUMPS; i++)
            cpu->jumps[i / X86_JUMPS][i % X86_JUMPS].rip = X86_NO_JUMP;
        cpu->jumps_filled.count = cpu->jumps_global.count = 0;
    }
    memset(cpu->jump_pages, 0, sizeof(cpu->jump_pages));
}

void x86_jumps_flush_key(X86Cpu *cpu, unsigned key)
{
    for (unsigned i = 0; i < X86_JUMPS; i++)
        cpu->jumps[key][i].rip = X86_NO_JUMP;
}

static void jumps_flush_nonglobal(X86Cpu *cpu)
{
    if (all_known(&cpu->jumps_filled))
        jumps_clear(cpu, &cpu->jumps_filled);
    else
        x86_jumps_flush(cpu);
}

void x86_note_jump(X86Cpu *cpu, unsigned key, X86Jump to, uint64_t linear, bool is_global)
{
    *x86_jump_slot(cpu, key, to.rip) = to;
    note_filled(is_global ? &cpu->jumps_global : &cpu->jumps_filled, to.rip);
    set_page_bit(cpu->jump_pages, linear, 12);
}

static void forget_fast(X86Cpu *cpu, unsigned table, bool write, uint64_t page)
{
    *x86_fast_slot(cpu, table, write, page) = no_page;
    *x86_behind_slot(cpu, table, write, page) = no_page;
}

static void fast_clear(X86Cpu *cpu, X86Filled *f)
{
    for (unsigned i = 0; i < f->count; i++)
        forget_fast(cpu, f->what[i] >> 1 & 3, f->what[i] & 1, f->what[i] & ~PAGE_MASK);
    f->count = 0;
}

static void fast_flush(X86Cpu *cpu)
{
    cpu->window.page = X86_NO_JUMP;
    if (all_known(&cpu->fast_filled) && all_known(&cpu->fast_global)) {
        fast_clear(cpu, &cpu->fast_filled);
        fast_clear(cpu, &cpu->fast_global);
    } else {
        memset(cpu->fast, 0xff, sizeof(cpu->fast));
        memset(cpu->behind, 0xff, sizeof(cpu->behind));
        cpu->fast_filled.count = cpu->fast_global.count = 0;
    }
}

static void fast_flush_nonglobal(X86Cpu *cpu)
{
    cpu->window.page = X86_NO_JUMP;
    if (all_known(&cpu->fast_filled))
        fast_clear(cpu, &cpu->fast_filled);
    else
        fast_flush(cpu);
}

bool x86_fast_protect(X86Cpu *cpu, const uint8_t *host)
{
    bool found = false;

    for (unsigned table = 0; table < X86_FASTS; table++) {
        for (unsigned i = 0; i < X86_BEHIND_SIZE; i++) {
            const X86FastEntry *f = &cpu->behind[table][true][i];

            if (f->page == UINT64_MAX || f->page + f->add != (uintptr_t)host)
                continue;
            forget_fast(cpu, table, true, f->page);
            found = true;
        }
        for (unsigned i = 0; i < X86_FAST_SIZE; i++) {
            X86FastEntry *f = &cpu->fast[table][true][i];

            if (f->page == UINT64_MAX || f->page + f->add != (uintptr_t)host)
                continue;
            *f = no_page;
            found = true;
        }
    }
    return found;
}

static void tlb_clear(X86Cpu *cpu, X86Filled *f)
{
    for (unsigned i = 0; i < f->count; i++)
        tlb_slot(cpu, f->what[i])->page = UINT64_MAX;
    f->count = 0;
}

void x86_leave_address_space(X86Cpu *cpu)
{
    fast_flush_nonglobal(cpu);
    jumps_flush_nonglobal(cpu);
}

static void make_tables(X86Cpu *cpu)
{
    X86Filled *lists[] = { &cpu->tlb_filled,  &cpu->tlb_global,   &cpu->fast_filled,
                           &cpu->fast_global, &cpu->jumps_filled, &cpu->jumps_global };

    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++)
        lists[i]->count = X86_FILLED + 1;
    cpu->tables_made = true;
}

void x86_tlb_flush(X86Cpu *cpu)
{
    if (!cpu->tables_made)
        make_tables(cpu);
    fast_flush(cpu);
    x86_jumps_flush(cpu);
    memset(cpu->large_pages, 0, sizeof(cpu->large_pages));
    if (all_known(&cpu->tlb_filled) && all_known(&cpu->tlb_global)) {
        tlb_clear(cpu, &cpu->tlb_filled);
        tlb_clear(cpu, &cpu->tlb_global);
    } else {
        for (unsigned i = 0; i < X86_TLB_SIZE; i++)
            cpu->tlb[i].page = UINT64_MAX;
        cpu->tlb_filled.count = cpu->tlb_global.count = 0;
    }
}

void x86_tlb_flush_local(X86Cpu *cpu, unsigned pcid)
{
    x86_leave_address_space(cpu);
    for (unsigned i = 0; i < X86_TLB_SIZE; i++)
        if (cpu->tlb[i].pcid == pcid && !(cpu->tlb[i].rights & X86_TLB_GLOBAL))
            cpu->tlb[i].page = UINT64_MAX;
}

void x86_tlb_flush_nonglobal(X86Cpu *cpu)
{
    x86_leave_address_space(cpu);
    if (all_known(&cpu->tlb_filled)) {
        tlb_clear(cpu, &cpu->tlb_filled);
        return;
    }
    for (unsigned i = 0; i < X86_TLB_SIZE; i++)
        if (!(cpu->tlb[i].rights & X86_TLB_GLOBAL))
            cpu->tlb[i].page = UINT64_MAX;
    cpu->tlb_filled.count = 0;
}

/*
 * All PCIDs' translations of the page share one slot. Of a larger page there may be many entries.
 */
void x86_tlb_flush_page(X86Cpu *cpu, uint64_t linear)
{
    X86TlbEntry *e = tlb_slot(cpu, linear);
    uint64_t page = linear & ~PAGE_MASK;

    if (has_page_bit(cpu->large_pages, linear, 21) || has_page_bit(cpu->large_pages, linear, 22) ||
        has_page_bit(cpu->large_pages, linear, 30)) {
        x86_tlb_flush(cpu);
        return;
    }
    for (unsigned table = 0; table < X86_FASTS; table++) {
        forget_fast(cpu, table, false, page);
        forget_fast(cpu, table, true, page);
    }
    if (has_page_bit(cpu->jump_pages, linear, 12))
        x86_jumps_flush(cpu);
    if (e->page == page)
        e->page = UINT64_MAX;
    cpu->window.page = X86_NO_JUMP;
}

bool x86_load_pdptes(X86Cpu *cpu, uint64_t cr3)
{
    uint64_t loaded[4];
    uint64_t reserved = UINT64_C(0xfff0000000000000) | 0x1e6 |
                        (PTE_ADDRESS & ~((UINT64_C(1) << cpu->physical_bits) - 1));

    for (unsigned i = 0; i < 4; i++) {
        loaded[i] = read_entry(cpu, (cr3 & UINT32_C(0xffffffe0)) + 8 * i, 8);
        if (loaded[i] & PTE_P && loaded[i] & reserved)
            return false;
    }
    memcpy(cpu->pdpte, loaded, sizeof(loaded));
    return true;
}
