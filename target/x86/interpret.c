/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interpreter's loop: events, fetching and decoding, the checks all instructions share,
 * execution, and what follows an exception.
 */
#include "target/x86/interpret.h"
#include "target/x86/execute.h"
#include "target/x86/log.h"
#include "target/x86/translate.h"
#include "target/x86/wide.h"
#include "target/x86/x87.h"
#include <string.h>

static X86Execute *const execute[X86_OP_COUNT] = {
#define OP(id, ...) [X86_##id] = x86_exec_##id,
#include "target/x86/operations.def"
#undef OP
};

unsigned x86_log_items;
const X86LogHook *x86_log_hook;

/* ---- fetching -------------------------------------------------------------------------------- */

/* How many bytes may be fetched at RIP, at most 15, as far as the segment is concerned. */
static size_t bytes_in_segment(X86Cpu *cpu)
{
    const X86Segment *cs = &cpu->segment[X86_CS];

    if (cpu->mode.bits == 64) {
        if (!x86_is_canonical(cpu->rip))
            x86_raise_error(cpu, X86_GP, 0);
        return X86_INSN_MAX;
    }
    if (cpu->rip > cs->limit)
        x86_raise_error(cpu, X86_GP, 0);
    return MIN(X86_INSN_MAX, (uint64_t)cs->limit - cpu->rip + 1);
}

static size_t fetch_part(X86Cpu *cpu, uint64_t linear, uint8_t *to, size_t len)
{
    X86Place p = x86_place(cpu, linear, 1, X86_FETCH, X86_BY_PROGRAM);

    len = MIN(len, 4096 - (linear & 4095));
    for (size_t i = 0; i < len; i++)
        to[i] = p.host ? p.host[i] : memory_map_read(cpu->memory, p.physical + i, 1);
    return len;
}

/* Decodes the instruction at RIP, whose bytes are then in @code. */
static void decode(X86Cpu *cpu, uint64_t linear, X86Insn *in, uint8_t code[X86_INSN_MAX])
{
    size_t may = bytes_in_segment(cpu), have;
    X86Decoded d;

    have = fetch_part(cpu, linear, code, may);
    d = x86_decode(in, code, have, cpu->mode);
    if (d == X86_TRUNCATED && have < may) {
        uint64_t rest = cpu->is_long ? linear + have : (uint32_t)(linear + have);

        have += fetch_part(cpu, rest, code + have, may - have);
        d = x86_decode(in, code, have, cpu->mode);
    }
    if (d == X86_TRUNCATED || d == X86_TOO_LONG)
        x86_raise_error(cpu, X86_GP, 0);
    if (d == X86_UNDEFINED)
        x86_raise(cpu, X86_UD);
}

/* True if the @len bytes of an instruction are at @host, where its page has @left bytes. */
static bool same_bytes(const uint8_t code[16], const uint8_t *host, size_t len, size_t left)
{
    uint64_t a[2], b[2];

    if (left < sizeof(a))
        return !memcmp(code, host, len);
    memcpy(a, code, sizeof(a));
    memcpy(b, host, sizeof(b));
    if (len <= 8)
        return !((GUINT64_FROM_LE(a[0]) ^ GUINT64_FROM_LE(b[0])) << (64 - 8 * len));
    return a[0] == b[0] &&
           !((GUINT64_FROM_LE(a[1]) ^ GUINT64_FROM_LE(b[1])) << (128 - 8 * len));
}

/* The host's bytes at @linear, or NULL if they must be read one by one. */
static const uint8_t *fetch_place(X86Cpu *cpu, uint64_t linear)
{
    uint64_t page = linear & ~UINT64_C(4095);
    X86Place place;

    if (cpu->window.page == page && cpu->window.cpl == cpu->cpl && cpu->window.cr4 == cpu->cr4)
        return cpu->window.host + (linear & 4095);
    place = x86_place(cpu, linear, 1, X86_FETCH, X86_BY_PROGRAM);
    if (!place.host)
        return NULL;
    cpu->window.page = page;
    cpu->window.host = place.host - (linear & 4095);
    cpu->window.cpl = cpu->cpl;
    cpu->window.cr4 = cpu->cr4;
    return place.host;
}

/* True if what @f was decoded from still stands there, also where it goes on on the next page. */
static bool is_unchanged(X86Cpu *cpu, const X86Fetched *f, uint64_t linear)
{
    size_t left = 4096 - (linear & 4095), len = f->in.length, first = MIN(left, len);
    const uint8_t *host;

    if (f->linear != linear || f->in.bits != cpu->mode.bits)
        return false;
    if (cpu->mode.bits != 64 && cpu->rip + len - 1 > cpu->segment[X86_CS].limit)
        return false;
    host = fetch_place(cpu, linear);
    if (!host || !same_bytes(f->code, host, first, left))
        return false;
    if (first == len)
        return true;
    linear = cpu->is_long ? linear + first : (uint32_t)(linear + first);
    host = fetch_place(cpu, linear);
    return host && !memcmp(f->code + first, host, len - first);
}

const X86Insn *x86_fetch(X86Cpu *cpu)
{
    uint64_t linear = x86_code_address(cpu);
    X86Fetched *f = &cpu->fetched[(linear ^ linear >> 12) & (X86_FETCHED - 1)];

    if (is_unchanged(cpu, f, linear))
        return &f->in;
    f->linear = X86_NO_JUMP;
    decode(cpu, linear, &f->in, f->code);
    f->linear = linear;
    return &f->in;
}

/* ---- what must hold before an instruction ---------------------------------------------------- */

static bool uses(const X86Insn *in, X86OperandKind kind)
{
    for (unsigned i = 0; i < in->operands; i++)
        if (in->operand[i].kind == kind)
            return true;
    return false;
}

static void check_sse(X86Cpu *cpu)
{
    if (cpu->cr0 & X86_CR0_EM || !(cpu->cr4 & X86_CR4_OSFXSR))
        x86_raise(cpu, X86_UD);
    if (cpu->cr0 & X86_CR0_TS)
        x86_raise(cpu, X86_NM);
}

/* Instructions with a VEX prefix are those of protected mode, and AVX's need its state enabled. */
static void check_vex(X86Cpu *cpu, bool is_vector)
{
    enum { SSE_AND_AVX = 6 };

    if (x86_is_real(cpu) || x86_is_v86(cpu))
        x86_raise(cpu, X86_UD);
    if (!is_vector)
        return;
    if (!(cpu->cr4 & X86_CR4_OSXSAVE) || (cpu->xcr0 & SSE_AND_AVX) != SSE_AND_AVX)
        x86_raise(cpu, X86_UD);
    if (cpu->cr0 & X86_CR0_TS)
        x86_raise(cpu, X86_NM);
}

static void check_pending_x87(X86Cpu *cpu)
{
    if (cpu->x87.status & X87_ES)
        x86_raise(cpu, X86_MF);
}

static void check_mmx(X86Cpu *cpu)
{
    if (cpu->cr0 & X86_CR0_EM)
        x86_raise(cpu, X86_UD);
    if (cpu->cr0 & X86_CR0_TS)
        x86_raise(cpu, X86_NM);
    check_pending_x87(cpu);
}

static void check_x87(X86Cpu *cpu, const X86Insn *in)
{
    if (in->op == X86_fwait) {
        if ((cpu->cr0 & (X86_CR0_MP | X86_CR0_TS)) == (X86_CR0_MP | X86_CR0_TS))
            x86_raise(cpu, X86_NM);
    } else if (cpu->cr0 & (X86_CR0_EM | X86_CR0_TS)) {
        x86_raise(cpu, X86_NM);
    }
    if (!(in->attributes & X86_A_X87_QUIET) && in->op != X86_fnstsw_ax)
        check_pending_x87(cpu);
}

static void check_state(X86Cpu *cpu, const X86Insn *in)
{
    unsigned class = x86_operations[in->op].class_;

    if (in->attributes & X86_A_PRIVILEGED && cpu->cpl)
        x86_raise_error(cpu, X86_GP, 0);
    if (in->vex) {
        check_vex(cpu, class != X86_C_BMI);
        return;
    }
    if (class < X86_C_X87)
        return;
    if (class == X86_C_X87)
        check_x87(cpu, in);
    else if (uses(in, X86_OPD_XMM) || in->attributes & X86_A_SSE)
        check_sse(cpu);
    if (uses(in, X86_OPD_MMX) || in->op == X86_emms)
        check_mmx(cpu);
    if ((in->op == X86_fxsave || in->op == X86_fxrstor) && cpu->cr0 & (X86_CR0_EM | X86_CR0_TS))
        x86_raise(cpu, X86_NM);
}

/* True for those that nothing has to be checked before: most. */
static bool is_plain(const X86Insn *in)
{
    return !in->vex && !(in->attributes & X86_A_PRIVILEGED) &&
           x86_operations[in->op].class_ < X86_C_X87;
}

/* ---- x87 bookkeeping ------------------------------------------------------------------------- */

bool x86_is_x87_control(const X86Insn *in)
{
    switch (in->op) {
    case X86_fldcw:
    case X86_fldenv:
    case X86_frstor:
    case X86_fnop:
    case X86_fwait:
    case X86_fincstp:
    case X86_fdecstp:
    case X86_ffree:
    case X86_fnstsw_ax:
        return true;
    default:
        return in->attributes & X86_A_X87_QUIET;
    }
}

static void note_x87(X86Cpu *cpu, const X86Insn *in, uint64_t data)
{
    X87 *f = &cpu->x87;

    f->ip = cpu->rip;
    f->cs = cpu->segment[X86_CS].selector;
    if (uses(in, X86_OPD_MEM)) {
        f->dp = data;
        f->ds = cpu->segment[in->mem.segment].selector;
    }
}

/* What has to be noted afterwards of x87 and MMX. */
static void run_x87(X86Cpu *cpu, const X86Insn *in)
{
    bool is_x87 = x86_operations[in->op].class_ == X86_C_X87 && !x86_is_x87_control(in);
    uint64_t data = is_x87 ? x86_offset(cpu, in) : 0;

    execute[in->op](cpu, in);
    if (is_x87)
        note_x87(cpu, in, data);
    if (uses(in, X86_OPD_MMX))
        x87_enter_mmx(&cpu->x87);
}

static void run(X86Cpu *cpu, const X86Insn *in)
{
    if (is_plain(in))
        execute[in->op](cpu, in);
    else if (!in->vex)
        run_x87(cpu, in);
    else if (in->attributes & X86_A_WIDE || x86_operations[in->op].class_ == X86_C_BMI)
        execute[in->op](cpu, in);
    else
        x86_execute_lanes(cpu, in, execute[in->op]);
}

/* ---- breakpoints ----------------------------------------------------------------------------- */

static void check_code_breakpoints(X86Cpu *cpu)
{
    uint64_t linear = x86_code_address(cpu);
    unsigned hit = 0;

    for (unsigned i = 0; i < 4; i++)
        if (cpu->dr[7] >> 2 * i & 3 && !(cpu->dr[7] >> (16 + 4 * i) & 15) && cpu->dr[i] == linear)
            hit |= 1 << i;
    if (!hit)
        return;
    cpu->dr[6] = (cpu->dr[6] & ~UINT64_C(15)) | hit;
    x86_raise(cpu, X86_DB);
}

/* After an instruction: single step and data breakpoints. RIP is already the next instruction's. */
static void check_traps(X86Cpu *cpu, bool stepping)
{
    uint64_t why = cpu->data_breakpoints | (stepping ? 1 << 14 : 0);

    if (!why)
        return;
    cpu->dr[6] = (cpu->dr[6] & ~UINT64_C(15)) | why;
    cpu->data_breakpoints = 0;
    cpu->exception = (X86Exception){ .vector = X86_DB, .is_trap = true };
    cpu->next = cpu->rip;
    longjmp(*cpu->trap, 1);
}

/* ---- one instruction ------------------------------------------------------------------------- */

void x86_execute(X86Cpu *cpu, const X86Insn *in)
{
    bool stepping = cpu->flags & X86_TF, was_shadow = cpu->shadow;

    cpu->next = cpu->rip + in->length;
    if (cpu->mode.bits != 64)
        cpu->next = (uint32_t)cpu->next;
    if (!is_plain(in))
        check_state(cpu, in);
    cpu->flags &= ~X86_RF;
    run(cpu, in);
    cpu->rip = cpu->next;
    if (was_shadow)
        cpu->shadow = false;
    /* Loading SS holds single steps back as it does interrupts. */
    if (!cpu->shadow)
        check_traps(cpu, stepping);
}

void x86_step(X86Cpu *cpu)
{
    if (cpu->dr[7] & 0xff && !(cpu->flags & X86_RF))
        check_code_breakpoints(cpu);
    x86_execute(cpu, x86_fetch(cpu));
}

/* ---- exceptions ------------------------------------------------------------------------------ */

typedef enum { BENIGN, CONTRIBUTORY, PAGE_FAULT } Severity;

static Severity severity(const X86Exception *e)
{
    if (e->is_external || e->is_software)
        return BENIGN;
    if (e->vector == X86_PF_FAULT)
        return PAGE_FAULT;
    return e->vector == X86_DE || (e->vector >= X86_TS && e->vector <= X86_GP) ? CONTRIBUTORY :
        BENIGN;
}

/* What becomes of @second, raised by the delivery of @first. False: the processor shuts down. */
static bool combine(const X86Exception *first, X86Exception *second)
{
    Severity a = severity(first), b = severity(second);

    if (first->vector == X86_DOUBLE_FAULT && !first->is_external && !first->is_software)
        return b == BENIGN;
    if ((a == CONTRIBUTORY && b == CONTRIBUTORY) || (a == PAGE_FAULT && b != BENIGN))
        *second = (X86Exception){ .vector = X86_DOUBLE_FAULT, .has_error = true };
    return true;
}

bool x86_handle(X86Cpu *cpu)
{
    X86Exception e = cpu->exception;

    if (cpu->delivering && !combine(&cpu->delivered, &e)) {
        cpu->delivering = false;
        return false;
    }
    cpu->data_breakpoints = 0;
    cpu->shadow = false;
    cpu->delivered = e;
    cpu->delivering = true;
    if (x86_logs(X86_LOG_INT))
        x86_log_hook->delivered(cpu, &e);
    x86_deliver(cpu, &e);
    cpu->delivering = false;
    return true;
}

/*
 * The request is withdrawn first, so that one made meanwhile is not lost, and made again if there
 * was an interrupt, as there may be more.
 */
static int request_interrupt(X86Cpu *cpu)
{
    int vector;

    __atomic_and_fetch(&cpu->events, ~(uint32_t)X86_EVENT_INTERRUPT, __ATOMIC_ACQ_REL);
    vector = cpu->machine->interrupt(cpu->machine_opaque);
    if (vector >= 0)
        __atomic_or_fetch(&cpu->events, X86_EVENT_INTERRUPT, __ATOMIC_ACQ_REL);
    return vector;
}

static void take_interrupt(X86Cpu *cpu, uint32_t events)
{
    int vector = -1;

    if (cpu->shadow)
        return;
    if (events & X86_EVENT_NMI && !cpu->nmi_blocked) {
        __atomic_and_fetch(&cpu->events, ~(uint32_t)X86_EVENT_NMI, __ATOMIC_ACQ_REL);
        vector = X86_NMI;
    } else if (events & X86_EVENT_INTERRUPT && cpu->flags & X86_IF) {
        vector = request_interrupt(cpu);
    }
    if (vector < 0)
        return;
    cpu->halted = false;
    cpu->exception = (X86Exception){ .vector = vector, .is_external = true };
    x86_handle(cpu);
}

bool x86_take_events(X86Cpu *cpu)
{
    uint32_t events = __atomic_load_n(&cpu->events, __ATOMIC_ACQUIRE);

    if (events & X86_EVENT_CODE)
        x86_take_code_mail(cpu);
    if (events & X86_EVENT_STOP) {
        __atomic_and_fetch(&cpu->events, ~(uint32_t)X86_EVENT_STOP, __ATOMIC_ACQ_REL);
        return false;
    }
    if (events)
        take_interrupt(cpu, events);
    return true;
}

X86Exit x86_interpret(X86Cpu *cpu, uint64_t budget)
{
    jmp_buf trap;
    volatile uint64_t left = budget;

    cpu->trap = &trap;
    if (setjmp(trap)) {
        if (cpu->stop_at_exceptions)
            return X86_EXCEPTION;
        if (!x86_handle(cpu))
            return X86_SHUTDOWN;
        /* A handler that faults itself must not run for ever either. */
        if (left)
            left--;
    }
    for (; left; left--) {
        if (!x86_take_events(cpu))
            return X86_RAN;
        if (cpu->halted)
            return X86_HALTED;
        x86_step(cpu);
    }
    return X86_RAN;
}
