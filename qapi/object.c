/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Objects that users make: their registry and what --object accepts. */
#include "qapi/object.h"
#include "qapi/types.h"
#include "util/err.h"
#include "util/keyval.h"
#include "util/suggest.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    char *id;
    const ObjectClass *cls;
    void *state;
    json_t *props; /* those given, but the hidden one */
} Object;

/* A property of some classes that only tells that they are ready. */
#define LOADED "loaded"

/* In the order they were made. Main loop only. */
static GQueue objects = G_QUEUE_INIT;

static GList *object_link(const char *id)
{
    for (GList *l = objects.head; l; l = l->next) {
        const Object *o = l->data;

        if (!strcmp(o->id, id))
            return l;
    }
    return NULL;
}

const ObjectClass *object_class_find(const char *name)
{
    for (const ObjectClass *const *c = object_classes; *c; c++)
        if (!strcmp((*c)->name, name))
            return *c;
    return NULL;
}

bool id_is_valid(const char *text)
{
    if (!g_ascii_isalpha(*text))
        return false;
    for (; *text; text++)
        if (!g_ascii_isalnum(*text) && !strchr("-._", *text))
            return false;
    return true;
}

/* ---- help ----------------------------------------------------------------------------------- */

static int line_order(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Prints @title, then the strings of @lines in order, indented. */
static void help_print(const char *title, GPtrArray *lines)
{
    g_ptr_array_sort(lines, line_order);
    printf("%s:\n", title);
    for (guint i = 0; i < lines->len; i++)
        printf("  %s\n", (const char *)lines->pdata[i]);
}

static void help_classes(void)
{
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);

    for (const ObjectClass *const *c = object_classes; *c; c++)
        g_ptr_array_add(lines, g_strdup((*c)->name));
    help_print("List of user creatable objects", lines);
}

static void help_prop(const char *name, const char *type, void *lines)
{
    if (strcmp(name, LOADED))
        g_ptr_array_add(lines, g_strdup_printf("%s=<%s>", name, type));
}

static void help_props(const ObjectClass *cls)
{
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *title = g_strconcat(cls->name, " options", NULL);

    object_class_props(cls, help_prop, lines);
    help_print(title, lines);
}

static bool is_help_word(const char *word, size_t len)
{
    return (len == 4 && !memcmp(word, "help", 4)) || (len == 1 && *word == '?');
}

/*
 * True if a word of @text between commas asks for help. They are not copied: one may be a secret.
 */
static bool asks_for_help(const char *text)
{
    for (;;) {
        size_t len = strcspn(text, ",");

        if (is_help_word(text, len))
            return true;
        if (!text[len])
            return false;
        text += len + 1;
    }
}

bool object_print_help(const char *text)
{
    size_t len = strcspn(text, ",");
    g_autofree char *first = NULL;
    const ObjectClass *cls;

    if (*text == '{' || !asks_for_help(text))
        return false;
    if (is_help_word(text, len)) {
        help_classes();
        return true;
    }
    first = g_strndup(text, len);
    cls = object_class_find(g_str_has_prefix(first, "qom-type=") ? first + strlen("qom-type=")
                                                                 : first);
    if (!cls)
        return false;
    help_props(cls);
    return true;
}

/* ---- properties ----------------------------------------------------------------------------- */

static const SchemaMember *prop_find(const ObjectClass *cls, const char *name)
{
    return schema_member_find(schema_type_find(cls->props)->members, name);
}

static const char *prop_type_name(const SchemaMember *m)
{
    const SchemaType *t = m->type->meta == SCHEMA_ARRAY ? m->type->element : m->type;

    if (t->meta != SCHEMA_BUILTIN)
        return t->name;
    return t->scalar == SCHEMA_STR ? "string" : !strcmp(t->name, "int32") ? "int32_t" : t->name;
}

void object_class_props(const ObjectClass *cls,
                        void (*fn)(const char *name, const char *type, void *arg), void *arg)
{
    for (const SchemaMember *m = schema_type_find(cls->props)->members; m->name; m++)
        fn(m->name, prop_type_name(m), arg);
}

static bool prop_fixed(const ObjectClass *cls, const char *name, GError **err)
{
    return err_set(err, EPERM, "Property '%s.%s' is not writable", cls->name, name);
}

static json_t *prop_default(const ObjectClass *cls, const SchemaMember *m)
{
    g_autoptr(json_t) all = cls->defaults ? json_parse(cls->defaults, strlen(cls->defaults), NULL)
                                          : NULL;
    const SchemaType *t = m->type;

    if (json_has(all, m->name))
        return json_incref(json_get(all, m->name));
    if (!strcmp(m->name, LOADED))
        return json_true();
    switch (t->meta) {
    case SCHEMA_BUILTIN:
        return t->scalar == SCHEMA_STR ? json_string("")
             : t->scalar == SCHEMA_BOOL ? json_false() : json_integer(0);
    case SCHEMA_ENUM:
        return json_string(schema_enum_name(t->values, 0));
    default:
        return t->meta == SCHEMA_ARRAY ? json_array() : json_object();
    }
}

/* ---- making and finding --------------------------------------------------------------------- */

static void object_free(Object *o)
{
    if (!o)
        return;
    if (o->cls->destroy)
        o->cls->destroy(o->state);
    explicit_bzero(o->state, o->cls->state_size);
    g_free(o->state);
    json_decref(o->props);
    g_free(o->id);
    g_free(o);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Object, object_free)

/* The string at @key of @desc, NULL with @err if it is missing or something else. */
static const char *desc_str(const json_t *desc, const char *key, GError **err)
{
    const json_t *v = json_get(desc, key);

    if (!v)
        err_set(err, EINVAL, "An object needs '%s'", key);
    else if (!json_is_string(v))
        err_set(err, EINVAL, "'%s' of an object must be a string", key);
    return json_string_value(v);
}

static bool class_unknown(const char *type, GError **err)
{
    Suggestion s = { .word = type };
    g_autofree char *perhaps = NULL;

    for (const ObjectClass *const *c = object_classes; *c; c++)
        suggest_try(&s, (*c)->name);
    perhaps = suggestion_text(&s);
    return err_set(err, EINVAL, "There is no object type '%s'%s", type, perhaps);
}

/* The properties in @desc for class @cls, checked. New reference; NULL with @err. */
static json_t *desc_props(const json_t *desc, const ObjectClass *cls, bool from_text, GError **err)
{
    g_autoptr(json_t) props = json_deep_copy(desc);

    json_object_del(props, "qom-type");
    json_object_del(props, "id");
    if (json_has(props, LOADED) && prop_find(cls, LOADED)) {
        prop_fixed(cls, LOADED, err);
        return NULL;
    }
    if (!(from_text ? schema_check(cls->props, props, err)
                    : schema_check_exact(cls->props, props, err)))
        return NULL;
    return g_steal_pointer(&props);
}

static bool object_make(const json_t *desc, bool from_text, GError **err)
{
    const char *type = desc_str(desc, "qom-type", err);
    const char *id = type ? desc_str(desc, "id", err) : NULL;
    const ObjectClass *cls;
    g_autoptr(json_t) props = NULL;
    g_autoptr(Object) o = NULL;

    if (!id)
        return false;
    cls = object_class_find(type);
    if (!cls)
        return class_unknown(type, err);
    if (!id_is_valid(id)) {
        err_set(err, EINVAL, "'%s' is not a valid id for an object", id);
        err_line(err,
                 "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.");
        return false;
    }
    if (object_link(id))
        return err_set(err, EEXIST, "There is already an object '%s'", id);
    props = desc_props(desc, cls, from_text, err);
    if (!props)
        return err_prefix(err, "Object '%s' of type %s: ", id, type);
    o = g_new0(Object, 1);
    o->id = g_strdup(id);
    o->cls = cls;
    o->state = g_malloc0(cls->state_size);
    o->props = g_steal_pointer(&props);
    if (!cls->create(o->state, id, o->props, err))
        return err_prefix(err, "Object '%s' of type %s: ", id, type);
    if (cls->hidden)
        json_object_del(o->props, cls->hidden);
    g_queue_push_tail(&objects, g_steal_pointer(&o));
    return true;
}

bool object_add(const json_t *desc, GError **err)
{
    return object_make(desc, false, err);
}

bool object_add_text(const char *text, GError **err)
{
    bool is_json = *text == '{';
    g_autoptr(json_t) desc = is_json ? json_parse(text, strlen(text), err)
                                     : keyval_parse_strict(text, "qom-type", err);

    return desc && object_make(desc, !is_json, err);
}

void *object_find_any(const char *id, const ObjectClass *const *classes, const char *what,
                      const ObjectClass **cls, GError **err)
{
    const GList *l = object_link(id);
    const Object *o = l ? l->data : NULL;

    if (!o) {
        err_set(err, ENOENT, "There is no %s '%s'", what, id);
        return NULL;
    }
    for (const ObjectClass *const *c = classes; *c; c++) {
        if (*c == o->cls) {
            if (cls)
                *cls = o->cls;
            return o->state;
        }
    }
    err_set(err, ENOENT, "Object '%s' is of type %s, not %s", id, o->cls->name, what);
    return NULL;
}

void *object_find(const char *id, const ObjectClass *cls, GError **err)
{
    const ObjectClass *const classes[] = { cls, NULL };

    return object_find_any(id, classes, cls->name, NULL, err);
}

void object_foreach(void (*fn)(const char *id, const ObjectClass *cls, void *state, void *arg),
                    void *arg)
{
    for (const GList *l = objects.head; l; l = l->next) {
        const Object *o = l->data;

        fn(o->id, o->cls, o->state, arg);
    }
}

const char *object_id(const char *id)
{
    const GList *l = object_link(id);

    return l ? ((const Object *)l->data)->id : NULL;
}

const ObjectClass *object_class_of(const char *id)
{
    const GList *l = object_link(id);

    return l ? ((const Object *)l->data)->cls : NULL;
}

/*
 * ---- properties of an object ------------------------------------------------------------------
 */

static bool prop_missing(const ObjectClass *cls, const char *name, GError **err)
{
    return err_set(err, ENOENT, "Property '%s.%s' not found", cls->name, name);
}

json_t *object_get(const char *id, const char *name, GError **err)
{
    const Object *o = object_link(id)->data;
    const SchemaMember *m = prop_find(o->cls, name);
    g_autoptr(json_t) all = o->cls->show ? o->cls->show(o->state) : json_incref(o->props);

    if (!m)
        prop_missing(o->cls, name, err);
    else if (!g_strcmp0(name, o->cls->hidden))
        err_set(err, EACCES, "Property '%s.%s' is not readable", o->cls->name, name);
    else
        return json_has(all, name) ? json_incref(json_get(all, name)) : prop_default(o->cls, m);
    return NULL;
}

/* @props with @value as its member @name; of an object only the members that @value has. */
static json_t *props_changed(const json_t *props, const char *name, const json_t *value)
{
    json_t *changed = json_deep_copy(props);
    json_t *old = json_get(changed, name);

    if (json_is_object(old) && json_is_object(value))
        json_object_update(old, (json_t *)value);
    else
        json_object_set_new(changed, name, json_deep_copy(value));
    return changed;
}

bool object_set(const char *id, const char *name, const json_t *value, GError **err)
{
    Object *o = object_link(id)->data;
    const ObjectClass *cls = o->cls;
    g_autoptr(json_t) changed = NULL;

    if (!prop_find(cls, name))
        return prop_missing(cls, name, err);
    if (!cls->changeable || !g_strv_contains(cls->changeable, name))
        return prop_fixed(cls, name, err);
    if (!schema_check_exact_member(cls->props, name, value, err))
        return false;
    changed = props_changed(o->props, name, value);
    if (!cls->change(o->state, changed, err))
        return false;
    json_decref(o->props);
    o->props = g_steal_pointer(&changed);
    return true;
}

/* ---- deleting -------------------------------------------------------------------------------- */

bool object_is_used(const char *id)
{
    const Object *o = object_link(id)->data;

    return o->cls->is_used && o->cls->is_used(o->state);
}

bool object_delete(const char *id, GError **err)
{
    GList *l = object_link(id);
    Object *o;

    if (!l)
        return err_set(err, ENOENT, "There is no object '%s'", id);
    o = l->data;
    g_queue_delete_link(&objects, l);
    object_free(o);
    return true;
}

void object_delete_all(void)
{
    while (!g_queue_is_empty(&objects))
        object_free(g_queue_pop_tail(&objects));
}
