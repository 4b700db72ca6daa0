/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest code translated or interpreted by target/x86, and what that asks of the machine. */
#include "hw/i8259.h"
#include "system/accel.h"
#include "system/base/guest-log.h"
#include "system/base/lock.h"
#include "target/x86/debug.h"
#include "target/x86/mmu.h"
#include "target/x86/translate.h"
#include "util/err.h"
#include "util/size.h"
#include <inttypes.h>

/* ---- what the processor asks ----------------------------------------------------------------- */

static uint64_t port_read(void *opaque, uint16_t port, unsigned size)
{
    return memory_map_read(vcpu_machine(opaque)->board.ports, port, size);
}

static void port_write(void *opaque, uint16_t port, unsigned size, uint64_t value)
{
    memory_map_write(vcpu_machine(opaque)->board.ports, port, size, value);
}

static int take_interrupt(void *opaque)
{
    Vcpu *v = opaque;
    int vector;

    machine_lock();
    vector = lapic_acknowledge(vcpu_lapic(v), vcpu_cpu(v)->cr8);
    if (vector == LAPIC_ASK_PIC)
        vector = i8259_acknowledge(vcpu_machine(v)->pic);
    machine_unlock();
    return vector;
}

static void set_priority(void *opaque)
{
    Vcpu *v = opaque;

    machine_lock();
    lapic_set_cr8(vcpu_lapic(v), vcpu_cpu(v)->cr8);
    machine_unlock();
}

static uint64_t raw_tsc(void *opaque)
{
    return guest_tsc_now();
}

static void cpuid(void *opaque, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    Vcpu *v = opaque;
    const Machine *m = vcpu_machine(v);

    x86_cpuid(&m->config.model, vcpu_cpu(v), vcpu_index(v), m->config.cpus, leaf, subleaf, out);
    /* The APIC's flag goes out with the APIC. */
    if (leaf == 1 && !lapic_is_enabled(vcpu_lapic(v)))
        out[3] &= ~(UINT32_C(1) << 9);
}

/* ---- model-specific registers ---------------------------------------------------------------- */

enum {
    MSR_FEATURE_CONTROL = 0x3a, MSR_TSC_ADJUST = 0x3b, MSR_MICROCODE = 0x8b, MSR_MTRR_CAP = 0xfe,
    MSR_MTRR_BASE = 0x200, MSR_MTRR_DEFAULT = 0x2ff, MTRR_CAP = 0x500 | VARIABLE_MTRRS,
    MSR_MCG_CAP = 0x179, MSR_MCG_STATUS = 0x17a, MSR_MCG_CONTROL = 0x17b, MSR_PERF_STATUS = 0x198,
};

static const uint16_t fixed_mtrrs[FIXED_MTRRS] = {
    0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f,
};

/* Registers that just hold a value. */
static uint64_t *plain_msr(Vcpu *v, uint32_t index)
{
    if (index - MSR_MTRR_BASE < 2 * VARIABLE_MTRRS)
        return &vcpu_mtrrs(v)->variable[index - MSR_MTRR_BASE];
    for (unsigned i = 0; i < FIXED_MTRRS; i++)
        if (fixed_mtrrs[i] == index)
            return &vcpu_mtrrs(v)->fixed[i];
    return index == MSR_MTRR_DEFAULT ? &vcpu_mtrrs(v)->standard : NULL;
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
        *value = vcpu_cpu(v)->tsc_offset;
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
    ok = lapic_msr_read(vcpu_lapic(v), index, value);
    machine_unlock();
    if (!ok)
        guest_log(GUEST_LOG_MISSING, "processor %u: MSR 0x%x is not there: its read fails",
                  vcpu_index(v), index);
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
        vcpu_cpu(v)->tsc_offset = value;
        return true;
    }
    if (is_zero_msr(index)) {
        guest_log(GUEST_LOG_MISSING, "processor %u: MSR 0x%x reads as zero: 0x%" PRIx64 " is lost",
                  vcpu_index(v), index, value);
        return true;
    }
    machine_lock();
    ok = lapic_msr_write(vcpu_lapic(v), index, value);
    machine_unlock();
    if (!ok)
        guest_log(GUEST_LOG_MISSING, "processor %u: MSR 0x%x is not there, or not for 0x%" PRIx64
                  ": its write fails", vcpu_index(v), index, value);
    return ok;
}

static const X86Machine x86_machine = {
    .port_read = port_read, .port_write = port_write, .interrupt = take_interrupt, .tsc = raw_tsc,
    .msr_read = msr_read, .msr_write = msr_write, .cpuid = cpuid, .priority = set_priority,
};

/* ---- the accelerator ------------------------------------------------------------------------- */

/* Without the lock. A step ends whatever the instruction does, but for the end of all. */
static X86Exit tcg_run(Vcpu *v, VcpuDebug how)
{
    X86Cpu *cpu = vcpu_cpu(v);
    uint64_t address;
    X86Exit why = X86_DEBUGGED;

    if (how != RUN_FREELY) {
        why = x86_debug_step(cpu, false);
        if (cpu->left != X86_NO_BUDGET)
            cpu->left--;
    }
    if (how == RUN_STEP && why != X86_SHUTDOWN)
        return X86_DEBUGGED;
    if (why != X86_DEBUGGED || (how == RUN_OVER && x86_debug_watch_hit(cpu, &address)))
        return why;
    return x86_run(cpu, cpu->left);
}

/* Generated code of one processor. */
#define CODE_SIZE (64 * MiB)

static bool tcg_vcpu_new(Vcpu *v, GError **err)
{
    X86Cpu *cpu = vcpu_cpu(v);

    cpu->machine = &x86_machine;
    cpu->machine_opaque = v;
    if (!vcpu_machine(v)->config.interpret && !x86_translator_init(cpu, CODE_SIZE))
        return err_set(err, ENOMEM, "There is no memory for translated code");
    return true;
}

static void tcg_vcpu_free(Vcpu *v)
{
    x86_translator_free(vcpu_cpu(v));
}

/* Processors keep addresses to write through. */
static void forget_write_access(Machine *m)
{
    for (guint i = 0; i < m->vcpus->len; i++)
        x86_tlb_flush(vcpu_cpu(m->vcpus->pdata[i]));
}

const Accel accel_tcg = {
    .name = "tcg", .vcpu_new = tcg_vcpu_new, .vcpu_free = tcg_vcpu_free, .run = tcg_run,
    .log_begin = forget_write_access, .log_sync = forget_write_access, .can_debug = true,
};
