/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/drive.h"
#include "hw/virtio/drives.h"
#include "system/options.h"
#include "tools/complain.h"
#include "tools/image.h"
#include "util/err.h"
#include "util/keyval.h"
#include "qapi/object.h"
#include <string.h>

static const char *const known[] = { "file", "format", "id", "if", "readonly", "cache", "discard",
                                     "aio", "node-name", "snapshot", "detect-zeroes", NULL };

static bool check_keys(const json_t *o, GError **err)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)o, key, v)
        if (!g_strv_contains(known, key) || !json_is_string(v))
            return err_set(err, ENOTSUP, "The option '%s' is not there; -blockdev has all that "
                           "images have", key);
    if (strcmp(json_get_str(o, "if", ""), "none"))
        return err_set(err, ENOTSUP, "machine type does not support if=%s: only if=none, for a "
                       "-device", json_get_str(o, "if", "ide"));
    if (!id_is_valid(json_get_str(o, "id", "")))
        return err_set(err, EINVAL, "Parameter 'id' expects an identifier");
    return json_has(o, "file") || err_set(err, EINVAL, "There is no 'file'");
}

static bool read_switch(const json_t *o, const char *key, bool *v, GError **err)
{
    return option_parse_switch(key, json_get_str(o, key, "off"), v, err);
}

static bool read_modes(const json_t *o, OpenFlags *flags, GError **err)
{
    bool read_only;

    if (!read_switch(o, "readonly", &read_only, err))
        return false;
    *flags = read_only ? 0 : OPEN_RDWR;
    if (!cache_mode_parse(json_get_str(o, "cache", "writeback"), flags))
        return err_set(err, EINVAL, "invalid cache option");
    if (!discard_mode_parse(json_get_str(o, "discard", "ignore"), flags))
        return err_set(err, EINVAL, "Invalid discard option");
    if (json_has(o, "aio") && !aio_mode_parse(json_get_str(o, "aio", ""), flags))
        return err_set(err, EINVAL, "invalid aio option");
    return true;
}

CO bool drive_add(const char *text, GError **err)
{
    g_autoptr(json_t) o = keyval_parse(text, NULL, err);
    json_t *options;
    OpenFlags flags;
    bool snapshot;
    Handle *h;

    if (!o || !check_keys(o, err) || !read_modes(o, &flags, err) ||
        !read_switch(o, "snapshot", &snapshot, err))
        return false;
    if (drive_find(json_get_str(o, "id", "")))
        return err_set(err, EEXIST, "Duplicate ID '%s' for drive", json_get_str(o, "id", ""));
    if (node_find(json_get_str(o, "id", "")))
        return err_set(err, EEXIST, "Device name '%s' conflicts with an existing node name",
                       json_get_str(o, "id", ""));
    if (!g_strcmp0(json_get_str(o, "node-name", NULL), json_get_str(o, "id", "")))
        return err_set(err, EEXIST, "node-name=%s is conflicting with a device id",
                       json_get_str(o, "id", ""));
    options = json_object();
    if (json_has(o, "format"))
        json_put_str(options, "driver", json_get_str(o, "format", NULL));
    if (json_has(o, "node-name"))
        json_put_str(options, "node-name", json_get_str(o, "node-name", NULL));
    if (json_has(o, "detect-zeroes"))
        json_put_str(options, "detect-zeroes", json_get_str(o, "detect-zeroes", NULL));
    h = (snapshot ? image_open_snapshot : handle_open)(json_get_str(o, "file", NULL), options, flags,
                                                       err);
    if (h)
        drive_put(json_get_str(o, "id", NULL), h);
    return h;
}

CO bool drives_close(void)
{
    bool ok = true;
    Handle *h;

    while ((h = drive_take_last())) {
        g_autoptr(GError) err = NULL;

        if (!handle_close_err(h, &err))
            ok = complain_err(err);
    }
    return ok;
}
