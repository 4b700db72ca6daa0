/* SPDX-License-Identifier: GPL-2.0-or-later */
/* key=value options. */
#include "util/keyval.h"
#include "util/err.h"
#include <string.h>

static char *value_read(const char **p)
{
    GString *s = g_string_new(NULL);

    for (; **p; (*p)++) {
        if (**p == ',') {
            if ((*p)[1] != ',')
                break;
            (*p)++;
        }
        g_string_append_c(s, **p);
    }
    if (**p)
        (*p)++;
    return g_string_free(s, false);
}

bool keyval_parse_flat(const char *text, const char *implied_key, json_t *into, GError **err)
{
    const char *p = text;

    while (*p) {
        size_t n = strcspn(p, "=,");
        g_autofree char *key = NULL, *value = NULL;

        if (p[n] == '=') {
            key = g_strndup(p, n);
            p += n + 1;
            value = value_read(&p);
        } else if (implied_key) {
            key = g_strdup(implied_key);
            value = value_read(&p);
        } else {
            key = g_strndup(p, n);
            value = g_strdup("on");
            p += n + (p[n] == ',');
        }
        implied_key = NULL;
        if (!*key)
            return err_set(err, EINVAL, "Empty option name in '%s'", text);
        json_put_str(into, key, value);
    }
    return true;
}

bool keyval_nest(json_t *o, GError **err)
{
    const char *key;
    json_t *v;
    void *next;

    json_object_foreach_safe(o, next, key, v) {
        g_auto(GStrv) part = g_strsplit(key, ".", -1);
        json_t *at = o;
        int i;

        if (!part[1])
            continue;
        for (i = 0; part[i + 1]; i++) {
            json_t *sub = json_object_get(at, part[i]);

            if (!sub) {
                sub = json_object();
                json_put(at, part[i], sub);
            }
            if (!json_is_object(sub))
                return err_set(err, EINVAL, "Option '%s' is both a value and a group", part[i]);
            at = sub;
        }
        json_object_set(at, part[i], v);
        json_object_del(o, key);
    }
    return true;
}

json_t *keyval_parse(const char *text, const char *implied_key, GError **err)
{
    g_autoptr(json_t) o = json_object();

    if (!keyval_parse_flat(text, implied_key, o, err) || !keyval_nest(o, err))
        return NULL;
    return g_steal_pointer(&o);
}

char *keyval_escape(const char *text)
{
    g_auto(GStrv) part = g_strsplit(text, ",", -1);

    return g_strjoinv(",,", part);
}
