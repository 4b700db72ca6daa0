/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/sections.h"
#include "system/accel.h"
#include "system/base/clock.h"
#include "system/vcpu.h"
#include "system/vcpu-state.h"
#include "target/x86/mmu.h"
#include "util/err.h"
#include <inttypes.h>
#include <string.h>
#include <time.h>

static void add(GPtrArray *list, const char *name, uint32_t instance, const StateLayout *layout,
                void *opaque, unsigned n, void (*save)(void *opaque, unsigned n, void *image),
                bool (*load)(void *opaque, unsigned n, const void *image, GError **err))
{
    MigSection *s = g_new0(MigSection, 1);

    *s = (MigSection){
        .name = g_strdup(name), .instance = instance, .layout = layout, .opaque = opaque, .n = n,
        .save = save, .load = load,
    };
    g_ptr_array_add(list, s);
}

/* ---- time ------------------------------------------------------------------------------------ */

/*
 * The counter's rate stands where others have nothing: from them it comes at the rate of the host's
 * counter.
 */
typedef struct {
    uint64_t tsc, tsc_hz;
    int64_t now;
} TimerImage;

static const StateField timer_fields[] = {
    STATE_U("cpu_ticks_offset", TimerImage, tsc), STATE_U("cpu_ticks_hz", TimerImage, tsc_hz),
    STATE_S("cpu_clock_offset", TimerImage, now), {}
};
static const StateLayout timer_layout = { "timer", 2, 2, sizeof(TimerImage), timer_fields };

static int64_t monotonic_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* Measured, over 20 ms; good to some parts in a million. */
static uint64_t host_tsc_hz(void)
{
    static uint64_t hz;
    int64_t start = monotonic_ns(), end;
    uint64_t ticks;

    if (hz)
        return hz;
    ticks = __builtin_ia32_rdtsc();
    do
        end = monotonic_ns();
    while (end - start < 20000000);
    ticks = __builtin_ia32_rdtsc() - ticks;
    hz = (unsigned __int128)ticks * 1000000000 / (end - start);
    return hz;
}

static void timer_save(void *opaque, unsigned n, void *image)
{
    *(TimerImage *)image = (TimerImage){ guest_tsc_now(), guest_tsc_hz(), guest_clock_now() };
}

static bool timer_load(void *opaque, unsigned n, const void *image, GError **err)
{
    const TimerImage *i = image;

    if (i->now < 0 || i->now > INT64_MAX / 4)
        return err_set(err, ERANGE, "The guest's time is %" PRId64, i->now);
    if (i->tsc_hz && (i->tsc_hz < 1000000 || i->tsc_hz > UINT64_C(100000000000)))
        return err_set(err, ERANGE, "The time stamp counter has %" PRIu64 " Hz", i->tsc_hz);
    guest_clock_set(i->now, i->tsc, i->tsc_hz ? i->tsc_hz : host_tsc_hz());
    return true;
}

/* KVM's clock. Where there is none, a processor that reads it is refused: vcpu-state.c. */
typedef struct {
    uint64_t now;
    bool has_reliable, is_reliable; /* it was read by the same counter that guests use */
} ClockImage;

static const StateField reliable_fields[] = {
    STATE_B("clock_is_reliable", ClockImage, is_reliable), {}
};
static const StateLayout reliable_layout = {
    "kvmclock/clock_is_reliable", 1, 1, sizeof(ClockImage), reliable_fields, NULL,
    offsetof(ClockImage, has_reliable)
};
static const StateLayout *const clock_parts[] = { &reliable_layout, NULL };
static const StateField clock_fields[] = { STATE_U("clock", ClockImage, now), {} };
static const StateLayout clock_layout = {
    "kvmclock", 1, 1, sizeof(ClockImage), clock_fields, clock_parts
};

static void clock_save(void *opaque, unsigned n, void *image)
{
    const Machine *m = opaque;

    *(ClockImage *)image = (ClockImage){ m->config.accel->clock(m), true, true };
}

static bool clock_load(void *opaque, unsigned n, const void *image, GError **err)
{
    const ClockImage *i = image;
    Machine *m = opaque;

    if (i->now > INT64_MAX / 4)
        return err_set(err, ERANGE, "KVM's clock is at %" PRIu64, i->now);
    if (m->config.accel->set_clock)
        m->config.accel->set_clock(m, i->now);
    return true;
}

/* ---- what has no device here ----------------------------------------------------------------- */

/* An aid for guests of old that nothing here needs; others send it with the first APIC. */
enum { TPR_AID_SIZE = 144 };
static const StateField tpr_fields[] = { STATE_SKIP("unused", TPR_AID_SIZE), {} };
static const StateLayout tpr_layout = { "kvm-tpr-opt", 1, 1, 1, tpr_fields };

static void save_nothing(void *opaque, unsigned n, void *image)
{
}

static bool load_nothing(void *opaque, unsigned n, const void *image, GError **err)
{
    return true;
}

/* ---- the run state --------------------------------------------------------------------------- */

typedef struct {
    uint32_t size;
    char name[100];
} StateImage;

static const StateField state_fields[] = {
    STATE_U_UP_TO("size", StateImage, size, 100), STATE_BYTES("runstate", StateImage, name), {}
};
static const StateLayout state_layout = { "globalstate", 1, 1, sizeof(StateImage), state_fields };

static const struct {
    MachineState state;
    const char *name;
} states[] = {
    { STATE_RUNNING, "running" }, { STATE_PAUSED, "paused" }, { STATE_PRELAUNCH, "prelaunch" },
    { STATE_SHUTDOWN, "shutdown" }, { STATE_GUEST_PANICKED, "guest-panicked" },
    { STATE_WATCHDOG, "watchdog" },
};

bool machine_state_travels(MachineState s)
{
    for (size_t k = 0; k < G_N_ELEMENTS(states); k++)
        if (states[k].state == s)
            return true;
    return false;
}

static void state_save(void *opaque, unsigned n, void *image)
{
    StateImage *i = image;

    for (size_t k = 0; k < G_N_ELEMENTS(states); k++)
        if (states[k].state == ((CarriedState *)opaque)->state)
            g_strlcpy(i->name, states[k].name, sizeof(i->name));
    i->size = strlen(i->name) + 1;
}

static bool state_load(void *opaque, unsigned n, const void *image, GError **err)
{
    const StateImage *i = image;
    CarriedState *s = opaque;

    for (size_t k = 0; k < G_N_ELEMENTS(states); k++)
        if (!strncmp(states[k].name, i->name, sizeof(i->name))) {
            *s = (CarriedState){ states[k].state, true };
            return true;
        }
    return err_set(err, ENOTSUP, "The guest was in state '%.*s', which is not there here",
                   (int)strnlen(i->name, sizeof(i->name)), i->name);
}

/* ---- devices --------------------------------------------------------------------------------- */

static void device_save(void *opaque, unsigned n, void *image)
{
    const Device *d = opaque;

    device_section(d)->save(d, n, image);
}

static bool device_load(void *opaque, unsigned n, const void *image, GError **err)
{
    Device *d = opaque;

    return device_section(d)->load(d, n, image, err);
}

/* Instances are counted by name. */
static uint32_t next_instance(const GPtrArray *list, const char *name)
{
    uint32_t n = 0;

    for (guint i = 0; i < list->len; i++)
        n += !strcmp(((const MigSection *)list->pdata[i])->name, name);
    return n;
}

static void add_device(GPtrArray *list, Device *d)
{
    const DeviceSection *s = device_section(d);

    for (unsigned n = 0; s && n < MAX(s->count, 1); n++)
        add(list, s->name, next_instance(list, s->name), s->layout, d, n, device_save, device_load);
}

char *device_migration_problem(const Device *d)
{
    /* What is plugged into a transport speaks for itself. */
    if (d->cls->section || d->cls->own_section || d->cls->is_stateless)
        return NULL;
    return d->id ? g_strdup_printf("non-migratable device: %s (%s)", d->cls->name, d->id)
                 : g_strdup_printf("non-migratable device: %s", d->cls->name);
}

/* ---- all ------------------------------------------------------------------------------------- */

/* Whatever the order in which devices are made; others, and last those of virtio, follow. */
static const char *const order[] = {
    "ioapic", "acpi-ged", "i8259", "i8254", "mc146818rtc", "serial",
};

static unsigned rank(const Device *d)
{
    const DeviceSection *s = device_section(d);

    for (unsigned i = 0; s && i < G_N_ELEMENTS(order); i++)
        if (!strcmp(s->name, order[i]))
            return i;
    return G_N_ELEMENTS(order);
}

static void add_devices(GPtrArray *list, Machine *m)
{
    for (unsigned r = 0; r <= G_N_ELEMENTS(order); r++)
        for (guint i = 0; i < m->devices->len; i++) {
            Device *d = m->devices->pdata[i];

            if (d != m->fw_cfg && rank(d) == r)
                add_device(list, d);
        }
}

GPtrArray *machine_sections(Machine *m, CarriedState *state, bool sending)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(mig_section_free);

    add(list, "timer", 0, &timer_layout, NULL, 0, timer_save, timer_load);
    add_device(list, m->fw_cfg);
    for (guint i = 0; i < m->vcpus->len; i++) {
        vcpu_add_sections(m->vcpus->pdata[i], i, list);
        if (i == 0)
            add(list, "kvm-tpr-opt", 0, &tpr_layout, NULL, 0, save_nothing, load_nothing);
        add_device(list, vcpu_lapic(m->vcpus->pdata[i]));
    }
    if (!sending || m->config.accel->clock)
        add(list, "kvmclock", 0, &clock_layout, m, 0, clock_save, clock_load);
    add_devices(list, m);
    add(list, "globalstate", 0, &state_layout, state, 0, state_save, state_load);
    return list;
}

void machine_ram_blocks(Machine *m, RamBlocks *r, bool sending)
{
    ram_block_add(r, m->memory->block_name, m->ram, m->config.ram_size, 0);
    for (unsigned i = 0; i < MACHINE_ROMS; i++)
        if (!sending || m->rom[i].has_come)
            ram_block_add(r, m->rom[i].name, m->rom[i].host, m->rom[i].size, m->rom[i].size_max);
}

void machine_ram_received(Machine *m, const RamBlocks *r)
{
    for (unsigned i = 0; i < MACHINE_ROMS; i++) {
        const RamBlock *b = ram_block_find(r, m->rom[i].name);

        m->rom[i].has_come = b->announced;
        m->rom[i].size = b->size;
    }
}
