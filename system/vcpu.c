/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Processors: a thread each, which runs guest code until it is asked for something, and what the
 * processor of target/x86 asks of its machine.
 */
#include "hw/i8259.h"
#include "hw/sleeper.h"
#include "system/vcpu.h"
#include "system/run-state.h"
#include "target/x86/debug.h"
#include "target/x86/translate.h"
#include "util/err.h"
#include "util/size.h"
#include <sys/syscall.h>
#include <string.h>
#include <unistd.h>

struct Vcpu {
    X86Cpu cpu;
    Machine *machine;
    unsigned index;
    Device *lapic;
    GThread *thread;
    int thread_id;
    MachineCond *wake;

    /* With the lock held. */
    bool kicked;            /* there may be something to do */
    bool is_stopped;
    int64_t paused_until;   /* monotonic; 0: it is not paused */
    enum { RUN_FREELY, RUN_OVER, RUN_STEP } debug; /* what comes first */
    bool init_wanted, start_wanted, waits_for_start;
    uint8_t start_page;

    /* Memory types mean nothing here, but guests read back what they have set. */
    VcpuMtrrs mtrrs;
    VcpuKept kept;
};

static struct {
    bool may_run, ending;
    Vcpu *only;       /* a debugger steps this one; NULL: all run */
    Sleeper stopping; /* who waits until all stand still */
} vcpus;

/* The processor of this thread; registers of local APICs are its own. */
static __thread Vcpu *current;

X86Cpu *vcpu_cpu(Vcpu *v)
{
    return &v->cpu;
}

Machine *vcpu_machine(const Vcpu *v)
{
    return v->machine;
}

unsigned vcpu_index(const Vcpu *v)
{
    return v->index;
}

int vcpu_thread_id(const Vcpu *v)
{
    return v->thread_id;
}

/* ---- requests -------------------------------------------------------------------------------- */

static void kick(Vcpu *v)
{
    v->kicked = true;
    machine_cond_wake(v->wake);
}

static void set_interrupt(void *opaque, bool pending)
{
    Vcpu *v = opaque;

    if (!pending) {
        __atomic_and_fetch(&v->cpu.events, ~(uint32_t)X86_EVENT_INTERRUPT, __ATOMIC_ACQ_REL);
        return;
    }
    x86_request(&v->cpu, X86_EVENT_INTERRUPT);
    kick(v);
}

static void set_cr8(void *opaque, uint8_t priority)
{
    ((Vcpu *)opaque)->cpu.cr8 = priority;
}

static uint64_t read_tsc(void *opaque)
{
    return guest_tsc_now() + ((Vcpu *)opaque)->cpu.tsc_offset;
}

static void request_nmi(void *opaque)
{
    Vcpu *v = opaque;

    x86_request(&v->cpu, X86_EVENT_NMI);
    kick(v);
}

void vcpu_inject_nmi(Vcpu *v)
{
    request_nmi(v);
}

static void request_init(void *opaque)
{
    Vcpu *v = opaque;

    v->init_wanted = true;
    v->start_wanted = false;
    x86_request(&v->cpu, X86_EVENT_STOP);
    kick(v);
}

static void request_start(void *opaque, uint8_t page)
{
    Vcpu *v = opaque;

    /* INIT may have come so shortly before that its thread has not taken it yet. */
    if (!v->init_wanted && !v->waits_for_start)
        return;
    v->start_wanted = true;
    v->start_page = page;
    kick(v);
}

static bool get_waits_for_start(void *opaque)
{
    return ((Vcpu *)opaque)->waits_for_start;
}

static void set_waits_for_start(void *opaque, bool waits)
{
    ((Vcpu *)opaque)->waits_for_start = waits;
}

static const LapicCpu lapic_cpu = {
    set_interrupt, set_cr8, read_tsc, request_nmi, request_init, request_start,
    get_waits_for_start, set_waits_for_start,
};

/* ---- what the processor asks ----------------------------------------------------------------- */

static uint64_t port_read(void *opaque, uint16_t port, unsigned size)
{
    return memory_map_read(((Vcpu *)opaque)->machine->board.ports, port, size);
}

static void port_write(void *opaque, uint16_t port, unsigned size, uint64_t value)
{
    memory_map_write(((Vcpu *)opaque)->machine->board.ports, port, size, value);
}

static int take_interrupt(void *opaque)
{
    Vcpu *v = opaque;
    int vector;

    machine_lock();
    vector = lapic_acknowledge(v->lapic, v->cpu.cr8);
    if (vector == LAPIC_ASK_PIC)
        vector = i8259_acknowledge(v->machine->pic);
    machine_unlock();
    return vector;
}

static uint64_t raw_tsc(void *opaque)
{
    return guest_tsc_now();
}

static void cpuid(void *opaque, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    Vcpu *v = opaque;
    const Machine *m = v->machine;

    x86_cpuid(&m->config.model, &v->cpu, v->index, m->config.cpus, leaf, subleaf, out);
    /* The APIC's flag goes out with the APIC. */
    if (leaf == 1 && !lapic_is_enabled(v->lapic))
        out[3] &= ~(UINT32_C(1) << 9);
}

/* ---- model-specific registers ---------------------------------------------------------------- */

enum {
    MSR_FEATURE_CONTROL = 0x3a, MSR_TSC_ADJUST = 0x3b, MSR_MICROCODE = 0x8b, MSR_MTRR_CAP = 0xfe,
    MSR_MTRR_BASE = 0x200, MSR_MTRR_DEFAULT = 0x2ff, MTRR_CAP = 0x500 | VARIABLE_MTRRS,
    MTRR_ENABLED = 0x800, MTRR_WRITE_BACK = 6,
    MSR_MCG_CAP = 0x179, MSR_MCG_STATUS = 0x17a, MSR_MCG_CONTROL = 0x17b, MSR_PERF_STATUS = 0x198,
};

static const uint16_t fixed_mtrrs[FIXED_MTRRS] = {
    0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f,
};

/* Registers that just hold a value. */
static uint64_t *plain_msr(Vcpu *v, uint32_t index)
{
    if (index - MSR_MTRR_BASE < 2 * VARIABLE_MTRRS)
        return &v->mtrrs.variable[index - MSR_MTRR_BASE];
    for (unsigned i = 0; i < FIXED_MTRRS; i++)
        if (fixed_mtrrs[i] == index)
            return &v->mtrrs.fixed[i];
    return index == MSR_MTRR_DEFAULT ? &v->mtrrs.standard : NULL;
}

/* Registers that Linux reads without asking on AMD's processors, and that read as zero here. */
static bool is_zero_msr(uint32_t index)
{
    static const uint32_t known[] = {
        MSR_FEATURE_CONTROL, MSR_MICROCODE, MSR_MCG_CAP, MSR_MCG_STATUS, MSR_MCG_CONTROL,
        MSR_PERF_STATUS, 0x17, 0xc0010000, 0xc0010001, 0xc0010002, 0xc0010003, 0xc0010004,
        0xc0010005, 0xc0010006, 0xc0010007, 0xc0010010, 0xc0010015, 0xc001001f, 0xc0010055,
        0xc0011029, 0xc0011022, 0xc0010112, 0xc0010113,
    };

    for (size_t i = 0; i < G_N_ELEMENTS(known); i++)
        if (known[i] == index)
            return true;
    return false;
}

static bool msr_read(void *opaque, uint32_t index, uint64_t *value)
{
    Vcpu *v = opaque;
    uint64_t *plain = plain_msr(v, index);
    bool ok;

    if (plain) {
        *value = *plain;
        return true;
    }
    switch (index) {
    case MSR_TSC_ADJUST:
        *value = v->cpu.tsc_offset;
        return true;
    case MSR_MTRR_CAP:
        *value = MTRR_CAP;
        return true;
    }
    if (is_zero_msr(index)) {
        *value = 0;
        return true;
    }
    machine_lock();
    ok = lapic_msr_read(v->lapic, index, value);
    machine_unlock();
    return ok;
}

static bool msr_write(void *opaque, uint32_t index, uint64_t value)
{
    Vcpu *v = opaque;
    uint64_t *plain = plain_msr(v, index);
    bool ok;

    if (plain) {
        *plain = value;
        return true;
    }
    if (index == MSR_TSC_ADJUST) {
        v->cpu.tsc_offset = value;
        return true;
    }
    if (is_zero_msr(index))
        return true;
    machine_lock();
    ok = lapic_msr_write(v->lapic, index, value);
    machine_unlock();
    return ok;
}

static const X86Machine x86_machine = {
    .port_read = port_read, .port_write = port_write, .interrupt = take_interrupt, .tsc = raw_tsc,
    .msr_read = msr_read, .msr_write = msr_write, .cpuid = cpuid,
};

/* ---- registers of the local APIC in memory --------------------------------------------------- */

static uint64_t apic_read(void *opaque, uint64_t offset, unsigned size)
{
    return current && lapic_is_enabled(current->lapic) ? lapic_read(current->lapic, offset) : 0;
}

static void apic_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    if (current && size == 4 && lapic_is_enabled(current->lapic))
        lapic_write(current->lapic, offset, value);
}

/* ---- the thread ------------------------------------------------------------------------------ */

/* INIT and SIPI. */
static void take_requests(Vcpu *v)
{
    if (v->init_wanted) {
        v->init_wanted = false;
        x86_reset(&v->cpu);
        v->waits_for_start = v->index > 0;
    }
    if (v->waits_for_start && v->start_wanted) {
        X86Segment *cs = &v->cpu.segment[X86_CS];

        v->waits_for_start = v->start_wanted = false;
        cs->selector = v->start_page << 8;
        cs->base = v->start_page << 12;
        v->cpu.rip = 0;
    }
}

static bool may_run(const Vcpu *v)
{
    return vcpus.may_run && !v->waits_for_start && (!vcpus.only || vcpus.only == v);
}

static void stand_still(Vcpu *v)
{
    if (!vcpus.may_run && !v->is_stopped) {
        v->is_stopped = true;
        sleeper_wake(&vcpus.stopping);
    }
    machine_cond_wait(v->wake, INT64_MAX);
}

/* Less of its time is the guest's. */
static void stay_paused(Vcpu *v)
{
    if (clock_now_ns() >= v->paused_until)
        v->paused_until = 0;
    else
        machine_cond_wait(v->wake, v->paused_until);
}

/* The processor waits for an interrupt. */
static void idle(Vcpu *v)
{
    while (!v->kicked && vcpus.may_run && !vcpus.ending)
        machine_cond_wait(v->wake, INT64_MAX);
}

/* Without the lock. A step ends whatever the instruction does, but for the end of all. */
static X86Exit run_code(Vcpu *v, int debug)
{
    uint64_t address;
    X86Exit why = debug == RUN_FREELY ? X86_DEBUGGED : x86_debug_step(&v->cpu, false);

    if (debug == RUN_STEP && why != X86_SHUTDOWN)
        return X86_DEBUGGED;
    if (why != X86_DEBUGGED || (debug == RUN_OVER && x86_debug_watch_hit(&v->cpu, &address)))
        return why;
    return x86_run(&v->cpu, X86_NO_BUDGET);
}

static void run(Vcpu *v)
{
    int debug = v->debug;
    X86Exit why;

    v->is_stopped = v->kicked = false;
    v->debug = RUN_FREELY;
    machine_unlock();
    why = run_code(v, debug);
    machine_lock();
    if (why == X86_HALTED) {
        idle(v);
    } else if (why == X86_DEBUGGED) {
        run_state_guest_debugged(v);
    } else if (why == X86_SHUTDOWN) {
        vcpus_hold(v->machine);
        v->machine->board.reset(&v->machine->board);
    }
}

static gpointer vcpu_thread(gpointer opaque)
{
    Vcpu *v = opaque;

    machine_lock();
    current = v;
    v->thread_id = syscall(SYS_gettid);
    while (!vcpus.ending) {
        take_requests(v);
        if (!may_run(v))
            stand_still(v);
        else if (v->paused_until)
            stay_paused(v);
        else
            run(v);
    }
    machine_unlock();
    return NULL;
}

/* ---- stopping and running -------------------------------------------------------------------- */

void vcpus_hold(Machine *m)
{
    vcpus.may_run = false;
    for (guint i = 0; i < m->vcpus->len; i++) {
        Vcpu *v = m->vcpus->pdata[i];

        x86_request(&v->cpu, X86_EVENT_STOP);
        kick(v);
    }
}

static bool all_stand_still(const Machine *m)
{
    for (guint i = 0; i < m->vcpus->len; i++)
        if (!((Vcpu *)m->vcpus->pdata[i])->is_stopped)
            return false;
    return true;
}

CO void vcpus_stop(Machine *m)
{
    vcpus_hold(m);
    while (!all_stand_still(m)) {
        sleeper_wait(&vcpus.stopping);
        vcpus_hold(m); /* who waited besides may have let them run */
    }
}

static void let_run(Machine *m)
{
    vcpus.may_run = true;
    for (guint i = 0; i < m->vcpus->len; i++)
        kick(m->vcpus->pdata[i]);
}

void vcpus_run(Machine *m)
{
    vcpus.only = NULL;
    let_run(m);
}

void vcpus_run_debugged(Machine *m, Vcpu *step)
{
    for (guint i = 0; i < m->vcpus->len; i++) {
        Vcpu *v = m->vcpus->pdata[i];

        v->debug = v == step ? RUN_STEP : x86_debug_is_at_break(&v->cpu) ? RUN_OVER : RUN_FREELY;
    }
    vcpus.only = step;
    let_run(m);
}

void vcpus_pause(Machine *m, int64_t ns)
{
    int64_t until = clock_now_ns() + ns;

    for (guint i = 0; i < m->vcpus->len; i++) {
        Vcpu *v = m->vcpus->pdata[i];

        v->paused_until = until;
        x86_request(&v->cpu, X86_EVENT_STOP);
    }
}

CO void vcpus_end(Machine *m)
{
    vcpus_stop(m);
    vcpus.ending = true;
    for (guint i = 0; i < m->vcpus->len; i++)
        kick(m->vcpus->pdata[i]);
    machine_unlock();
    for (guint i = 0; i < m->vcpus->len; i++)
        g_thread_join(((Vcpu *)m->vcpus->pdata[i])->thread);
    machine_lock();
}

/* ---- life ------------------------------------------------------------------------------------ */

void vcpu_reset(Vcpu *v)
{
    uint32_t leaf[4];

    x86_reset(&v->cpu);
    /* The processor's signature, as after a real one's reset. */
    cpuid(v, 1, 0, leaf);
    v->cpu.gpr[X86_RDX] = leaf[0];
    device_reset(v->lapic);
    v->init_wanted = v->start_wanted = false;
    v->waits_for_start = v->index > 0;
    /* As firmware leaves them: write-back. */
    v->mtrrs.standard = MTRR_ENABLED | MTRR_WRITE_BACK;
    memset(v->mtrrs.fixed, 0, sizeof(v->mtrrs.fixed));
    memset(v->mtrrs.variable, 0, sizeof(v->mtrrs.variable));
    vcpu_kept_reset(&v->kept);
}

VcpuMtrrs *vcpu_mtrrs(Vcpu *v)
{
    return &v->mtrrs;
}

VcpuKept *vcpu_kept(Vcpu *v)
{
    return &v->kept;
}

/* Generated code of one processor. */
#define CODE_SIZE (64 * MiB)

static bool set_up_cpu(Vcpu *v, GError **err)
{
    const MachineConfig *c = &v->machine->config;

    v->cpu.features = x86_model_features(&c->model);
    v->cpu.physical_bits = c->model.physical_bits;
    v->cpu.memory = v->machine->board.memory;
    v->cpu.code_pages = v->machine->code_pages;
    v->cpu.machine = &x86_machine;
    v->cpu.machine_opaque = v;
    x86_reset(&v->cpu);
    if (!c->interpret && !x86_translator_init(&v->cpu, CODE_SIZE))
        return err_set(err, ENOMEM, "There is no memory for translated code");
    return true;
}

Vcpu *vcpu_new(Machine *m, unsigned index, GError **err)
{
    static const MmioOps apic = { apic_read, apic_write, 4, "apic-msi" };
    Vcpu *v = g_new0(Vcpu, 1);

    v->machine = m;
    v->index = index;
    v->wake = machine_cond_new();
    v->lapic = device_new(&m->board, &device_lapic, NULL, NULL, NULL);
    lapic_connect(v->lapic, m->lapic_bus, &lapic_cpu, v);
    if (!set_up_cpu(v, err)) {
        vcpu_free(v);
        return NULL;
    }
    if (index == 0)
        memory_map_add_mmio(m->board.memory, 0xfee00000, 0x1000, &apic, NULL);
    v->thread = g_thread_new("vcpu", vcpu_thread, v);
    return v;
}

void vcpu_free(Vcpu *v)
{
    x86_translator_free(&v->cpu);
    device_free(v->lapic);
    machine_cond_free(v->wake);
    g_free(v);
}

bool vcpu_is_halted(const Vcpu *v)
{
    return v->cpu.halted;
}

bool vcpu_waits_for_start(const Vcpu *v)
{
    return v->waits_for_start;
}

Device *vcpu_lapic(Vcpu *v)
{
    return v->lapic;
}
