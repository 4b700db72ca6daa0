/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Objects that users make: --object TYPE,id=ID,prop=value, or the same as JSON.
 *
 * A class is one constant struct at the end of its file, const ObjectClass object_NAME = {...}; the
 * table of classes is made from the list of files. Objects have an id each and live until deleted.
 * Main loop only.
 */
#ifndef UTIL_OBJECT_H
#define UTIL_OBJECT_H

#include "util/json.h"

typedef enum {
    PROP_STR,
    PROP_BOOL,
    PROP_INT,    /* int64 */
    PROP_UINT,   /* 0 to INT64_MAX */
    PROP_SIZE,   /* PROP_UINT that as text may have a suffix */
    PROP_OBJECT, /* an object of .members; as text a.b=1 */
    PROP_LIST,   /* a list of such objects; as text a.0.b=1 */
} PropType;

/* A property. Tables of them end with a NULL name. */
typedef struct ObjectProp {
    const char *name;
    PropType type;
    bool required;
    const char *type_name; /* what help says between <>; NULL: the usual word for .type */
    const struct ObjectProp *members; /* of PROP_OBJECT and of each in a PROP_LIST */
} ObjectProp;

typedef struct ObjectClass {
    const char *name;        /* "secret" */
    size_t state_size;       /* zeroed memory */
    const ObjectProp *props; /* besides id */
    /*
     * Makes the object in @state from @props, an object with values of the right types and no
     * unknown keys. After a failure .destroy is called too.
     */
    bool (*create)(void *state, const char *id, json_t *props, GError **err);
    void (*destroy)(void *state); /* @state is wiped afterwards */
    bool (*is_used)(const void *state); /* it must not be deleted now. NULL: it always may */
} ObjectClass;

/* Generated; NULL-ended. */
extern const ObjectClass *const object_classes[];

/* True if @text may be an id: a letter, then letters, digits, '-', '.', '_'. */
bool id_is_valid(const char *text);

/*
 * If @text, the argument of --object, asks for help ("help" or "TYPE,help") prints it to standard
 * output and returns true.
 */
bool object_print_help(const char *text);

/* Makes the object that @text describes, key=value or JSON. */
bool object_add_text(const char *text, GError **err);

/* Makes the object that @desc describes: "qom-type", "id", properties with JSON types. */
bool object_add(const json_t *desc, GError **err);

/* The state of object @id if it is of class @cls; NULL with @err (ENOENT) otherwise. */
void *object_find(const char *id, const ObjectClass *cls, GError **err);

/*
 * The same for any of @classes (NULL-ended), which together are called @what: "secret". *@cls, unless
 * @cls is NULL, is the one it is of.
 */
void *object_find_any(const char *id, const ObjectClass *const *classes, const char *what,
                      const ObjectClass **cls, GError **err);

/* Calls @fn for each object, in the order they were made; @fn must not add or delete. */
void object_foreach(void (*fn)(const char *id, const ObjectClass *cls, void *state, void *arg),
                    void *arg);

/* The class of object @id, or NULL. */
const ObjectClass *object_class_of(const char *id);

/* Is somebody using object @id, which exists? */
bool object_is_used(const char *id);

/* Deletes object @id; nobody may be using it. */
bool object_delete(const char *id, GError **err);

/* Deletes all, the last made first. For the end of the program. */
void object_delete_all(void);

#endif
