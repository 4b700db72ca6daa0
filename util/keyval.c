/* SPDX-License-Identifier: GPL-2.0-or-later */
/* key=value option strings, flat and nested. */
#include "util/keyval.h"
#include "util/err.h"
#include <string.h>

/* ---- items: key=value between commas ---- */

typedef struct {
    const char *rest; /* of the text, not yet read */
    bool first;
    char *key;   /* owned; NULL for the implied key */
    char *value; /* owned; NULL without '=' */
} Item;

/* The value may be a secret. */
static void item_clear(Item *i)
{
    if (i->value)
        explicit_bzero(i->value, strlen(i->value));
    g_clear_pointer(&i->key, g_free);
    g_clear_pointer(&i->value, g_free);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Item, item_clear)

static Item item_start(const char *text)
{
    return (Item){ .rest = text, .first = true };
}

/*
 * Reads a value up to a comma that stands alone; leaves *@p behind that comma. Its room never
 * grows: that would leave copies behind.
 */
static char *value_read(const char **p)
{
    char *value = g_malloc(strlen(*p) + 1), *end = value;
    const char *s = *p;

    for (; *s; s++) {
        if (*s == ',' && *++s != ',')
            break;
        *end++ = *s;
    }
    *end = '\0';
    *p = s;
    return value;
}

/*
 * Moves on to the next item; false at the end. Before a '=' stands a key; an item without one is
 * a value if it is the first and @implied is set, else a key.
 */
static bool item_next(Item *i, bool implied)
{
    size_t word = strcspn(i->rest, "=,");

    item_clear(i);
    if (!*i->rest)
        return false;
    if (i->rest[word] != '=' && i->first && implied) {
        i->value = value_read(&i->rest);
    } else {
        i->key = g_strndup(i->rest, word);
        i->rest += word;
        if (*i->rest == '=') {
            i->rest++;
            i->value = value_read(&i->rest);
        } else if (*i->rest) {
            i->rest++;
        }
    }
    i->first = false;
    return true;
}

/* The meaning of the bare key @key: itself "on", or what follows its "no" "off". */
static const char *short_form(const char *key, const char **value)
{
    bool off = g_str_has_prefix(key, "no");

    *value = off ? "off" : "on";
    return off ? key + 2 : key;
}

bool keyval_parse_flat(const char *text, const char *implied_key, json_t *into, GError **err)
{
    g_auto(Item) i = item_start(text);

    while (item_next(&i, implied_key)) {
        const char *key = i.key ? i.key : implied_key;
        const char *value = i.value;

        if (!value && !*key)
            return err_set(err, EINVAL, "Option list '%s' has an empty item", text);
        if (!value)
            key = short_form(key, &value);
        json_put_str(into, key, value);
    }
    return true;
}

char **keyval_short_forms(const char *text, const char *implied_key)
{
    GPtrArray *forms = g_ptr_array_new();
    g_auto(Item) i = item_start(text);

    while (item_next(&i, implied_key)) {
        const char *value;

        if (!i.value) {
            const char *key = short_form(i.key, &value);

            g_ptr_array_add(forms, g_strconcat(key, "=", value, NULL));
        }
    }
    g_ptr_array_add(forms, NULL);
    return (char **)g_ptr_array_free(forms, FALSE);
}

char *keyval_escape(const char *text)
{
    GString *s = g_string_new(NULL);

    for (; *text; text++) {
        if (*text == ',')
            g_string_append_c(s, ',');
        g_string_append_c(s, *text);
    }
    return g_string_free(s, FALSE);
}

/* ---- paths ---- */

/* True if @s, of @len bytes, is a decimal number without leading zeros. */
static bool is_index(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!g_ascii_isdigit(s[i]))
            return false;
    return len == 1 || (len > 1 && s[0] != '0');
}

static bool is_name(const char *s, size_t len)
{
    if (len && !g_ascii_isalpha(s[0]) && (len < 2 || s[0] != '_' || s[1] != '_'))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!g_ascii_isalnum(s[i]) && s[i] != '-' && s[i] != '_')
            return false;
    return len;
}

/* True if @key is a path of the strict dialect; it cannot start with an index. */
static bool is_strict_path(const char *key)
{
    bool first = true;

    for (;;) {
        size_t len = strcspn(key, ".");

        if (!is_name(key, len) && (first || !is_index(key, len)))
            return false;
        if (!key[len])
            return true;
        key += len + 1;
        first = false;
    }
}

/* ---- flattening ---- */

static void flatten_into(json_t *flat, GString *path, const json_t *v);

static void flatten_member(json_t *flat, GString *path, const char *key, const json_t *v)
{
    size_t len = path->len;

    if (len)
        g_string_append_c(path, '.');
    g_string_append(path, key);
    flatten_into(flat, path, v);
    g_string_truncate(path, len);
}

static void flatten_into(json_t *flat, GString *path, const json_t *v)
{
    const char *key;
    json_t *child;

    if (json_object_size(v)) {
        json_object_foreach((json_t *)v, key, child)
            flatten_member(flat, path, key, child);
    } else if (json_array_size(v)) {
        for (size_t i = 0; i < json_array_size(v); i++) {
            g_autofree char *index = g_strdup_printf("%zu", i);

            flatten_member(flat, path, index, json_array_get(v, i));
        }
    } else if (path->len) {
        json_object_set_nocheck(flat, path->str, (json_t *)v);
    }
}

json_t *keyval_flatten(const json_t *o)
{
    g_autoptr(GString) path = g_string_new(NULL);
    json_t *flat = json_object();

    flatten_into(flat, path, o);
    return flat;
}

/* ---- nesting ---- */

static bool is_group(const json_t *v)
{
    return json_is_object(v) || json_is_array(v);
}

static bool nest_add(json_t *tree, const char *key, json_t *v, const char *whole, int depth,
                     GError **err);

/* Adds the members of group @v below @tree. */
static bool nest_group(json_t *tree, const json_t *v, const char *whole, int depth, GError **err)
{
    const char *key;
    json_t *child;

    if (json_is_object(v)) {
        json_object_foreach((json_t *)v, key, child)
            if (!nest_add(tree, key, child, whole, depth, err))
                return false;
        return true;
    }
    for (size_t i = 0; i < json_array_size(v); i++) {
        g_autofree char *index = g_strdup_printf("%zu", i);

        if (!nest_add(tree, index, json_array_get(v, i), whole, depth, err))
            return false;
    }
    return true;
}

/* Adds @v at path @key below @tree, where it may meet a group that is there already. */
static bool nest_add(json_t *tree, const char *key, json_t *v, const char *whole, int depth,
                     GError **err)
{
    size_t len = strcspn(key, ".");
    g_autofree char *name = g_strndup(key, len);
    json_t *there = json_object_get(tree, name);
    bool last = !key[len];

    if (!len)
        return err_set(err, EINVAL, "Option '%s' has an empty part in its name", whole);
    if (depth > JSON_DEPTH_MAX)
        return err_set(err, EINVAL, "Option '%s' is nested too deep", whole);
    if (there && (!json_is_object(there) || (last && !is_group(v))))
        return err_set(err, EINVAL,
                       "Option '%s' (in '%s') is given both as a value and as a group, "
                       "or twice",
                       name, whole);
    if (last && !is_group(v)) {
        json_object_set_nocheck(tree, name, v);
        return true;
    }
    if (last && !there && !json_object_size(v) && !json_array_size(v)) {
        json_put(tree, name, json_is_array(v) ? json_array() : json_object());
        return true;
    }
    if (!there) {
        there = json_object();
        json_put(tree, name, there);
    }
    if (last)
        return nest_group(there, v, whole, depth + 1, err);
    return nest_add(there, key + len + 1, v, whole, depth + 1, err);
}

/* How many keys of @o are indexes. */
static size_t count_indexes(json_t *o)
{
    const char *key;
    json_t *v;
    size_t n = 0;

    json_object_foreach(o, key, v)
        n += is_index(key, strlen(key));
    return n;
}

/* Makes lists of the groups inside @o, and one of @o itself if its keys are indexes. New
 * reference, or NULL with @err. */
static json_t *lists_made(json_t *o, bool top, GError **err)
{
    g_autoptr(json_t) list = NULL;
    const char *key;
    json_t *v;
    void *tmp;

    if (!json_is_object(o))
        return json_incref(o);
    json_object_foreach_safe(o, tmp, key, v) {
        json_t *made = lists_made(v, false, err);

        if (!made) {
            err_prefix(err, "%s: ", key);
            return NULL;
        }
        json_object_set_new_nocheck(o, key, made);
    }
    if (top || !count_indexes(o))
        return json_incref(o);
    if (count_indexes(o) != json_object_size(o)) {
        err_set(err, EINVAL, "List indexes and names are mixed");
        return NULL;
    }
    list = json_array();
    for (size_t i = 0; i < json_object_size(o); i++) {
        g_autofree char *index = g_strdup_printf("%zu", i);

        v = json_object_get(o, index);
        if (!v) {
            err_set(err, EINVAL, "List has no element %zu but later ones", i);
            return NULL;
        }
        json_array_append(list, v);
    }
    return g_steal_pointer(&list);
}

bool keyval_nest(json_t *o, GError **err)
{
    g_autoptr(json_t) tree = json_object(), made = NULL;
    const char *key;
    json_t *v;

    json_object_foreach(o, key, v)
        if (!nest_add(tree, key, v, key, 1, err))
            return false;
    made = lists_made(tree, true, err);
    if (!made)
        return false;
    json_object_clear(o);
    json_object_update(o, made);
    return true;
}

/* ---- nested dialects ---- */

json_t *keyval_parse(const char *text, const char *implied_key, GError **err)
{
    g_autoptr(json_t) o = json_object();

    if (!keyval_parse_flat(text, implied_key, o, err) || !keyval_nest(o, err))
        return NULL;
    return g_steal_pointer(&o);
}

json_t *keyval_parse_strict(const char *text, const char *implied_key, GError **err)
{
    g_autoptr(json_t) o = json_object();
    g_auto(Item) i = item_start(text);

    while (item_next(&i, implied_key)) {
        const char *key = i.key ? i.key : implied_key;

        if (!is_strict_path(key)) {
            err_set(err, EINVAL, "'%s' is not a valid option name", key);
            return NULL;
        }
        if (!i.value) {
            err_set(err, EINVAL, "Option '%s' needs a value: expected '=' after it", key);
            return NULL;
        }
        json_put_str(o, key, i.value);
    }
    if (!keyval_nest(o, err))
        return NULL;
    return g_steal_pointer(&o);
}
