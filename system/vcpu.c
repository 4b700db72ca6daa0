/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Processors: a thread each, or one for all, which run guest code until asked for something. */
#include "hw/sleeper.h"
#include "system/accel.h"
#include "system/icount.h"
#include "system/log.h"
#include "system/run-state.h"
#include "target/x86/debug.h"
#include "target/x86/translate.h"
#include "util/err.h"
#include <sys/syscall.h>
#include <string.h>
#include <unistd.h>

struct Vcpu {
    X86Cpu cpu;
    Machine *machine;
    unsigned index;
    Device *lapic;
    GThread *thread;   /* NULL: it has none of its own */
    int thread_id;
    MachineCond *wake; /* of its thread */
    void *accel_state; /* the accelerator's own */

    /* With the lock held. */
    bool is_inside;         /* the accelerator has the registers */
    /* it has them although the processor stands still: they could not be read */
    bool is_unread;
    bool kicked;            /* there may be something to do */
    bool is_brisk;          /* its last waits for an interrupt were brief */
    bool is_stopped;
    bool is_idle;           /* in turn: it waits for an interrupt, unless it is kicked */
    int64_t paused_until;   /* monotonic; 0: it is not paused */
    VcpuDebug debug;        /* what comes first */
    bool init_wanted, start_wanted, waits_for_start;
    uint8_t start_page;

    /* Memory types mean nothing here, but guests read back what they have set. */
    VcpuMtrrs mtrrs;
    VcpuKept kept;
};

/* Who waits until all stand still; several may at once. On its stack. */
typedef struct Stopper {
    Sleeper sleeper;
    struct Stopper *next;
} Stopper;

static struct {
    bool may_run, ending;
    Vcpu *only;       /* a debugger steps this one; NULL: all run */
    Stopper *stoppers;
    Vcpu *turn;       /* in turn: the one that executes instructions; NULL: none does */
    MachineCond *idle; /* in turn: wakes the thread while none has work; NULL: one has */
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

void *vcpu_accel_state(const Vcpu *v)
{
    return v->accel_state;
}

void vcpu_set_accel_state(Vcpu *v, void *state)
{
    v->accel_state = state;
}

static const Accel *accel(const Vcpu *v)
{
    return v->machine->config.accel;
}

/* ---- requests -------------------------------------------------------------------------------- */

static void kick(Vcpu *v)
{
    v->kicked = true;
    machine_cond_wake(v->wake);
    if (accel(v)->kick)
        accel(v)->kick(v);
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
    vcpu_set_waits_for_start(opaque, waits);
}

static const LapicCpu lapic_cpu = {
    set_interrupt, set_cr8, read_tsc, request_nmi, request_init, request_start,
    get_waits_for_start, set_waits_for_start,
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
    bool is_started = !v->waits_for_start || accel(v)->starts_itself;

    return vcpus.may_run && is_started && (!vcpus.only || vcpus.only == v);
}

static void stand_still(Vcpu *v)
{
    if (v->is_inside && accel(v)->leave)
        v->is_unread = !accel(v)->leave(v);
    v->is_inside = false;
    if (!vcpus.may_run && !v->is_stopped) {
        v->is_stopped = true;
        for (Stopper *s = vcpus.stoppers; s; s = s->next)
            sleeper_wake(&s->sleeper);
    }
}

/* Less of its time is the guest's. */
static void stay_paused(Vcpu *v)
{
    if (clock_now_ns() >= v->paused_until)
        v->paused_until = 0;
    else
        machine_cond_wait(v->wake, v->paused_until);
}

/* One thread for all? Counted instructions must not depend on how the host runs threads. */
static bool is_in_turn(const Machine *m)
{
    return m->config.icount.is_on || m->config.one_thread;
}

/* How many instructions it may execute, if there are others, before the next one has its turn. */
#define TURN (UINT64_C(1) << 16)

static void allot(Vcpu *v)
{
    bool many = v->machine->vcpus->len > 1;

    if (icount_is_on())
        icount_run(&v->cpu, many ? TURN : UINT64_MAX);
    else
        v->cpu.left = many && is_in_turn(v->machine) ? TURN : X86_NO_BUDGET;
}

/*
 * If the last wait for an interrupt was shorter, poll for so long before sleeping: cheaper. Longer
 * costs more than it saves where other threads want the host's processors, the device's among them.
 */
#define BRIEF_NS 5000

/* False: nothing has come. */
static bool look_out(const Vcpu *v)
{
    int64_t end = clock_now_ns() + BRIEF_NS;
    unsigned wakes = machine_cond_wakes(v->wake);

    machine_unlock();
    while (machine_cond_wakes(v->wake) == wakes && clock_now_ns() < end)
        ;
    machine_lock();
    return v->kicked;
}

/* The processor waits for an interrupt. */
static void idle(Vcpu *v)
{
    int64_t start = clock_now_ns();

    if (v->is_brisk && !v->kicked)
        v->is_brisk = look_out(v);
    while (!v->kicked && vcpus.may_run && !vcpus.ending)
        machine_cond_wait(v->wake, INT64_MAX);
    v->is_brisk |= clock_now_ns() - start < BRIEF_NS;
}

static void run(Vcpu *v)
{
    VcpuDebug debug = v->debug;
    X86Exit why;

    v->is_stopped = v->kicked = v->is_idle = false;
    v->debug = RUN_FREELY;
    if (!v->is_inside && !v->is_unread && accel(v)->enter)
        accel(v)->enter(v);
    v->is_inside = true;
    allot(v);
    machine_unlock();
    why = accel(v)->run(v, debug);
    machine_lock();
    if (icount_is_on())
        icount_stop(&v->cpu);
    if (why == X86_HALTED && is_in_turn(v->machine)) {
        v->is_idle = true;
    } else if (why == X86_HALTED) {
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
        if (!may_run(v)) {
            stand_still(v);
            machine_cond_wait(v->wake, INT64_MAX);
        } else if (v->paused_until) {
            stay_paused(v);
        } else {
            run(v);
        }
    }
    machine_unlock();
    return NULL;
}

/* ---- one thread for all, in turn ------------------------------------------------------------- */

static bool has_work(const Vcpu *v)
{
    return may_run(v) && (!v->is_idle || v->kicked);
}

/* The first one after number @last that has something to do; NULL: nobody has. */
static Vcpu *next_in_turn(const GPtrArray *all, unsigned last)
{
    for (guint i = 1; i <= all->len; i++) {
        Vcpu *next = all->pdata[(last + i) % all->len];

        if (has_work(next))
            return next;
    }
    return NULL;
}

/* False: it has only waited, and is the next again. */
static bool take_turn(Vcpu *v)
{
    if (v->paused_until) {
        stay_paused(v);
        return false;
    }
    if (icount_align(v->wake))
        return false;
    vcpus.turn = current = v;
    run(v);
    vcpus.turn = NULL;
    return true;
}

/* Nobody has anything to do. Time goes on all the same unless the guest is stopped. */
static void all_wait(const GPtrArray *all)
{
    Vcpu *first = all->pdata[0];
    bool any = false;

    for (guint i = 0; i < all->len; i++) {
        any |= may_run(all->pdata[i]);
        if (!may_run(all->pdata[i]))
            stand_still(all->pdata[i]);
    }
    vcpus.idle = first->wake;
    if (any && icount_is_on())
        icount_idle(first->wake);
    else
        machine_cond_wait(first->wake, INT64_MAX);
    vcpus.idle = NULL;
}

static gpointer turns_thread(gpointer opaque)
{
    const GPtrArray *all = ((Machine *)opaque)->vcpus;
    unsigned last = all->len - 1;

    machine_lock();
    for (guint i = 0; i < all->len; i++)
        ((Vcpu *)all->pdata[i])->thread_id = syscall(SYS_gettid);
    while (!vcpus.ending) {
        Vcpu *v;

        for (guint i = 0; i < all->len; i++)
            take_requests(all->pdata[i]);
        v = next_in_turn(all, last);
        if (!v) {
            all_wait(all);
            continue;
        }
        if (take_turn(v))
            last = v->index;
    }
    machine_unlock();
    return NULL;
}

/*
 * icount: a timer was set that is due before the running processor has used up its budget, or
 * before the time until which all of them wait.
 */
static void run_less(void)
{
    if (vcpus.turn)
        x86_request(&vcpus.turn->cpu, X86_EVENT_STOP);
    else if (vcpus.idle)
        machine_cond_wake(vcpus.idle);
}

bool vcpus_count(const Machine *m, GError **err)
{
    return icount_begin(&m->config.icount, run_less, err);
}

void vcpus_begin(Machine *m)
{
    if (is_in_turn(m)) {
        ((Vcpu *)m->vcpus->pdata[0])->thread = g_thread_new("vcpus", turns_thread, m);
        return;
    }
    for (guint i = 0; i < m->vcpus->len; i++)
        ((Vcpu *)m->vcpus->pdata[i])->thread = g_thread_new("vcpu", vcpu_thread,
                                                            m->vcpus->pdata[i]);
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
    Stopper self = { .next = vcpus.stoppers }, **at = &vcpus.stoppers;

    vcpus.stoppers = &self;
    vcpus_hold(m);
    while (!all_stand_still(m)) {
        sleeper_wait(&self.sleeper);
        vcpus_hold(m); /* who waited besides may have let them run */
    }
    while (*at != &self)
        at = &(*at)->next;
    *at = self.next;
    if (m->config.accel->pause)
        m->config.accel->pause(m);
}

static void let_run(Machine *m)
{
    if (m->config.accel->resume)
        m->config.accel->resume(m);
    if (icount_is_on())
        icount_resume();
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
        kick(v);
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
        if (((Vcpu *)m->vcpus->pdata[i])->thread)
            g_thread_join(((Vcpu *)m->vcpus->pdata[i])->thread);
    machine_lock();
}

/* ---- life ------------------------------------------------------------------------------------ */

bool vcpus_check_read(const Machine *m, GError **err)
{
    for (guint i = 0; i < m->vcpus->len; i++)
        if (((const Vcpu *)m->vcpus->pdata[i])->is_unread)
            return err_set(err, EIO, "The state of processor %u could not be read", i);
    return true;
}

void vcpu_reset(Vcpu *v)
{
    uint32_t leaf[4];

    log_reset(v);
    x86_reset(&v->cpu);
    /* The processor's signature, as after a real one's reset. */
    x86_cpuid(&v->machine->config.model, &v->cpu, v->index, v->machine->config.cpus, 1, 0, leaf);
    v->cpu.gpr[X86_RDX] = leaf[0];
    device_reset(v->lapic);
    v->is_unread = v->init_wanted = v->start_wanted = false;
    v->waits_for_start = v->index > 0;
    v->mtrrs.standard = VCPU_MTRR_DEFAULT;
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

static void set_up_cpu(Vcpu *v)
{
    const MachineConfig *c = &v->machine->config;

    v->cpu.features = x86_model_features(&c->model);
    v->cpu.physical_bits = c->model.physical_bits;
    v->cpu.memory = v->machine->board.memory;
    v->cpu.code_pages = v->machine->code_pages;
    x86_reset(&v->cpu);
}

/* All of one thread wait at the first one's. */
static bool owns_wake(const Vcpu *v)
{
    return !v->index || !is_in_turn(v->machine);
}

Vcpu *vcpu_new(Machine *m, unsigned index, GError **err)
{
    static const MmioOps apic = { apic_read, apic_write, 4, "apic-msi" };
    Vcpu *v = g_new0(Vcpu, 1);

    v->machine = m;
    v->index = index;
    v->wake = owns_wake(v) ? machine_cond_new() : ((Vcpu *)m->vcpus->pdata[0])->wake;
    v->is_stopped = true;
    v->lapic = device_new(&m->board, &device_lapic, NULL, NULL, NULL);
    lapic_connect(v->lapic, m->lapic_bus, &lapic_cpu, v);
    set_up_cpu(v);
    if (!accel(v)->vcpu_new(v, err)) {
        vcpu_free(v);
        return NULL;
    }
    if (index == 0)
        memory_map_add_mmio(m->board.memory, 0xfee00000, 0x1000, &apic, NULL);
    return v;
}

void vcpu_free(Vcpu *v)
{
    accel(v)->vcpu_free(v);
    device_free(v->lapic);
    if (owns_wake(v))
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

void vcpu_set_waits_for_start(Vcpu *v, bool waits)
{
    v->waits_for_start = waits;
}

Device *vcpu_lapic(Vcpu *v)
{
    return v->lapic;
}
