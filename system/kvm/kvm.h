/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest code on the host's processors, by Linux's KVM (Linux: Documentation/virt/kvm/api.rst).
 *
 * KVM has the local APICs; the I/O APICs, the legacy controllers and the timers stay ours ("split
 * irqchip"), so that the machine is the same as under tcg. Files: vm.c the guest's memory,
 * interrupts and time; run.c processors; state.c and msrs.c what is in them; cpuid.c what they can
 * do; dirty-ring.c what they write.
 */
#ifndef SYSTEM_KVM_KVM_H
#define SYSTEM_KVM_KVM_H

#include "system/accel.h"
#include <linux/kvm.h>

/* Opens /dev/kvm and asks what it can do, once. False with @err: guests cannot run by it. */
bool kvm_open(GError **err);

/* ---- vm.c ------------------------------------------------------------------------------------ */

enum { KVM_INPUTS = 48 }; /* of two I/O APICs */

typedef struct {
    uint64_t start, size;
    uint8_t *host;
    bool is_read_only;
    bool is_untold; /* its log is wanted but could not be switched on */
} KvmSlot;

typedef struct {
    int fd;
    GArray *slots;            /* of KvmSlot: their numbers are KVM's */
    LapicMessage route[KVM_INPUTS];
    bool has_route[KVM_INPUTS]; /* KVM tells of the end of such interrupts */
    bool rings_missed;        /* a reset of the rings failed: writes since are not told */
    bool is_running;
    int64_t clock_ahead;      /* of KVM's clock before the guest's time, in ns */
} KvmVm;

KvmVm *kvm_vm(const Machine *m);
/* Of /dev/kvm. */
int kvm_device(void);
/* What KVM_CHECK_EXTENSION says. */
int kvm_extension(int capability);
/* ioctl that goes on after signals; -errno. */
int kvm_do(int fd, unsigned long request, void *arg);

/* ---- run.c ----------------------------------------------------------------------------------- */

typedef struct {
    int fd;
    struct kvm_run *run;
    bool is_broken; /* complained; it does not run until it is given a state anew */
    bool is_leaving; /* its state is being read */
    bool warned_of_rate;
    uint64_t tsc_khz;
    uint64_t mcg_cap; /* of its machine checks */
    GArray *msrs;   /* of uint32_t: those that it has, msrs.c */
    /* Exceptions on their way when it stopped, for the same place. */
    struct kvm_vcpu_events events;
    uint64_t events_rip, events_rsp;
    struct kvm_dirty_gfn *ring; /* NULL: there is none */
    uint32_t ring_next; /* the entry to read next; with the lock held */
} KvmVcpu;

KvmVcpu *kvm_vcpu(const Vcpu *v);
/* Of the accelerator: accel.h. */
bool kvm_vcpu_new(Vcpu *v, GError **err);
void kvm_vcpu_free(Vcpu *v);
void kvm_enter(Vcpu *v);
bool kvm_leave(Vcpu *v);
X86Exit kvm_run(Vcpu *v, VcpuDebug how);
void kvm_kick(Vcpu *v);
/*
 * The guest stops for good: @what failed. While the state is read it can go on. With the lock held.
 */
void kvm_break(Vcpu *v, const char *what, int error);

/* ---- dirty-ring.c ---------------------------------------------------------------------------- */

/* Before there are processors. False with @err. */
bool kvm_rings_enable(Machine *m, GError **err);
bool kvm_ring_map(Vcpu *v, GError **err);
void kvm_ring_unmap(Vcpu *v);
/*
 * Notes all that they tell in the RamLog. With the lock held. -errno: further writes may not be
 * told.
 */
int kvm_rings_empty(Machine *m);

/* ---- state.c, msrs.c, cpuid.c: false: kvm_break was called ----------------------------------- */

bool kvm_take_state(Vcpu *v);
bool kvm_give_state(Vcpu *v);
/* Finds those that the host has. */
bool kvm_msrs_find(Vcpu *v, GError **err);
bool kvm_take_msrs(Vcpu *v, LapicRegisters *apic);
bool kvm_give_msrs(Vcpu *v);
/* Only warns. */
void kvm_give_rate(Vcpu *v);
bool kvm_give_deadline(Vcpu *v, const LapicRegisters *apic);
/* False with @err. */
bool kvm_read_host(GError **err);
const X86Host *kvm_host(void);
bool kvm_set_cpuid(Vcpu *v, GError **err);

#endif
