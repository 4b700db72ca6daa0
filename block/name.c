/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names of nodes for people and for images: the plain file or protocol name where that alone
 * reopens the same node, else json:{...} with every option that matters.
 */
#include "block/internal.h"
#include <string.h>

/* The member of @o at @path, "a" or "a.b"; NULL if there is none. */
static json_t *option_at(const json_t *o, const char *path)
{
    const char *dot = strchr(path, '.');
    g_autofree char *first = dot ? g_strndup(path, dot - path) : NULL;

    return dot ? json_get(json_get(o, first), dot + 1) : json_get(o, path);
}

json_t *options_strong(const BlockDriver *d, const json_t *o)
{
    json_t *strong = json_object();

    for (const char *const *key = d->strong_options; key && *key; key++) {
        json_t *v = option_at(o, *key);

        if (v)
            json_put(strong, *key, json_deep_copy(v));
    }
    return strong;
}

bool node_is_plain(const Node *n)
{
    return json_object_size(n->given) == 0;
}

bool node_is_plain_but(const Node *n, const char *option)
{
    return json_object_size(n->given) == json_has(n->given, option);
}

/*
 * Puts @v, the value at @key, into @into: what is inside of objects and lists by dotted names. As
 * in the reference, where the order shows, the last member of an object goes first, but not in a
 * list.
 */
static void strong_put(json_t *into, const char *key, json_t *v, bool in_list)
{
    size_t i, n = json_object_size(v), at = in_list ? 0 : n;
    g_autofree const char **names = g_new(const char *, n);
    const char *name;
    json_t *member;

    json_object_foreach(v, name, member)
        names[in_list ? at++ : --at] = name;
    for (i = 0; i < n; i++) {
        g_autofree char *path = g_strdup_printf("%s.%s", key, names[i]);

        strong_put(into, path, json_object_get(v, names[i]), in_list);
    }
    json_array_foreach(v, i, member) {
        g_autofree char *path = g_strdup_printf("%s.%zu", key, i);

        strong_put(into, path, member, true);
    }
    if (!json_is_object(v) && !json_is_array(v))
        json_object_set(into, key, v);
}

/* @name so that what it has before a colon is not taken for a protocol. */
static char *plain_file_name(const char *name)
{
    return name && filename_has_protocol(name) ? g_strconcat("./", name, NULL) : g_strdup(name);
}

Node *node_skip_implicit(Node *n)
{
    while (n && n->is_implicit)
        n = node_filtered(n);
    return n;
}

/*
 * True if the open backing file is not what the image stores: options named another file, by
 * whatever path, or another format, or said more about it than a name can.
 */
static bool is_overridden(const Node *n)
{
    const Node *backing = node_skip_implicit(node_backing(n));
    g_autofree char *stored = NULL;

    if (!n->backing_is_given || !backing)
        return n->backing_is_given;
    stored = node_backing_full(n, NULL);
    return !stored || g_strcmp0(n->backing_format_stored, backing->drv->name) ||
           g_str_has_prefix(node_filename(backing), "json:") ||
           !node_is_file_named(backing, stored);
}

/* The name that reopens @n by itself, or NULL. Caller frees. */
static char *node_plain_name(Node *n)
{
    Edge *file = node_edge(n, ROLE_STORAGE);

    if (n->drv->plain_filename)
        return n->drv->plain_filename(n);
    if (!node_is_plain(n))
        return NULL;
    if (n->drv->kind == BLK_PROTOCOL)
        return plain_file_name(json_get_str(n->options, "filename", NULL));
    /* One format on top of another is nothing that opening by name would come to. */
    if (n->drv->kind == BLK_FORMAT && file &&
        (file->node->drv->kind != BLK_FORMAT || file->node->drv->prefix) &&
        !is_overridden(n))
        return node_plain_name(file->node);
    return NULL;
}

void node_backing_changed(Node *n)
{
    n->backing_is_given = node_backing(n) || n->backing_stored;
}

/* Puts @child at @key, which may be "children.0", into @o. */
static void child_put(json_t *o, const char *key, json_t *child)
{
    const char *dot = strchr(key, '.');
    g_autofree char *list = dot ? g_strndup(key, dot - key) : NULL;

    if (!dot) {
        json_put(o, key, child);
        return;
    }
    if (!json_has(o, list))
        json_put(o, list, json_array());
    json_array_append_new(json_get(o, list), child);
}

json_t *node_full_options(Node *n)
{
    json_t *o = json_object(), *v;
    const char *key;

    json_object_foreach(n->given, key, v)
        strong_put(o, key, v, false);
    json_put_str(o, "driver", n->drv->name);
    if (n->drv->kind == BLK_PROTOCOL && json_has(n->options, "filename"))
        json_put_str(o, "filename", json_get_str(n->options, "filename", ""));
    for (guint i = 0; i < n->children->len; i++) {
        Edge *e = n->children->pdata[i];

        if (e->role != ROLE_BACKING || is_overridden(n))
            child_put(o, e->key, node_full_options(node_skip_implicit(e->node)));
    }
    if (!node_backing(n) && n->backing_stored && json_is_null(json_get(n->options, "backing")))
        json_put(o, "backing", json_null());
    return o;
}

void node_refresh_filename(Node *n)
{
    char *plain = node_plain_name(n);

    if (!plain) {
        g_autoptr(json_t) o = node_full_options(n);
        g_autofree char *text = json_print(o);

        plain = g_strconcat("json:", text, NULL);
    }
    g_free(n->filename);
    n->filename = plain;
}
