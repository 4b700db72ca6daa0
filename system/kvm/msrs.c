/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Model-specific registers, and the time stamp counter. */
#include "system/kvm/kvm.h"
#include "system/base/clock.h"
#include "tools/complain.h"
#include "util/err.h"
#include <errno.h>

enum {
    MSR_TSC = 0x10, MSR_TSC_ADJUST = 0x3b, MSR_SYSENTER_CS = 0x174, MSR_SYSENTER_ESP = 0x175,
    MSR_SYSENTER_EIP = 0x176, MSR_MCG_STATUS = 0x17a, MSR_MCG_CONTROL = 0x17b,
    MSR_MISC_ENABLE = 0x1a0, MSR_MTRR_BASE = 0x200, MSR_PAT = 0x277, MSR_MTRR_DEFAULT = 0x2ff,
    MSR_MCE_BANKS = 0x400, MSR_DEADLINE = 0x6e0,
    MCG_BANKS = 0xff, MCG_HAS_CONTROL = 1 << 8, REGISTERS_MAX = 128,
};
#define MSR_STAR UINT32_C(0xc0000081)
#define MSR_LSTAR UINT32_C(0xc0000082)
#define MSR_CSTAR UINT32_C(0xc0000083)
#define MSR_SFMASK UINT32_C(0xc0000084)
#define MSR_KERNEL_GS_BASE UINT32_C(0xc0000102)
#define MSR_TSC_AUX UINT32_C(0xc0000103)
#define MSR_WALL_CLOCK UINT32_C(0x4b564d00)
#define MSR_SYSTEM_TIME UINT32_C(0x4b564d01)

static const struct {
    uint32_t index;
    size_t member; /* of X86Cpu */
} plain[] = {
    { MSR_SYSENTER_CS, offsetof(X86Cpu, sysenter_cs) },
    { MSR_SYSENTER_ESP, offsetof(X86Cpu, sysenter_esp) },
    { MSR_SYSENTER_EIP, offsetof(X86Cpu, sysenter_eip) },
    { MSR_STAR, offsetof(X86Cpu, star) }, { MSR_LSTAR, offsetof(X86Cpu, lstar) },
    { MSR_CSTAR, offsetof(X86Cpu, cstar) }, { MSR_SFMASK, offsetof(X86Cpu, sfmask) },
    { MSR_KERNEL_GS_BASE, offsetof(X86Cpu, kernel_gs_base) }, { MSR_PAT, offsetof(X86Cpu, pat) },
    { MSR_TSC_AUX, offsetof(X86Cpu, tsc_aux) }, { MSR_TSC_ADJUST, offsetof(X86Cpu, tsc_offset) },
    { MSR_MISC_ENABLE, offsetof(X86Cpu, misc_enable) },
};

static const uint16_t fixed_mtrrs[FIXED_MTRRS] = {
    0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f,
};

/* ---- which there are, and where they stand here ---------------------------------------------- */

typedef struct {
    uint32_t index;
    uint64_t *value;
} Place;

static unsigned places(Vcpu *v, Place *out)
{
    uint8_t *registers = (uint8_t *)vcpu_cpu(v);
    VcpuMtrrs *mtrrs = vcpu_mtrrs(v);
    VcpuKept *kept = vcpu_kept(v);
    unsigned n = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(plain); i++)
        out[n++] = (Place){ plain[i].index, (uint64_t *)(registers + plain[i].member) };
    for (unsigned i = 0; i < FIXED_MTRRS; i++)
        out[n++] = (Place){ fixed_mtrrs[i], &mtrrs->fixed[i] };
    for (unsigned i = 0; i < 2 * VARIABLE_MTRRS; i++)
        out[n++] = (Place){ MSR_MTRR_BASE + i, &mtrrs->variable[i] };
    out[n++] = (Place){ MSR_MTRR_DEFAULT, &mtrrs->standard };
    out[n++] = (Place){ MSR_MCG_STATUS, &kept->mcg_status };
    if (kvm_vcpu(v)->mcg_cap & MCG_HAS_CONTROL)
        out[n++] = (Place){ MSR_MCG_CONTROL, &kept->mcg_ctl };
    for (unsigned i = 0; i < MIN(4 * (kvm_vcpu(v)->mcg_cap & MCG_BANKS), MCE_REGISTERS); i++)
        out[n++] = (Place){ MSR_MCE_BANKS + i, &kept->mce_banks[i] };
    out[n++] = (Place){ MSR_WALL_CLOCK, &kept->wall_clock };
    out[n++] = (Place){ MSR_SYSTEM_TIME, &kept->system_time };
    g_assert(n <= REGISTERS_MAX);
    return n;
}

typedef struct {
    struct kvm_msrs head;
    struct kvm_msr_entry entry[REGISTERS_MAX];
} Registers;

static bool has(const KvmVcpu *k, uint32_t index)
{
    for (guint i = 0; i < k->msrs->len; i++)
        if (g_array_index(k->msrs, uint32_t, i) == index)
            return true;
    return false;
}

static int one(Vcpu *v, unsigned long request, uint32_t index, uint64_t *value)
{
    Registers r = { .head.nmsrs = 1, .entry = { { .index = index, .data = *value } } };
    int done = kvm_do(kvm_vcpu(v)->fd, request, &r);

    *value = r.entry[0].data;
    return done < 0 ? done : done ? 0 : -ENOENT;
}

static void set_up_machine_checks(Vcpu *v)
{
    uint64_t can = 0, wanted = vcpu_kept(v)->mcg_cap;

    if (kvm_do(kvm_device(), KVM_X86_GET_MCE_CAP_SUPPORTED, &can) < 0)
        return;
    wanted = (wanted & can & ~(uint64_t)MCG_BANKS) | MIN(wanted & MCG_BANKS, can & MCG_BANKS);
    if (kvm_do(kvm_vcpu(v)->fd, KVM_X86_SETUP_MCE, &wanted) >= 0)
        kvm_vcpu(v)->mcg_cap = wanted;
}

/* What can neither be read nor, as it was read, written is not there. */
bool kvm_msrs_find(Vcpu *v, GError **err)
{
    static const uint32_t others[] = { MSR_TSC, MSR_DEADLINE };
    Place all[REGISTERS_MAX];
    unsigned n;
    KvmVcpu *k = kvm_vcpu(v);

    vcpu_kept_reset(vcpu_kept(v));
    set_up_machine_checks(v);
    n = places(v, all);
    for (size_t i = 0; i < G_N_ELEMENTS(others); i++)
        all[n++].index = others[i];
    k->msrs = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    for (unsigned i = 0; i < n; i++) {
        uint64_t value = 0;

        if (!one(v, KVM_GET_MSRS, all[i].index, &value) &&
            !one(v, KVM_SET_MSRS, all[i].index, &value))
            g_array_append_val(k->msrs, all[i].index);
    }
    k->tsc_khz = MAX(kvm_do(k->fd, KVM_GET_TSC_KHZ, NULL), 0);
    if (vcpu_index(v) == 0 && k->tsc_khz)
        guest_clock_set(0, 0, 1000 * k->tsc_khz);
    return has(k, MSR_TSC) || err_set(err, ENOTSUP, "KVM has no time stamp counter");
}

/* ---- the counter ----------------------------------------------------------------------------- */

/* Without scaling, KVM can make it faster than the host's, but not slower. */
void kvm_give_rate(Vcpu *v)
{
    KvmVcpu *k = kvm_vcpu(v);
    uint64_t khz = guest_tsc_hz() / 1000;

    if (khz == k->tsc_khz)
        return;
    if (kvm_do(k->fd, KVM_SET_TSC_KHZ, GSIZE_TO_POINTER(khz)) >= 0) {
        k->tsc_khz = khz;
    } else if (!k->warned_of_rate && vcpu_index(v) == 0) {
        complain("warning: The guest's time stamp counter went at %" G_GUINT64_FORMAT
                 " kHz, and goes at %" G_GUINT64_FORMAT " kHz here", khz, k->tsc_khz);
        k->warned_of_rate = true;
    }
}

/* Where the guest's time did not stand still, the counter is where it should be, and goes on. */
static bool give_counter(Vcpu *v)
{
    uint64_t wanted = guest_tsc_now() + vcpu_cpu(v)->tsc_offset, now = 0;
    int r = one(v, KVM_GET_MSRS, MSR_TSC, &now);

    if (!r && (wanted > now ? wanted - now : now - wanted) < guest_tsc_hz() / 1000)
        return true;
    r = one(v, KVM_SET_MSRS, MSR_TSC, &wanted);
    if (r < 0)
        kvm_break(v, "setting the time stamp counter", -r);
    return r >= 0;
}

/* All processors share one counter: the first one's. */
static bool take_counter(Vcpu *v)
{
    uint64_t now = 0;
    int r = one(v, KVM_GET_MSRS, MSR_TSC, &now);

    if (r < 0)
        kvm_break(v, "reading the time stamp counter", -r);
    else if (vcpu_index(v) == 0)
        guest_tsc_set(now - vcpu_cpu(v)->tsc_offset);
    return r >= 0;
}

/* Timers by deadline count only once the APIC's mode says so. */
bool kvm_give_deadline(Vcpu *v, const LapicRegisters *apic)
{
    uint64_t deadline = apic->deadline;
    int r = has(kvm_vcpu(v), MSR_DEADLINE) ? one(v, KVM_SET_MSRS, MSR_DEADLINE, &deadline) : 0;

    if (r < 0)
        kvm_break(v, "setting the timer's deadline", -r);
    return r >= 0;
}

/* ---- all of them ----------------------------------------------------------------------------- */

static unsigned gather(Vcpu *v, Place *at, Registers *r)
{
    Place all[REGISTERS_MAX];
    unsigned count = places(v, all), n = 0;

    for (unsigned i = 0; i < count; i++) {
        if (!has(kvm_vcpu(v), all[i].index))
            continue;
        at[n] = all[i];
        r->entry[n++] = (struct kvm_msr_entry){ .index = all[i].index, .data = *all[i].value };
    }
    r->head = (struct kvm_msrs){ .nmsrs = n };
    return n;
}

static bool all_done(Vcpu *v, const Registers *r, unsigned n, int done, const char *what)
{
    g_autofree char *which = NULL;

    if (done == (int)n)
        return true;
    which = done < 0 ? g_strdup_printf("%s model-specific registers", what)
                     : g_strdup_printf("%s model-specific register 0x%x", what,
                                       r->entry[done].index);
    kvm_break(v, which, done < 0 ? -done : EINVAL);
    return false;
}

bool kvm_take_msrs(Vcpu *v, LapicRegisters *apic)
{
    Place at[REGISTERS_MAX];
    Registers r = { 0 };
    unsigned n = gather(v, at, &r);
    int done = kvm_do(kvm_vcpu(v)->fd, KVM_GET_MSRS, &r);

    if (!all_done(v, &r, n, done, "reading"))
        return false;
    for (unsigned i = 0; i < n; i++)
        *at[i].value = r.entry[i].data;
    if (has(kvm_vcpu(v), MSR_DEADLINE))
        one(v, KVM_GET_MSRS, MSR_DEADLINE, &apic->deadline);
    return take_counter(v);
}

/* Setting some writes to the guest's memory: only what has changed is set. */
bool kvm_give_msrs(Vcpu *v)
{
    Place at[REGISTERS_MAX];
    Registers r = { 0 };
    unsigned n = gather(v, at, &r), changed = 0;

    if (!all_done(v, &r, n, kvm_do(kvm_vcpu(v)->fd, KVM_GET_MSRS, &r), "reading"))
        return false;
    for (unsigned i = 0; i < n; i++)
        if (r.entry[i].data != *at[i].value)
            r.entry[changed++] = (struct kvm_msr_entry){ at[i].index, .data = *at[i].value };
    r.head.nmsrs = changed;
    if (changed &&
        !all_done(v, &r, changed, kvm_do(kvm_vcpu(v)->fd, KVM_SET_MSRS, &r), "setting"))
        return false;
    return give_counter(v);
}
