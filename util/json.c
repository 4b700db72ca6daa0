/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON: strict parsing with bounds, writing, readers. */
#include "util/json.h"
#include "util/err.h"

json_t *json_parse(const char *text, size_t len, GError **err)
{
    json_error_t e;
    json_t *v;

    if (len > JSON_TEXT_MAX) {
        err_set(err, EINVAL, "JSON text of %zu bytes is too long", len);
        return NULL;
    }
    v = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (!v)
        err_set(err, EINVAL, "Invalid JSON: %s", e.text);
    return v;
}

char *json_print(const json_t *v)
{
    char *raw = json_dumps(v, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    char *copy = g_strdup(raw);

    free(raw);
    return copy;
}

char *json_print_pretty(const json_t *v)
{
    char *raw = json_dumps(v, JSON_ENCODE_ANY | JSON_ENSURE_ASCII | JSON_INDENT(4));
    char *copy = g_strdup(raw);

    free(raw);
    return copy;
}

json_t *json_get(const json_t *o, const char *key)
{
    return o ? json_object_get(o, key) : NULL;
}

bool json_has(const json_t *o, const char *key)
{
    return json_get(o, key) != NULL;
}

const char *json_get_str(const json_t *o, const char *key, const char *def)
{
    const json_t *v = json_get(o, key);

    return v ? json_string_value(v) : def;
}

int64_t json_get_int(const json_t *o, const char *key, int64_t def)
{
    const json_t *v = json_get(o, key);

    return v ? json_integer_value(v) : def;
}

bool json_get_bool(const json_t *o, const char *key, bool def)
{
    const json_t *v = json_get(o, key);

    return v ? json_is_true(v) : def;
}

void json_put(json_t *o, const char *key, json_t *value)
{
    json_object_set_new(o, key, value);
}

void json_put_str(json_t *o, const char *key, const char *value)
{
    json_put(o, key, json_string(value));
}

void json_put_int(json_t *o, const char *key, int64_t value)
{
    json_put(o, key, json_integer(value));
}

void json_put_bool(json_t *o, const char *key, bool value)
{
    json_put(o, key, json_boolean(value));
}

const char **json_visible_keys(const json_t *o)
{
    const char **keys = g_new0(const char *, json_object_size(o) + 1), **k = keys;
    void *i = json_object_iter((json_t *)o);

    for (; i; i = json_object_iter_next((json_t *)o, i))
        *k++ = json_object_iter_key(i);
    return keys;
}
