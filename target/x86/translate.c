/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where blocks are kept and found, what makes them invalid, and the loop that runs them.
 *
 * A block is known by the linear and the physical address of its first instruction and by its key,
 * what its code takes for granted of the processor. It is made of one page and jumps without asking
 * only to blocks of the same page, for which the same mapping holds. All other jumps look into
 * X86Cpu.jumps, which has a table for each key and is emptied when mappings change; every
 * instruction that changes a mapping or the key ends in the loop.
 *
 * A block whose bytes are written to is dead: it leads to its place in that table. When the loop
 * comes to it again its bytes are compared with a copy, and it lives on if they are the same.
 */
#include "target/x86/access.h"
#include "target/x86/debug.h"
#include "target/x86/generate.h"
#include "target/x86/interpret.h"
#include "target/x86/log.h"
#include "target/x86/x87.h"
#include <string.h>

enum { HASHES = 1 << 14 };

/* The blocks made of a page. */
typedef struct {
    uint64_t physical;
    uint64_t granules; /* a bit for each 64 bytes that live blocks may be made of */
    X86Block *blocks;
    unsigned live;
} CodePage;

/* A code segment outside 64-bit mode. */
typedef struct {
    uint64_t base, limit;
} CodeRange;

typedef struct X86Translator {
    CodeMemory code;
    X86Stubs stubs;
    uint8_t *blocks_start;
    GHashTable *pages; /* physical page number to CodePage */
    X86Block *hashed[HASHES];
    X86Key keys[X86_KEYS]; /* of the tables of X86Cpu.jumps */
    CodeRange code_range[X86_KEYS]; /* the code segment for which they hold */
    unsigned key_count;
    unsigned slot; /* of the key that ran last */
    bool hit; /* code has been written to */
    X86CodePages *own_pages; /* if the machine gave none */
    X86Mail mail;
} X86Translator;

/* ---- keys ------------------------------------------------------------------------------------ */

X86Key x86_key(const X86Cpu *cpu)
{
    bool on = !(cpu->cr0 & (X86_CR0_EM | X86_CR0_TS));
    X86Key k = { .all = 0 };

    k.table = x86_fast_table(cpu);
    k.bits = cpu->mode.bits;
    k.stack = cpu->stack_size;
    k.flat = cpu->mode.bits == 64 ? 0 : cpu->flat;
    k.is_v86 = x86_is_v86(cpu);
    k.is_protected = !x86_is_real(cpu) && !k.is_v86;
    k.is_supervisor = !cpu->cpl;
    k.sse = on && cpu->cr4 & X86_CR4_OSFXSR;
    k.sse_float = k.sse && (cpu->mxcsr & 0x1f80) == 0x1f80;
    k.avx = k.sse && cpu->cr4 & X86_CR4_OSXSAVE && (cpu->xcr0 & 6) == 6 && x86_host_has_avx();
    k.counts = cpu->counts;
    k.x87 = on && (cpu->x87.control & X87_EXCEPTIONS) == X87_EXCEPTIONS &&
            !(cpu->x87.status & X87_ES);
    return k;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

static gpointer page_key(uint64_t physical)
{
    return (gpointer)(uintptr_t)(physical >> 12);
}

static CodePage *page_of(const X86Translator *t, uint64_t physical)
{
    return g_hash_table_lookup(t->pages, page_key(physical));
}

static X86Block **hash_slot(X86Translator *t, uint64_t physical, uint64_t rip)
{
    uint64_t hash = (physical ^ rip >> 12) * UINT64_C(0x9e3779b97f4a7c15);

    return &t->hashed[hash >> 50 & (HASHES - 1)];
}

bool x86_has_code(const X86Cpu *cpu, uint64_t physical)
{
    return cpu->code_pages && x86_code_pages_has(cpu->code_pages, physical);
}

static void kill_block(X86Cpu *cpu, CodePage *p, X86Block *b)
{
    X86Translator *t = cpu->translator;
    X86Jump *j;

    if (b->is_dead)
        return;
    b->is_dead = true;
    x86_generate_kill(b);
    for (unsigned i = 0; i < t->key_count; i++) {
        j = x86_jump_slot(cpu, i, b->rip);
        if (j->code == b->code)
            j->rip = X86_NO_JUMP;
    }
    if (--p->live == 0)
        x86_code_pages_unwatch(cpu->code_pages, p->physical);
    t->hit = true;
    cpu->chain_from = NULL;
}

static uint64_t granules_of(uint64_t from, size_t len)
{
    unsigned first = from / 64 & 63, count = (from % 64 + MAX(len, 1) + 63) / 64;

    return (count < 64 ? (UINT64_C(1) << count) - 1 : UINT64_MAX) << first;
}

/* Kills what has been made of @len bytes from @from of the page. */
static void kill_range(X86Cpu *cpu, CodePage *p, uint64_t from, size_t len)
{
    uint64_t left = 0;

    if (!(p->granules & granules_of(from, len)))
        return;
    for (X86Block *b = p->blocks; b && p->live; b = b->next) {
        if (b->physical < from + len && from < b->physical + b->length)
            kill_block(cpu, p, b);
        else if (!b->is_dead)
            left |= granules_of(b->physical, b->length);
    }
    p->granules = left;
}

void x86_code_changed(X86Cpu *cpu, uint64_t physical, size_t len)
{
    CodePage *p;

    if (!x86_has_code(cpu, physical))
        return;
    p = cpu->translator ? page_of(cpu->translator, physical) : NULL;
    if (p)
        kill_range(cpu, p, physical, len);
    if (x86_code_pages_are_shared(cpu->code_pages) && x86_has_code(cpu, physical))
        x86_code_pages_tell(cpu->code_pages, cpu, (X86Letter){ .page = physical & ~UINT64_C(4095),
                                                               .was_written = true });
}

static void kill_all(X86Cpu *cpu)
{
    GHashTableIter i;
    gpointer p;

    g_hash_table_iter_init(&i, cpu->translator->pages);
    while (g_hash_table_iter_next(&i, NULL, &p))
        kill_range(cpu, p, ((CodePage *)p)->physical, 4096);
}

/* Empties the code buffer. Not while code in it is running. */
static void drop_all(X86Cpu *cpu)
{
    X86Translator *t = cpu->translator;

    kill_all(cpu);
    g_hash_table_remove_all(t->pages);
    memset(t->hashed, 0, sizeof(t->hashed));
    x86_jumps_flush(cpu);
    code_memory_reset(&t->code, t->blocks_start);
    t->key_count = 0;
}

void x86_forget_code(X86Cpu *cpu)
{
    if (cpu->translator)
        drop_all(cpu);
}

/* The page is no longer written to without asking. */
static void protect(X86Cpu *cpu, uint64_t page)
{
    const uint8_t *host = memory_map_host(cpu->memory, page, true);

    if (host && x86_fast_protect(cpu, host))
        x86_code_pages_tell(cpu->code_pages, cpu, (X86Letter){ .page = page, .was_written = true });
}

void x86_take_code_mail(X86Cpu *cpu)
{
    X86Translator *t = cpu->translator;
    X86Mail mail;

    __atomic_and_fetch(&cpu->events, ~(uint32_t)X86_EVENT_CODE, __ATOMIC_ACQ_REL);
    if (!t)
        return;
    mail = x86_code_pages_collect(cpu->code_pages, &t->mail);
    for (unsigned i = 0; i < mail.count; i++) {
        CodePage *p = page_of(t, mail.letter[i].page);

        if (!mail.letter[i].was_written)
            protect(cpu, mail.letter[i].page);
        else if (p)
            kill_range(cpu, p, p->physical, 4096);
    }
    if (mail.all_written)
        kill_all(cpu);
    if (mail.all_watched) {
        x86_tlb_flush(cpu);
        x86_code_pages_tell_all(cpu->code_pages, cpu);
    }
}

/* ---- finding blocks -------------------------------------------------------------------------- */

static CodePage *make_page(X86Translator *t, uint64_t physical)
{
    CodePage *p = page_of(t, physical);

    if (!p) {
        p = g_new0(CodePage, 1);
        p->physical = physical & ~UINT64_C(4095);
        g_hash_table_insert(t->pages, page_key(physical), p);
    }
    return p;
}

/* One more of the page's blocks may run: from now on writes to it must be seen. */
static void count_live(X86Cpu *cpu, CodePage *p, X86Place place)
{
    if (p->live++)
        return;
    x86_code_pages_watch(cpu->code_pages, cpu, p->physical);
    x86_fast_protect(cpu, place.host - (place.physical & 4095));
}

static CodeRange code_range(const X86Cpu *cpu)
{
    const X86Segment *cs = &cpu->segment[X86_CS];

    return cpu->mode.bits == 64 ? (CodeRange){ 0, 0 } : (CodeRange){ cs->base, cs->limit };
}

static X86Block *make_block(X86Cpu *cpu, X86Place place)
{
    X86Translator *t = cpu->translator;
    size_t len = 4096 - (place.physical & 4095);
    X86Block **slot = hash_slot(t, place.physical, cpu->rip), *b;
    CodePage *p;

    if (code_memory_left(&t->code) < X86_BLOCK_BYTES)
        return NULL;
    p = make_page(t, place.physical);
    /* Watched before it is read: what another processor writes in between is not missed. */
    count_live(cpu, p, place);
    if (cpu->mode.bits != 64)
        len = MIN(len, code_range(cpu).limit - cpu->rip + 1);
    b = x86_generate_block(&t->code, cpu, &t->stubs, t->keys[t->slot], t->slot, place.host, len);
    b->physical = place.physical;
    if (x86_logs(X86_LOG_IN_ASM))
        x86_log_hook->translated(cpu, place.host, b->length);
    if (x86_logs(X86_LOG_OUT_ASM))
        x86_log_hook->generated(cpu, b->code, t->code.at - b->code);
    p->granules |= granules_of(b->physical, b->length);
    b->next = p->blocks;
    p->blocks = b;
    b->next_hashed = *slot;
    *slot = b;
    return b;
}

static void unlink_block(X86Block **list, X86Block *b, bool hashed)
{
    while (*list != b)
        list = hashed ? &(*list)->next_hashed : &(*list)->next;
    *list = hashed ? b->next_hashed : b->next;
}

/* Brings a dead block back to life if it is still what stands there; else forgets it. */
static bool revive(X86Cpu *cpu, X86Block *b, X86Place place)
{
    X86Translator *t = cpu->translator;
    CodePage *p = page_of(t, b->physical);

    count_live(cpu, p, place);
    if (memcmp(b->guest, place.host, b->length) == 0) {
        x86_generate_revive(b);
        b->is_dead = false;
        p->granules |= granules_of(b->physical, b->length);
        return true;
    }
    if (--p->live == 0)
        x86_code_pages_unwatch(cpu->code_pages, p->physical);
    unlink_block(hash_slot(t, b->physical, b->rip), b, true);
    unlink_block(&p->blocks, b, false);
    return false;
}

/* The block for RIP, made if there is none; NULL if the instruction there must be interpreted. */
static X86Block *find_block(X86Cpu *cpu)
{
    X86Translator *t = cpu->translator;
    CodeRange code = code_range(cpu);
    uint64_t linear = x86_code_address(cpu);
    X86Block *b, *next;
    X86Place place;

    if (cpu->mode.bits == 64 ? !x86_is_canonical(cpu->rip) : cpu->rip > code.limit)
        return NULL;
    place = x86_place(cpu, linear, 1, X86_FETCH, X86_BY_PROGRAM);
    if (!place.host || !x86_code_pages_covers(place.physical))
        return NULL;
    for (b = *hash_slot(t, place.physical, cpu->rip); b; b = next) {
        next = b->next_hashed;
        if (b->rip == cpu->rip && b->physical == place.physical && b->base == code.base &&
            b->limit == code.limit && b->key.all == t->keys[t->slot].all &&
            (!b->is_dead || revive(cpu, b, place)))
            break;
    }
    if (!b)
        b = make_block(cpu, place);
    if (b && !x86_logs(X86_LOG_NOCHAIN))
        x86_note_jump(cpu, t->slot, (X86Jump){ b->rip, b->code }, linear, place.is_global);
    return b;
}

/* ---- the state that translated code has in other places -------------------------------------- */

static void pack_flags(X86Cpu *cpu)
{
    cpu->packed_flags = (cpu->flags & 0xd5) << 8 | X86_FIXED << 8 | !!(cpu->flags & X86_OF);
}

static void unpack_flags(X86Cpu *cpu)
{
    cpu->flags = (cpu->flags & ~X86_ARITH) | (cpu->packed_flags >> 8 & 0xd5) |
                 (cpu->packed_flags & 1 ? X86_OF : 0);
}

/* Where things stand in what fnsave writes. */
enum { IMAGE_CONTROL = 0, IMAGE_STATUS = 4, IMAGE_TAGS = 8, IMAGE_ST = 28, IMAGE_NUMBER = 10 };

static void pack_x87(X86Cpu *cpu)
{
    const X87 *f = &cpu->x87;
    uint8_t *image = cpu->x87_image;
    uint16_t status = x87_status(f), tags = x87_tags(f);

    memset(image, 0, IMAGE_ST);
    memcpy(image + IMAGE_CONTROL, &f->control, 2);
    memcpy(image + IMAGE_STATUS, &status, 2);
    memcpy(image + IMAGE_TAGS, &tags, 2);
    for (unsigned i = 0; i < 8; i++) {
        const X87Number *n = &f->r[(f->top + i) & 7];

        memcpy(image + IMAGE_ST + IMAGE_NUMBER * i, &n->mantissa, 8);
        memcpy(image + IMAGE_ST + IMAGE_NUMBER * i + 8, &n->sign_exponent, 2);
    }
}

static void unpack_x87(X86Cpu *cpu)
{
    X87 *f = &cpu->x87;
    const uint8_t *image = cpu->x87_image;
    uint16_t status, tags;

    if (!cpu->x87_saved)
        return;
    cpu->x87_saved = false;
    memcpy(&f->control, image + IMAGE_CONTROL, 2);
    memcpy(&status, image + IMAGE_STATUS, 2);
    memcpy(&tags, image + IMAGE_TAGS, 2);
    f->top = status >> 11 & 7;
    f->status = status & ~(7 << 11);
    f->in_use = 0;
    for (unsigned i = 0; i < 8; i++) {
        X87Number *n = &f->r[(f->top + i) & 7];

        memcpy(&n->mantissa, image + IMAGE_ST + IMAGE_NUMBER * i, 8);
        memcpy(&n->sign_exponent, image + IMAGE_ST + IMAGE_NUMBER * i + 8, 2);
        if ((tags >> 2 * i & 3) != 3)
            f->in_use |= 1 << i;
    }
}

/* ---- running --------------------------------------------------------------------------------- */

/* True if @in, which does not end a block, may change what the key says. */
static bool may_change_key(const X86Insn *in)
{
    switch (x86_operations[in->op].class_) {
    case X86_C_SYSTEM:
    case X86_C_FPSTATE:
    case X86_C_X87:
        return true;
    default:
        return false;
    }
}

/* True if the block cannot go on at @next after @in was interpreted. */
static bool must_leave(const X86Cpu *cpu, const X86Insn *in, uint64_t next)
{
    const X86Translator *t = cpu->translator;

    return in->attributes & X86_A_ENDS_BLOCK || cpu->rip != next || t->hit || cpu->debug.is_hit ||
           __atomic_load_n(&cpu->events, __ATOMIC_RELAXED) != cpu->ignored ||
           (may_change_key(in) && x86_key(cpu).all != t->keys[t->slot].all);
}

/* A block is left before its end: what it has not executed goes back to the budget. */
static void give_back(X86Cpu *cpu)
{
    cpu->left += cpu->untouched;
    cpu->untouched = 0;
}

/* Interprets one instruction of a block. 1: the block cannot go on. */
static int step(X86Cpu *cpu, uint64_t rip)
{
    X86Translator *t = cpu->translator;
    const X86Insn *in;
    uint64_t next;

    unpack_flags(cpu);
    unpack_x87(cpu);
    cpu->rip = rip;
    t->hit = false;
    if (__atomic_load_n(&cpu->events, __ATOMIC_RELAXED) & X86_EVENT_CODE)
        x86_take_code_mail(cpu);
    in = x86_fetch(cpu);
    next = rip + in->length;
    x86_execute(cpu, in);
    pack_flags(cpu);
    if (must_leave(cpu, in, next)) {
        give_back(cpu);
        return 1;
    }
    cpu->untouched = 0;
    return 0;
}

/*
 * What blocks do not look at is left to the interpreter: traps, breakpoints, checks of alignment.
 */
static bool can_run_blocks(const X86Cpu *cpu)
{
    bool aligned = cpu->cpl == 3 && cpu->flags & X86_AC && cpu->cr0 & X86_CR0_AM;

    return cpu->translator && !(cpu->flags & (X86_TF | X86_RF)) &&
           !cpu->shadow && !(cpu->dr[7] & 0xff) && !aligned &&
           (!cpu->counts || cpu->left >= X86_BLOCK_INSNS);
}

/* A table holds for one code segment at a time: the same offset leads elsewhere in another one. */
static void choose_code_range(X86Cpu *cpu)
{
    X86Translator *t = cpu->translator;
    CodeRange now = code_range(cpu), *had = &t->code_range[t->slot];

    if (now.base == had->base && now.limit == had->limit)
        return;
    *had = now;
    x86_jumps_flush_key(cpu, t->slot);
    cpu->chain_from = NULL;
}

/* Chooses the table of jumps for the state the processor is in. */
static void choose_key(X86Cpu *cpu)
{
    X86Translator *t = cpu->translator;
    X86Key key = x86_key(cpu);

    if (t->key_count && t->keys[t->slot].all == key.all)
        return;
    cpu->chain_from = NULL;
    for (t->slot = 0; t->slot < t->key_count; t->slot++)
        if (t->keys[t->slot].all == key.all)
            return;
    if (t->key_count == X86_KEYS)
        drop_all(cpu);
    t->slot = t->key_count++;
    t->keys[t->slot] = key;
}

/* NULL: the instruction is to be interpreted. */
static const uint8_t *find_code(X86Cpu *cpu)
{
    X86Translator *t = cpu->translator;
    const X86Jump *j = x86_jump_slot(cpu, t->slot, cpu->rip);
    uint8_t *from = x86_logs(X86_LOG_NOCHAIN) ? NULL : cpu->chain_from;
    X86Block *b;

    if (j->rip == cpu->rip && !from)
        return j->code;
    if (code_memory_left(&t->code) < X86_BLOCK_BYTES) {
        drop_all(cpu);
        choose_key(cpu);
        choose_code_range(cpu);
        from = NULL;
    }
    cpu->chain_from = NULL;
    b = find_block(cpu);
    if (b && from)
        x86_generate_chain(from, b, !x86_code_pages_are_shared(cpu->code_pages));
    return b ? b->code : NULL;
}

static void run_one(X86Cpu *cpu)
{
    if (cpu->counts)
        cpu->left--;
    x86_step(cpu);
}

static void run_block(X86Cpu *cpu)
{
    void (*enter)(const uint8_t *code);
    const uint8_t *code;

    if (cpu->mode.bits != 64)
        x86_find_bounds(cpu);
    choose_key(cpu);
    cpu->has_wide = cpu->translator->keys[cpu->translator->slot].avx;
    choose_code_range(cpu);
    code = find_code(cpu);
    if (!code) {
        run_one(cpu);
        return;
    }
    memcpy(&enter, &cpu->translator->stubs.enter, sizeof(enter));
    pack_flags(cpu);
    enter(code);
    unpack_flags(cpu);
    unpack_x87(cpu);
}

/* The events that cannot be served before the processor's own state changes. */
static uint32_t ignorable(const X86Cpu *cpu)
{
    return (cpu->flags & X86_IF ? 0 : X86_EVENT_INTERRUPT) |
           (cpu->nmi_blocked ? X86_EVENT_NMI : 0);
}

static X86Exit run(X86Cpu *cpu)
{
    jmp_buf trap;

    cpu->trap = &trap;
    cpu->chain_from = NULL;
    if (setjmp(trap)) {
        cpu->chain_from = NULL;
        give_back(cpu);
        if (cpu->stop_at_exceptions)
            return X86_EXCEPTION;
        if (!x86_handle(cpu))
            return X86_SHUTDOWN;
    }
    for (;;) {
        uint32_t events = __atomic_load_n(&cpu->events, __ATOMIC_RELAXED);

        if (events & ~ignorable(cpu)) {
            cpu->chain_from = NULL;
            if (!x86_take_events(cpu))
                return X86_RAN;
            events = __atomic_load_n(&cpu->events, __ATOMIC_RELAXED);
        }
        if (cpu->debug.is_hit || (cpu->debug.breaks && x86_debug_is_at_break(cpu)))
            return X86_DEBUGGED;
        if (cpu->halted)
            return X86_HALTED;
        if (cpu->counts && !cpu->left)
            return X86_RAN;
        cpu->ignored = events & ignorable(cpu);
        if (x86_logs(X86_LOG_BLOCKS))
            x86_log_hook->block(cpu);
        if (can_run_blocks(cpu))
            run_block(cpu);
        else
            run_one(cpu);
    }
}

X86Exit x86_run(X86Cpu *cpu, uint64_t budget)
{
    uint64_t before = x86_generate_begin(cpu);
    X86Exit why;

    cpu->counts = budget != X86_NO_BUDGET;
    cpu->left = budget;
    cpu->untouched = 0;
    cpu->debug.is_hit = false;
    why = run(cpu);
    x86_generate_end(before);
    return why;
}

/* ---- making one ------------------------------------------------------------------------------ */

bool x86_translator_init(X86Cpu *cpu, size_t size)
{
    X86Translator *t;

    if (!x86_can_generate())
        return false;
    t = g_new0(X86Translator, 1);
    if (!cpu->code_pages)
        cpu->code_pages = t->own_pages = x86_code_pages_new(1);
    if (!cpu->code_pages || !code_memory_init(&t->code, MAX(size, 4 * X86_BLOCK_BYTES))) {
        if (t->own_pages)
            cpu->code_pages = NULL;
        x86_code_pages_free(t->own_pages);
        g_free(t);
        return false;
    }
    t->pages = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    x86_generate_stubs(&t->code, cpu, &t->stubs, step, pack_x87);
    t->blocks_start = t->code.at;
    cpu->translator = t;
    x86_code_pages_join(cpu->code_pages, cpu, &t->mail);
    x86_tlb_flush(cpu);
    return true;
}

void x86_translator_free(X86Cpu *cpu)
{
    X86Translator *t = cpu->translator;

    if (!t)
        return;
    kill_all(cpu);
    x86_code_pages_leave(cpu->code_pages, cpu);
    if (t->own_pages)
        cpu->code_pages = NULL;
    x86_code_pages_free(t->own_pages);
    x86_jumps_flush(cpu);
    cpu->translator = NULL;
    g_hash_table_unref(t->pages);
    code_memory_free(&t->code);
    g_free(t);
}
