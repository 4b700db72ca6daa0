/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about character devices. Messages are those of the reference, which clients see. */
#include "gen/qmp.h"
#include "monitor/chardev.h"
#include "util/err.h"
#include <string.h>

/* ---- looking --------------------------------------------------------------------------------- */

CO bool qmp_query_chardev(GPtrArray **ret, GError **err)
{
    Chardev *c;

    *ret = g_ptr_array_new_with_free_func((GDestroyNotify)chardev_info_free);
    for (unsigned i = 0; (c = chardev_at(i)); i++) {
        ChardevInfo *info = g_new0(ChardevInfo, 1);

        info->label = g_strdup(chardev_id(c));
        info->filename = chardev_filename(c);
        info->frontend_open = chardev_is_used(c);
        g_ptr_array_add(*ret, info);
    }
    return true;
}

CO bool qmp_query_chardev_backends(GPtrArray **ret, GError **err)
{
    const char *kind;

    *ret = g_ptr_array_new_with_free_func((GDestroyNotify)chardev_backend_info_free);
    for (unsigned i = 0; (kind = chardev_kind_at(i)); i++) {
        ChardevBackendInfo *info = g_new0(ChardevBackendInfo, 1);

        info->name = g_strdup(kind);
        g_ptr_array_add(*ret, info);
    }
    return true;
}

/* ---- making and removing --------------------------------------------------------------------- */

static ChardevReturn *return_of(const Chardev *c)
{
    ChardevReturn *r = g_new0(ChardevReturn, 1);

    r->pty = g_strdup(chardev_pty_name(c));
    return r;
}

CO bool qmp_chardev_add(const QmpChardevAddArgs *args, ChardevReturn **ret, GError **err)
{
    Chardev *c;

    if (chardev_find(args->id))
        return err_set(err, EEXIST, "Chardev with id '%s' already exists", args->id);
    c = chardev_add(args->id, args->backend, err);
    if (!c)
        return err_prefix(err, "Failed to add chardev '%s': ", args->id);
    *ret = return_of(c);
    return true;
}

CO bool qmp_chardev_change(const QmpChardevChangeArgs *args, ChardevReturn **ret, GError **err)
{
    Chardev *c = chardev_find(args->id);

    if (!c)
        return err_set(err, ENOENT, "Chardev '%s' does not exist", args->id);
    if (chardev_is_used(c))
        return err_set(err, EBUSY, "Chardev user does not support chardev hotswap");
    c = chardev_change(args->id, args->backend, err);
    if (!c)
        return false;
    *ret = return_of(c);
    return true;
}

static Chardev *find(const char *id, GError **err)
{
    Chardev *c = chardev_find(id);

    if (!c)
        err_set(err, ENOENT, "Chardev '%s' not found", id);
    return c;
}

CO bool qmp_chardev_remove(const QmpChardevRemoveArgs *args, GError **err)
{
    Chardev *c = find(args->id, err);

    if (!c)
        return false;
    if (chardev_is_used(c))
        return err_set(err, EBUSY, "Chardev '%s' is busy", args->id);
    chardev_remove(c);
    return true;
}

/* None of the kinds has a line that could be broken; the reference's others say nothing, too. */
CO bool qmp_chardev_send_break(const QmpChardevSendBreakArgs *args, GError **err)
{
    return find(args->id, err);
}

/* ---- ring buffers ---------------------------------------------------------------------------- */

static Chardev *ring_find(const char *id, GError **err)
{
    Chardev *c = chardev_find(id);

    if (!c)
        err_set(err, ENOENT, "Device '%s' not found", id);
    return c;
}

static bool is_base64(const char *text)
{
    size_t len = strlen(text), body = strspn(text, G_CSET_a_2_z G_CSET_A_2_Z G_CSET_DIGITS "+/");
    size_t padding = strspn(text + body, "=");

    return body + padding == len && len % 4 == 0 && padding <= 2;
}

CO bool qmp_ringbuf_write(const QmpRingbufWriteArgs *args, GError **err)
{
    Chardev *c = ring_find(args->device, err);
    g_autofree guchar *bytes = NULL;
    gsize len = strlen(args->data);

    if (!c)
        return false;
    if (!args->has_format || args->format != DATA_FORMAT_BASE64)
        return chardev_ring_write(c, args->data, len, err);
    if (!is_base64(args->data))
        return err_set(err, EINVAL, "Base64 data contains invalid characters");
    bytes = g_base64_decode(args->data, &len);
    return chardev_ring_write(c, bytes, len, err);
}

CO bool qmp_ringbuf_read(const QmpRingbufReadArgs *args, char **ret, GError **err)
{
    Chardev *c = ring_find(args->device, err);
    g_autoptr(GByteArray) bytes = NULL;

    if (!c)
        return false;
    if (args->size <= 0)
        return err_set(err, EINVAL, "size must be greater than zero");
    if (!chardev_ring_read(c, args->size, &bytes, err))
        return false;
    if (args->has_format && args->format == DATA_FORMAT_BASE64)
        *ret = g_base64_encode(bytes->data, bytes->len);
    else
        *ret = bytes->len ? g_strndup((const char *)bytes->data, bytes->len) : g_strdup("");
    return true;
}
