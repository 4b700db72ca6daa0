/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -boot and -fw_cfg: what firmware is told. */
#include "system/options.h"
#include "hw/fw-cfg.h"
#include "tools/complain.h"
#include "util/err.h"
#include "util/keyval.h"
#include <inttypes.h>
#include <string.h>

/* ---- -boot ----------------------------------------------------------------------------------- */

static bool read_number(const char *key, const char *word, int64_t min, int64_t max, int64_t *v,
                        GError **err)
{
    char *end;

    *v = g_ascii_strtoll(word, &end, 10);
    return (end != word && !*end && *v >= min && *v <= max) ||
           err_set(err, EINVAL, "%s is a number between %" PRId64 " and %" PRId64 ", not '%s'", key,
                   min, max, word);
}

static bool boot_item(MachineConfig *m, const char *key, const char *word, GError **err)
{
    bool is_strict; /* of devices with a place in a boot order, which none has here */

    if (!strcmp(key, "menu"))
        return option_parse_switch("boot.menu", word, &m->boot_menu, err);
    if (!strcmp(key, "strict"))
        return option_parse_switch("boot.strict", word, &is_strict, err);
    if (!strcmp(key, "splash-time"))
        return read_number(key, word, 0, UINT16_MAX, &m->splash_time, err);
    if (!strcmp(key, "reboot-timeout"))
        return read_number(key, word, -1, UINT16_MAX, &m->reboot_timeout, err);
    if (!strcmp(key, "order") || !strcmp(key, "once"))
        return err_set(err, ENOTSUP,
                       "This machine has no boot order: firmware starts from the first "
                       "disk it finds");
    if (!strcmp(key, "splash"))
        return err_set(err, ENOTSUP, "There is no display for a picture");
    return err_set(err, EINVAL, "Parameter 'boot.%s' is unexpected", key);
}

bool option_boot(Options *o, const char *text, GError **err)
{
    g_autoptr(json_t) items = keyval_parse(text, "order", err);
    const char *key;
    json_t *v;

    if (!items)
        return false;
    json_object_foreach(items, key, v)
        if (!boot_item(&o->machine, key, json_is_string(v) ? json_string_value(v) : "", err))
            return false;
    return true;
}

/* ---- -fw_cfg --------------------------------------------------------------------------------- */

static bool check_keys(const json_t *items, GError **err)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)items, key, v)
        if (strcmp(key, "name") && strcmp(key, "file") && strcmp(key, "string") &&
            strcmp(key, "gen_id"))
            return err_set(err, EINVAL, "Invalid parameter '%s'", key);
    if (json_has(items, "gen_id"))
        return err_set(err, ENOTSUP, "gen_id is not there: no object makes such an item");
    return (json_has(items, "name") && json_has(items, "file") != json_has(items, "string")) ||
           err_set(err, EINVAL, "name, plus exactly one of file, string and gen_id, are needed");
}

static bool read_content(const json_t *items, FwCfgItem *item, GError **err)
{
    const char *path = json_get_str(items, "file", NULL), *text = json_get_str(items, "string", "");
    g_autoptr(GError) why = NULL;
    gsize len;
    char *data;

    if (!path) {
        item->data = g_bytes_new(text, strlen(text));
        return true;
    }
    if (!g_file_get_contents(path, &data, &len, &why))
        return err_set(err, EIO, "can't load %s: %s", path, why->message);
    item->data = g_bytes_new_take(data, len);
    return true;
}

static void item_clear(void *x)
{
    FwCfgItem *item = x;

    g_free(item->name);
    g_bytes_unref(item->data);
}

bool option_fw_cfg(Options *o, const char *text, GError **err)
{
    g_autoptr(json_t) items = keyval_parse(text, "name", err);
    const char *name;
    FwCfgItem item;

    if (!items || !check_keys(items, err))
        return false;
    name = json_get_str(items, "name", "");
    if (strlen(name) > FW_CFG_NAME_MAX)
        return err_set(err, EINVAL, "name too long (max. %d char)", FW_CFG_NAME_MAX);
    if (!read_content(items, &item, err))
        return false;
    if (!g_str_has_prefix(name, "opt/"))
        complain("-fw_cfg: warning: '%s' is a name of the machine's own: yours begin with 'opt/'",
                 name);
    item.name = g_strdup(name);
    if (!o->machine.fw_cfg) {
        o->machine.fw_cfg = g_array_new(FALSE, FALSE, sizeof(FwCfgItem));
        g_array_set_clear_func(o->machine.fw_cfg, item_clear);
    }
    g_array_append_val(o->machine.fw_cfg, item);
    return true;
}
