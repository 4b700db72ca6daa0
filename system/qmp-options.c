/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which options of the command line take which parameters, for programs that adapt to versions. */
#include "gen/qmp.h"
#include "util/err.h"
#include <string.h>

/* Words are parameters; the letter after ':' says of what type. */
static const struct {
    const char *option, *parameters;
} options[] = {
    { "machine", "type:s accel:s pic:b pit:b rtc:b isa-serial:b auto-kernel-cmdline:b "
                 "memory-backend:s" },
    { "accel", "" },
    { "smp-opts", "cpus:n sockets:n dies:n cores:n threads:n maxcpus:n" },
    { "memory", "size:z" },
    { "name", "guest:s debug-threads:b" },
    { "rtc", "base:s clock:s driftfix:s" },
    { "icount", "shift:s sleep:b align:b" },
    { "boot-opts", "menu:b splash-time:n reboot-timeout:n strict:b" },
    { "fw_cfg", "name:s file:s string:s" },
    { "sandbox", "enable:b obsolete:s elevateprivileges:s spawn:s resourcecontrol:s" },
    { "overcommit", "mem-lock:b" },
    { "add-fd", "fd:n set:n opaque:s" },
    { "msg", "timestamp:b guest-name:b" },
    { "action", "reboot:s shutdown:s panic:s watchdog:s" },
    { "chardev",
      "backend:s path:s host:s port:s fd:s server:b wait:b ipv4:b ipv6:b nodelay:b "
      "reconnect:n tls-creds:s tls-authz:s logfile:s logappend:b append:b signal:b size:z" },
    { "mon", "chardev:s mode:s pretty:b" },
    { "drive", "file:s format:s id:s if:s readonly:b cache:s discard:s aio:s node-name:s "
               "snapshot:b detect-zeroes:s "
               "throttling.group:s throttling.iops-size:n throttling.bps-total:n "
               "throttling.bps-total-max:n throttling.bps-total-max-length:n "
               "throttling.bps-read:n throttling.bps-read-max:n "
               "throttling.bps-read-max-length:n throttling.bps-write:n "
               "throttling.bps-write-max:n throttling.bps-write-max-length:n "
               "throttling.iops-total:n throttling.iops-total-max:n "
               "throttling.iops-total-max-length:n throttling.iops-read:n "
               "throttling.iops-read-max:n throttling.iops-read-max-length:n "
               "throttling.iops-write:n throttling.iops-write-max:n "
               "throttling.iops-write-max-length:n" },
    { "object", "" },
    { "device", "" },
    { "netdev", "" },
    { "nic", "" },
    { "trace", "enable:s events:s file:s" },
};

static CommandLineParameterType type_of(char letter)
{
    return letter == 'b' ? COMMAND_LINE_PARAMETER_TYPE_BOOLEAN
           : letter == 'n' ? COMMAND_LINE_PARAMETER_TYPE_NUMBER
           : letter == 'z' ? COMMAND_LINE_PARAMETER_TYPE_SIZE : COMMAND_LINE_PARAMETER_TYPE_STRING;
}

static CommandLineOptionInfo *describe(const char *option, const char *parameters)
{
    CommandLineOptionInfo *info = g_new0(CommandLineOptionInfo, 1);
    g_auto(GStrv) words = g_strsplit(parameters, " ", -1);

    info->option = g_strdup(option);
    info->parameters =
        g_ptr_array_new_with_free_func((GDestroyNotify)command_line_parameter_info_free);
    for (char **w = words; *w && **w; w++) {
        CommandLineParameterInfo *p = g_new0(CommandLineParameterInfo, 1);
        const char *colon = strchr(*w, ':');

        p->name = g_strndup(*w, colon - *w);
        p->type = type_of(colon[1]);
        g_ptr_array_add(info->parameters, p);
    }
    return info;
}

CO bool qmp_query_command_line_options(const QmpQueryCommandLineOptionsArgs *args, GPtrArray **ret,
                                       GError **err)
{
    g_autoptr(GPtrArray) list =
        g_ptr_array_new_with_free_func((GDestroyNotify)command_line_option_info_free);

    for (size_t i = 0; i < G_N_ELEMENTS(options); i++)
        if (!args->option || !strcmp(args->option, options[i].option))
            g_ptr_array_add(list, describe(options[i].option, options[i].parameters));
    if (args->option && !list->len)
        return err_set(err, EINVAL, "invalid option name: %s", args->option);
    *ret = g_steal_pointer(&list);
    return true;
}
