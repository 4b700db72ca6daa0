/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Processors of the machine, a thread each, or one for all (MachineConfig.one_thread, -icount). */
#ifndef SYSTEM_VCPU_H
#define SYSTEM_VCPU_H

#include "system/machine.h"

Vcpu *vcpu_new(Machine *m, unsigned index, GError **err);
void vcpu_free(Vcpu *v);
X86Cpu *vcpu_cpu(Vcpu *v);
Machine *vcpu_machine(const Vcpu *v);
unsigned vcpu_index(const Vcpu *v);
Device *vcpu_lapic(Vcpu *v);
bool vcpu_is_halted(const Vcpu *v);
bool vcpu_waits_for_start(const Vcpu *v);
void vcpu_set_waits_for_start(Vcpu *v, bool waits);
int vcpu_thread_id(const Vcpu *v);
void vcpu_inject_nmi(Vcpu *v);
enum { FIXED_MTRRS = 11, VARIABLE_MTRRS = 8 };
enum { VCPU_MTRR_DEFAULT = 0x806 }; /* as firmware leaves them: on, write-back */
typedef struct {
    uint64_t standard, fixed[FIXED_MTRRS], variable[2 * VARIABLE_MTRRS];
} VcpuMtrrs;
VcpuMtrrs *vcpu_mtrrs(Vcpu *v);

/* How a processor sets off: at once, over a breakpoint where it stands, or for one instruction. */
typedef enum { RUN_FREELY, RUN_OVER, RUN_STEP } VcpuDebug;
void *vcpu_accel_state(const Vcpu *v);
void vcpu_set_accel_state(Vcpu *v, void *state);

/* What streams carry and means nothing here, but must not be lost on the way: vcpu-state.c. */
enum { MCE_REGISTERS = 40 };
typedef struct {
    uint32_t smbase;
    uint64_t mcg_cap, mcg_status, mcg_ctl, mce_banks[MCE_REGISTERS];
    uint64_t system_time, wall_clock; /* where KVM's guests read the time */
} VcpuKept;
VcpuKept *vcpu_kept(Vcpu *v);
void vcpu_kept_reset(VcpuKept *k);

/* Before there are processors, if instructions are to be counted: once. False with @err. */
bool vcpus_count(const Machine *m, GError **err);
/* Gives them threads, once all are in Machine.vcpus. They stand still at first. */
void vcpus_begin(Machine *m);
/* The processor's own part of machine_reset. */
void vcpu_reset(Vcpu *v);
/* All run from now on, or stand still when this returns. With the lock held. */
void vcpus_run(Machine *m);
/*
 * The same for a debugger: they go over a breakpoint where they stand. @step: this one alone goes
 * on, for one instruction; NULL: all. Points that are hit call run_state_guest_debugged.
 */
void vcpus_run_debugged(Machine *m, Vcpu *step);
/* On the main loop: other coroutines go on meanwhile, since a processor may wait for one. */
CO void vcpus_stop(Machine *m);
/*
 * While they stand still: what they did last is in their structs. False with @err: that of one
 * could not be read from the accelerator, which still has it, so that the guest can go on.
 */
bool vcpus_check_read(const Machine *m, GError **err);
/* Asks them to stop and does not wait: by one of them, or for it. */
void vcpus_hold(Machine *m);
/* Each stands still for @ns from now on, or until all have to. With the lock held. */
void vcpus_pause(Machine *m, int64_t ns);
/* Ends their threads. */
CO void vcpus_end(Machine *m);

#endif
