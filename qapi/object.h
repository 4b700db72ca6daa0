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

typedef struct ObjectClass {
    const char *name;        /* "secret" */
    size_t state_size;       /* zeroed memory */
    const char *props;       /* the schema's type of its properties: "SecretProperties" */
    /* JSON: what properties are that were not given, if not 0, "", false or [] */
    const char *defaults;
    /* Makes the object in @state from @props, checked. After a failure .destroy is called too. */
    bool (*create)(void *state, const char *id, json_t *props, GError **err);
    void (*destroy)(void *state); /* @state is wiped afterwards */
    bool (*is_used)(const void *state); /* it must not be deleted now. NULL: it always may */
    const char *const *changeable; /* NULL-ended names of what .change takes; NULL: nothing */
    /* Makes @state what @props, all that were given, say; changes nothing when that fails. */
    bool (*change)(void *state, json_t *props, GError **err);
    const char *hidden;      /* the property that nobody is shown; NULL: none */
    /* All properties as they are. New reference. NULL: as they were given, else the defaults. */
    json_t *(*show)(const void *state);
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

/* Makes the object that @desc describes: "qom-type", "id", properties with the schema's types. */
bool object_add(const json_t *desc, GError **err);

/* The state of object @id if it is of class @cls; NULL with @err (ENOENT) otherwise. */
void *object_find(const char *id, const ObjectClass *cls, GError **err);

/*
 * The same for any of @classes (NULL-ended), which together are called @what: "secret". *@cls,
 * unless @cls is NULL, is the one it is of.
 */
void *object_find_any(const char *id, const ObjectClass *const *classes, const char *what,
                      const ObjectClass **cls, GError **err);

/* Calls @fn for each object, in the order they were made; @fn must not add or delete. */
void object_foreach(void (*fn)(const char *id, const ObjectClass *cls, void *state, void *arg),
                    void *arg);

/* The id of object @id, for as long as that lives; NULL: there is none. */
const char *object_id(const char *id);
/* The class of object @id, or NULL. */
const ObjectClass *object_class_of(const char *id);

/* The class called @name, or NULL. */
const ObjectClass *object_class_find(const char *name);
/* Calls @fn with each property of @cls and the name of its type as users of QMP see it. */
void object_class_props(const ObjectClass *cls,
                        void (*fn)(const char *name, const char *type, void *arg), void *arg);

/* Property @name of object @id, which exists. New reference; NULL with @err. */
json_t *object_get(const char *id, const char *name, GError **err);
/* Changes it to @value. */
bool object_set(const char *id, const char *name, const json_t *value, GError **err);

/* Is somebody using object @id, which exists? */
bool object_is_used(const char *id);

/* Deletes object @id; nobody may be using it. */
bool object_delete(const char *id, GError **err);

/* Deletes all, the last made first. For the end of the program. */
void object_delete_all(void);

#endif
