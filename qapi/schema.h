/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interface as data: what options, results and objects look like.
 *
 * qapi/schema.json describes it; gen/schema.h has a C enum and a SchemaEnum for every enum in it.
 */
#ifndef QAPI_SCHEMA_H
#define QAPI_SCHEMA_H

#include "util/json.h"

typedef struct {
    const char *name; /* NULL ends a table */
    int value;
} SchemaAlias;

/* An enum: the names of the values 0 to @count - 1. */
typedef struct {
    const char *name;
    const char *const *names; /* ended by NULL */
    int count;
    const SchemaAlias *aliases; /* other names for text input; NULL: none */
} SchemaEnum;

/* The value called @name, or -1. Aliases count. */
int schema_enum_parse(const SchemaEnum *e, const char *name);

/* The name of @value, which must be one of @e's. */
const char *schema_enum_name(const SchemaEnum *e, int value);

/* An option of -o, to create images or to amend them. */
typedef struct {
    const char *name;  /* NULL ends a table */
    enum { OPT_STR, OPT_BOOL, OPT_NUM, OPT_SIZE } type;
    const char *help;
    const char *def;   /* text of the default that "Formatting ..." prints; NULL: not printed */
} CreateOpt;

/* How deep values may be nested. */
enum { SCHEMA_DEPTH_MAX = 256 };

/*
 * Checks @value, an object or list, against the schema's type @type (which must exist) and converts
 * text in it, in place, to the types of the schema: integers in C notation, sizes with suffixes,
 * booleans as on, yes, true, y or off, no, false, n, aliases of enums. One object where a list of
 * objects is wanted becomes a list. A discriminator may be missing (and stays so) where the schema
 * says untagged. Refuses unknown and missing members, wrong types, numbers out
 * of range, nesting too deep; @err (EINVAL) names the member by its full path. After a failure
 * @value may be converted in part.
 */
bool schema_check(const char *type, json_t *value, GError **err);

/*
 * Checks @value, an object of type @type, as QMP does: nothing is converted, types must be exact.
 * Messages are those of the reference, which clients see.
 */
bool schema_check_exact(const char *type, const json_t *value, GError **err);
/* The same for @value of the member @member, which @type has. */
bool schema_check_exact_member(const char *type, const char *member, const json_t *value,
                               GError **err);

/*
 * The whole schema in the shape of the QMP command query-qmp-schema, types under their own names.
 * New reference.
 */
json_t *schema_introspect(void);

#endif
