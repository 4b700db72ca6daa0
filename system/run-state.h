/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether the guest runs, and what makes it start, stop, begin anew and end. Main loop only, but
 * what the board's devices call.
 */
#ifndef SYSTEM_RUN_STATE_H
#define SYSTEM_RUN_STATE_H

#include "gen/qmp.h"
#include "gen/schema.h"
#include "system/machine.h"

/* Names are those of the schema's RunState. */
typedef enum {
    STATE_PRELAUNCH, STATE_RUNNING, STATE_PAUSED, STATE_SHUTDOWN, STATE_GUEST_PANICKED,
    STATE_IO_ERROR, STATE_INTERNAL_ERROR, STATE_WATCHDOG,
    STATE_INMIGRATE, STATE_FINISH_MIGRATE, STATE_POSTMIGRATE, STATE_DEBUG,
    STATE_SAVE_VM, STATE_RESTORE_VM,
} MachineState;

/* What happens when the guest ends, crashes or hangs: QMP's set-action. */
typedef struct {
    RebootAction reboot;
    ShutdownAction shutdown;
    PanicAction panic;
    WatchdogAction watchdog;
} MachineActions;

/* Changes what is named. False with @err. */
bool actions_set(MachineActions *a, const QmpSetActionArgs *args, GError **err);

/* @m is what the program runs, from now on. */
void run_state_begin(Machine *m, MachineActions actions);
/* Stops it for good, after what is under way with it: commands that stop, reset or look at it. */
CO void run_state_end(void);
Machine *run_state_machine(void);
/* actions_set() while there is a machine. */
bool run_state_set_actions(const QmpSetActionArgs *args, GError **err);
MachineState run_state(void);
bool run_state_is_running(void);

/*
 * As run_state_begin leaves it, but waiting for a guest that comes from elsewhere; @starts: it is
 * to run then, if it did.
 */
void run_state_await_guest(bool starts);
bool run_state_guest_starts(void);

void run_state_start(void);
CO void run_state_stop(MachineState state);
/*
 * @fn is called when the guest has stopped; @by is the processor that a debugger's point stopped.
 */
void run_state_hear_stop(CO void (*fn)(void *opaque, Vcpu *by), void *opaque);
/* Goes on as a debugger wants: vcpus_run_debugged. */
void run_state_debug_go(Vcpu *step);
/*
 * The processors stand still from the one call to the other, in which nothing suspends: to look at
 * them. Time goes on. What a processor has asked for meanwhile is done afterwards.
 */
CO void run_state_hold(void);
/* For the end of the program: what the guest asks of devices is done no more, though it may run. */
CO void run_state_halt_devices(void);
void run_state_release(void);
/* Calls @fn, with the machine's lock, between the two. */
CO void run_state_between(void (*fn)(void *opaque), void *opaque);
/* As a button at the machine: what runs is lost. */
CO void run_state_reset(void);
/* The exit code that the program is to end with: -1: it goes on. */
int run_state_exit_code(void);
/* The program ends with exit code 1. */
void run_state_fail(void);
/* Waits until that, or run_state_quit. */
CO void run_state_wait_end(void);
/* The program ends, whatever the guest does. */
void run_state_quit(bool by_signal);

/* ---- for the board: any thread, with the lock held ------------------------------------------- */

void run_state_guest_shutdown(Board *b, int exit_code);
void run_state_guest_reset(Board *b);
void run_state_guest_panicked(Board *b, bool crash_loaded);
/* What is to happen then, happens. */
void run_state_watchdog_expired(Board *b);
/* @v has hit a point of a debugger, or has done its step. */
void run_state_guest_debugged(Vcpu *v);
/* The guest stops with state STATE_IO_ERROR, or STATE_INTERNAL_ERROR. */
void run_state_io_error(Board *b);
void run_state_guest_broken(Board *b);

#endif
