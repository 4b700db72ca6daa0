/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A processor: running it, and what it comes back for. */
#include "system/kvm/kvm.h"
#include "hw/i8259.h"
#include "system/base/lock.h"
#include "system/run-state.h"
#include "tools/complain.h"
#include "util/err.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { KICK = SIGUSR1 };

KvmVcpu *kvm_vcpu(const Vcpu *v)
{
    return vcpu_accel_state(v);
}

void kvm_break(Vcpu *v, const char *what, int error)
{
    KvmVcpu *k = kvm_vcpu(v);

    if (k->is_leaving) {
        complain_errno(error, "The state of processor %u is unknown: KVM: %s", vcpu_index(v), what);
        return;
    }
    if (!k->is_broken)
        complain_errno(error, "Processor %u cannot go on: KVM: %s", vcpu_index(v), what);
    k->is_broken = true;
    run_state_guest_broken(&vcpu_machine(v)->board);
}

/* ---- requests -------------------------------------------------------------------------------- */

/* It only has to end a wait in KVM; calls that devices make are started again. */
static void kicked(int signal)
{
}

/*
 * The event that it is kicked for has been requested before. A processor that is about to enter
 * comes back at once because of the field, one that is inside because of the signal.
 */
void kvm_kick(Vcpu *v)
{
    KvmVcpu *k = kvm_vcpu(v);

    if (!k || !vcpu_thread_id(v))
        return;
    __atomic_store_n(&k->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_tgkill, getpid(), vcpu_thread_id(v), KICK);
}

static bool take_event(Vcpu *v, uint32_t event)
{
    return __atomic_fetch_and(&vcpu_cpu(v)->events, ~event, __ATOMIC_SEQ_CST) & event;
}

/* The legacy controllers are ours: their interrupts go in by hand. */
static void give_legacy_interrupt(Vcpu *v)
{
    KvmVcpu *k = kvm_vcpu(v);
    bool wanted = __atomic_load_n(&vcpu_cpu(v)->events, __ATOMIC_SEQ_CST) & X86_EVENT_INTERRUPT;
    struct kvm_interrupt i;

    /* With a kick on its way KVM would not inject it now, but keep it where it cannot be read. */
    if (wanted && k->run->ready_for_interrupt_injection &&
        !__atomic_load_n(&k->run->immediate_exit, __ATOMIC_SEQ_CST)) {
        machine_lock();
        i.irq = i8259_acknowledge(vcpu_machine(v)->pic);
        machine_unlock();
        kvm_do(k->fd, KVM_INTERRUPT, &i);
        k->run->ready_for_interrupt_injection = 0;
        wanted = __atomic_load_n(&vcpu_cpu(v)->events, __ATOMIC_SEQ_CST) & X86_EVENT_INTERRUPT;
    }
    k->run->request_interrupt_window = wanted;
}

static void give_events(Vcpu *v)
{
    if (take_event(v, X86_EVENT_NMI))
        kvm_do(kvm_vcpu(v)->fd, KVM_NMI, NULL);
    give_legacy_interrupt(v);
}

/* ---- what it comes back for ------------------------------------------------------------------ */

static void ports(Vcpu *v)
{
    struct kvm_run *run = kvm_vcpu(v)->run;
    const MemoryMap *map = vcpu_machine(v)->board.ports;
    uint8_t *p = (uint8_t *)run + run->io.data_offset;

    for (uint32_t i = 0; i < run->io.count; i++, p += run->io.size) {
        uint64_t value = 0;

        if (run->io.direction == KVM_EXIT_IO_OUT) {
            memcpy(&value, p, run->io.size);
            memory_map_write(map, run->io.port, run->io.size, value);
        } else {
            value = memory_map_read(map, run->io.port, run->io.size);
            memcpy(p, &value, run->io.size);
        }
    }
}

/* Pieces that are no power of two are what is left at the end of a page. */
static void registers(Vcpu *v)
{
    struct kvm_run *run = kvm_vcpu(v)->run;
    const MemoryMap *map = vcpu_machine(v)->board.memory;
    unsigned len = run->mmio.len, step = len & (len - 1) ? 1 : len;

    for (unsigned i = 0; i < len; i += step) {
        uint64_t value = 0;

        if (run->mmio.is_write) {
            memcpy(&value, run->mmio.data + i, step);
            memory_map_write(map, run->mmio.phys_addr + i, step, value);
        } else {
            value = memory_map_read(map, run->mmio.phys_addr + i, step);
            memcpy(run->mmio.data + i, &value, step);
        }
    }
}

static void end_of_interrupt(Vcpu *v)
{
    machine_lock();
    lapic_bus_eoi(vcpu_machine(v)->lapic_bus, kvm_vcpu(v)->run->eoi.vector);
    machine_unlock();
}

static X86Exit ring_full(Vcpu *v)
{
    int r;

    machine_lock();
    r = kvm_rings_empty(vcpu_machine(v));
    if (r < 0)
        kvm_break(v, "emptying dirty rings", -r);
    machine_unlock();
    return X86_RAN;
}

static X86Exit system_event(Vcpu *v)
{
    Board *b = &vcpu_machine(v)->board;

    machine_lock();
    switch (kvm_vcpu(v)->run->system_event.type) {
    case KVM_SYSTEM_EVENT_SHUTDOWN:
        b->shutdown(b, 0);
        break;
    case KVM_SYSTEM_EVENT_CRASH:
        b->panicked(b, false);
        break;
    default:
        b->reset(b);
        break;
    }
    machine_unlock();
    return X86_RAN;
}

static X86Exit failed(Vcpu *v, const char *what, int error)
{
    machine_lock();
    kvm_break(v, what, error);
    machine_unlock();
    take_event(v, X86_EVENT_STOP);
    return X86_RAN;
}

static X86Exit internal_error(Vcpu *v)
{
    const struct kvm_run *run = kvm_vcpu(v)->run;
    struct kvm_regs at = { 0 };
    g_autofree char *what = NULL;

    kvm_do(kvm_vcpu(v)->fd, KVM_GET_REGS, &at);
    what = g_strdup_printf("internal error %u at RIP 0x%llx", run->internal.suberror, at.rip);

    return failed(v, what, run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION ? ENOSYS : EIO);
}

static X86Exit entry_failed(Vcpu *v)
{
    g_autofree char *what = g_strdup_printf(
        "the processor does not take the guest's state, reason 0x%llx",
        kvm_vcpu(v)->run->fail_entry.hardware_entry_failure_reason);

    return failed(v, what, EINVAL);
}

static X86Exit answer(Vcpu *v)
{
    switch (kvm_vcpu(v)->run->exit_reason) {
    case KVM_EXIT_IO:
        ports(v);
        return X86_RAN;
    case KVM_EXIT_MMIO:
        registers(v);
        return X86_RAN;
    case KVM_EXIT_IOAPIC_EOI:
        end_of_interrupt(v);
        return X86_RAN;
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_INTR:
    case KVM_EXIT_HLT:
        return X86_RAN;
    case KVM_EXIT_DIRTY_RING_FULL:
        return ring_full(v);
    case KVM_EXIT_SHUTDOWN:
        return X86_SHUTDOWN;
    case KVM_EXIT_SYSTEM_EVENT:
        return system_event(v);
    case KVM_EXIT_FAIL_ENTRY:
        return entry_failed(v);
    case KVM_EXIT_INTERNAL_ERROR:
        return internal_error(v);
    default: {
        g_autofree char *what = g_strdup_printf("unknown exit %u",
                                                kvm_vcpu(v)->run->exit_reason);

        return failed(v, what, ENOSYS);
    }
    }
}

/*
 * An access to a device is complete for KVM only when it is entered again: so it is left only after
 * a turn in which nothing came.
 */
X86Exit kvm_run(Vcpu *v, VcpuDebug how)
{
    KvmVcpu *k = kvm_vcpu(v);

    for (;;) {
        X86Exit why;

        if (k->is_broken)
            return failed(v, "", 0);
        give_events(v);
        if (ioctl(k->fd, KVM_RUN, NULL) >= 0) {
            why = answer(v);
            if (why != X86_RAN)
                return why;
        } else if (errno == EINTR || errno == EAGAIN) {
            __atomic_store_n(&k->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
            if (take_event(v, X86_EVENT_STOP))
                return X86_RAN;
        } else {
            return failed(v, "running", errno);
        }
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

void kvm_enter(Vcpu *v)
{
    sigset_t kick;

    /* Whoever started this process may have blocked it. */
    sigemptyset(&kick);
    sigaddset(&kick, KICK);
    pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
    kvm_vcpu(v)->is_broken = false;
    kvm_give_state(v);
}

bool kvm_leave(Vcpu *v)
{
    KvmVcpu *k = kvm_vcpu(v);
    bool ok;

    k->is_leaving = true;
    ok = kvm_take_state(v);
    k->is_leaving = false;
    return ok;
}

static bool set_up(Vcpu *v, GError **err)
{
    struct sigaction a = { .sa_handler = kicked, .sa_flags = SA_RESTART };
    int size = kvm_do(kvm_device(), KVM_GET_VCPU_MMAP_SIZE, NULL);
    KvmVcpu *k = kvm_vcpu(v);

    sigaction(KICK, &a, NULL);
    k->fd = kvm_do(kvm_vm(vcpu_machine(v))->fd, KVM_CREATE_VCPU, GUINT_TO_POINTER(vcpu_index(v)));
    if (k->fd < 0)
        return err_set_errno(err, -k->fd, "KVM cannot make processor %u", vcpu_index(v));
    if (size < 0)
        return err_set_errno(err, -size, "KVM does not tell the size of a processor's memory");
    k->run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, k->fd, 0);
    if (k->run == MAP_FAILED) {
        k->run = NULL;
        return err_set_errno(err, errno, "Cannot map KVM's memory of processor %u", vcpu_index(v));
    }
    return kvm_ring_map(v, err) && kvm_set_cpuid(v, err) && kvm_msrs_find(v, err);
}

bool kvm_vcpu_new(Vcpu *v, GError **err)
{
    KvmVcpu *k = g_new0(KvmVcpu, 1);

    k->fd = -1;
    vcpu_set_accel_state(v, k);
    return set_up(v, err);
}

void kvm_vcpu_free(Vcpu *v)
{
    KvmVcpu *k = kvm_vcpu(v);
    int size = kvm_do(kvm_device(), KVM_GET_VCPU_MMAP_SIZE, NULL);

    if (!k)
        return;
    kvm_ring_unmap(v);
    if (k->run && size > 0)
        munmap(k->run, size);
    if (k->fd >= 0)
        close(k->fd);
    if (k->msrs)
        g_array_unref(k->msrs);
    g_free(k);
    vcpu_set_accel_state(v, NULL);
}
