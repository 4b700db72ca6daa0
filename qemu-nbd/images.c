/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening what is exported: FILE with the options around it, or what each --export describes. */
#include "qemu-nbd/job.h"
#include "tools/complain.h"
#include "tools/image.h"
#include "util/err.h"
#include "util/keyval.h"
#include "util/size.h"
#include <inttypes.h>
#include <string.h>

/* ---- FILE ------------------------------------------------------------------------------------ */

/* The options of FILE's node: what was given on its own, or all of it. NULL with @err. */
static json_t *file_options(const Job *j, GError **err)
{
    json_t *o = j->image_opts ? image_opts_parse(j->file, "file", err) : json_object();

    if (o && j->format)
        json_put_str(o, "driver", j->format);
    if (o && j->detect_zeroes)
        json_put_str(o, "detect-zeroes", j->detect_zeroes);
    return o;
}

/* The rest of @base from @offset on. Takes over @base. NULL with @err. */
static CO Handle *window_open(Handle *base, uint64_t offset, OpenFlags flags, GError **err)
{
    g_autoptr(Handle) whole = base;

    if (offset >= handle_size(whole)) {
        err_set(err, EINVAL, "Offset %" PRIu64 " is not inside the image, which has %" PRIu64
                " bytes", offset, handle_size(whole));
        return NULL;
    }
    return handle_open(NULL, json_pack("{s:s, s:s, s:I}", "driver", "raw", "file",
                                       node_name(handle_node(whole)), "offset",
                                       (json_int_t)offset), flags, err);
}

/* NULL: complained. */
static CO Handle *file_open(const Job *j)
{
    g_autoptr(GError) err = NULL;
    json_t *o = file_options(j, &err);
    const char *name = j->image_opts ? NULL : j->file;
    Handle *h;

    if (!o) {
        complain_err(err);
        return NULL;
    }
    if (j->offset && !json_has(o, "node-name"))
        json_put_str(o, "node-name", "whole-image");
    h = (j->snapshot ? image_open_snapshot : handle_open)(name, o, j->flags, &err);
    if (h && j->load_snapshot && !image_load_snapshot(h, j->load_snapshot)) {
        handle_close(h);
        return NULL;
    }
    if (h && j->offset)
        h = window_open(h, j->offset, j->flags, &err);
    if (!h)
        complain_err(err);
    return h;
}

static CO bool file_export(const Job *j, NbdServer *s)
{
    g_autoptr(GError) err = NULL;
    NbdExportConfig config = {
        .name = j->name ? j->name : "",
        .description = j->description,
        .read_only = !(j->flags & OPEN_RDWR),
        .allocation_depth = j->allocation_depth,
        .bitmaps = j->bitmaps,
    };
    Handle *h = file_open(j);

    return h && (nbd_export_add(s, &config, h, &err) || complain_err(err));
}

/* ---- --export -------------------------------------------------------------------------------- */

/* Where the item of an option string that starts at @s ends: at a single comma, or at the end. */
static const char *item_end(const char *s)
{
    for (; *s; s++)
        if (*s == ',') {
            if (s[1] != ',')
                break;
            s++;
        }
    return s;
}

/* Moves every "bitmap=NAME" of @text to @bitmaps; the rest is returned. Caller frees. */
static char *take_bitmaps(const char *text, json_t *bitmaps)
{
    GString *rest = g_string_new(NULL);

    for (const char *s = text, *end; *s; s = *end ? end + 1 : end) {
        end = item_end(s);
        if (g_str_has_prefix(s, "bitmap=")) {
            g_autofree char *doubled = g_strndup(s + 7, end - s - 7);
            g_auto(GStrv) parts = g_strsplit(doubled, ",,", -1);
            g_autofree char *name = g_strjoinv(",", parts);

            json_array_append_new(bitmaps, json_string(name));
            continue;
        }
        if (rest->len)
            g_string_append_c(rest, ',');
        g_string_append_len(rest, s, end - s);
    }
    return g_string_free(rest, FALSE);
}

/* The text of --export as an object with "bitmap" as a list. NULL with @err. */
static json_t *export_parse(const char *text, GError **err)
{
    g_autoptr(json_t) bitmaps = json_array();
    g_autofree char *rest = NULL;
    json_t *o, *given;

    if (*text == '{') {
        o = json_parse(text, strlen(text), err);
        given = json_get(o, "bitmap");
        if (json_is_string(given))
            json_put(o, "bitmap", json_pack("[O]", given));
        return o;
    }
    rest = take_bitmaps(text, bitmaps);
    o = keyval_parse(rest, NULL, err);
    if (o && json_array_size(bitmaps))
        json_put(o, "bitmap", g_steal_pointer(&bitmaps));
    return o;
}

/* A boolean as JSON or as text. */
static bool read_bool(const json_t *o, const char *key, bool *out, GError **err)
{
    const json_t *v = json_get(o, key);
    const char *text = json_is_string(v) ? json_string_value(v) : NULL;

    *out = json_is_true(v) || !g_strcmp0(text, "on");
    if (!v || json_is_boolean(v) || *out || !g_strcmp0(text, "off"))
        return true;
    return err_set(err, EINVAL, "'%s' of an export is neither on nor off", key);
}

static bool check_text(const json_t *o, const char *key, GError **err)
{
    const json_t *v = json_get(o, key);

    return !v || json_is_string(v) || err_set(err, EINVAL, "'%s' of an export must be a text", key);
}

static bool check_keys(json_t *o, GError **err)
{
    static const char *const known[] = { "name", "description", "readonly", "allocation-depth",
                                         "bitmap", "node", NULL };
    const char *key;
    json_t *v;

    json_object_foreach(o, key, v)
        if (!g_strv_contains(known, key))
            return err_set(err, EINVAL, "Exports have no option '%s'", key);
    if (!json_has(o, "name"))
        return err_set(err, EINVAL, "An export needs a name=");
    if (!json_is_object(json_get(o, "node")))
        return err_set(err, EINVAL, "An export needs an image, node.driver=...");
    return check_text(o, "name", err) && check_text(o, "description", err);
}

/* Adds the names in "bitmap" of @o to @names, and NULL. */
static bool read_bitmaps(const json_t *o, GPtrArray *names, GError **err)
{
    json_t *list = json_get(o, "bitmap");

    if (list && !json_is_array(list))
        return err_set(err, EINVAL, "'bitmap' of an export must be a name or a list of names");
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!json_is_string(json_array_get(list, i)))
            return err_set(err, EINVAL, "'bitmap' of an export must be a name or a list of names");
        g_ptr_array_add(names, (char *)json_string_value(json_array_get(list, i)));
    }
    g_ptr_array_add(names, NULL);
    return true;
}

static CO bool described_export(const Job *j, NbdServer *s, const char *text, GError **err)
{
    g_autoptr(json_t) o = export_parse(text, err);
    g_autoptr(GPtrArray) bitmaps = g_ptr_array_new();
    NbdExportConfig config;
    OpenFlags flags = j->flags;
    json_t *node;
    Handle *h;

    if (!o || !check_keys(o, err) || !read_bitmaps(o, bitmaps, err))
        return false;
    config = (NbdExportConfig){
        .name = json_get_str(o, "name", NULL),
        .description = json_get_str(o, "description", NULL),
        .bitmaps = (const char *const *)bitmaps->pdata,
    };
    if (!read_bool(o, "readonly", &config.read_only, err) ||
        !read_bool(o, "allocation-depth", &config.allocation_depth, err))
        return false;
    if (config.read_only)
        flags &= ~(unsigned)OPEN_RDWR;
    node = json_incref(json_get(o, "node"));
    if (j->detect_zeroes && !json_has(node, "detect-zeroes"))
        json_put_str(node, "detect-zeroes", j->detect_zeroes);
    h = handle_open(NULL, node, flags, err);
    return h && nbd_export_add(s, &config, h, err);
}

CO bool images_export(const Job *j, NbdServer *s)
{
    g_autoptr(GError) err = NULL;

    for (guint i = 0; i < j->exports->len; i++)
        if (!described_export(j, s, j->exports->pdata[i], &err)) {
            err_prefix(&err, "Export '%s': ", (const char *)j->exports->pdata[i]);
            return complain_err(err);
        }
    return !j->file || file_export(j, s);
}
