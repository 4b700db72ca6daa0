/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest as a whole: memory, interrupts that devices send, time, and the accelerator. */
#include "system/kvm/kvm.h"
#include "system/base/clock.h"
#include "system/base/ram-log.h"
#include "tools/complain.h"
#include "util/err.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DEVICE "/dev/kvm"
/* Four pages that Intel's processors need somewhere where nothing else is. */
#define SPARE_PAGES UINT64_C(0xfeffc000)
enum { PAGE = 4096, API_VERSION = 12 };

static int device = -1;

int kvm_device(void)
{
    return device;
}

int kvm_do(int fd, unsigned long request, void *arg)
{
    int r;

    do
        r = ioctl(fd, request, arg);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : r;
}

int kvm_extension(int capability)
{
    return MAX(kvm_do(device, KVM_CHECK_EXTENSION, GINT_TO_POINTER(capability)), 0);
}

static bool has_needed(GError **err)
{
    static const struct {
        int capability;
        const char *name;
    } needed[] = {
        { KVM_CAP_USER_MEMORY, "USER_MEMORY" }, { KVM_CAP_READONLY_MEM, "READONLY_MEM" },
        { KVM_CAP_SPLIT_IRQCHIP, "SPLIT_IRQCHIP" }, { KVM_CAP_SIGNAL_MSI, "SIGNAL_MSI" },
        { KVM_CAP_IRQ_ROUTING, "IRQ_ROUTING" }, { KVM_CAP_IMMEDIATE_EXIT, "IMMEDIATE_EXIT" },
        { KVM_CAP_XSAVE, "XSAVE" }, { KVM_CAP_DEBUGREGS, "DEBUGREGS" },
        { KVM_CAP_VCPU_EVENTS, "VCPU_EVENTS" }, { KVM_CAP_MP_STATE, "MP_STATE" },
        { KVM_CAP_ADJUST_CLOCK, "ADJUST_CLOCK" }, { KVM_CAP_GET_TSC_KHZ, "GET_TSC_KHZ" },
    };

    if (kvm_do(device, KVM_GET_API_VERSION, NULL) != API_VERSION)
        return err_set(err, ENOTSUP, DEVICE " does not have version %d of KVM's interface",
                       API_VERSION);
    for (size_t i = 0; i < G_N_ELEMENTS(needed); i++)
        if (!kvm_extension(needed[i].capability))
            return err_set(err, ENOTSUP, "KVM of this kernel lacks KVM_CAP_%s: use a newer kernel "
                           "or -accel tcg", needed[i].name);
    return true;
}

bool kvm_open(GError **err)
{
    if (device >= 0)
        return true;
    device = open(DEVICE, O_RDWR | O_CLOEXEC);
    if (device < 0)
        return err_set_errno(err, errno, "Could not access KVM kernel module");
    if (has_needed(err) && kvm_read_host(err))
        return true;
    close(device);
    device = -1;
    return false;
}

KvmVm *kvm_vm(const Machine *m)
{
    return m->accel_state;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static int set_slot(KvmVm *vm, guint n, bool logs)
{
    const KvmSlot *s = &g_array_index(vm->slots, KvmSlot, n);
    struct kvm_userspace_memory_region r = {
        .slot = n, .guest_phys_addr = s->start, .memory_size = s->size,
        .userspace_addr = (uintptr_t)s->host,
        .flags = (s->is_read_only ? KVM_MEM_READONLY : 0) | (logs ? KVM_MEM_LOG_DIRTY_PAGES : 0),
    };

    return kvm_do(vm->fd, KVM_SET_USER_MEMORY_REGION, &r);
}

static void add_slot(void *opaque, const MemoryRegion *r)
{
    const Machine *m = opaque;
    KvmSlot s = { .start = r->start, .size = r->size, .is_read_only = r->is_rom };

    if (!r->is_ram)
        return;
    s.host = memory_map_range(m->board.memory, r->start, r->size, false);
    g_array_append_val(kvm_vm(m)->slots, s);
}

static bool add_memory(Machine *m, GError **err)
{
    KvmVm *vm = kvm_vm(m);

    memory_map_each(m->board.memory, add_slot, m);
    for (guint i = 0; i < vm->slots->len; i++) {
        int r = set_slot(vm, i, false);

        if (r < 0)
            return err_set_errno(err, -r, "KVM does not take the guest's memory");
    }
    return true;
}

static bool is_logged(const KvmSlot *s)
{
    return (size_t)(s->host - ram_log.host) < ram_log.size;
}

static void log_all(const KvmSlot *s)
{
    for (uint64_t at = 0; at < s->size; at += PAGE)
        ram_log_note(s->host + at);
}

static void log_switch(Machine *m, bool on)
{
    KvmVm *vm = kvm_vm(m);

    for (guint i = 0; i < vm->slots->len; i++) {
        KvmSlot *s = &g_array_index(vm->slots, KvmSlot, i);
        int r = is_logged(s) ? set_slot(vm, i, on) : 0;

        s->is_untold = on && r < 0;
        if (r < 0)
            complain_errno(-r, "KVM does not tell what the guest writes: all counts as written");
    }
}

static void kvm_log_begin(Machine *m)
{
    log_switch(m, true);
}

static void kvm_log_end(Machine *m)
{
    log_switch(m, false);
}

/* Without an answer, all of it counts as written. */
static void log_slot(KvmVm *vm, guint n)
{
    const KvmSlot *s = &g_array_index(vm->slots, KvmSlot, n);
    g_autofree uint64_t *bits = g_new0(uint64_t, s->size / PAGE / 64 + 1);
    struct kvm_dirty_log log = { .slot = n, .dirty_bitmap = bits };

    if (kvm_do(vm->fd, KVM_GET_DIRTY_LOG, &log) < 0) {
        log_all(s);
        return;
    }
    for (uint64_t i = 0; i <= s->size / PAGE / 64; i++)
        for (uint64_t left = bits[i]; left; left &= left - 1)
            ram_log_note(s->host + (64 * i + __builtin_ctzll(left)) * PAGE);
}

/*
 * Pages that KVM does not reset are protected no more, so it is silent about later writes to them:
 * after a reset that failed all counts as written until one works again.
 */
static void kvm_log_sync(Machine *m)
{
    KvmVm *vm = kvm_vm(m);
    bool has_rings = m->config.dirty_ring_size, is_reset = has_rings && kvm_rings_empty(m) >= 0;
    bool missed = vm->rings_missed;

    if (is_reset)
        vm->rings_missed = false;

    for (guint i = 0; i < vm->slots->len; i++) {
        const KvmSlot *s = &g_array_index(vm->slots, KvmSlot, i);

        if (!is_logged(s))
            continue;
        if (!has_rings)
            log_slot(vm, i);
        else if (missed || s->is_untold)
            log_all(s);
    }
}

/* ---- interrupts ------------------------------------------------------------------------------ */

enum { MSI_LOGICAL = 1 << 2, MSI_ASSERT = 1 << 14, MSI_LEVEL = 1 << 15 };

static uint32_t msi_address(const LapicMessage *m)
{
    return 0xfee00000 | (m->destination & 0xff) << 12 | (m->logical ? MSI_LOGICAL : 0);
}

static uint32_t msi_data(const LapicMessage *m)
{
    return m->vector | m->delivery << 8 | (m->level_triggered ? MSI_LEVEL | MSI_ASSERT : 0);
}

static void send_message(void *opaque, const LapicMessage *m)
{
    KvmVm *vm = opaque;
    struct kvm_msi msi = { .address_lo = msi_address(m), .data = msi_data(m) };

    /* It may be for nobody, as on the bus. */
    kvm_do(vm->fd, KVM_SIGNAL_MSI, &msi);
}

static void set_routes(KvmVm *vm)
{
    const size_t entries = KVM_INPUTS * sizeof(struct kvm_irq_routing_entry);
    g_autofree struct kvm_irq_routing *all = g_malloc0(sizeof(*all) + entries);
    int r;

    for (unsigned i = 0; i < KVM_INPUTS; i++)
        if (vm->has_route[i])
            all->entries[all->nr++] = (struct kvm_irq_routing_entry){
                .gsi = i, .type = KVM_IRQ_ROUTING_MSI,
                .u.msi = { .address_lo = msi_address(&vm->route[i]),
                           .data = msi_data(&vm->route[i]) },
            };
    r = kvm_do(vm->fd, KVM_SET_GSI_ROUTING, all);
    if (r < 0)
        complain_errno(-r, "KVM does not take routes of interrupts");
}

/* Interrupts go as messages all the same: routes tell KVM whose end we have to know. */
static void route(void *opaque, unsigned input, const LapicMessage *m)
{
    KvmVm *vm = opaque;
    bool wants = m && m->level_triggered;

    if (wants == vm->has_route[input] &&
        (!wants || (msi_address(m) == msi_address(&vm->route[input]) &&
                    msi_data(m) == msi_data(&vm->route[input]))))
        return;
    vm->has_route[input] = wants;
    if (wants)
        vm->route[input] = *m;
    set_routes(vm);
}

static const LapicRemote remote = { send_message, route };

/* ---- time ------------------------------------------------------------------------------------ */

/* Smaller differences do not matter: those of a short halt, or of reading two clocks. */
enum { CLOCK_SLACK_NS = 1000000 };

static bool read_clock(const KvmVm *vm, int64_t *now)
{
    struct kvm_clock_data c = { 0 };

    if (kvm_do(vm->fd, KVM_GET_CLOCK, &c) < 0)
        return false;
    *now = c.clock;
    return true;
}

static int64_t kvm_clock(const Machine *m)
{
    return MAX(guest_clock_now() + kvm_vm(m)->clock_ahead, 0);
}

/* KVM's clock goes on while the guest's time stands still. */
static void kvm_resume(Machine *m)
{
    KvmVm *vm = kvm_vm(m);
    int64_t wanted, now;

    if (!vm || vm->is_running)
        return;
    wanted = kvm_clock(m);
    if (read_clock(vm, &now) && ABS(now - wanted) > CLOCK_SLACK_NS)
        kvm_do(vm->fd, KVM_SET_CLOCK, &(struct kvm_clock_data){ .clock = wanted });
    vm->is_running = true;
}

static void kvm_pause(Machine *m)
{
    KvmVm *vm = kvm_vm(m);
    int64_t now;

    if (!vm || !vm->is_running)
        return;
    if (read_clock(vm, &now))
        vm->clock_ahead = now - guest_clock_now();
    vm->is_running = false;
}

static void kvm_set_clock(Machine *m, int64_t now)
{
    kvm_vm(m)->clock_ahead = now - guest_clock_now();
}

/* ---- the accelerator ------------------------------------------------------------------------- */

static bool set_up(Machine *m, GError **err)
{
    uint64_t identity = SPARE_PAGES;
    struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { KVM_INPUTS } };
    KvmVm *vm = kvm_vm(m);
    int r;

    g_assert(memory_map_is_free(m->board.memory, SPARE_PAGES, 4 * PAGE));
    if (kvm_extension(KVM_CAP_MAX_VCPUS) < (int)m->config.cpus)
        return err_set(err, ENOTSUP, "KVM of this host runs no more than %d processors, not the "
                       "%u of -smp", kvm_extension(KVM_CAP_MAX_VCPUS), m->config.cpus);
    vm->fd = kvm_do(kvm_device(), KVM_CREATE_VM, NULL);
    if (vm->fd < 0)
        return err_set_errno(err, -vm->fd, "KVM cannot make a virtual machine");
    r = kvm_do(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
    if (r >= 0)
        r = kvm_do(vm->fd, KVM_SET_TSS_ADDR, (void *)(uintptr_t)(SPARE_PAGES + PAGE));
    if (r >= 0)
        r = kvm_do(vm->fd, KVM_ENABLE_CAP, &split);
    if (r < 0)
        return err_set_errno(err, -r, "KVM cannot set up a virtual machine");
    lapic_bus_set_remote(m->lapic_bus, &remote, vm);
    return kvm_rings_enable(m, err) && add_memory(m, err);
}

static bool kvm_begin(Machine *m, GError **err)
{
    KvmVm *vm = g_new0(KvmVm, 1);

    vm->fd = -1;
    vm->slots = g_array_new(FALSE, FALSE, sizeof(KvmSlot));
    m->accel_state = vm;
    return set_up(m, err);
}

static void kvm_end(Machine *m)
{
    KvmVm *vm = kvm_vm(m);

    if (!vm)
        return;
    if (vm->fd >= 0)
        close(vm->fd);
    g_array_unref(vm->slots);
    g_free(vm);
    m->accel_state = NULL;
}

const Accel accel_kvm = {
    .name = "kvm", .starts_itself = true, .open = kvm_open, .host = kvm_host,
    .begin = kvm_begin, .end = kvm_end, .vcpu_new = kvm_vcpu_new, .vcpu_free = kvm_vcpu_free,
    .enter = kvm_enter, .leave = kvm_leave, .run = kvm_run, .kick = kvm_kick,
    .resume = kvm_resume, .pause = kvm_pause, .clock = kvm_clock, .set_clock = kvm_set_clock,
    .log_begin = kvm_log_begin, .log_sync = kvm_log_sync, .log_end = kvm_log_end,
};
