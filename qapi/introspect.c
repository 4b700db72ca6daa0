/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The schema told to others, in the shape of query-qmp-schema.
 *
 * All integer types show as "int". A case of a union that adds no members shows as an object type
 * without members, as do the arguments of a command that takes none.
 */
#include "qapi/command.h"
#include "qapi/types.h"
#include <string.h>

/* What is told to whom. */
typedef struct {
    bool masked;        /* names of types other than builtin ones are numbers */
    GHashTable *names;  /* of const SchemaType * or @empty: how it is called */
    GPtrArray *types;   /* those that have been mentioned, in that order */
    json_t *list;
} Telling;

static const SchemaMember no_members[] = { {} };
static const SchemaType empty = { .name = "q_empty", .meta = SCHEMA_OBJECT, .members = no_members };

static const char *const scalar_json_types[] = {
    [SCHEMA_STR] = "string",    [SCHEMA_INT] = "int",   [SCHEMA_SIZE] = "int",
    [SCHEMA_BOOL] = "boolean",  [SCHEMA_NUMBER] = "number", [SCHEMA_NULL] = "null",
    [SCHEMA_ANY] = "value",
};

static bool is_integer(const SchemaType *t)
{
    return t->meta == SCHEMA_BUILTIN && (t->scalar == SCHEMA_INT || t->scalar == SCHEMA_SIZE);
}

static const char *mention(Telling *t, const SchemaType *type);

/* A new name for @type. Caller frees. */
static char *name_new(Telling *t, const SchemaType *type)
{
    if (!t->masked || type->meta == SCHEMA_BUILTIN)
        return g_strdup(type->name);
    if (type->meta == SCHEMA_ARRAY)
        return g_strdup_printf("[%s]", mention(t, type->element));
    return g_strdup_printf("%u", t->types->len);
}

/* The name that @type has for others, who will be told what it is. */
static const char *mention(Telling *t, const SchemaType *type)
{
    char *name;

    if (is_integer(type))
        type = schema_type_find("int");
    name = g_hash_table_lookup(t->names, type);
    if (name)
        return name;
    name = name_new(t, type);
    g_ptr_array_add(t->types, (void *)type);
    g_hash_table_insert(t->names, (void *)type, name);
    return name;
}

static json_t *entity(const char *name, const char *meta)
{
    json_t *o = json_object();

    json_put_str(o, "name", name);
    json_put_str(o, "meta-type", meta);
    return o;
}

static void put_features(json_t *o, const char *const *features)
{
    json_t *list = json_array();

    for (const char *const *f = features; f && *f; f++)
        json_array_append_new(list, json_string(*f));
    if (features)
        json_put(o, "features", list);
    else
        json_decref(list);
}

static json_t *enum_entity(const SchemaType *t, const char *name)
{
    json_t *o = entity(name, "enum"), *members = json_array(), *values = json_array();

    for (int i = 0; i < t->values->count; i++) {
        json_t *m = json_object();

        json_put_str(m, "name", t->values->names[i]);
        json_array_append_new(members, m);
        json_array_append_new(values, json_string(t->values->names[i]));
    }
    json_put(o, "members", members);
    json_put(o, "values", values);
    return o;
}

/* The members of a table; those of an alternate show only their types. */
static json_t *member_list(Telling *telling, const SchemaType *t)
{
    json_t *list = json_array();

    for (const SchemaMember *m = t->members; m->name; m++) {
        json_t *o = json_object();

        if (t->meta == SCHEMA_OBJECT)
            json_put_str(o, "name", m->name);
        json_put_str(o, "type", mention(telling, m->type));
        if (m->optional)
            json_put(o, "default", json_null());
        put_features(o, m->features);
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *variant_list(Telling *telling, const SchemaType *t)
{
    const SchemaEnum *e = t->tag->type->values;
    json_t *list = json_array();

    for (int i = 0; i < e->count; i++) {
        json_t *o = json_object();

        json_put_str(o, "case", e->names[i]);
        json_put_str(o, "type", mention(telling, t->cases[i] ? t->cases[i] : &empty));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *type_entity(Telling *telling, const SchemaType *t)
{
    const char *name = mention(telling, t);
    json_t *o;

    switch (t->meta) {
    case SCHEMA_BUILTIN:
        o = entity(name, "builtin");
        json_put_str(o, "json-type", scalar_json_types[t->scalar]);
        return o;
    case SCHEMA_ENUM:
        return enum_entity(t, name);
    case SCHEMA_ARRAY:
        o = entity(name, "array");
        json_put_str(o, "element-type", mention(telling, t->element));
        return o;
    case SCHEMA_ALTERNATE:
        o = entity(name, "alternate");
        json_put(o, "members", member_list(telling, t));
        return o;
    case SCHEMA_OBJECT:
        break;
    }
    o = entity(name, "object");
    json_put(o, "members", member_list(telling, t));
    if (t->tag) {
        json_put_str(o, "tag", t->tag->name);
        json_put(o, "variants", variant_list(telling, t));
    }
    put_features(o, t->features);
    return o;
}

static void telling_begin(Telling *t, bool masked)
{
    *t = (Telling){
        .masked = masked,
        .names = g_hash_table_new_full(NULL, NULL, NULL, g_free),
        .types = g_ptr_array_new(),
        .list = json_array(),
    };
    mention(t, &empty);
}

/* Tells of all types that were mentioned, and of those they mention. */
static json_t *telling_end(Telling *t)
{
    for (guint i = 0; i < t->types->len; i++)
        json_array_append_new(t->list, type_entity(t, t->types->pdata[i]));
    g_ptr_array_unref(t->types);
    g_hash_table_unref(t->names);
    return t->list;
}

json_t *schema_introspect(void)
{
    Telling t;

    telling_begin(&t, false);
    for (const SchemaType *const *type = schema_types; *type; type++)
        mention(&t, *type);
    return telling_end(&t);
}

/* ---- commands and events --------------------------------------------------------------------- */

static const char *mention_name(Telling *t, const char *name)
{
    const SchemaType *type = name ? schema_type_find(name) : &empty;

    g_assert(type);
    return mention(t, type);
}

json_t *schema_introspect_commands(const QmpCommand *commands)
{
    Telling t;

    telling_begin(&t, true);
    for (const QmpCommand *c = commands; c->name; c++) {
        json_t *o = entity(c->name, "command");

        json_put_str(o, "arg-type", mention_name(&t, c->arg_type));
        json_put_str(o, "ret-type", mention_name(&t, c->ret_type));
        if (c->flags & QMP_OOB)
            json_put_bool(o, "allow-oob", true);
        put_features(o, c->features);
        json_array_append_new(t.list, o);
    }
    for (const SchemaEvent *e = schema_events; e->name; e++) {
        json_t *o;

        if (e->with && !qmp_command_find(commands, e->with))
            continue;
        o = entity(e->name, "event");
        json_put_str(o, "arg-type", mention(&t, e->data ? e->data : &empty));
        put_features(o, e->features);
        json_array_append_new(t.list, o);
    }
    return telling_end(&t);
}

const QmpCommand *qmp_command_find(const QmpCommand *commands, const char *name)
{
    for (const QmpCommand *c = commands; c->name; c++)
        if (!strcmp(c->name, name))
            return c;
    return NULL;
}
