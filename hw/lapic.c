/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC: docs/spec/apic.md. Its timer's bus has 1 GHz, as the time stamp counter has.
 */
#include "hw/lapic.h"
#include "system/base/guest-log.h"
#include "util/err.h"
#include <inttypes.h>
#include <string.h>

enum {
    REG_ID = 0x02, REG_VERSION = 0x03, REG_TPR = 0x08, REG_APR = 0x09, REG_PPR = 0x0a,
    REG_EOI = 0x0b, REG_LDR = 0x0d, REG_DFR = 0x0e, REG_SVR = 0x0f, REG_ISR = 0x10, REG_TMR = 0x18,
    REG_IRR = 0x20, REG_ESR = 0x28, REG_ICR = 0x30, REG_ICR_HIGH = 0x31, REG_LVT = 0x32,
    REG_INITIAL = 0x38, REG_CURRENT = 0x39, REG_DIVIDE = 0x3e, REG_SELF_IPI = 0x3f,

    LVT_TIMER = 0, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVTS,
    LVT_MASKED = 1 << 16,
    LVT_MODE = 3 << 17, LVT_PERIODIC = 1 << 17, LVT_DEADLINE = 2 << 17,

    SVR_ENABLED = 1 << 8,
    ESR_SEND_ILLEGAL = 1 << 5, ESR_RECEIVE_ILLEGAL = 1 << 6, ESR_REGISTER = 1 << 7,

    BASE_BSP = 1 << 8, BASE_X2 = 1 << 10, BASE_ENABLED = 1 << 11,
    MSR_BASE = 0x1b, MSR_DEADLINE = 0x6e0, MSR_X2 = 0x800,

    VERSION = 0x14, MAX_CPUS = 255,
};

struct LapicBus {
    Lapic *lapic[MAX_CPUS];
    unsigned count;
    void (*eoi)(void *opaque, uint8_t vector);
    void *opaque;
    const LapicRemote *remote; /* NULL: the APICs are here */
    void *remote_opaque;
};

struct Lapic {
    Device dev;
    LapicBus *bus;
    const LapicCpu *ops;
    void *cpu;
    GuestTimer timer;

    uint32_t id;
    uint64_t base;
    uint8_t tpr;
    uint32_t ldr, dfr, svr, esr, esr_next;
    uint32_t isr[8], tmr[8], irr[8];
    uint32_t icr_low, icr_high;
    uint32_t lvt[LVTS];
    uint32_t initial, divide;
    uint64_t deadline;   /* of the time stamp counter; 0: none */
    int64_t started;     /* guest's time at which the count was set */
    bool is_external;    /* the legacy controller wants something */
};

/* ---- sets of vectors ------------------------------------------------------------------------- */

static void vector_set(uint32_t *set, uint8_t v, bool on)
{
    uint32_t bit = UINT32_C(1) << (v & 31);

    set[v / 32] = on ? set[v / 32] | bit : set[v / 32] & ~bit;
}

static bool vector_is_set(const uint32_t *set, uint8_t v)
{
    return set[v / 32] >> (v & 31) & 1;
}

static int vector_highest(const uint32_t *set)
{
    for (int i = 7; i >= 0; i--)
        if (set[i])
            return 32 * i + 31 - __builtin_clz(set[i]);
    return -1;
}

/* ---- what the processor is told -------------------------------------------------------------- */

static bool is_hardware_enabled(const Lapic *l)
{
    return l->base & BASE_ENABLED;
}

static bool is_software_enabled(const Lapic *l)
{
    return is_hardware_enabled(l) && l->svr & SVR_ENABLED;
}

static bool is_x2(const Lapic *l)
{
    return l->base & BASE_X2;
}

static uint8_t processor_priority(const Lapic *l)
{
    int serving = vector_highest(l->isr);

    return serving >= 0 && serving >> 4 > l->tpr >> 4 ? serving & 0xf0 : l->tpr;
}

/* The vector that would be served now, or -1. */
static int ready_vector(const Lapic *l)
{
    int v = is_software_enabled(l) ? vector_highest(l->irr) : -1;

    return v >= 0 && v >> 4 > processor_priority(l) >> 4 ? v : -1;
}

/* Does the legacy controller reach the processor? */
static bool takes_external(const Lapic *l)
{
    uint32_t lint0 = l->lvt[LVT_LINT0];

    if (!is_hardware_enabled(l))
        return true;
    return !(lint0 & LVT_MASKED) && (lint0 >> 8 & 7) == LAPIC_EXTINT;
}

static void update(Lapic *l)
{
    if (l->bus->remote) {
        l->ops->interrupt(l->cpu, l->is_external);
        return;
    }
    l->ops->interrupt(l->cpu, ready_vector(l) >= 0 || (l->is_external && takes_external(l)));
}

/* CR8 has only the upper half of the register: while that is equal, the lower half stays. */
static void follow_cr8(Lapic *l, uint8_t cr8)
{
    if (cr8 != l->tpr >> 4)
        l->tpr = cr8 << 4;
}

void lapic_set_cr8(Device *d, uint8_t cr8)
{
    Lapic *l = (Lapic *)d;

    follow_cr8(l, cr8);
    update(l);
}

int lapic_acknowledge(Device *d, uint8_t cr8)
{
    Lapic *l = (Lapic *)d;
    int v;

    follow_cr8(l, cr8);
    v = ready_vector(l);
    if (v >= 0) {
        vector_set(l->irr, v, false);
        vector_set(l->isr, v, true);
    } else if (l->is_external && takes_external(l)) {
        v = LAPIC_ASK_PIC;
    }
    update(l);
    return v;
}

void lapic_set_external(Device *d, bool level)
{
    Lapic *l = (Lapic *)d;

    l->is_external = level;
    update(l);
}

/* ---- what comes in --------------------------------------------------------------------------- */

static void lvt_raise(Lapic *l, unsigned which);

static void note_error(Lapic *l, uint32_t bit)
{
    bool is_new = !(l->esr_next & bit);

    l->esr_next |= bit;
    if (is_new && bit != ESR_RECEIVE_ILLEGAL)
        lvt_raise(l, LVT_ERROR);
}

static void accept(Lapic *l, uint8_t vector, bool level_triggered)
{
    if (!is_software_enabled(l))
        return;
    if (vector < 16) {
        note_error(l, ESR_RECEIVE_ILLEGAL);
        return;
    }
    vector_set(l->irr, vector, true);
    vector_set(l->tmr, vector, level_triggered);
    update(l);
}

static void lvt_raise(Lapic *l, unsigned which)
{
    uint32_t v = l->lvt[which];

    if (v & LVT_MASKED)
        return;
    if ((v >> 8 & 7) == LAPIC_NMI && which != LVT_TIMER)
        l->ops->nmi(l->cpu);
    else
        accept(l, v, false);
}

static void receive(Lapic *l, const LapicMessage *m)
{
    switch (m->delivery) {
    case LAPIC_FIXED:
    case LAPIC_LOWEST:
        accept(l, m->vector, m->level_triggered);
        break;
    case LAPIC_NMI:
        l->ops->nmi(l->cpu);
        break;
    case LAPIC_INIT:
        l->ops->init(l->cpu);
        break;
    case LAPIC_STARTUP:
        l->ops->start(l->cpu, m->vector);
        break;
    case LAPIC_EXTINT: /* only by LINT0 */
    case LAPIC_SMI:    /* there is no such mode */
        break;
    }
}

/* ---- the bus --------------------------------------------------------------------------------- */

static bool matches_logical(const Lapic *l, uint32_t to)
{
    if (is_x2(l)) {
        uint32_t logical = l->id >> 4 << 16 | UINT32_C(1) << (l->id & 15);

        return logical >> 16 == to >> 16 && logical & to & 0xffff;
    }
    if (to == 0xff)
        return true;
    if (l->dfr >> 28 == 15)
        return l->ldr >> 24 & to;
    return l->ldr >> 28 == to >> 4 && l->ldr >> 24 & to & 15;
}

static bool is_broadcast(const Lapic *l, uint32_t to)
{
    return to == UINT32_MAX || (!is_x2(l) && to == 0xff);
}

static bool matches(const Lapic *l, const LapicMessage *m)
{
    if (is_broadcast(l, m->destination))
        return true;
    return m->logical ? matches_logical(l, m->destination) : l->id == m->destination;
}

void lapic_bus_send(LapicBus *bus, const LapicMessage *m)
{
    Lapic *lowest = NULL;

    if (bus->remote) {
        bus->remote->send(bus->remote_opaque, m);
        return;
    }
    for (unsigned i = 0; i < bus->count; i++) {
        Lapic *l = bus->lapic[i];

        if (!matches(l, m))
            continue;
        if (m->delivery != LAPIC_LOWEST)
            receive(l, m);
        else if (is_software_enabled(l) &&
                 (!lowest || processor_priority(l) < processor_priority(lowest)))
            lowest = l;
    }
    if (lowest)
        receive(lowest, m);
}

void lapic_bus_eoi(LapicBus *bus, uint8_t vector)
{
    bus->eoi(bus->opaque, vector);
}

void lapic_bus_set_remote(LapicBus *bus, const LapicRemote *ops, void *opaque)
{
    bus->remote = ops;
    bus->remote_opaque = opaque;
}

void lapic_bus_route(LapicBus *bus, unsigned input, const LapicMessage *m)
{
    if (bus->remote)
        bus->remote->route(bus->remote_opaque, input, m);
}

LapicBus *lapic_bus_new(void (*eoi)(void *opaque, uint8_t vector), void *opaque)
{
    LapicBus *bus = g_new0(LapicBus, 1);

    bus->eoi = eoi;
    bus->opaque = opaque;
    return bus;
}

void lapic_bus_free(LapicBus *bus)
{
    g_free(bus);
}

void lapic_connect(Device *d, LapicBus *bus, const LapicCpu *ops, void *cpu)
{
    Lapic *l = (Lapic *)d;

    g_assert(bus->count < MAX_CPUS);
    l->bus = bus;
    l->ops = ops;
    l->cpu = cpu;
    l->id = bus->count;
    bus->lapic[bus->count++] = l;
}

/* ---- what the processor sends ---------------------------------------------------------------- */

enum { TO_DESTINATION, TO_SELF, TO_ALL, TO_OTHERS };

static void send(Lapic *l)
{
    uint32_t low = l->icr_low;
    unsigned shorthand = low >> 18 & 3;
    LapicMessage m = {
        .destination = is_x2(l) ? l->icr_high : l->icr_high >> 24, .logical = low >> 11 & 1,
        .delivery = low >> 8 & 7, .vector = low, .level_triggered = low >> 15 & 1,
    };

    /* The end of an INIT's level was for processors that are long gone. */
    if (m.delivery == LAPIC_INIT && m.level_triggered && !(low >> 14 & 1))
        return;
    if (m.delivery <= LAPIC_LOWEST && m.vector < 16) {
        note_error(l, ESR_SEND_ILLEGAL);
        return;
    }
    m.level_triggered = false;
    if (shorthand == TO_DESTINATION) {
        lapic_bus_send(l->bus, &m);
        return;
    }
    for (unsigned i = 0; i < l->bus->count; i++) {
        Lapic *other = l->bus->lapic[i];

        if (other == l ? shorthand != TO_OTHERS : shorthand != TO_SELF)
            receive(other, &m);
    }
}

static void end_of_interrupt(Lapic *l)
{
    int v = vector_highest(l->isr);

    if (v < 0)
        return;
    vector_set(l->isr, v, false);
    if (vector_is_set(l->tmr, v))
        lapic_bus_eoi(l->bus, v);
    update(l);
}

/* ---- the timer ------------------------------------------------------------------------------- */

static uint32_t timer_mode(const Lapic *l)
{
    return l->lvt[LVT_TIMER] & LVT_MODE;
}

/* Nanoseconds of one count. */
static uint64_t timer_period(const Lapic *l)
{
    unsigned code = (l->divide & 3) | (l->divide >> 1 & 4);

    return code == 7 ? 1 : UINT64_C(2) << code;
}

static uint32_t timer_current(const Lapic *l)
{
    uint64_t gone = (guest_clock_now() - l->started) / timer_period(l);

    if (timer_mode(l) == LVT_DEADLINE || !l->initial)
        return 0;
    if (timer_mode(l) == LVT_PERIODIC)
        return l->initial - gone % l->initial;
    return gone >= l->initial ? 0 : l->initial - gone;
}

/* A period shorter than that would keep a processor, or the clock, from doing anything else. */
enum { SHORTEST_PERIOD_NS = 20000 };

static void timer_arm(Lapic *l)
{
    int64_t now = guest_clock_now();
    uint64_t span = (uint64_t)l->initial * timer_period(l);

    guest_timer_cancel(&l->timer);
    if (l->bus->remote)
        return;
    if (timer_mode(l) == LVT_DEADLINE) {
        uint64_t tsc = l->ops->tsc(l->cpu);
        uint64_t left = l->deadline > tsc ? guest_tsc_to_ns(l->deadline - tsc) : 0;

        if (l->deadline)
            guest_timer_set(&l->timer, now + (int64_t)MIN(left, INT64_MAX / 2));
    } else if (l->initial && timer_mode(l) == LVT_PERIODIC) {
        span = MAX(span, SHORTEST_PERIOD_NS);
        guest_timer_set(&l->timer, l->started + (int64_t)(((now - l->started) / span + 1) * span));
    } else if (l->initial && now - l->started < (int64_t)span) {
        guest_timer_set(&l->timer, l->started + (int64_t)span);
    }
}

static void timer_expired(void *opaque)
{
    Lapic *l = opaque;

    if (timer_mode(l) == LVT_DEADLINE)
        l->deadline = 0;
    lvt_raise(l, LVT_TIMER);
    if (timer_mode(l) == LVT_PERIODIC)
        timer_arm(l);
}

static void set_deadline(Lapic *l, uint64_t v)
{
    if (timer_mode(l) != LVT_DEADLINE)
        return;
    l->deadline = v;
    timer_arm(l);
}

static void set_lvt(Lapic *l, unsigned which, uint32_t v)
{
    static const uint32_t writable[LVTS] = {
        [LVT_TIMER] = 0x700ff, [LVT_THERMAL] = 0x107ff, [LVT_PERF] = 0x107ff,
        [LVT_LINT0] = 0x1a7ff, [LVT_LINT1] = 0x1a7ff, [LVT_ERROR] = 0x100ff,
    };
    uint32_t old = l->lvt[which];

    v &= writable[which];
    if (!(l->svr & SVR_ENABLED))
        v |= LVT_MASKED;
    l->lvt[which] = v;
    if (which == LVT_TIMER && (old ^ v) & LVT_MODE) {
        /* A change to or from deadlines disarms. */
        if ((old | v) & LVT_DEADLINE)
            l->initial = l->deadline = 0;
        timer_arm(l);
    }
    update(l);
}

/* ---- registers ------------------------------------------------------------------------------- */

static bool read_register(Lapic *l, unsigned reg, uint32_t *v)
{
    switch (reg) {
    case REG_ID:
        *v = is_x2(l) ? l->id : l->id << 24;
        return true;
    case REG_VERSION:
        *v = VERSION | (LVTS - 1) << 16;
        return true;
    case REG_TPR:
        *v = l->tpr;
        return true;
    case REG_PPR:
        *v = processor_priority(l);
        return true;
    case REG_LDR:
        *v = is_x2(l) ? l->id >> 4 << 16 | UINT32_C(1) << (l->id & 15) : l->ldr;
        return true;
    case REG_SVR:
        *v = l->svr;
        return true;
    case REG_ISR ... REG_ISR + 7:
        *v = l->isr[reg - REG_ISR];
        return true;
    case REG_TMR ... REG_TMR + 7:
        *v = l->tmr[reg - REG_TMR];
        return true;
    case REG_IRR ... REG_IRR + 7:
        *v = l->irr[reg - REG_IRR];
        return true;
    case REG_ESR:
        *v = l->esr;
        return true;
    case REG_ICR:
        *v = l->icr_low;
        return true;
    case REG_LVT ... REG_LVT + LVTS - 1:
        *v = l->lvt[reg - REG_LVT];
        return true;
    case REG_INITIAL:
        *v = l->initial;
        return true;
    case REG_CURRENT:
        *v = timer_current(l);
        return true;
    case REG_DIVIDE:
        *v = l->divide;
        return true;
    default:
        return false;
    }
}

static void set_tpr(Lapic *l, uint8_t v)
{
    l->tpr = v;
    l->ops->set_cr8(l->cpu, v >> 4);
    update(l);
}

static void set_svr(Lapic *l, uint32_t v)
{
    l->svr = v & 0x1ff;
    if (!(v & SVR_ENABLED))
        for (unsigned i = 0; i < LVTS; i++)
            l->lvt[i] |= LVT_MASKED;
    update(l);
}

static bool write_register(Lapic *l, unsigned reg, uint32_t v)
{
    switch (reg) {
    case REG_TPR:
        set_tpr(l, v);
        return true;
    case REG_EOI:
        end_of_interrupt(l);
        return true;
    case REG_SVR:
        set_svr(l, v);
        return true;
    case REG_ESR:
        l->esr = l->esr_next;
        l->esr_next = 0;
        return true;
    case REG_ICR:
        l->icr_low = v & 0xccfff;
        send(l);
        return true;
    case REG_LVT ... REG_LVT + LVTS - 1:
        set_lvt(l, reg - REG_LVT, v);
        return true;
    case REG_INITIAL:
        if (timer_mode(l) == LVT_DEADLINE)
            return true;
        l->initial = v;
        l->started = guest_clock_now();
        timer_arm(l);
        return true;
    case REG_DIVIDE:
        l->divide = v & 11;
        timer_arm(l);
        return true;
    default:
        return false;
    }
}

/* Those that only the registers in memory have. */
static bool write_old_register(Lapic *l, unsigned reg, uint32_t v)
{
    switch (reg) {
    case REG_LDR:
        l->ldr = v & 0xff000000;
        return true;
    case REG_DFR:
        l->dfr = v | 0x0fffffff;
        return true;
    case REG_ICR_HIGH:
        l->icr_high = v & 0xff000000;
        return true;
    default:
        return false;
    }
}

static void refuse_register(Lapic *l, const char *what, uint64_t offset)
{
    guest_log(GUEST_LOG_ERRORS, "lapic: %s of 0x%03" PRIx64 ": there is no such register", what,
              offset);
    note_error(l, ESR_REGISTER);
}

uint32_t lapic_read(Device *d, uint64_t offset)
{
    Lapic *l = (Lapic *)d;
    unsigned reg = offset >> 4;
    uint32_t v = 0;

    if (offset & 15 || is_x2(l))
        return 0;
    if (reg == REG_DFR)
        return l->dfr;
    if (reg == REG_ICR_HIGH)
        return l->icr_high;
    if (!read_register(l, reg, &v))
        refuse_register(l, "read", offset);
    return v;
}

void lapic_write(Device *d, uint64_t offset, uint32_t value)
{
    Lapic *l = (Lapic *)d;
    unsigned reg = offset >> 4;

    if (offset & 15 || is_x2(l))
        return;
    if (!write_old_register(l, reg, value) && !write_register(l, reg, value) &&
        reg != REG_ID && reg != REG_APR)
        refuse_register(l, "write", offset);
}

bool lapic_is_enabled(const Device *d)
{
    return is_hardware_enabled((const Lapic *)d);
}

/* ---- model-specific registers ---------------------------------------------------------------- */

static bool set_base(Lapic *l, uint64_t v)
{
    bool was_x2 = is_x2(l), enabled = v & BASE_ENABLED, x2 = v & BASE_X2;

    /* From x2APIC mode one leaves only by turning off, and comes to it only when on. */
    if ((x2 && !enabled) || (was_x2 && enabled && !x2) || v >> 40 || v & 0x2ff)
        return false;
    if (!is_hardware_enabled(l) && x2)
        return false;
    l->base = (v & ~(uint64_t)BASE_BSP) | (l->base & BASE_BSP);
    update(l);
    return true;
}

static bool x2_read(Lapic *l, unsigned reg, uint64_t *value)
{
    uint32_t v = 0;

    if (reg == REG_ICR) {
        *value = (uint64_t)l->icr_high << 32 | l->icr_low;
        return true;
    }
    if (!read_register(l, reg, &v))
        return false;
    *value = v;
    return true;
}

static bool x2_write(Lapic *l, unsigned reg, uint64_t value)
{
    if (reg == REG_ICR) {
        l->icr_high = value >> 32;
        return write_register(l, reg, value);
    }
    if (value >> 32 || ((reg == REG_EOI || reg == REG_ESR) && value))
        return false;
    if (reg == REG_SELF_IPI) {
        accept(l, value, false);
        return value <= 0xff;
    }
    return write_register(l, reg, value);
}

bool lapic_msr_read(Device *d, uint32_t index, uint64_t *value)
{
    Lapic *l = (Lapic *)d;

    if (index == MSR_BASE)
        *value = l->base;
    else if (index == MSR_DEADLINE)
        *value = l->deadline;
    else
        return is_x2(l) && index - MSR_X2 <= 0x3f && x2_read(l, index - MSR_X2, value);
    return true;
}

bool lapic_msr_write(Device *d, uint32_t index, uint64_t value)
{
    Lapic *l = (Lapic *)d;

    if (index == MSR_BASE)
        return set_base(l, value);
    if (index == MSR_DEADLINE) {
        set_deadline(l, value);
        return true;
    }
    return is_x2(l) && index - MSR_X2 <= 0x3f && x2_write(l, index - MSR_X2, value);
}

/* ---- all registers at once ------------------------------------------------------------------- */

void lapic_get_registers(Device *d, LapicRegisters *out)
{
    Lapic *l = (Lapic *)d;

    *out = (LapicRegisters){ .base = l->base, .deadline = l->deadline };
    for (unsigned i = 0; i < LAPIC_REGISTERS; i++)
        read_register(l, i, &out->reg[i]);
    out->reg[REG_ID] = l->id << 24;
    if (!is_x2(l))
        out->reg[REG_LDR] = l->ldr;
    out->reg[REG_DFR] = l->dfr;
    out->reg[REG_ICR_HIGH] = l->icr_high;
}

void lapic_set_registers(Device *d, const LapicRegisters *in)
{
    Lapic *l = (Lapic *)d;
    uint32_t left = MIN(in->reg[REG_CURRENT], in->reg[REG_INITIAL]);

    l->base = in->base;
    l->deadline = in->deadline;
    l->tpr = in->reg[REG_TPR];
    l->ldr = is_x2(l) ? l->ldr : in->reg[REG_LDR];
    l->dfr = in->reg[REG_DFR];
    l->svr = in->reg[REG_SVR];
    l->esr = l->esr_next = in->reg[REG_ESR];
    l->icr_low = in->reg[REG_ICR];
    l->icr_high = in->reg[REG_ICR_HIGH];
    l->divide = in->reg[REG_DIVIDE] & 11;
    l->initial = in->reg[REG_INITIAL];
    l->started = guest_clock_now() - (int64_t)((l->initial - left) * timer_period(l));
    for (unsigned i = 0; i < 8; i++) {
        l->isr[i] = in->reg[REG_ISR + i];
        l->tmr[i] = in->reg[REG_TMR + i];
        l->irr[i] = in->reg[REG_IRR + i];
    }
    for (unsigned i = 0; i < LVTS; i++)
        l->lvt[i] = in->reg[REG_LVT + i];
    l->ops->set_cr8(l->cpu, l->tpr >> 4);
}

bool lapic_take_back(Device *d, uint8_t vector)
{
    Lapic *l = (Lapic *)d;

    if (!vector_is_set(l->isr, vector))
        return false;
    vector_set(l->isr, vector, false);
    vector_set(l->irr, vector, true);
    return true;
}

/* ---- for people ------------------------------------------------------------------------------ */

static const char *delivery_name(unsigned v)
{
    static const char *const names[] = { "Fixed", "Lowest", "SMI", "...", "NMI", "INIT", "SIPI",
                                         "ExtINT" };

    return names[v >> 8 & 7];
}

static void describe_lvt(const Lapic *l, GString *out, const char *name, unsigned i)
{
    static const char *const modes[] = { "one-shot", "periodic", "tsc-deadline", "..." };
    uint32_t v = l->lvt[i];

    g_string_append_printf(out, "%s\t 0x%08x %s %-5s %-6s %-7s %-12s %-6s", name, v,
                           v >> 13 & 1 ? "active-lo" : "active-hi", v >> 15 & 1 ? "level" : "edge",
                           v & LVT_MASKED ? "masked" : "", v >> 12 & 1 ? "pending" : "",
                           i == LVT_TIMER ? modes[v >> 17 & 3] : "", delivery_name(v));
    if ((v >> 8 & 7) != LAPIC_NMI)
        g_string_append_printf(out, " (vec %u)", v & 0xff);
    g_string_append_c(out, '\n');
}

static void describe_vectors(GString *out, const char *name, const uint32_t *set,
                             const uint32_t *level)
{
    bool any = false;

    g_string_append_printf(out, "%s\t ", name);
    for (unsigned v = 0; v < 256; v++)
        if (vector_is_set(set, v)) {
            g_string_append_printf(out, "%u%s ", v,
                                   level && vector_is_set(level, v) ? "(level)" : "");
            any = true;
        }
    g_string_append(out, any ? "\n" : "(none)\n");
}

static void describe_icr(const Lapic *l, GString *out)
{
    static const char *const shorthands[] = { "no-shorthand", "self", "all-self", "all" };

    g_string_append_printf(out, "ICR\t 0x%08x %s %s %s %s\nICR2\t 0x%08x cpu %u (APIC ID)\n",
                           l->icr_low, l->icr_low >> 11 & 1 ? "logical" : "physical",
                           l->icr_low >> 15 & 1 ? "level" : "edge",
                           l->icr_low >> 14 & 1 ? "assert" : "de-assert",
                           shorthands[l->icr_low >> 18 & 3], l->icr_high, l->icr_high >> 24);
}

void lapic_describe(const Device *d, GString *out)
{
    static const struct {
        const char *name;
        unsigned index;
    } lvts[] = { { "LVT0", LVT_LINT0 }, { "LVT1", LVT_LINT1 }, { "LVTPC", LVT_PERF },
                 { "LVTERR", LVT_ERROR }, { "LVTTHMR", LVT_THERMAL }, { "LVTT", LVT_TIMER } };
    const Lapic *l = (const Lapic *)d;
    unsigned divide = ((l->divide & 3) | (l->divide >> 1 & 4)) + 1;

    for (size_t i = 0; i < G_N_ELEMENTS(lvts); i++)
        describe_lvt(l, out, lvts[i].name, lvts[i].index);
    g_string_append_printf(
        out, "Timer\t DCR=0x%x (divide by %u) initial_count = %u current_count = %u\n", l->divide,
        1u << (divide & 7), l->initial, timer_current(l));
    g_string_append_printf(out, "SPIV\t 0x%08x APIC %s, focus=%s, spurious vec %u\n", l->svr,
                           l->svr & SVR_ENABLED ? "enabled" : "disabled",
                           l->svr >> 9 & 1 ? "on" : "off", l->svr & 0xff);
    describe_icr(l, out);
    g_string_append_printf(out, "ESR\t 0x%08x\n", l->esr);
    describe_vectors(out, "ISR", l->isr, l->tmr);
    describe_vectors(out, "IRR", l->irr, NULL);
    g_string_append_printf(out, "\nAPR 0x00 TPR 0x%02x DFR 0x%02x LDR 0x%02x PPR 0x%02x\n", l->tpr,
                           l->dfr >> 28, l->ldr >> 24, processor_priority(l));
}

/* ---- migration ------------------------------------------------------------------------------- */

typedef struct {
    uint32_t base;
    uint8_t id, arbitration, tpr;
    uint32_t svr;
    uint8_t log_dest, dest_mode;
    uint32_t isr[8], tmr[8], irr[8], lvt[LVTS], esr, icr[2], divide;
    int32_t count_shift;
    uint32_t initial;
    int64_t started, next_time, expiry;
    bool has_start;
    int32_t start_vector, waits_for_start;
} LapicImage;

static const StateField lapic_fields[] = {
    STATE_U("apicbase", LapicImage, base), STATE_U("id", LapicImage, id),
    STATE_U("arb_id", LapicImage, arbitration), STATE_U("tpr", LapicImage, tpr),
    STATE_U("spurious_vec", LapicImage, svr), STATE_U("log_dest", LapicImage, log_dest),
    STATE_U("dest_mode", LapicImage, dest_mode), STATE_US("isr", LapicImage, isr),
    STATE_US("tmr", LapicImage, tmr), STATE_US("irr", LapicImage, irr),
    STATE_US("lvt", LapicImage, lvt), STATE_U("esr", LapicImage, esr),
    STATE_US("icr", LapicImage, icr), STATE_U("divide_conf", LapicImage, divide),
    STATE_S("count_shift", LapicImage, count_shift), STATE_U("initial_count", LapicImage, initial),
    STATE_S("initial_count_load_time", LapicImage, started),
    STATE_S("next_time", LapicImage, next_time),
    STATE_S("timer_expiry", LapicImage, expiry), {}
};
static const StateField start_fields[] = {
    STATE_S("sipi_vector", LapicImage, start_vector),
    STATE_S("wait_for_sipi", LapicImage, waits_for_start), {}
};
static const StateLayout start_layout = {
    "apic_sipi", 1, 1, sizeof(LapicImage), start_fields, NULL, offsetof(LapicImage, has_start)
};
static const StateLayout *const lapic_parts[] = { &start_layout, NULL };
static const StateLayout lapic_layout = {
    "apic", 3, 3, sizeof(LapicImage), lapic_fields, lapic_parts
};

static void lapic_save(const Device *d, unsigned n, void *image)
{
    const Lapic *l = (const Lapic *)d;
    LapicImage *i = image;

    *i = (LapicImage){
        .base = l->base, .id = l->id, .tpr = l->tpr, .svr = l->svr, .log_dest = l->ldr >> 24,
        .dest_mode = l->dfr >> 28, .esr = l->esr | l->esr_next, .icr = { l->icr_low, l->icr_high },
        .divide = l->divide, .count_shift = g_bit_storage(timer_period(l)) - 1,
        .initial = l->initial, .started = l->started,
        .next_time = l->timer.is_set ? l->timer.due : 0,
        .expiry = l->timer.is_set ? l->timer.due : -1,
        .waits_for_start = l->ops->waits_for_start(l->cpu),
    };
    i->has_start = i->waits_for_start;
    memcpy(i->isr, l->isr, sizeof(i->isr));
    memcpy(i->tmr, l->tmr, sizeof(i->tmr));
    memcpy(i->irr, l->irr, sizeof(i->irr));
    memcpy(i->lvt, l->lvt, sizeof(i->lvt));
}

static bool lapic_load(Device *d, unsigned n, const void *image, GError **err)
{
    Lapic *l = (Lapic *)d;
    const LapicImage *i = image;

    if (i->id != (uint8_t)l->id)
        return err_set(err, EINVAL, "It is the APIC of processor %u, not of %u", i->id, l->id);
    if (i->started > guest_clock_now() || i->started < INT64_MIN / 2)
        return err_set(err, ERANGE, "Its timer was started at a time that is not now");
    l->base = i->base & ~UINT32_C(0x2ff);
    l->tpr = i->tpr;
    l->svr = i->svr & 0x1ff;
    l->ldr = (uint32_t)i->log_dest << 24;
    l->dfr = (uint32_t)i->dest_mode << 28 | 0x0fffffff;
    l->esr = l->esr_next = i->esr;
    l->icr_low = i->icr[0];
    l->icr_high = i->icr[1];
    l->divide = i->divide & 11;
    l->initial = i->initial;
    l->started = i->started;
    memcpy(l->isr, i->isr, sizeof(l->isr));
    memcpy(l->tmr, i->tmr, sizeof(l->tmr));
    memcpy(l->irr, i->irr, sizeof(l->irr));
    memcpy(l->lvt, i->lvt, sizeof(l->lvt));
    l->ops->set_cr8(l->cpu, l->tpr >> 4);
    l->ops->set_waits_for_start(l->cpu, i->has_start && i->waits_for_start);
    timer_arm(l);
    update(l);
    return true;
}

static const DeviceSection lapic_section = {
    .name = "apic", .layout = &lapic_layout, .save = lapic_save, .load = lapic_load,
};

void lapic_load_deadline(Device *d, uint64_t deadline)
{
    Lapic *l = (Lapic *)d;

    l->deadline = deadline;
    timer_arm(l);
}

uint64_t lapic_deadline(const Device *d)
{
    return ((const Lapic *)d)->deadline;
}

/* ---- the device ------------------------------------------------------------------------------ */

static bool lapic_realize(Device *d, GError **err)
{
    Lapic *l = (Lapic *)d;

    l->timer = (GuestTimer){ .expired = timer_expired, .opaque = l };
    return true;
}

static void lapic_reset(Device *d)
{
    Lapic *l = (Lapic *)d;

    guest_timer_cancel(&l->timer);
    memset(l->isr, 0, sizeof(l->isr));
    memset(l->tmr, 0, sizeof(l->tmr));
    memset(l->irr, 0, sizeof(l->irr));
    l->base = UINT64_C(0xfee00000) | BASE_ENABLED | (l->id == 0 ? BASE_BSP : 0);
    l->tpr = 0;
    l->ldr = l->esr = l->esr_next = l->icr_low = l->icr_high = l->initial = l->divide = 0;
    l->dfr = UINT32_MAX;
    l->svr = 0xff;
    l->deadline = 0;
    l->started = 0;
    for (unsigned i = 0; i < LVTS; i++)
        l->lvt[i] = LVT_MASKED;
    /*
     * The boot processor gets interrupts of the legacy controller until somebody decides otherwise.
     */
    if (l->id == 0)
        l->lvt[LVT_LINT0] = LAPIC_EXTINT << 8;
    update(l);
}

static void lapic_unrealize(Device *d)
{
    guest_timer_cancel(&((Lapic *)d)->timer);
}

const DeviceClass device_lapic = {
    .name = "apic",
    .size = sizeof(Lapic),
    .section = &lapic_section,
    .realize = lapic_realize,
    .reset = lapic_reset,
    .unrealize = lapic_unrealize,
};
