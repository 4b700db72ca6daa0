/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/drive.h"
#include "block/throttle.h"
#include "hw/virtio/drives.h"
#include "system/options.h"
#include "tools/complain.h"
#include "tools/image.h"
#include "util/err.h"
#include "util/keyval.h"
#include "qapi/object.h"
#include "qapi/schema.h"
#include <string.h>

static const char *const known[] = { "file", "format", "id", "if", "readonly", "cache", "discard",
                                     "aio", "node-name", "snapshot", "detect-zeroes", NULL };

typedef struct {
    json_t *limits; /* ThrottleLimits */
    char *group;    /* NULL: not given */
} DriveLimits;

static void limits_free(DriveLimits *l)
{
    json_decref(l->limits);
    g_free(l->group);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(DriveLimits, limits_free)

/* Moves what @o says of limits to @l: throttling.NAME, or the older names of the same. */
static bool take_limits(json_t *o, DriveLimits *l, GError **err)
{
    json_t *given = json_object_get(o, "throttling");

    l->limits = json_is_object(given) ? json_copy(given) : json_object();
    if (given && !json_is_object(given))
        return err_set(err, EINVAL, "'throttling' has no value of its own: name a limit, as in "
                       "throttling.bps-total");
    l->group = g_strdup(json_get_str(l->limits, "group", json_get_str(o, "group", NULL)));
    if (json_has(l->limits, "group") && json_has(o, "group"))
        return err_set(err, EINVAL, "'throttling.group' and its alias 'group' can't be used at the "
                       "same time");
    json_object_del(l->limits, "group");
    json_object_del(o, "group");
    json_object_del(o, "throttling");
    return throttle_limits_take(o, l->limits, "throttling.", err) &&
           (schema_check("ThrottleLimits", l->limits, err) || err_prefix(err, "throttling: "));
}

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
    g_auto(DriveLimits) limits = { 0 };
    OpenFlags flags;
    bool snapshot;
    Handle *h;

    if (!o || !take_limits(o, &limits, err) || !check_keys(o, err) || !read_modes(o, &flags, err) ||
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
    h = (snapshot ? image_open_snapshot : handle_open)(json_get_str(o, "file", NULL), options,
                                                       flags, err);
    if (!h)
        return false;
    if (!handle_throttle(h, json_get_str(o, "id", NULL), limits.group, limits.limits, err)) {
        handle_close(h);
        return false;
    }
    drive_put(json_get_str(o, "id", NULL), h);
    return true;
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
