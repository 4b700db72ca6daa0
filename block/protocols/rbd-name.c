/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of images of Ceph clusters, see the header and docs/spec/rbd.md. */
#include "block/protocols/rbd-name.h"
#include "util/err.h"
#include <string.h>

/* The first @mark in @text that no '\' precedes; NULL: there is none. */
static const char *mark_find(const char *text, char mark)
{
    for (; *text && *text != mark; text++)
        if (*text == '\\' && text[1])
            text++;
    return *text ? text : NULL;
}

/* The text from @text to @end, without each '\' before a character. Caller frees. */
static char *unescape(const char *text, const char *end)
{
    GString *s = g_string_new(NULL);

    for (; text < end; text++) {
        if (*text == '\\' && text + 1 < end)
            text++;
        g_string_append_c(s, *text);
    }
    return g_string_free(s, false);
}

static void put_text(json_t *o, const char *key, const char *text, const char *end)
{
    g_autofree char *plain = unescape(text, end);

    json_put_str(o, key, plain);
}

/* The text before the next @mark or, without one, all. Steps *@text past the mark. Caller frees. */
static char *part_take(const char **text, char mark)
{
    const char *start = *text, *found = mark_find(start, mark);
    const char *end = found ? found : start + strlen(start);

    *text = found ? found + 1 : end;
    return unescape(start, end);
}

char **rbd_settings_parse(const char *text, GError **err)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(g_free);

    while (*text) {
        bool has_value = mark_find(text, '=');

        g_ptr_array_add(list, part_take(&text, '='));
        if (!has_value) {
            err_set(err, EINVAL, "setting '%s' has no value",
                    (const char *)list->pdata[list->len - 1]);
            return NULL;
        }
        g_ptr_array_add(list, part_take(&text, ':'));
    }
    g_ptr_array_add(list, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&list), false);
}

/* The settings at @text, two of which are options of their own. */
static bool settings_take(const char *text, json_t *o, GError **err)
{
    g_autoptr(GString) others = g_string_new(NULL);

    while (*text) {
        const char *start = text, *end;
        g_autofree char *name = part_take(&text, '=');
        const char *value = text;

        if (text == start || text[-1] != '=')
            return err_set(err, EINVAL, "setting '%s' has no value", name);
        end = mark_find(text, ':');
        text = end ? end : text + strlen(text);
        if (!strcmp(name, "id") || !strcmp(name, "conf"))
            put_text(o, *name == 'i' ? "user" : "conf", value, text);
        else
            g_string_append_printf(others, "%s%.*s", others->len ? ":" : "", (int)(text - start),
                                   start);
        if (end && !*++text)
            return err_set(err, EINVAL, "it ends with ':', without a setting");
    }
    if (others->len)
        json_put_str(o, "x-settings", others->str);
    return true;
}

static bool parts_take(const char *text, json_t *o, GError **err)
{
    const char *slash = mark_find(text, '/'), *at, *colon, *end, *image_end;

    if (!slash)
        return err_set(err, EINVAL, "it names no pool: it is not rbd:POOL/IMAGE");
    put_text(o, "pool", text, slash);
    text = slash + 1;
    at = mark_find(text, '@');
    colon = mark_find(at ? at + 1 : text, ':');
    end = colon ? colon : text + strlen(text);
    image_end = at ? at : end;
    slash = mark_find(text, '/');
    slash = slash && slash < image_end ? slash : NULL;
    put_text(o, "namespace", text, slash ? slash : text);
    put_text(o, "image", slash ? slash + 1 : text, image_end);
    if (at)
        put_text(o, "snapshot", at + 1, end);
    if (!colon)
        return true;
    if (!colon[1])
        return err_set(err, EINVAL, "it ends with ':', without a setting");
    return settings_take(colon + 1, o, err);
}

bool rbd_name_parse(const char *filename, json_t *o, GError **err)
{
    return parts_take(filename + strlen("rbd:"), o, err) ||
           err_prefix(err, "Name '%s': ", filename);
}
