/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host code for x86-64, made in one pass by templates: blocks, what their instructions share, and
 * the code that all blocks share. generate-parts.h says what lives where.
 *
 * Most instructions are the guest's own, with other registers: one template writes them all
 * (generate-integer.c, generate-vector.c). Memory is checked against X86Cpu.fast and then used
 * directly. What has no template, and what the check does not find, is interpreted: the registers
 * go to memory, C is called, they come back.
 *
 * The arithmetic flags are the host's from the instruction that sets them to the one that needs
 * them. They are saved to X86Cpu.packed_flags before something else would change them or may fault;
 * what is overwritten before that is never saved.
 */
#include "target/x86/generate.h"

#if defined(__x86_64__) && defined(__linux__)

#include "target/x86/debug.h"
#include "target/x86/generate-parts.h"
#include "target/x86/interpret.h"
#include <asm/prctl.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { HWCAP2_FSGSBASE = 2 };

/* ---- registers ------------------------------------------------------------------------------- */

HostReg x86_gen_use(Gen *g, unsigned reg, HostReg scratch)
{
    if (!x86_gen_in_memory(reg))
        return x86_gen_pinned(reg);
    emit_load_gs(g->c, scratch, x86_gen_gpr_at(reg));
    return scratch;
}

void x86_gen_at_r8(Gen *g, uint8_t opcode, bool wide, HostReg reg)
{
    emit_rex(g->c, wide, reg, 0, H_R8);
    emit8(g->c, opcode);
    emit_modrm(g->c, 0, reg, H_R8);
}

void x86_gen_load(Gen *g, unsigned size, HostReg to)
{
    if (size >= 4) {
        x86_gen_at_r8(g, 0x8b, size == 8, to);
        return;
    }
    emit_rex(g->c, false, to, 0, H_R8); /* movzx */
    emit8(g->c, 0x0f);
    emit8(g->c, size == 1 ? 0xb6 : 0xb7);
    emit_modrm(g->c, 0, to, H_R8);
}

void x86_gen_store(Gen *g, unsigned size, HostReg from)
{
    if (size == 2)
        emit8(g->c, 0x66);
    x86_gen_at_r8(g, size == 1 ? 0x88 : 0x89, size == 8, from);
}

static void save_registers(CodeMemory *c)
{
    for (unsigned i = 0; i < 16; i++)
        if (!x86_gen_in_memory(i))
            emit_store_gs(c, x86_gen_gpr_at(i), x86_gen_pinned(i));
}

static void load_registers(CodeMemory *c)
{
    for (unsigned i = 0; i < 16; i++)
        if (!x86_gen_in_memory(i))
            emit_load_gs(c, x86_gen_pinned(i), x86_gen_gpr_at(i));
}

/* ---- flags ----------------------------------------------------------------------------------- */

/* RAX is saved in R10, since only AH takes flags. */
void x86_gen_save_flags(Gen *g)
{
    CodeMemory *c = g->c;

    if (g->flags != FLAGS_IN_HOST)
        return;
    emit_mov(c, H_R10, H_RAX);
    emit8(c, 0x9f); /* lahf */
    emit_bytes(c, 0xc0900f, 3); /* seto al */
    emit8(c, 0x65); /* mov gs:[packed_flags], ax */
    emit8(c, 0x66);
    emit8(c, 0x89);
    emit_gs_operand(c, H_RAX, AT_CPU(packed_flags));
    emit_mov(c, H_RAX, H_R10);
    g->flags = FLAGS_BOTH;
}

static void write_load_flags(CodeMemory *c)
{
    emit_mov(c, H_R10, H_RAX);
    emit_gs_0f(c, 0xb7, H_RAX, AT_CPU(packed_flags)); /* movzx eax, word */
    emit8(c, 0x04); /* add al, 7f: overflows if al is 1 */
    emit8(c, 0x7f);
    emit8(c, 0x9e); /* sahf */
    emit_mov(c, H_RAX, H_R10);
}

void x86_gen_need_flags(Gen *g)
{
    if (g->flags != FLAGS_SAVED)
        return;
    write_load_flags(g->c);
    g->flags = FLAGS_BOTH;
}

void x86_gen_spoil_flags(Gen *g)
{
    x86_gen_save_flags(g);
    g->flags = FLAGS_SAVED;
}

void x86_gen_flags_written(Gen *g)
{
    if (g->in->flags_written & X86_ARITH)
        g->flags = FLAGS_IN_HOST;
}

/* ---- leaving a block ------------------------------------------------------------------------- */

/* Where the code is that goes on at @rip is looked up in its slot of X86Cpu.jumps. */
void x86_gen_by_table(Gen *g, uint64_t rip)
{
    uint32_t at = (uint8_t *)x86_jump_slot(g->cpu, g->slot, rip) - (uint8_t *)g->cpu;

    emit_imm(g->c, H_R9, rip);
    emit_gs(g->c, 0x3b, true, H_R9, at + offsetof(X86Jump, rip));
    emit_jcc_to(g->c, H_NE, g->stubs->leave_r9);
    emit_jmp_gs(g->c, at + offsetof(X86Jump, code));
}

static uint64_t linear_of(const Gen *g, uint64_t rip)
{
    return g->key.bits == 64 ? rip : (uint32_t)(g->base + rip);
}

static bool is_same_page(const Gen *g, uint64_t rip)
{
    return linear_of(g, rip) >> 12 == linear_of(g, g->start) >> 12;
}

/*
 * Within the page, directly once the block there is known, and through the loop before; beyond it
 * by the table, which is emptied when mappings change.
 */
void x86_gen_leave_to(Gen *g, uint64_t rip)
{
    uint8_t *chain;

    if (!is_same_page(g, rip) || g->opened) {
        x86_gen_by_table(g, rip);
        return;
    }
    chain = emit_jmp(g->c);
    emit_fix(chain, g->c->at);
    emit_imm(g->c, H_R9, rip);
    emit_imm(g->c, H_R8, (uintptr_t)chain);
    emit_store_gs(g->c, AT_CPU(chain_from), H_R8);
    emit_jmp_to(g->c, g->stubs->leave_r9);
}

/* Each loop leads backwards at least once. */
void x86_generate_chain(uint8_t *from, const X86Block *b, bool once_in_loop)
{
    emit_fix(from, once_in_loop && from < b->code ? b->body : b->code);
}

/* ---- the slow way ---------------------------------------------------------------------------- */

Slow *x86_gen_slow(Gen *g)
{
    Slow *s = &g->slow[g->slows++];

    *s = (Slow){ .rip = g->rip, .number = g->number };
    return s;
}

void x86_gen_slow_if(Gen *g, Slow *s, unsigned condition)
{
    g_assert(s->count < SLOW_JUMPS);
    s->jump[s->count++].from = emit_jcc(g->c, condition);
}

void x86_gen_slow_end(Gen *g, Slow *s)
{
    s->needs_flags = g->flags != FLAGS_SAVED;
    s->needs_vectors = g->vectors;
    s->needs_x87 = g->x87;
    s->back = g->c->at;
}

static void call_step(Gen *g, uint64_t rip, unsigned number)
{
    if (g->key.counts)
        emit_gs_set_word(g->c, AT_CPU(untouched), g->count - number - 1);
    emit_imm(g->c, H_R9, rip);
    emit_call_to(g->c, g->stubs->step);
}

static void write_look_behind(Gen *g, Slow *s, unsigned i)
{
    emit_fix(s->jump[i].from, g->c->at);
    emit_call_to(g->c, g->stubs->look_behind[g->key.table][s->jump[i].write]);
    emit_jcc_to(g->c, H_E, s->jump[i].found);
    s->jump[i].from = emit_jmp(g->c);
}

static void write_slow(Gen *g, Slow *s)
{
    CodeMemory *c = g->c;

    for (unsigned i = 0; i < s->count; i++)
        if (s->jump[i].found)
            write_look_behind(g, s, i);
    for (unsigned i = 0; i < s->count; i++)
        emit_fix(s->jump[i].from, c->at);
    call_step(g, s->rip, s->number);
    if (!s->back) {
        emit_jmp_to(c, g->stubs->leave);
        return;
    }
    if (s->needs_x87)
        emit_call_to(c, g->stubs->load_x87);
    if (s->needs_vectors)
        emit_call_to(c, g->stubs->load_vectors);
    if (s->needs_flags)
        write_load_flags(c);
    emit_jmp_to(c, s->back);
}

void x86_gen_step(Gen *g)
{
    x86_gen_save_flags(g);
    call_step(g, g->rip, g->number);
    g->flags = FLAGS_SAVED;
    g->vectors = g->x87 = false;
    if (g->in->attributes & X86_A_ENDS_BLOCK) {
        g->ended = true;
        emit_jmp_to(g->c, g->stubs->leave);
    }
}

/* ---- memory ---------------------------------------------------------------------------------- */

void x86_gen_offset(Gen *g)
{
    const X86Insn *in = g->in;
    const X86Mem *m = &in->mem;
    unsigned size = in->address_size;
    bool wide = size == 8;
    HostReg base, index = H_RSP;

    if (m->rip || (m->base == X86_NO_REG && m->index == X86_NO_REG)) {
        uint64_t at = m->disp + (m->rip ? g->next : 0);

        emit_imm(g->c, H_R8, wide ? at : size == 2 ? (uint16_t)at : (uint32_t)at);
        return;
    }
    if (m->index != X86_NO_REG)
        index = x86_gen_use(g, m->index, H_R9);
    if (m->base == X86_NO_REG) {
        emit_lea_index(g->c, wide, H_R8, index, m->scale, m->disp);
    } else {
        base = x86_gen_use(g, m->base, H_R8);
        emit_lea(g->c, wide, H_R8, base, index, m->scale, m->disp);
    }
    if (size == 2)
        emit_movzx_word(g->c, H_R8, H_R8);
}

static uint32_t base_at(unsigned segment)
{
    return AT_CPU(segment) + segment * sizeof(X86Segment) + offsetof(X86Segment, base);
}

/* A bound of -1 sends all to the interpreter. */
static void check_bound(Gen *g, Slow *s, unsigned segment, unsigned size, bool write)
{
    uint32_t bound = AT_CPU(bound) + (segment * 2 + write) * sizeof(g->cpu->bound[0][0]);

    emit_lea(g->c, true, H_R9, H_R8, H_RSP, 1, size - 1);
    emit_gs(g->c, 0x3b, true, H_R9, bound);
    x86_gen_slow_if(g, s, H_G);
}

void x86_gen_segment(Gen *g, Slow *s, unsigned segment, unsigned size, bool write)
{
    if (g->key.bits == 64) {
        if (segment >= X86_FS)
            emit_gs(g->c, 0x03, true, H_R8, base_at(segment));
        return;
    }
    if (g->key.flat >> segment & 1 && !(segment == X86_CS && write))
        return;
    check_bound(g, s, segment, size, write);
    emit_load_gs(g->c, H_R9, base_at(segment));
    emit_lea(g->c, false, H_R8, H_R8, H_R9, 1, 0);
}

static uint32_t fast_at(unsigned table, bool write)
{
    return AT_CPU(fast) + (table * 2 + write) * sizeof(((X86Cpu *)0)->fast[0][0]);
}

void x86_gen_check(Gen *g, Slow *s, unsigned size, bool write)
{
    CodeMemory *c = g->c;
    uint32_t table = fast_at(g->key.table, write);

    /* The page of the last byte: if that is another one than the first's, nothing is found. */
    if (size > 1)
        emit_lea(c, true, H_R9, H_R8, H_RSP, 1, size - 1);
    else
        emit_mov(c, H_R9, H_R8);
    emit_alu_imm(c, 4, H_R9, -4096);
    emit_mov(c, H_R10, H_R8);
    emit_shift(c, 5, H_R10, X86_FAST_SHIFT);
    emit_alu_imm(c, 4, H_R10, X86_FAST_MASK);
    emit_gs_indexed(c, 0x3b, H_R9, H_R10, table);
    x86_gen_slow_if(g, s, H_NE);
    emit_gs_indexed(c, 0x03, H_R8, H_R10, table + offsetof(X86FastEntry, add));
    s->jump[s->count - 1].found = c->at;
    s->jump[s->count - 1].write = write;
}

void x86_gen_operand(Gen *g, Slow *s, unsigned i, bool write)
{
    unsigned size = g->in->operand[i].size;

    x86_gen_offset(g);
    x86_gen_segment(g, s, g->in->mem.segment, size, write);
    if (size >= 16 && (!(g->in->attributes & X86_A_UNALIGNED) || g->in->op == X86_cmpxchg16b)) {
        emit_bytes(g->c, 0xc0f641, 3); /* test r8b, 15 or 31 */
        emit8(g->c, size - 1);
        x86_gen_slow_if(g, s, H_NE);
    }
    x86_gen_check(g, s, size, write);
}

/* ---- blocks ---------------------------------------------------------------------------------- */

static void generate_insn(Gen *g)
{
    if (!x86_gen_special(g) && !x86_gen_passed(g) && !x86_gen_vector(g) && !x86_gen_x87(g))
        x86_gen_step(g);
}

/* Requests by other threads are seen here, so that a loop of chained blocks ends. */
static uint8_t *generate_entry(Gen *g)
{
    emit_gs(g->c, 0x8b, false, H_R9, AT_CPU(events));
    emit_gs(g->c, 0x3b, false, H_R9, AT_CPU(ignored));
    return emit_jcc(g->c, H_NE);
}

/* Takes the block's instructions from the budget; where that has not so many the loop goes on. */
static uint8_t *generate_count(Gen *g)
{
    if (!g->key.counts)
        return NULL;
    emit_gs_quad(g->c, 5, AT_CPU(left), g->count);
    return emit_jcc(g->c, H_B);
}

static void generate_uncount(Gen *g, uint8_t *from)
{
    if (!from)
        return;
    emit_fix(from, g->c->at);
    emit_gs_quad(g->c, 0, AT_CPU(left), g->count);
}

/* What stands behind the code of each block. */
static void generate_end(Gen *g, X86Block *b, uint8_t *to_events, uint8_t *to_uncount)
{
    for (unsigned i = 0; i < g->slows; i++)
        write_slow(g, &g->slow[i]);
    generate_uncount(g, to_uncount);
    emit_fix(to_events, g->c->at);
    emit_imm(g->c, H_R9, g->start);
    emit_jmp_to(g->c, g->stubs->leave_r9);
    b->dead = g->c->at;
    x86_gen_by_table(g, g->start);
}

static void patch(uint8_t *at, uint8_t kept[X86_PATCH], const uint8_t *to)
{
    memcpy(kept, at, X86_PATCH);
    *at = 0xe9;
    emit_fix(at + 1, to);
}

void x86_generate_kill(X86Block *b)
{
    patch(b->code, b->code_kept, b->dead);
    patch(b->body, b->body_kept, b->dead);
}

void x86_generate_revive(X86Block *b)
{
    memcpy(b->body, b->body_kept, X86_PATCH);
    memcpy(b->code, b->code_kept, X86_PATCH);
}

static void *allocate(CodeMemory *c, size_t size)
{
    uint8_t *p = (uint8_t *)(((uintptr_t)c->at + 15) & ~(uintptr_t)15);

    c->at = p + size;
    return p;
}

/* Decodes up to the end of the block, or of the page. */
static unsigned decode_block(X86Insn *in, X86Cpu *cpu, const uint8_t *guest, size_t len,
                             size_t *used)
{
    uint64_t linear = x86_code_address(cpu);
    unsigned count = 0;
    bool opens = false;

    *used = 0;
    while (count < X86_BLOCK_INSNS) {
        X86Insn *i = &in[count];

        if (x86_decode(i, guest + *used, len - *used, cpu->mode) != X86_DECODED)
            break;
        *used += i->length;
        count++;
        if (opens || (i->attributes & X86_A_ENDS_BLOCK && i->op != X86_cli && i->op != X86_sti))
            break;
        opens = i->op == X86_sti && !cpu->cpl;
        if (cpu->debug.breaks && x86_debug_has_break(cpu, linear + *used))
            break;
    }
    if (!count)
        *used = MIN(len, X86_INSN_MAX);
    return count;
}

/* The only instruction is undefined, or reaches beyond the page: it is fetched when it runs. */
static void generate_single(Gen *g)
{
    static const X86Insn any = { .attributes = X86_A_ENDS_BLOCK };

    g->in = &any;
    g->rip = g->start;
    x86_gen_step(g);
}

static void generate_body(Gen *g, const X86Insn *in, unsigned count)
{
    uint64_t at = g->start;

    for (unsigned i = 0; i < count && !g->ended; i++) {
        bool was_opened = g->opened;

        g->in = &in[i];
        g->number = i;
        g->rip = at;
        at += in[i].length;
        if (g->key.bits != 64)
            at = (uint32_t)at;
        g->next = at;
        g->is_last = i == count - 1;
        generate_insn(g);
        if (was_opened)
            break;
    }
    if (g->ended)
        return;
    x86_gen_save_flags(g);
    x86_gen_leave_to(g, g->next);
}

X86Block *x86_generate_block(CodeMemory *c, X86Cpu *cpu, const X86Stubs *stubs, X86Key key,
                             unsigned slot, const uint8_t *guest, size_t len)
{
    X86Insn in[X86_BLOCK_INSNS];
    Gen g = { .c = c, .cpu = cpu, .stubs = stubs, .key = key, .slot = slot, .start = cpu->rip };
    const X86Segment *cs = &cpu->segment[X86_CS];
    size_t used;
    unsigned count = decode_block(in, cpu, guest, len, &used);
    X86Block *b = allocate(c, sizeof(*b));
    uint8_t *copy = allocate(c, used), *to_events, *to_uncount;

    if (key.bits != 64) {
        g.base = cs->base;
        g.limit = cs->limit;
    }
    memcpy(copy, guest, used);
    *b = (X86Block){ .rip = g.start, .key = key, .length = used, .code = c->at, .guest = copy,
                     .base = g.base, .limit = g.limit };
    to_events = generate_entry(&g);
    b->body = c->at;
    g.count = count ? count : 1;
    to_uncount = generate_count(&g);
    if (count)
        generate_body(&g, in, count);
    else
        generate_single(&g);
    generate_end(&g, b, to_events, to_uncount);
    return b;
}

/* ---- the code all blocks share --------------------------------------------------------------- */

static const HostReg callee_saved[] = { H_RBX, H_RBP, H_R12, H_R13, H_R14, H_R15 };
enum { CALLEE_SAVED = sizeof(callee_saved) / sizeof(callee_saved[0]) };

static void write_return(CodeMemory *c)
{
    emit_alu_imm(c, 0, H_RSP, 8);
    for (unsigned i = CALLEE_SAVED; i > 0; i--)
        emit_pop(c, callee_saved[i - 1]);
    emit8(c, 0xc3);
}

static void write_call(CodeMemory *c, X86Cpu *cpu, uint64_t function)
{
    emit_alu_imm(c, 5, H_RSP, 8);
    emit_imm(c, H_RDI, (uintptr_t)cpu);
    emit_imm(c, H_RAX, function);
    emit_call_reg(c, H_RAX);
    emit_alu_imm(c, 0, H_RSP, 8);
}

enum { MOVUPS_LOAD = 0x10, MOVUPS_STORE = 0x11, LDMXCSR = 2, STMXCSR = 3 };

static void write_vectors(CodeMemory *c, uint8_t opcode)
{
    for (unsigned i = 0; i < 16; i++)
        emit_gs_0f(c, opcode, i, AT_CPU(xmm) + 16 * i);
}

/* The upper halves of the YMM registers. */
enum { VINSERTF128 = 0x18, VEXTRACTF128 = 0x19 };
static void write_upper_halves(CodeMemory *c, uint8_t opcode)
{
    for (unsigned i = 0; i < 16; i++) {
        unsigned registers = i >= 8 ? 0x63 : 0xe3; /* R, X, B inverted, and the map */
        unsigned vvvv = opcode == VINSERTF128 ? ~i & 15 : 15;

        emit8(c, 0x65);
        emit8(c, 0xc4);
        emit8(c, registers);
        emit8(c, vvvv << 3 | 4 | 1);
        emit8(c, opcode);
        emit_gs_operand(c, i, AT_CPU(ymm_high) + 16 * i);
        emit8(c, 1);
    }
}

/* Skips them for guests without. */
static void write_upper_if_wide(CodeMemory *c, uint8_t opcode)
{
    uint8_t *narrow;

    if (!x86_host_has_avx())
        return;
    emit_gs_byte(c, 7, AT_CPU(has_wide), 0);
    narrow = emit_jcc(c, H_E);
    write_upper_halves(c, opcode);
    emit_fix(narrow, c->at);
}

static void write_mxcsr(CodeMemory *c, unsigned digit, uint32_t at)
{
    emit_gs_0f(c, 0xae, digit, at);
}

/* The vectors, if live, go to memory, and what they raised to the guest's MXCSR. R9 is kept. */
static void write_save_vectors(CodeMemory *c)
{
    uint8_t *none;

    emit_gs_byte(c, 7, AT_CPU(vectors_live), 0);
    none = emit_jcc(c, H_E);
    write_vectors(c, MOVUPS_STORE);
    write_upper_if_wide(c, VEXTRACTF128);
    write_mxcsr(c, STMXCSR, AT_CPU(run_mxcsr));
    write_mxcsr(c, LDMXCSR, AT_CPU(host_mxcsr));
    emit_gs(c, 0x8b, false, H_R10, AT_CPU(run_mxcsr));
    emit_alu_imm(c, 4, H_R10, 0x3f);
    emit_gs(c, 0x09, false, H_R10, AT_CPU(mxcsr));
    emit_gs_set_byte(c, AT_CPU(vectors_live), 0);
    emit_fix(none, c->at);
}

/* The x87 state, if live, goes to the image; the host's is then as after fninit. */
static void write_save_x87(CodeMemory *c)
{
    uint8_t *none;

    emit_gs_byte(c, 7, AT_CPU(x87_live), 0);
    none = emit_jcc(c, H_E);
    emit8(c, 0x65); /* fnsave */
    emit8(c, 0xdd);
    emit_gs_operand(c, 6, AT_CPU(x87_image));
    emit_gs_set_byte(c, AT_CPU(x87_live), 0);
    emit_gs_set_byte(c, AT_CPU(x87_saved), 1);
    emit_fix(none, c->at);
}

static void write_vectors_back(CodeMemory *c)
{
    write_vectors(c, MOVUPS_LOAD);
    write_upper_if_wide(c, VINSERTF128);
    emit_gs(c, 0x8b, false, H_R10, AT_CPU(mxcsr));
    emit_alu_imm(c, 1, H_R10, 0x1f80);
    emit_gs(c, 0x89, false, H_R10, AT_CPU(run_mxcsr));
    write_mxcsr(c, LDMXCSR, AT_CPU(run_mxcsr));
    emit_gs_set_byte(c, AT_CPU(vectors_live), 1);
}

static void write_load_x87(CodeMemory *c, X86Cpu *cpu, void (*pack_x87)(X86Cpu *))
{
    save_registers(c);
    write_save_vectors(c);
    write_call(c, cpu, (uintptr_t)pack_x87);
    load_registers(c);
    emit8(c, 0x65); /* frstor */
    emit8(c, 0xdd);
    emit_gs_operand(c, 4, AT_CPU(x87_image));
    emit_gs_set_byte(c, AT_CPU(x87_live), 1);
    emit8(c, 0xc3);
}

static void write_step(CodeMemory *c, X86Cpu *cpu, int (*step)(X86Cpu *, uint64_t))
{
    uint8_t *go_on;

    save_registers(c);
    write_save_vectors(c);
    write_save_x87(c);
    emit_mov(c, H_RSI, H_R9);
    write_call(c, cpu, (uintptr_t)step);
    emit_bytes(c, 0xc085, 2); /* test eax, eax */
    go_on = emit_jcc(c, H_E);
    emit_alu_imm(c, 0, H_RSP, 8); /* the return address into the block */
    write_return(c);
    emit_fix(go_on, c->at);
    load_registers(c);
    emit8(c, 0xc3);
}

/* Looks R9, the page of R8, up in the second table; what is found goes to the first one, too. */
static uint8_t *write_look_up(CodeMemory *c, unsigned table, bool write)
{
    uint32_t behind = AT_CPU(behind) + (table * 2 + write) * sizeof(((X86Cpu *)0)->behind[0][0]);
    uint32_t fast = fast_at(table, write);
    uint8_t *none;

    emit_hash(c, H_R10, H_R9, X86_HASH, X86_BEHIND_SHIFT, X86_BEHIND_MASK);
    emit_gs_indexed(c, 0x3b, H_R9, H_R10, behind);
    none = emit_jcc(c, H_NE);
    emit_push(c, H_RAX);
    emit_gs_indexed(c, 0x8b, H_RAX, H_R10, behind + offsetof(X86FastEntry, add));
    emit_mov(c, H_R10, H_R9);
    emit_shift(c, 5, H_R10, X86_FAST_SHIFT);
    emit_alu_imm(c, 4, H_R10, X86_FAST_MASK);
    emit_gs_indexed(c, 0x89, H_R9, H_R10, fast);
    emit_gs_indexed(c, 0x89, H_RAX, H_R10, fast + offsetof(X86FastEntry, add));
    emit_rr(c, 0x03, H_R8, H_RAX);
    emit_pop(c, H_RAX);
    emit_rr(c, 0x33, H_R10, H_R10); /* sets ZF */
    emit8(c, 0xc3);
    return none;
}

/* Asks C for the page of R8. ZF: there is none. Registers and vectors stay. */
static void write_ask(CodeMemory *c, X86Cpu *cpu, bool write)
{
    uint8_t *not_live;

    emit_gs_0f(c, 0xb6, H_R10, AT_CPU(vectors_live)); /* movzx r10d, byte */
    emit_push(c, H_R8);
    emit_push(c, H_R9);
    emit_push(c, H_R10);
    emit_push(c, H_R10); /* for the stack's alignment */
    save_registers(c);
    write_save_vectors(c);
    emit_mov(c, H_RSI, H_R8);
    emit_imm(c, H_RDX, write);
    write_call(c, cpu, (uintptr_t)x86_fast_fill);
    emit_mov(c, H_R9, H_RAX);
    load_registers(c);
    emit_pop(c, H_R10);
    emit_pop(c, H_R10);
    emit_rr(c, 0x85, H_R10, H_R10); /* test */
    not_live = emit_jcc(c, H_E);
    write_vectors_back(c);
    emit_fix(not_live, c->at);
    emit_bytes(c, 0xc98445, 3); /* test r9b, r9b */
    emit_pop(c, H_R9);
    emit_pop(c, H_R8);
}

static void write_look_behind_stub(CodeMemory *c, X86Cpu *cpu, unsigned table, bool write)
{
    uint8_t *crosses, *none, *refused;

    emit_mov(c, H_R10, H_R8);
    emit_alu_imm(c, 4, H_R10, -4096);
    emit_rr(c, 0x3b, H_R10, H_R9);
    crosses = emit_jcc(c, H_NE);
    none = write_look_up(c, table, write);
    emit_fix(none, c->at);
    write_ask(c, cpu, write);
    refused = emit_jcc(c, H_E);
    none = write_look_up(c, table, write);
    emit_fix(none, c->at);
    emit_fix(refused, c->at);
    emit_rr(c, 0x85, H_RSP, H_RSP); /* not zero */
    emit_fix(crosses, c->at);
    emit8(c, 0xc3);
}

void x86_generate_stubs(CodeMemory *c, X86Cpu *cpu, X86Stubs *stubs,
                        int (*step)(X86Cpu *, uint64_t), void (*pack_x87)(X86Cpu *))
{
    for (unsigned i = 0; i < 2 * X86_FASTS; i++) {
        stubs->look_behind[i / 2][i % 2] = c->at;
        write_look_behind_stub(c, cpu, i / 2, i % 2);
    }
    stubs->enter = c->at;
    for (unsigned i = 0; i < CALLEE_SAVED; i++)
        emit_push(c, callee_saved[i]);
    emit_alu_imm(c, 5, H_RSP, 8);
    emit_mov(c, H_R8, H_RDI);
    load_registers(c);
    emit_bytes(c, 0xe0ff41, 3); /* jmp r8 */

    stubs->leave_r9 = c->at;
    emit_store_gs(c, AT_CPU(rip), H_R9);
    stubs->leave = c->at;
    save_registers(c);
    write_save_vectors(c);
    write_save_x87(c);
    write_return(c);

    stubs->step = c->at;
    write_step(c, cpu, step);
    stubs->load_vectors = c->at;
    write_vectors_back(c);
    emit8(c, 0xc3);
    stubs->load_x87 = c->at;
    write_load_x87(c, cpu, pack_x87);
}

/* ---- the host -------------------------------------------------------------------------------- */

bool x86_can_generate(void)
{
    return true;
}

static bool has_fsgsbase(void)
{
    return getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE;
}

static uint64_t read_gs(void)
{
    uint64_t v;

    asm volatile("rdgsbase %0" : "=r"(v));
    return v;
}

static void write_gs(uint64_t v)
{
    asm volatile("wrgsbase %0" : : "r"(v));
}

/* If only the kernel can set GS, it is left set after a run, unless the thread itself uses GS. */
static __thread uint64_t gs_is, gs_was; /* 0 each: not set by us; the thread did not use it */

static void ask_for_gs(uint64_t v)
{
    if (!gs_is)
        syscall(SYS_arch_prctl, ARCH_GET_GS, &gs_was);
    if (gs_is != v)
        syscall(SYS_arch_prctl, ARCH_SET_GS, v);
    gs_is = v;
}

static void ask_for_gs_back(void)
{
    if (!gs_was)
        return;
    syscall(SYS_arch_prctl, ARCH_SET_GS, gs_was);
    gs_is = 0;
}

bool x86_host_has_avx(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx");
}

uint64_t x86_generate_begin(X86Cpu *cpu)
{
    uint64_t before = 0;

    if (!cpu->translator)
        return 0;
    if (has_fsgsbase()) {
        before = read_gs();
        write_gs((uintptr_t)cpu);
    } else {
        ask_for_gs((uintptr_t)cpu);
    }
    asm volatile("stmxcsr %0" : "=m"(cpu->host_mxcsr));
    return before;
}

void x86_generate_end(uint64_t before)
{
    if (has_fsgsbase())
        write_gs(before);
    else
        ask_for_gs_back();
}

#else

bool x86_can_generate(void)
{
    return false;
}

bool x86_host_has_avx(void)
{
    return false;
}

/* Without a translator none of these is called but the first two. */
uint64_t x86_generate_begin(X86Cpu *cpu)
{
    return 0;
}

void x86_generate_end(uint64_t before)
{
}

void x86_generate_stubs(CodeMemory *c, X86Cpu *cpu, X86Stubs *stubs,
                        int (*step)(X86Cpu *, uint64_t), void (*pack_x87)(X86Cpu *))
{
    g_assert_not_reached();
}

X86Block *x86_generate_block(CodeMemory *c, X86Cpu *cpu, const X86Stubs *stubs, X86Key key,
                             unsigned slot, const uint8_t *guest, size_t len)
{
    g_assert_not_reached();
}

void x86_generate_chain(uint8_t *from, const X86Block *b, bool once_in_loop)
{
    g_assert_not_reached();
}

void x86_generate_kill(X86Block *b)
{
    g_assert_not_reached();
}

void x86_generate_revive(X86Block *b)
{
    g_assert_not_reached();
}

#endif
