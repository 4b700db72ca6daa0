/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options that lead to a character device: the serial port, monitors, gdb, qtest. */
#include "system/options.h"
#include "control/control.h"
#include "hw/char-line.h"
#include "tools/complain.h"
#include "util/err.h"
#include <string.h>

/*
 * What -serial and -qmp take, "unix:PATH,server=on", as the value of a -chardev called @id; or the
 * id behind "chardev:". NULL with @err.
 */
static char *option_chardev_value(const char *text, const char *id, bool *is_id, GError **err)
{
    const char *rest = strchr(text, ':');
    g_autofree char *kind = g_strndup(text, rest ? rest - text : strcspn(text, ","));
    const char *options = strchr(text, ',');

    *is_id = !strcmp(kind, "chardev") && rest;
    if (*is_id)
        return g_strdup(rest + 1);
    if (!strcmp(kind, "stdio") || !strcmp(kind, "null") || !strcmp(kind, "pty"))
        return g_strdup_printf("%s,id=%s%s", kind, id, options ? options : "");
    if (!rest) {
        err_set(err, EINVAL, "'%s' is no character device", text);
        return NULL;
    }
    if (!strcmp(kind, "file") || !strcmp(kind, "pipe"))
        return g_strdup_printf("%s,id=%s,path=%s", kind, id, rest + 1);
    if (!strcmp(kind, "unix"))
        return g_strdup_printf("socket,id=%s,path=%s", id, rest + 1);
    if (!strcmp(kind, "tcp")) {
        const char *end = rest + 1 + strcspn(rest + 1, ","), *colon = end;

        while (colon > rest && *colon != ':')
            colon--;
        if (colon == rest) {
            err_set(err, EINVAL, "'%s' has no port", text);
            return NULL;
        }
        return g_strdup_printf("socket,id=%s,host=%.*s,port=%s", id, (int)(colon - rest - 1),
                               rest + 1, colon + 1);
    }
    err_set(err, ENOTSUP, "The character device '%s' is not there", text);
    return NULL;
}

/* ---- monitors -------------------------------------------------------------------------------- */

/* A character device and a monitor on it, which is @mode, "mode=control". */
static OptionResult add_monitor(Options *o, const char *option, const char *value, const char *mode)
{
    g_autofree char *label = g_strdup_printf("compat_monitor%u", o->setups->len);
    g_autoptr(GError) err = NULL;
    bool is_id;
    g_autofree char *text = option_chardev_value(value, label, &is_id, &err);
    g_autofree char *monitor = NULL;

    if (!text) {
        complain("-%s: %s", option, err->message);
        return OPTION_BAD;
    }
    monitor = g_strdup_printf("chardev=%s,%s", is_id ? text : label, mode);
    if (!is_id)
        options_add_setup(o, option, text, setup_chardev);
    return options_add_setup(o, option, monitor, setup_monitor);
}

OptionResult option_qmp(Options *o, const char *value)
{
    return add_monitor(o, "qmp", value, "mode=control");
}

OptionResult option_qmp_pretty(Options *o, const char *value)
{
    return add_monitor(o, "qmp-pretty", value, "mode=control,pretty=on");
}

OptionResult option_monitor(Options *o, const char *value)
{
    return strcmp(value, "none") ? add_monitor(o, "monitor", value, "mode=readline") : OPTION_DONE;
}

/* gdb comes to us: we are the server unless the value says otherwise. */
OptionResult option_gdb(Options *o, const char *value)
{
    bool listens = g_str_has_prefix(value, "tcp:") || g_str_has_prefix(value, "unix:");
    g_autofree char *full = g_strdup_printf("%s%s%s", value, listens && !strstr(value, "server")
                                            ? ",server=on" : "", listens && !strstr(value, "wait")
                                            ? ",wait=off" : "");
    g_autoptr(GError) err = NULL;
    bool is_id;
    char *text;

    if (!strcmp(value, "none"))
        return OPTION_DONE;
    if (o->gdb) {
        complain("-gdb: there is one debugger");
        return OPTION_BAD;
    }
    text = option_chardev_value(full, "gdb", &is_id, &err);
    if (!text) {
        complain("-gdb: %s", err->message);
        return OPTION_BAD;
    }
    if (!is_id)
        options_add_setup(o, "gdb", text, setup_chardev);
    o->gdb = is_id ? text : g_strdup("gdb");
    if (!is_id)
        g_free(text);
    return OPTION_DONE;
}

OptionResult option_qtest(Options *o, const char *value)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *text = NULL;
    bool is_id;

    if (o->qtest) {
        complain("-qtest can be given only once");
        return OPTION_BAD;
    }
    text = option_chardev_value(value, "qtest", &is_id, &err);
    if (!text) {
        complain("-qtest: %s", err->message);
        return OPTION_BAD;
    }
    if (!is_id)
        options_add_setup(o, "qtest", text, setup_chardev);
    o->qtest = g_strdup(is_id ? text : "qtest");
    return OPTION_DONE;
}

OptionResult option_gdb_default(Options *o, const char *value)
{
    return option_gdb(o, "tcp::1234");
}

/* ---- the serial port ------------------------------------------------------------------------- */

OptionResult option_serial(Options *o, const char *value)
{
    if (o->serial) {
        complain("-serial: the machine has one serial port");
        return OPTION_BAD;
    }
    o->serial = g_strdup(value);
    return OPTION_DONE;
}

static void quit_by_key(void)
{
    run_state_quit(true);
}

bool options_choose_serial(Options *o)
{
    g_autoptr(GError) err = NULL;
    const char *value = o->serial ? o->serial
                        : o->nographic && !o->no_defaults ? "stdio,signal=off"
                        : o->no_defaults ? "none" : "null";
    bool is_id;
    char *text;

    if (!strcmp(value, "none")) {
        o->machine.isa_serial = false;
        return true;
    }
    text = option_chardev_value(value, "serial0", &is_id, &err);
    if (!text)
        return complain("-serial: %s", err->message);
    if (!is_id)
        options_add_setup(o, "serial", text, setup_chardev);
    if (!o->serial && o->nographic)
        char_line_set_escape("serial0", quit_by_key);
    o->machine.serial = is_id ? g_intern_string(text) : "serial0";
    g_free(text);
    return true;
}
