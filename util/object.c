/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Objects that users make: their registry and what --object accepts. */
#include "util/object.h"
#include "util/err.h"
#include "util/keyval.h"
#include "util/size.h"
#include "util/suggest.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    char *id;
    const ObjectClass *cls;
    void *state;
} Object;

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

static const ObjectClass *class_find(const char *name)
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

static const char *prop_type_name(const ObjectProp *p)
{
    static const char *const words[] = {
        [PROP_STR] = "string", [PROP_BOOL] = "bool", [PROP_INT] = "int",
        [PROP_UINT] = "int",   [PROP_SIZE] = "size", [PROP_OBJECT] = "object",
        [PROP_LIST] = "list",
    };

    return p->type_name ? p->type_name : words[p->type];
}

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

static void help_props(const ObjectClass *cls)
{
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *title = g_strconcat(cls->name, " options", NULL);

    for (const ObjectProp *p = cls->props; p && p->name; p++)
        g_ptr_array_add(lines, g_strdup_printf("%s=<%s>", p->name, prop_type_name(p)));
    help_print(title, lines);
}

static bool is_help_word(const char *word, size_t len)
{
    return (len == 4 && !memcmp(word, "help", 4)) || (len == 1 && *word == '?');
}

/* True if a word of @text between commas asks for help. They are not copied: one may be a secret. */
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
    cls = class_find(g_str_has_prefix(first, "qom-type=") ? first + strlen("qom-type=") : first);
    if (!cls)
        return false;
    help_props(cls);
    return true;
}

/* ---- properties ----------------------------------------------------------------------------- */

/* Reads string @v as a value of @type, which is not PROP_OBJECT. New reference; NULL: it is none. */
static json_t *prop_from_text(PropType type, json_t *v)
{
    const char *text = json_string_value(v);
    uint64_t size;
    int64_t number;

    switch (type) {
    case PROP_BOOL:
        if (!strcmp(text, "on") || !strcmp(text, "yes") || !strcmp(text, "true"))
            return json_true();
        if (!strcmp(text, "off") || !strcmp(text, "no") || !strcmp(text, "false"))
            return json_false();
        return NULL;
    case PROP_INT:
    case PROP_UINT:
        if (!g_ascii_string_to_signed(text, 10, INT64_MIN, INT64_MAX, &number, NULL))
            return NULL;
        return json_integer(number);
    case PROP_SIZE:
        if (size_parse(text, 1, &size, NULL) < 0 || size > INT64_MAX)
            return NULL;
        return json_integer((int64_t)size);
    default:
        return json_incref(v);
    }
}

static bool prop_type_fits(PropType type, const json_t *v)
{
    switch (type) {
    case PROP_STR:
        return json_is_string(v);
    case PROP_BOOL:
        return json_is_boolean(v);
    case PROP_INT:
        return json_is_integer(v);
    case PROP_UINT:
    case PROP_SIZE:
        return json_is_integer(v) && json_integer_value(v) >= 0;
    case PROP_LIST:
        return json_is_array(v);
    default:
        return json_is_object(v);
    }
}

static const ObjectProp *prop_find(const ObjectProp *props, const char *name)
{
    for (const ObjectProp *p = props; p && p->name; p++)
        if (!strcmp(p->name, name))
            return p;
    return NULL;
}

static void prop_unknown(const ObjectProp *props, const char *key, const char *where, GError **err)
{
    Suggestion s = { .word = key };
    g_autofree char *perhaps = NULL;

    for (const ObjectProp *p = props; p && p->name; p++)
        suggest_try(&s, p->name);
    perhaps = suggestion_text(&s);
    err_set(err, EINVAL, "There is no property '%s%s'%s", where, key, perhaps);
}

static json_t *props_check(const ObjectProp *props, const json_t *in, bool from_text,
                           const char *where, GError **err);

/* Each member of the list @in, as props_check. */
static json_t *list_check(const ObjectProp *members, const json_t *in, bool from_text,
                          const char *where, GError **err)
{
    g_autoptr(json_t) out = json_array();
    size_t i;
    json_t *value;

    json_array_foreach(in, i, value) {
        g_autofree char *below = g_strdup_printf("%s%zu.", where, i);
        json_t *v = props_check(members, value, from_text, below, err);

        if (!v)
            return NULL;
        json_array_append_new(out, v);
    }
    return g_steal_pointer(&out);
}

/* @value with the type of @p; new reference or NULL with @err. */
static json_t *prop_check(const ObjectProp *p, json_t *value, bool from_text, const char *where,
                          GError **err)
{
    g_autofree char *below = g_strconcat(where, p->name, ".", NULL);
    json_t *v = NULL;

    if (p->type == PROP_OBJECT && json_is_object(value))
        return props_check(p->members, value, from_text, below, err);
    if (p->type == PROP_LIST && json_is_array(value))
        return list_check(p->members, value, from_text, below, err);
    if (from_text && json_is_string(value))
        v = prop_from_text(p->type, value);
    else
        v = json_incref(value);
    if (v && prop_type_fits(p->type, v))
        return v;
    json_decref(v);
    err_set(err, EINVAL, "Property '%s%s' takes a value of type %s", where, p->name,
            prop_type_name(p));
    return NULL;
}

/*
 * Checks @in against @props and gives its values their types; with @from_text scalars are strings.
 * @where is the dotted name of @in with its dot, "" at the top. New reference or NULL with @err.
 */
static json_t *props_check(const ObjectProp *props, const json_t *in, bool from_text,
                           const char *where, GError **err)
{
    g_autoptr(json_t) out = json_object();
    const char *key;
    json_t *value;

    if (!json_is_object(in)) {
        err_set(err, EINVAL, "Property '%.*s' takes an object", (int)strlen(where) - 1, where);
        return NULL;
    }
    json_object_foreach((json_t *)in, key, value) {
        const ObjectProp *p = prop_find(props, key);
        json_t *v = p ? prop_check(p, value, from_text, where, err) : NULL;

        if (!p)
            prop_unknown(props, key, where, err);
        if (!v)
            return NULL;
        json_object_set_new(out, key, v);
    }
    for (const ObjectProp *p = props; p && p->name; p++) {
        if (p->required && !json_has(out, p->name)) {
            err_set(err, EINVAL, "Property '%s%s' is missing", where, p->name);
            return NULL;
        }
    }
    return g_steal_pointer(&out);
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

static bool object_make(const json_t *desc, bool from_text, GError **err)
{
    const char *type = desc_str(desc, "qom-type", err);
    const char *id = type ? desc_str(desc, "id", err) : NULL;
    g_autoptr(json_t) given = NULL, props = NULL;
    g_autoptr(Object) o = NULL;
    const ObjectClass *cls;

    if (!id)
        return false;
    cls = class_find(type);
    if (!cls)
        return class_unknown(type, err);
    if (!id_is_valid(id)) {
        err_set(err, EINVAL, "'%s' is not a valid id for an object", id);
        err_line(err, "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.");
        return false;
    }
    if (object_link(id))
        return err_set(err, EEXIST, "There is already an object '%s'", id);
    given = json_copy((json_t *)desc);
    json_object_del(given, "qom-type");
    json_object_del(given, "id");
    props = props_check(cls->props, given, from_text, "", err);
    if (!props)
        return err_prefix(err, "Object '%s' of type %s: ", id, type);
    o = g_new0(Object, 1);
    o->id = g_strdup(id);
    o->cls = cls;
    o->state = g_malloc0(cls->state_size);
    if (!cls->create(o->state, id, props, err))
        return err_prefix(err, "Object '%s' of type %s: ", id, type);
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

const ObjectClass *object_class_of(const char *id)
{
    const GList *l = object_link(id);

    return l ? ((const Object *)l->data)->cls : NULL;
}

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
