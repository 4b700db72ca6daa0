/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What runs guest code: the translator (tcg.c) or the host's processors (kvm/).
 *
 * While a processor stands still, its registers are in its X86Cpu and those of its local APIC in
 * the device, whatever ran it: commands, debuggers, resets and migration look there and change them
 * there. An accelerator that keeps them elsewhere takes them at .enter and gives them back at
 * .leave.
 */
#ifndef SYSTEM_ACCEL_H
#define SYSTEM_ACCEL_H

#include "system/vcpu.h"

typedef struct Accel {
    const char *name;
    bool (*open)(GError **err); /* can it be had? NULL: always */
    /* INIT, start messages and halts do not come to vcpu.c: .run does them. */
    bool starts_itself;
    const X86Host *(*host)(void); /* what its processors can do; NULL: what is emulated */
    /* Once the memory map has all RAM, before there are processors. NULL: nothing is to be done. */
    bool (*begin)(Machine *m, GError **err);
    void (*end)(Machine *m); /* also after .begin has failed */

    /* On the main loop, before the processor has a thread. */
    bool (*vcpu_new)(Vcpu *v, GError **err);
    void (*vcpu_free)(Vcpu *v); /* also after .vcpu_new has failed */
    /* On the processor's thread, with the lock: it stood still and is to run; and the reverse. */
    void (*enter)(Vcpu *v);
    /*
     * False, after a message: some state could not be read. All of it stays in the accelerator, and
     * the processor goes on from there without .enter, unless it is reset.
     */
    bool (*leave)(Vcpu *v);
    /* Likewise, without the lock: until X86_EVENT_STOP is requested or something happens. */
    X86Exit (*run)(Vcpu *v, VcpuDebug how);
    /* Any thread: events of the X86Cpu have changed. NULL: .run sees them by itself. */
    void (*kick)(Vcpu *v);

    /* With the lock: processors are about to run; all stand still. NULL: nothing is to be done. */
    void (*resume)(Machine *m);
    void (*pause)(Machine *m);

    /*
     * While processors stand still: from .log_begin on, what guests write is to be noted in the
     * RamLog. .log_sync: all that was written is there, and what is written next will be.
     */
    void (*log_begin)(Machine *m);
    void (*log_sync)(Machine *m);
    void (*log_end)(Machine *m); /* NULL: nothing is to be done */
    /*
     * The clock that guests read in memory, by MSR 0x4b564d01, in ns, while processors stand still.
     * NULL: there is none.
     */
    int64_t (*clock)(const Machine *m);
    void (*set_clock)(Machine *m, int64_t now);
    bool can_debug; /* break- and watchpoints, and steps */
} Accel;

extern const Accel accel_tcg, accel_kvm, accel_qtest;

#endif
