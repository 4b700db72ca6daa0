/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checks arguments of commands, whose types must be exact.
 *
 * Members are looked at in the order of the schema, so that the first complaint is the reference's.
 * Paths look like "file.filename" and "rules[0].match".
 */
#include "qapi/schema.h"
#include "qapi/types.h"
#include "util/err.h"
#include <string.h>

typedef struct {
    GString *path;
    int depth;
    GError **err;
} Exact;

static bool exact_value(Exact *x, const SchemaType *t, const char *name, const json_t *v);

/* Appends member @name to the path; returns what exact_leave wants. */
static size_t exact_enter(Exact *x, const char *name)
{
    size_t len = x->path->len;

    if (len)
        g_string_append_c(x->path, '.');
    g_string_append(x->path, name);
    return len;
}

static void exact_leave(Exact *x, size_t len)
{
    g_string_truncate(x->path, len);
}

/* @wanted: what the schema calls it. Elements of lists that are alternates have no @name. */
static bool wrong_type(Exact *x, const char *name, const char *wanted)
{
    return err_set(x->err, EINVAL, "Invalid parameter type for '%s', expected: %s",
                   name ? name : "null", wanted);
}

static bool exact_int(Exact *x, const SchemaType *t, const char *name, const json_t *v)
{
    json_int_t n = json_integer_value(v);

    /* Of whatever width: the reference reads it as one of 64 bits first. */
    if (!json_is_integer(v) && g_str_has_prefix(t->name, "uint"))
        return err_set(x->err, EINVAL, "Parameter '%s' expects uint64", x->path->str);
    if (!json_is_integer(v))
        return wrong_type(x, x->path->str, "integer");
    if (n >= t->min && n <= t->max)
        return true;
    /* Sizes are 64 bits without a sign as far as users are told. */
    if (t->scalar == SCHEMA_SIZE || !strcmp(t->name, "uint64"))
        return err_set(x->err, EINVAL, "Parameter '%s' expects a non-negative number below 2^64",
                       name);
    return err_set(x->err, EINVAL, "Parameter '%s' expects %s_t", name, t->name);
}

static bool exact_builtin(Exact *x, const SchemaType *t, const char *name, const json_t *v)
{
    const char *path = x->path->str;

    switch (t->scalar) {
    case SCHEMA_STR:
        return json_is_string(v) || wrong_type(x, path, "string");
    case SCHEMA_INT:
    case SCHEMA_SIZE:
        return exact_int(x, t, name, v);
    case SCHEMA_BOOL:
        return json_is_boolean(v) || wrong_type(x, path, "boolean");
    case SCHEMA_NUMBER:
        return json_is_number(v) || wrong_type(x, path, "number");
    case SCHEMA_NULL:
        return json_is_null(v) || wrong_type(x, path, "null");
    case SCHEMA_ANY:
        break;
    }
    return true;
}

static bool exact_enum(Exact *x, const SchemaType *t, const char *name, const json_t *v)
{
    if (!json_is_string(v))
        return wrong_type(x, x->path->str, "string");
    if (g_strv_contains(t->values->names, json_string_value(v)))
        return true;
    return err_set(x->err, EINVAL, "Parameter '%s' does not accept value '%s'",
                   name ? name : "null", json_string_value(v));
}

static bool exact_members(Exact *x, const SchemaMember *members, const json_t *o)
{
    for (const SchemaMember *m = members; m->name; m++) {
        const json_t *v = json_get(o, m->name);
        size_t len = exact_enter(x, m->name);
        bool ok;

        if (v)
            ok = exact_value(x, m->type, m->name, v);
        else
            ok = m->optional || err_set(x->err, EINVAL, "Parameter '%s' is missing", x->path->str);
        exact_leave(x, len);
        if (!ok)
            return false;
    }
    return true;
}

static bool exact_object(Exact *x, const SchemaType *t, const json_t *o)
{
    const SchemaType *further = NULL;
    g_autofree const char **keys = NULL;

    if (!json_is_object(o))
        return wrong_type(x, x->path->str, "object");
    if (!exact_members(x, t->members, o))
        return false;
    if (t->tag)
        further = t->cases[schema_enum_parse(t->tag->type->values,
                                             json_get_str(o, t->tag->name, ""))];
    if (further && !exact_members(x, further->members, o))
        return false;
    keys = json_visible_keys(o);
    for (const char **key = keys; *key; key++) {
        if (schema_member_find(t->members, *key) ||
            (further && schema_member_find(further->members, *key)))
            continue;
        exact_enter(x, *key);
        return err_set(x->err, EINVAL, "Parameter '%s' is unexpected", x->path->str);
    }
    return true;
}

static bool exact_array(Exact *x, const SchemaType *t, const json_t *a)
{
    size_t len = x->path->len;

    if (!json_is_array(a))
        return wrong_type(x, x->path->str, "array");
    for (size_t i = 0; i < json_array_size(a); i++) {
        g_string_append_printf(x->path, "[%zu]", i);
        if (!exact_value(x, t->element, NULL, json_array_get(a, i)))
            return false;
        exact_leave(x, len);
    }
    return true;
}

static bool exact_alternate(Exact *x, const SchemaType *t, const char *name, const json_t *v)
{
    const SchemaType *branch = schema_branch_find(t, v);

    return branch ? exact_value(x, branch, name, v) : wrong_type(x, name, t->name);
}

static bool exact_nested(Exact *x, const SchemaType *t, const json_t *v)
{
    bool ok;

    if (x->depth == SCHEMA_DEPTH_MAX)
        return err_set(x->err, EINVAL, "Parameter '%s' is nested deeper than %d", x->path->str,
                       SCHEMA_DEPTH_MAX);
    x->depth++;
    ok = t->meta == SCHEMA_OBJECT ? exact_object(x, t, v) : exact_array(x, t, v);
    x->depth--;
    return ok;
}

static bool exact_value(Exact *x, const SchemaType *t, const char *name, const json_t *v)
{
    switch (t->meta) {
    case SCHEMA_BUILTIN:
        return exact_builtin(x, t, name, v);
    case SCHEMA_ENUM:
        return exact_enum(x, t, name, v);
    case SCHEMA_ALTERNATE:
        return exact_alternate(x, t, name, v);
    case SCHEMA_ARRAY:
    case SCHEMA_OBJECT:
        break;
    }
    return exact_nested(x, t, v);
}

bool schema_check_exact(const char *type, const json_t *value, GError **err)
{
    g_autoptr(GString) path = g_string_new(NULL);
    const SchemaType *t = schema_type_find(type);
    Exact x = { .path = path, .err = err };

    g_assert(t && t->meta == SCHEMA_OBJECT);
    return exact_value(&x, t, NULL, value);
}

bool schema_check_exact_member(const char *type, const char *member, const json_t *value,
                               GError **err)
{
    g_autoptr(GString) path = g_string_new(member);
    const SchemaMember *m = schema_member_find(schema_type_find(type)->members, member);
    Exact x = { .path = path, .err = err };

    return exact_value(&x, m->type, member, value);
}
