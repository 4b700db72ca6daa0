/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The schema as constant tables, as qapi/gen.py writes them. For this room only. */
#ifndef QAPI_TYPES_H
#define QAPI_TYPES_H

#include "qapi/schema.h"

typedef enum {
    SCHEMA_BUILTIN,
    SCHEMA_ENUM,
    SCHEMA_ARRAY,
    SCHEMA_OBJECT,
    SCHEMA_ALTERNATE,
} SchemaMeta;

typedef enum {
    SCHEMA_STR,
    SCHEMA_INT,
    SCHEMA_SIZE, /* an integer that as text may have a suffix */
    SCHEMA_BOOL,
    SCHEMA_NUMBER,
    SCHEMA_NULL,
    SCHEMA_ANY,
} SchemaScalar;

typedef struct SchemaType SchemaType;

/* A member of an object, or a branch of an alternate. Tables end with a NULL name. */
typedef struct {
    const char *name;
    const SchemaType *type;
    bool optional;
    const char *const *features; /* NULL-ended; NULL: none */
} SchemaMember;

struct SchemaType {
    const char *name;
    SchemaMeta meta;
    SchemaScalar scalar;             /* builtin */
    int64_t min, max;                /* of integers */
    const SchemaEnum *values;        /* enum */
    const SchemaType *element;       /* array */
    const SchemaMember *members;     /* object (base and own), alternate */
    const SchemaMember *tag;         /* of an object with cases: chooses one */
    const SchemaType *const *cases;  /* by value of the tag: the further members; NULL: none */
    const SchemaType *untagged;      /* case assumed when the tag is missing; NULL: that is wrong */
    const char *const *features;
};

/* An event: what happens without being asked for. */
typedef struct {
    const char *name;              /* NULL ends the table */
    const SchemaType *data;        /* object; NULL: no members */
    const char *const *features;   /* NULL-ended; NULL: none */
    const char *with;              /* happens only where there is this command; NULL: everywhere */
} SchemaEvent;

/* All events. */
extern const SchemaEvent schema_events[];

/* All types, ended by NULL. */
extern const SchemaType *const schema_types[];

/* The type called @name, or NULL. */
const SchemaType *schema_type_find(const char *name);

/* The branch of alternate @t that a value like @v chooses, or NULL. */
const SchemaType *schema_branch_find(const SchemaType *t, const json_t *v);

/* The member called @name in table @members, or NULL. */
const SchemaMember *schema_member_find(const SchemaMember *members, const char *name);

#endif
