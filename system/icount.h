/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Time by executed instructions (-icount): each takes 2^shift ns of the guest's time. One processor
 * runs at a time, for a number of instructions that ends at the next timer, so that the same guest
 * does the same in each run as long as nothing from outside reaches it. While all processors wait
 * for an interrupt, time goes on to the next timer.
 *
 * All but icount_is_on with the machine's lock held.
 */
#ifndef SYSTEM_ICOUNT_H
#define SYSTEM_ICOUNT_H

#include "system/base/lock.h"
#include "target/x86/cpu.h"
#include "util/hold.h"

enum { ICOUNT_SHIFT_MAX = 10 };

/* What -icount says. */
typedef struct {
    bool is_on;
    bool is_auto;       /* the shift follows the host's speed */
    unsigned shift;
    bool does_not_sleep; /* where nothing runs, time jumps to the next timer */
    bool aligns;        /* the guest does not get ahead of the host's time */
} IcountConfig;

/*
 * Makes the guest's clock follow the count. @sooner is called when a timer is set that may be due
 * before the running processor would stop. False with @err: -only-migratable forbids guests that
 * cannot move.
 */
bool icount_begin(const IcountConfig *config, void (*sooner)(void), GError **err);
void icount_end(void);
bool icount_is_on(void);

/* The guest goes on after a stop: the host's time is compared with its from here. */
void icount_resume(void);

/*
 * On the processors' thread, before and after one runs: icount_run sets X86Cpu.left, how many
 * instructions it may execute, @most if no timer is due before. Timers that are due expire in both.
 */
void icount_run(X86Cpu *cpu, uint64_t most);
void icount_stop(X86Cpu *cpu);

/*
 * With .aligns: if the guest is ahead of the host's time, waits until it is not, or until @wake is
 * woken. True: it has waited, so the machine's state may have changed.
 */
bool icount_align(MachineCond *wake);

/*
 * No processor has anything to do: time goes on to the next timer, at the host's pace if it sleeps.
 * Waits at @wake, and may return earlier.
 */
void icount_idle(MachineCond *wake);

#endif
