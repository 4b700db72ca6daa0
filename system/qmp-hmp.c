/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The monitor for people, asked by QMP. */
#include "gen/qmp.h"
#include "monitor/hmp.h"
#include "system/run-state.h"
#include "util/err.h"

CO bool qmp_human_monitor_command(const QmpHumanMonitorCommandArgs *args, char **ret, GError **err)
{
    Hmp h = { .cpu = args->has_cpu_index ? args->cpu_index : 0 };

    if (args->has_cpu_index && (args->cpu_index < 0 || h.cpu >= run_state_machine()->vcpus->len))
        return err_set(err, EINVAL, "Parameter 'cpu-index' expects a CPU number");
    h.out = g_string_new(NULL);
    hmp_run(&h, args->command_line);
    /* What is shown on a terminal has a carriage return before each line feed. */
    g_string_replace(h.out, "\n", "\r\n", 0);
    *ret = g_string_free(h.out, FALSE);
    return true;
}
