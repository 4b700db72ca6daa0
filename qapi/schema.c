/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checks values against the schema.
 *
 * Every check returns the value to put in the place of the one given: a new reference to the same
 * value, or one of the right type made from text. NULL means refused.
 */
#include "qapi/schema.h"
#include "qapi/types.h"
#include "util/err.h"
#include "util/size.h"
#include "util/suggest.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int schema_enum_parse(const SchemaEnum *e, const char *name)
{
    for (int i = 0; i < e->count; i++)
        if (!strcmp(e->names[i], name))
            return i;
    for (const SchemaAlias *a = e->aliases; a && a->name; a++)
        if (!strcmp(a->name, name))
            return a->value;
    return -1;
}

const char *schema_enum_name(const SchemaEnum *e, int value)
{
    g_assert(value >= 0 && value < e->count);
    return e->names[value];
}

const SchemaType *schema_type_find(const char *name)
{
    for (const SchemaType *const *t = schema_types; *t; t++)
        if (!strcmp((*t)->name, name))
            return *t;
    return NULL;
}

const SchemaMember *schema_member_find(const SchemaMember *members, const char *name)
{
    for (const SchemaMember *m = members; m->name; m++)
        if (!strcmp(m->name, name))
            return m;
    return NULL;
}

/* ---- where we are ---- */

typedef struct {
    GString *path; /* "children.0.file" */
    int depth;
    GError **err;
} Check;

/* Steps down to member @name; returns what check_leave wants. */
static size_t check_enter(Check *c, const char *name)
{
    size_t len = c->path->len;

    if (len)
        g_string_append_c(c->path, '.');
    g_string_append(c->path, name);
    return len;
}

static void check_leave(Check *c, size_t len)
{
    g_string_truncate(c->path, len);
}

static json_t *refuse(Check *c, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
static json_t *refuse(Check *c, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    if (c->path->len)
        err_set(c->err, EINVAL, "Option '%s' %s", c->path->str, text);
    else
        err_set(c->err, EINVAL, "The value %s", text);
    return NULL;
}

static const char *json_kind(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number";
    case JSON_NULL:
        return "null";
    default:
        return "a boolean";
    }
}

/* ---- scalars ---- */

static json_t *check_bool(Check *c, json_t *v)
{
    static const char *const yes[] = { "on", "yes", "true", "y", NULL };
    static const char *const no[] = { "off", "no", "false", "n", NULL };
    const char *s = json_string_value(v);

    if (json_is_boolean(v))
        return json_incref(v);
    if (!s)
        return refuse(c, "must be on or off, not %s", json_kind(v));
    if (g_strv_contains(yes, s))
        return json_true();
    if (g_strv_contains(no, s))
        return json_false();
    return refuse(c, "must be on or off, not '%s'", s);
}

/* The integer that text @s is, as strtoll reads it with base 0. */
static bool int_parse(const char *s, int64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoll(s, &end, 0);
    return end != s && !*end && !errno;
}

/*
 * The size that text @s is; what needs the 64th bit is as good as the largest. -errno as
 * size_parse.
 */
static int size_of(const char *s, int64_t *out)
{
    uint64_t size;
    int r = size_parse(s, 1, &size, NULL);

    if (r == 0)
        *out = MIN(size, INT64_MAX);
    return r;
}

/* The integer that @v is or stands for; false if there is none. */
static bool int_of(const json_t *v, bool is_size, int64_t *out)
{
    const char *s = json_string_value(v);

    if (json_is_integer(v)) {
        *out = json_integer_value(v);
        return true;
    }
    if (json_is_real(v)) {
        double d = json_real_value(v);

        *out = fabs(d) < 0x1p63 ? (int64_t)d : 0;
        return (double)*out == d;
    }
    if (s && is_size)
        return size_of(s, out) == 0;
    return s && int_parse(s, out);
}

static json_t *check_int(Check *c, const SchemaType *t, json_t *v)
{
    bool is_size = t->scalar == SCHEMA_SIZE;
    const char *s = json_string_value(v);
    int64_t n;

    if (!int_of(v, is_size, &n)) {
        refuse(c, "must be %s, not %s%s%s",
                      is_size ? "a size (a number, perhaps with one of k M G T P E)" : "an integer",
                      s ? "'" : "", s ? s : json_kind(v), s ? "'" : "");
        if (is_size && !(s && size_of(s, &n) == -ERANGE))
            err_line(c->err, SIZE_SUFFIXES);
        return NULL;
    }
    if (n < t->min || n > t->max)
        return refuse(c, "is %" PRId64 ", which is not from %" PRId64 " to %" PRId64, n, t->min,
                      t->max);
    return json_is_integer(v) ? json_incref(v) : json_integer(n);
}

static json_t *check_number(Check *c, json_t *v)
{
    const char *s = json_string_value(v);
    char *end = NULL;
    double d;

    if (json_is_number(v))
        return json_incref(v);
    d = s ? g_ascii_strtod(s, &end) : 0;
    if (!s || end == s || *end || !isfinite(d))
        return refuse(c, "must be a number");
    return json_real(d);
}

static json_t *check_builtin(Check *c, const SchemaType *t, json_t *v)
{
    switch (t->scalar) {
    case SCHEMA_STR:
        return json_is_string(v) ? json_incref(v)
                                 : refuse(c, "must be a string, not %s", json_kind(v));
    case SCHEMA_INT:
    case SCHEMA_SIZE:
        return check_int(c, t, v);
    case SCHEMA_BOOL:
        return check_bool(c, v);
    case SCHEMA_NUMBER:
        return check_number(c, v);
    case SCHEMA_NULL:
        return json_is_null(v) ? json_incref(v) : refuse(c, "must be null, not %s", json_kind(v));
    case SCHEMA_ANY:
        break;
    }
    return json_incref(v);
}

static json_t *check_enum(Check *c, const SchemaType *t, json_t *v)
{
    const char *s = json_string_value(v);
    int value = s ? schema_enum_parse(t->values, s) : -1;
    g_autofree char *names = NULL;

    if (value >= 0 && !strcmp(t->values->names[value], s))
        return json_incref(v);
    if (value >= 0)
        return json_string(t->values->names[value]);
    names = g_strjoinv(", ", (char **)t->values->names);
    return refuse(c, "is %s%s%s, which is none of: %s", s ? "'" : "", s ? s : json_kind(v),
                  s ? "'" : "", names);
}

/* ---- compound values ---- */

static json_t *check_value(Check *c, const SchemaType *t, json_t *v);

/* Checks @v, the value of @member of @o, and stores it converted. */
static bool check_member(Check *c, json_t *o, const SchemaMember *member, json_t *v)
{
    size_t len = check_enter(c, member->name);
    json_t *checked = check_value(c, member->type, v);

    check_leave(c, len);
    if (checked && checked == v)
        json_decref(checked);
    else if (checked)
        json_put(o, member->name, checked);
    return checked;
}

/* The type of the further members of @o, an object of union @t; NULL: there are none. */
static bool check_tag(Check *c, const SchemaType *t, json_t *o, const SchemaType **further)
{
    json_t *tag = json_get(o, t->tag->name);

    if (!tag && t->untagged) {
        *further = t->untagged;
        return true;
    }
    if (!tag) {
        size_t len = check_enter(c, t->tag->name);

        refuse(c, "is missing");
        check_leave(c, len);
        return false;
    }
    if (!check_member(c, o, t->tag, tag))
        return false;
    *further = t->cases[schema_enum_parse(t->tag->type->values,
                                          json_get_str(o, t->tag->name, ""))];
    return true;
}

/* "of driver 'raw' ": what object @o of type @t is, for messages. */
static char *object_description(const SchemaType *t, const json_t *o)
{
    if (!t->tag || !json_has(o, t->tag->name))
        return g_strdup("");
    return g_strdup_printf("of %s '%s' ", t->tag->name, json_get_str(o, t->tag->name, ""));
}

static void members_try(Suggestion *s, const SchemaMember *members)
{
    for (const SchemaMember *m = members; m && m->name; m++)
        suggest_try(s, m->name);
}

static void check_unknown(Check *c, const SchemaType *t, const SchemaType *further, const json_t *o,
                          const char *key)
{
    Suggestion s = { .word = key };
    g_autofree char *of = object_description(t, o), *perhaps = NULL;
    size_t len = check_enter(c, key);

    members_try(&s, t->members);
    members_try(&s, further ? further->members : NULL);
    perhaps = suggestion_text(&s);
    refuse(c, "%sis not known%s", of, perhaps);
    check_leave(c, len);
}

static bool check_missing(Check *c, const SchemaType *t, const SchemaMember *members,
                          const json_t *o)
{
    for (const SchemaMember *m = members; m->name; m++) {
        bool needed = !m->optional && !(m == t->tag && t->untagged);

        if (needed && !json_has(o, m->name)) {
            g_autofree char *of = object_description(t, o);
            size_t len = check_enter(c, m->name);

            refuse(c, "%sis missing", of);
            check_leave(c, len);
            return false;
        }
    }
    return true;
}

static json_t *check_object(Check *c, const SchemaType *t, json_t *o)
{
    const SchemaType *further = NULL;
    const char *key;
    json_t *v;
    void *next;

    if (!json_is_object(o))
        return refuse(c, "must be a group of options, not %s", json_kind(o));
    if (t->tag && !check_tag(c, t, o, &further))
        return NULL;
    json_object_foreach_safe(o, next, key, v) {
        const SchemaMember *m = schema_member_find(t->members, key);

        if (!m && further)
            m = schema_member_find(further->members, key);
        if (!m) {
            check_unknown(c, t, further, o, key);
            return NULL;
        }
        if (m != t->tag && !check_member(c, o, m, v))
            return NULL;
    }
    if (!check_missing(c, t, t->members, o) ||
        (further && !check_missing(c, t, further->members, o)))
        return NULL;
    return json_incref(o);
}

static json_t *check_array(Check *c, const SchemaType *t, json_t *a)
{
    g_autoptr(json_t) wrapped = NULL;

    if (json_is_object(a) && t->element->meta == SCHEMA_OBJECT) {
        wrapped = json_array();
        json_array_append(wrapped, a);
        a = wrapped;
    }
    if (!json_is_array(a))
        return refuse(c, "must be a list, not %s", json_kind(a));
    for (size_t i = 0; i < json_array_size(a); i++) {
        char index[24];
        json_t *checked;
        size_t len;

        g_snprintf(index, sizeof(index), "%zu", i);
        len = check_enter(c, index);
        checked = check_value(c, t->element, json_array_get(a, i));
        check_leave(c, len);
        if (!checked)
            return NULL;
        json_array_set_new(a, i, checked);
    }
    return json_incref(a);
}

/* True if a value like @v chooses branch @t of an alternate. */
static bool branch_fits(const SchemaType *t, const json_t *v)
{
    switch (t->meta) {
    case SCHEMA_OBJECT:
        return json_is_object(v);
    case SCHEMA_ENUM:
        return json_is_string(v);
    case SCHEMA_ARRAY:
        return json_is_array(v);
    case SCHEMA_BUILTIN:
        return t->scalar == SCHEMA_STR ? json_is_string(v)
               : t->scalar == SCHEMA_NULL ? json_is_null(v)
               : t->scalar == SCHEMA_BOOL ? json_is_boolean(v) : json_is_number(v);
    case SCHEMA_ALTERNATE:
        break;
    }
    return false;
}

const SchemaType *schema_branch_find(const SchemaType *t, const json_t *v)
{
    for (const SchemaMember *m = t->members; m->name; m++)
        if (branch_fits(m->type, v))
            return m->type;
    return NULL;
}

static json_t *check_alternate(Check *c, const SchemaType *t, json_t *v)
{
    const SchemaType *branch = schema_branch_find(t, v);

    return branch ? check_value(c, branch, v) : refuse(c, "cannot be %s", json_kind(v));
}

static json_t *check_nested(Check *c, const SchemaType *t, json_t *v)
{
    json_t *checked;

    if (c->depth == SCHEMA_DEPTH_MAX)
        return refuse(c, "is nested deeper than %d", SCHEMA_DEPTH_MAX);
    c->depth++;
    checked = t->meta == SCHEMA_OBJECT ? check_object(c, t, v) : check_array(c, t, v);
    c->depth--;
    return checked;
}

static json_t *check_value(Check *c, const SchemaType *t, json_t *v)
{
    switch (t->meta) {
    case SCHEMA_BUILTIN:
        return check_builtin(c, t, v);
    case SCHEMA_ENUM:
        return check_enum(c, t, v);
    case SCHEMA_ALTERNATE:
        return check_alternate(c, t, v);
    case SCHEMA_ARRAY:
    case SCHEMA_OBJECT:
        break;
    }
    return check_nested(c, t, v);
}

bool schema_check(const char *type, json_t *value, GError **err)
{
    const SchemaType *t = schema_type_find(type);
    g_autoptr(GString) path = g_string_new(NULL);
    Check c = { .path = path, .err = err };
    json_t *checked;

    g_assert(t && (t->meta == SCHEMA_OBJECT || t->meta == SCHEMA_ARRAY));
    checked = check_value(&c, t, value);
    json_decref(checked);
    return checked != NULL;
}
