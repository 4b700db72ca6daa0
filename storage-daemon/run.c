/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of the daemon: everything made, commands obeyed, everything stored and closed in time.
 */
#include "block/export.h"
#include "block/home.h"
#include "block/jobs/job.h"
#include "block/monitor-nodes.h"
#include "control/control.h"
#include "io/co-lock.h"
#include "io/timer.h"
#include "monitor/monitor.h"
#include "nbd/service.h"
#include "storage-daemon/daemon.h"
#include "tools/complain.h"
#include "tools/daemon.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* From being told to stop: commands may end until then, and all has to have ended. */
#define COMMANDS_NS (INT64_C(300) * 1000000)
#define END_NS      (INT64_C(4900) * 1000000)

static bool is_stopping;
static CoQueue stopped;
static Timer watchdog;

/* Ends the process when the orderly end takes too long. */
static void give_up(Timer *t)
{
    complain("Something does not come to an end; what was not written yet is lost");
    pid_file_remove();
    _exit(1);
}

void run_stop(void)
{
    if (is_stopping)
        return;
    is_stopping = true;
    chardev_wait_for_nobody();
    watchdog.expired = give_up;
    timer_set(&watchdog, clock_now_ns() + END_NS);
    co_queue_wake_all(&stopped);
}

/* ---- setting up ------------------------------------------------------------------------------ */

static CO bool set_up(const Daemon *d)
{
    for (guint i = 0; i < d->setups->len && !is_stopping; i++) {
        const Setup *s = &g_array_index(d->setups, Setup, i);
        g_autoptr(GError) err = NULL;

        if (s->apply(s->text, &err))
            continue;
        complain("--%s: %s", s->name, err->message);
        return false;
    }
    if (is_stopping)
        return true;
    if (d->pid_file && !pid_file_write(d->pid_file))
        return false;
    if (d->daemonize && chdir("/") < 0)
        return complain_errno(errno, "Cannot leave this folder");
    if (d->daemonize)
        daemon_ready(false);
    monitor_start();
    return true;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Ends all that serves, stores and closes. False: complained. */
static CO bool tear_down(void)
{
    bool ok = true, stored;

    monitor_stop_commands(clock_now_ns() + COMMANDS_NS);
    jobs_cancel_all();
    stored = nbd_service_stop();
    export_remove_all();
    if (!monitor_nodes_close() || !stored)
        ok = complain("The last data of an image could not be written");
    monitor_release();
    pid_file_remove();
    if (!monitor_end()) {
        /* It still uses what would be freed at an orderly end. */
        complain("A command did not come to an end");
        _exit(1);
    }
    return ok;
}

CO void run(void *arg)
{
    Daemon *d = arg;
    bool ok;

    signals_begin(run_stop);
    monitor_begin(qmp_commands);
    monitor_set_turn(home_hold, home_release);
    ok = set_up(d);
    while (ok && !is_stopping)
        co_queue_wait(&stopped);
    run_stop();
    d->exit_code = tear_down() && ok ? 0 : 1;
    signals_end();
    timer_cancel(&watchdog);
}
