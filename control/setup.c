/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options that make something: their values, and what comes of them. */
#include "block/monitor-nodes.h"
#include "control/control.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "qapi/schema.h"
#include "tools/image.h"
#include "util/err.h"
#include "util/keyval.h"
#include "qapi/object.h"
#include <stdio.h>
#include <string.h>

json_t *setup_parse(const char *text, const char *type, const char *implied, GError **err)
{
    bool is_json = *text == '{';
    g_autoptr(json_t) o = is_json ? json_parse(text, strlen(text), err)
                                  : keyval_parse_strict(text, implied, err);
    bool ok = o && (is_json ? schema_check_exact(type, o, err) : schema_check(type, o, err));

    return ok ? g_steal_pointer(&o) : NULL;
}

CO bool setup_object(const char *text, GError **err)
{
    return object_add_text(text, err);
}

CO bool setup_blockdev(const char *text, GError **err)
{
    json_t *options = setup_parse(text, "BlockdevOptions", "driver", err);

    return options && monitor_node_add(options, err);
}

CO bool setup_chardev(const char *text, GError **err)
{
    g_autofree char *id = NULL;
    g_autoptr(json_t) backend = NULL;
    Chardev *c;

    warn_of_short_forms(text, "backend");
    if (!chardev_parse(text, &id, &backend, err))
        return false;
    c = chardev_add(id, backend, err);
    if (c && chardev_pty_name(c)) {
        printf("char device redirected to %s (label %s)\n", chardev_pty_name(c), id);
        fflush(stdout);
    }
    return c;
}

CO bool setup_monitor(const char *text, GError **err)
{
    g_autoptr(json_t) o = setup_parse(text, "MonitorOptions", "chardev", err);
    const char *id = json_get_str(o, "chardev", "");
    const char *mode = json_get_str(o, "mode", hmp_commands() ? "readline" : "control");
    Chardev *c;

    if (!o)
        return false;
    c = chardev_find(id);
    if (!c)
        return err_set(err, ENOENT, "chardev \"%s\" not found", id);
    if (strcmp(mode, "readline"))
        return monitor_add(c, json_get_bool(o, "pretty", false), err);
    if (!hmp_commands())
        return err_set(err, ENOTSUP, "Only QMP is supported");
    if (json_has(o, "pretty"))
        return err_set(err, EINVAL, "'pretty' is not compatible with HMP monitors");
    return monitor_add_hmp(c, err);
}
