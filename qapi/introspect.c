/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The schema told to others, in the shape of query-qmp-schema.
 *
 * All integer types show as "int". A case of a union that adds no members shows as the type
 * EMPTY_TYPE.
 */
#include "qapi/schema.h"
#include "qapi/types.h"

#define EMPTY_TYPE "q_empty"

static const char *const scalar_json_types[] = {
    [SCHEMA_STR] = "string",    [SCHEMA_INT] = "int",   [SCHEMA_SIZE] = "int",
    [SCHEMA_BOOL] = "boolean",  [SCHEMA_NUMBER] = "number", [SCHEMA_NULL] = "null",
    [SCHEMA_ANY] = "value",
};

static bool is_integer(const SchemaType *t)
{
    return t->meta == SCHEMA_BUILTIN && (t->scalar == SCHEMA_INT || t->scalar == SCHEMA_SIZE);
}

static const char *visible_name(const SchemaType *t)
{
    return is_integer(t) ? "int" : t->name;
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

static json_t *enum_entity(const SchemaType *t)
{
    json_t *o = entity(t->name, "enum"), *members = json_array(), *values = json_array();

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
static json_t *member_list(const SchemaType *t)
{
    json_t *list = json_array();

    for (const SchemaMember *m = t->members; m->name; m++) {
        json_t *o = json_object();

        if (t->meta == SCHEMA_OBJECT)
            json_put_str(o, "name", m->name);
        json_put_str(o, "type", visible_name(m->type));
        if (m->optional)
            json_put(o, "default", json_null());
        put_features(o, m->features);
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *variant_list(const SchemaType *t)
{
    const SchemaEnum *e = t->tag->type->values;
    json_t *list = json_array();

    for (int i = 0; i < e->count; i++) {
        json_t *o = json_object();

        json_put_str(o, "case", e->names[i]);
        json_put_str(o, "type", t->cases[i] ? t->cases[i]->name : EMPTY_TYPE);
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *type_entity(const SchemaType *t)
{
    json_t *o;

    switch (t->meta) {
    case SCHEMA_BUILTIN:
        o = entity(t->name, "builtin");
        json_put_str(o, "json-type", scalar_json_types[t->scalar]);
        return o;
    case SCHEMA_ENUM:
        return enum_entity(t);
    case SCHEMA_ARRAY:
        o = entity(t->name, "array");
        json_put_str(o, "element-type", visible_name(t->element));
        return o;
    case SCHEMA_ALTERNATE:
        o = entity(t->name, "alternate");
        json_put(o, "members", member_list(t));
        return o;
    case SCHEMA_OBJECT:
        break;
    }
    o = entity(t->name, "object");
    json_put(o, "members", member_list(t));
    if (t->tag) {
        json_put_str(o, "tag", t->tag->name);
        json_put(o, "variants", variant_list(t));
    }
    put_features(o, t->features);
    return o;
}

json_t *schema_introspect(void)
{
    json_t *list = json_array(), *empty = entity(EMPTY_TYPE, "object");

    json_put(empty, "members", json_array());
    json_array_append_new(list, empty);
    for (const SchemaType *const *t = schema_types; *t; t++)
        if (!is_integer(*t) || !g_strcmp0((*t)->name, "int"))
            json_array_append_new(list, type_entity(*t));
    return list;
}
