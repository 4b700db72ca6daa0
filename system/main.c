/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-system-x86_64: from the command line to the end of the guest. */
#include "block/export.h"
#include "block/home.h"
#include "block/jobs/job.h"
#include "block/monitor-nodes.h"
#include "control/control.h"
#include "io/loop.h"
#include "io/timer.h"
#include "monitor/monitor.h"
#include "nbd/service.h"
#include "net/net.h"
#include "system/base/lock.h"
#include "system/dirty-rate.h"
#include "system/drive.h"
#include "system/dump.h"
#include "system/gdb/gdb.h"
#include "system/hmp/commands.h"
#include "system/migration.h"
#include "system/migration-images.h"
#include "system/options.h"
#include "system/qtest.h"
#include "system/vm-snapshot.h"
#include "tools/complain.h"
#include "tools/daemon.h"
#include "tools/program.h"
#include "util/err.h"
#include "util/keyval.h"
#include <string.h>
#include <unistd.h>

/* From being told to stop: commands may end until then, and all has to have ended. */
#define COMMANDS_NS (INT64_C(300) * 1000000)
#define END_NS      (INT64_C(4900) * 1000000)

typedef struct {
    Options *options;
    int exit_code;
} Service;

static Timer watchdog;

/* Ends the process when the orderly end takes too long. */
static void give_up(Timer *t)
{
    complain("Something does not come to an end; what was not written yet is lost");
    pid_file_remove();
    _exit(1);
}

static void stop_by_signal(void)
{
    chardev_wait_for_nobody();
    run_state_quit(true);
}

/* ---- setting up ------------------------------------------------------------------------------ */

static CO bool make_backends(const Options *o)
{
    for (guint i = 0; i < o->setups->len && run_state_exit_code() < 0; i++) {
        const Setup *s = &g_array_index(o->setups, Setup, i);
        g_autoptr(GError) err = NULL;

        if (!s->apply(s->text, &err))
            return complain("-%s: %s", s->name, err->message);
    }
    return true;
}

static bool make_device(Machine *m, const char *text)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(json_t) options = *text == '{' ? json_parse(text, strlen(text), &err)
                                             : keyval_parse(text, "driver", &err);

    if (!options || !machine_add_device(m, options, &err))
        return complain("-device %s: %s", text, err->message);
    return true;
}

static Machine *make_machine(const Options *o)
{
    g_autoptr(GError) err = NULL;
    Machine *m = machine_new(&o->machine, &err);

    if (!m) {
        complain_err(err);
        return NULL;
    }
    for (guint i = 0; i < o->devices->len; i++)
        if (!make_device(m, o->devices->pdata[i])) {
            machine_free(m);
            return NULL;
        }
    return m;
}

static bool start_gdb(const char *chardev)
{
    g_autoptr(GError) err = NULL;

    return gdb_start(chardev_find(chardev), &err) || complain("-gdb: %s", err->message);
}

/* The guest begins where it was when a snapshot was made. */
static CO bool load_snapshot(const char *tag)
{
    g_autoptr(GError) err = NULL;

    return vm_snapshot_load(&(VmSnapshotArgs){ .tag = tag }, &err) || complain_err(err);
}

static bool start_qtest(Machine *m, const Options *o)
{
    g_autoptr(GError) err = NULL;

    return qtest_start(m, chardev_find(o->qtest), o->qtest_log, &err) ||
           complain("-qtest: %s", err->message);
}

/* Everything is open. The user's files and our terminal are let go. */
static bool leave_terminal(const Options *o)
{
    if (o->pid_file && !pid_file_write(o->pid_file))
        return false;
    if (!privileges_drop(&o->privileges))
        return false;
    if (o->daemonize && chdir("/") < 0)
        return complain_errno(errno, "Cannot leave this folder");
    if (o->daemonize)
        daemon_ready(false);
    return true;
}

/* ---- the guest's life ------------------------------------------------------------------------ */

/* Ends all, stores and closes. False: complained. */
static CO bool tear_down(Machine *m)
{
    bool ok = true, stored;

    watchdog.expired = give_up;
    timer_set(&watchdog, clock_now_ns() + END_NS);
    migration_end();
    vm_snapshot_end();
    dump_end();
    dirty_rate_end();
    run_state_end();
    monitor_stop_commands(clock_now_ns() + COMMANDS_NS);
    gdb_end();
    qtest_end();
    if (m)
        machine_free(m);
    netdev_remove_all();
    jobs_cancel_all();
    stored = nbd_service_stop();
    export_remove_all();
    if (!drives_close() || !monitor_nodes_close() || !stored)
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

static CO void run(void *arg)
{
    Service *j = arg;
    const Options *o = j->options;
    Machine *m = NULL;
    bool ok;

    signals_begin(stop_by_signal);
    monitor_begin(qmp_commands);
    monitor_set_turn(home_hold, home_release);
    hmp_begin(hmp_machine_commands, hmp_register);
    if (o->only_migratable)
        hold_migration.refusal = "disallowing migration blocker (--only-migratable) for";
    if (o->incoming)
        migration_images_await();
    ok = make_backends(o) && (m = make_machine(o)) && leave_terminal(o);
    if (ok) {
        run_state_begin(m, o->actions);
        machine_show_devices();
        if (o->incoming)
            run_state_await_guest(!o->stopped);
        migration_begin(m, o->incoming);
        if (o->load_snapshot && !load_snapshot(o->load_snapshot))
            run_state_fail();
        monitor_start();
        if (o->gdb && !start_gdb(o->gdb))
            run_state_fail();
        if (o->qtest && !start_qtest(m, o))
            run_state_fail();
        if (!o->stopped && !o->incoming && run_state_exit_code() < 0)
            run_state_start();
        run_state_wait_end();
        j->exit_code = run_state_exit_code();
    }
    if (!tear_down(m) || !ok)
        j->exit_code = 1;
    signals_end();
    timer_cancel(&watchdog);
}

static int serve(Options *o)
{
    Service j = { .options = o };

    signals_block();
    if (o->daemonize && !daemon_fork())
        return 1;
    if (o->daemonize)
        chardev_forbid_stdio();
    if (!privileges_begin(&o->privileges))
        return 1;
    loop_run(run, &j);
    return j.exit_code;
}

int main(int argc, char **argv)
{
    Options o;
    int code = 0;

    tool_begin(argc ? argv[0] : "");
    switch (options_read(&o, argc, argv)) {
    case OPTION_DONE:
        code = serve(&o);
        break;
    case OPTION_EXIT:
        break;
    default:    /* complained */
        code = 1;
        break;
    }
    options_free(&o);
    return tool_finish(code, 1);
}
