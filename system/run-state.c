/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/run-state.h"
#include "gen/qmp.h"
#include "io/co-lock.h"
#include "io/loop.h"
#include "system/base/lock.h"
#include "system/migration-incoming.h"
#include "system/vcpu.h"
#include "util/err.h"
#include <errno.h>
#include <stdio.h>

static struct {
    Machine *machine;
    MachineActions actions;
    MachineState state;
    Loop *loop;
    CoQueue ended;
    unsigned users;  /* operations under way that need the machine, though they suspend */
    CoQueue unused;  /* woken when there are none */
    bool is_quitting, is_halted, guest_starts;
    int exit_code;
    CoMutex changing; /* the state changes in turn */
    CO void (*hear_stop)(void *opaque, Vcpu *by); /* NULL: nobody */
    void *hear_opaque;

    /* What the guest has asked for, with the lock held. */
    bool wants_shutdown, wants_reset, wants_panic, crash_loaded, wants_stop, is_broken, is_asking;
    bool wants_watch_stop, wants_end;
    Vcpu *debugged; /* NULL: none */
    int shutdown_code;
} run = { .exit_code = -1 };

Machine *run_state_machine(void)
{
    return run.machine;
}

bool actions_set(MachineActions *a, const QmpSetActionArgs *args, GError **err)
{
    if (args->has_reboot)
        a->reboot = args->reboot;
    if (args->has_shutdown)
        a->shutdown = args->shutdown;
    if (args->has_panic)
        a->panic = args->panic;
    if (args->has_watchdog)
        a->watchdog = args->watchdog;
    return true;
}

bool run_state_set_actions(const QmpSetActionArgs *args, GError **err)
{
    bool ok;

    machine_lock(); /* a watchdog looks at them */
    ok = actions_set(&run.actions, args, err);
    machine_unlock();
    return ok;
}

MachineState run_state(void)
{
    return run.state;
}

bool run_state_is_running(void)
{
    return run.state == STATE_RUNNING;
}

int run_state_exit_code(void)
{
    return run.exit_code;
}

/* ---- starting and stopping ------------------------------------------------------------------- */

/* The machine stays from the one call to the other: run_state_end waits. */
static void begin_use(void)
{
    run.users++;
}

static void end_use(void)
{
    if (--run.users == 0)
        co_queue_wake_all(&run.unused);
}

/* With the lock. */
static void pause_devices(void)
{
    GPtrArray *devices = run.machine->devices;

    for (guint i = 0; i < devices->len; i++) {
        Device *d = devices->pdata[i];

        if (d->cls->pause)
            d->cls->pause(d);
    }
}

static CO void drain_devices(void)
{
    GPtrArray *devices = run.machine->devices;

    for (guint i = 0; i < devices->len; i++) {
        Device *d = devices->pdata[i];

        if (d->cls->drain)
            d->cls->drain(d);
    }
}

/* Processors stand still, time too, and nothing that the guest has asked for is under way. */
static CO void halt(void)
{
    run.is_halted = true;
    machine_lock();
    vcpus_stop(run.machine);
    guest_clock_run(false);
    pause_devices();
    machine_unlock();
    drain_devices();
}

CO void run_state_halt_devices(void)
{
    machine_lock();
    pause_devices();
    machine_unlock();
    drain_devices();
}

/* Before processors run: with the lock. */
static void wake(void)
{
    run.is_halted = false;
    guest_clock_run(true);
    for (guint i = 0; i < run.machine->devices->len; i++) {
        Device *d = run.machine->devices->pdata[i];

        if (d->cls->resume)
            d->cls->resume(d);
    }
}

static void go_on(void)
{
    machine_lock();
    wake();
    if (!run.is_asking) /* whoever answers lets them run */
        vcpus_run(run.machine);
    machine_unlock();
}

void run_state_hear_stop(CO void (*fn)(void *opaque, Vcpu *by), void *opaque)
{
    run.hear_stop = fn;
    run.hear_opaque = opaque;
}

void run_state_debug_go(Vcpu *step)
{
    bool was_running = run.state == STATE_RUNNING;

    run.state = STATE_RUNNING;
    machine_lock();
    wake();
    vcpus_run_debugged(run.machine, step);
    machine_unlock();
    if (!was_running)
        event_resume();
}

void run_state_await_guest(bool starts)
{
    run.state = STATE_INMIGRATE;
    run.guest_starts = starts;
}

bool run_state_guest_starts(void)
{
    return run.guest_starts;
}

void run_state_start(void)
{
    if (run.state == STATE_INMIGRATE && !run.guest_starts) {
        run.guest_starts = true;
        return;
    }
    if (run.state == STATE_RUNNING)
        return;
    run.state = STATE_RUNNING;
    go_on();
    event_resume();
}

static CO void stop(MachineState state, Vcpu *by)
{
    if (run.state != STATE_RUNNING) {
        run.state = state;
        return;
    }
    begin_use();
    halt();
    end_use();
    run.state = state;
    event_stop();
    if (run.hear_stop)
        run.hear_stop(run.hear_opaque, by);
}

CO void run_state_stop(MachineState state)
{
    stop(state, NULL);
}

CO void run_state_hold(void)
{
    begin_use();
    machine_lock();
    vcpus_stop(run.machine);
    machine_unlock();
}

void run_state_release(void)
{
    machine_lock();
    /* Somebody else may be about to stop them. */
    if (run.state == STATE_RUNNING && !run.is_halted && !run.is_asking)
        vcpus_run(run.machine);
    machine_unlock();
    end_use();
}

CO void run_state_between(void (*fn)(void *opaque), void *opaque)
{
    run_state_hold();
    machine_lock();
    fn(opaque);
    machine_unlock();
    run_state_release();
}

static CO void reset(bool by_guest)
{
    begin_use();
    halt();
    machine_lock();
    machine_reset(run.machine);
    machine_unlock();
    event_reset(by_guest,
                by_guest ? SHUTDOWN_CAUSE_GUEST_RESET : SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET);
    if (run.state == STATE_RUNNING)
        go_on();
    else
        run.state = STATE_PRELAUNCH;
    end_use();
}

static CO void end_program(int exit_code)
{
    begin_use();
    halt();
    end_use();
    run.exit_code = exit_code;
    co_queue_wake_all(&run.ended);
}

static CO void shut_down(bool by_guest, ShutdownCause cause, int exit_code)
{
    event_shutdown(by_guest, cause);
    if (run.actions.shutdown == SHUTDOWN_ACTION_PAUSE)
        run_state_stop(STATE_SHUTDOWN);
    else
        end_program(exit_code);
}

CO void run_state_reset(void)
{
    if (run.actions.reboot == REBOOT_ACTION_SHUTDOWN)
        shut_down(false, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET, 0);
    else
        reset(false);
}

void run_state_quit(bool by_signal)
{
    if (run.is_quitting)
        return;
    run.is_quitting = true;
    if (run.machine)
        event_shutdown(false,
                       by_signal ? SHUTDOWN_CAUSE_HOST_SIGNAL : SHUTDOWN_CAUSE_HOST_QMP_QUIT);
    run.exit_code = MAX(run.exit_code, 0);
    co_queue_wake_all(&run.ended);
}

void run_state_fail(void)
{
    run.exit_code = MAX(run.exit_code, 1);
    co_queue_wake_all(&run.ended);
}

CO void run_state_wait_end(void)
{
    while (run.exit_code < 0)
        co_queue_wait(&run.ended);
}

/* ---- what the guest asks for ----------------------------------------------------------------- */

static CO void panicked(bool crash_loaded)
{
    PanicAction action = run.actions.panic;

    if (crash_loaded) {
        event_guest_crashloaded(GUEST_PANIC_ACTION_RUN);
    } else if (action == PANIC_ACTION_NONE) {
        event_guest_panicked(GUEST_PANIC_ACTION_RUN);
    } else if (action == PANIC_ACTION_PAUSE ||
               (action == PANIC_ACTION_SHUTDOWN && run.actions.shutdown == SHUTDOWN_ACTION_PAUSE)) {
        event_guest_panicked(GUEST_PANIC_ACTION_PAUSE);
        run_state_stop(STATE_GUEST_PANICKED);
        return;
    } else {
        event_guest_panicked(GUEST_PANIC_ACTION_POWEROFF);
        shut_down(true, SHUTDOWN_CAUSE_GUEST_PANIC, action == PANIC_ACTION_EXIT_FAILURE);
        return;
    }
    if (run.state == STATE_RUNNING)
        go_on();
}

/* On the main loop. The processors stand still or are about to. */
static CO void answer(void *arg)
{
    bool wants_shutdown, wants_reset, wants_panic, crash_loaded, wants_stop, is_broken;
    bool wants_watch_stop, wants_end;
    Vcpu *debugged;
    int code;

    /* A reset writes to memory, wherever that is; until then the processors are held. */
    if (run.wants_reset && run.actions.reboot != REBOOT_ACTION_SHUTDOWN && !incoming_await_memory())
        return;
    machine_lock();
    wants_shutdown = run.wants_shutdown;
    wants_reset = run.wants_reset;
    wants_panic = run.wants_panic;
    crash_loaded = run.crash_loaded;
    wants_stop = run.wants_stop;
    is_broken = run.is_broken;
    wants_watch_stop = run.wants_watch_stop;
    wants_end = run.wants_end;
    code = run.shutdown_code;
    debugged = run.debugged;
    run.debugged = NULL;
    run.wants_shutdown = run.wants_reset = run.wants_panic = run.is_asking = false;
    run.wants_stop = run.is_broken = run.wants_watch_stop = run.wants_end = false;
    machine_unlock();
    if (!run.machine || run.exit_code >= 0)
        return;
    if (wants_stop && run.state == STATE_RUNNING)
        run_state_stop(STATE_IO_ERROR);
    if (is_broken && run.state == STATE_RUNNING)
        run_state_stop(STATE_INTERNAL_ERROR);
    if (wants_watch_stop && run.state == STATE_RUNNING)
        run_state_stop(STATE_WATCHDOG);
    if (wants_panic)
        panicked(crash_loaded);
    if (wants_end)
        end_program(0);
    else if (wants_shutdown)
        shut_down(true, SHUTDOWN_CAUSE_GUEST_SHUTDOWN, code);
    else if (wants_reset && run.actions.reboot == REBOOT_ACTION_SHUTDOWN)
        shut_down(true, SHUTDOWN_CAUSE_GUEST_RESET, 0);
    else if (wants_reset)
        reset(true);
    else if (debugged)
        stop(STATE_DEBUG, debugged);
}

static void ask(void)
{
    vcpus_hold(run.machine);
    if (run.is_asking)
        return;
    run.is_asking = true;
    loop_call(run.loop, answer, NULL);
}

void run_state_guest_shutdown(Board *b, int exit_code)
{
    run.wants_shutdown = true;
    run.shutdown_code = exit_code;
    ask();
}

void run_state_guest_reset(Board *b)
{
    run.wants_reset = true;
    ask();
}

void run_state_guest_panicked(Board *b, bool crash_loaded)
{
    run.wants_panic = true;
    run.crash_loaded = crash_loaded;
    ask();
}

void run_state_watchdog_expired(Board *b)
{
    event_watchdog(run.actions.watchdog);
    switch (run.actions.watchdog) {
    case WATCHDOG_ACTION_RESET:
        run_state_guest_reset(b);
        break;
    case WATCHDOG_ACTION_SHUTDOWN:
        machine_power_button(run.machine);
        event_powerdown();
        break;
    case WATCHDOG_ACTION_POWEROFF:
        run.wants_end = true;
        ask();
        break;
    case WATCHDOG_ACTION_PAUSE:
        run.wants_watch_stop = true;
        ask();
        break;
    case WATCHDOG_ACTION_DEBUG:
        fprintf(stderr, "watchdog: timer fired\n");
        break;
    case WATCHDOG_ACTION_INJECT_NMI:
        machine_inject_nmi(run.machine);
        break;
    case WATCHDOG_ACTION_NONE:
    default:
        break;
    }
}

void run_state_guest_debugged(Vcpu *v)
{
    run.debugged = v;
    ask();
}

void run_state_io_error(Board *b)
{
    run.wants_stop = true;
    ask();
}

void run_state_guest_broken(Board *b)
{
    run.is_broken = true;
    ask();
}

/* ---- life ------------------------------------------------------------------------------------ */

void run_state_begin(Machine *m, MachineActions actions)
{
    run.machine = m;
    run.actions = actions;
    run.loop = loop_self();
    run.state = STATE_PRELAUNCH;
    machine_lock();
    machine_reset(m);
    machine_unlock();
}

CO void run_state_end(void)
{
    while (run.machine) {
        halt();
        if (run.users)
            co_queue_wait(&run.unused); /* they may let it run again */
        else
            run.machine = NULL;
    }
    run.state = STATE_SHUTDOWN;
}
