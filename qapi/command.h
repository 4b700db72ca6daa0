/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands and events as data. gen/qmp.h has the function of each; the table of a program's
 * commands is made from the files qmp*.c of its rooms.
 */
#ifndef QAPI_COMMAND_H
#define QAPI_COMMAND_H

#include "qapi/schema.h"

/* Marks a function that may suspend, as io/co.h does. */
#define CO

typedef enum {
    QMP_OPEN = 1 << 2,      /* takes members that the schema does not know */
    QMP_OOB = 1 << 0,       /* never waits: may be run out of the order */
    QMP_PRECONFIG = 1 << 1, /* makes sense before there is a machine */
    QMP_WITHOUT_NODES = 1 << 3, /* looks at no node: no request of an image holds it up */
} QmpCommandFlags;

typedef struct {
    const char *name;       /* NULL ends a table */
    const char *arg_type;   /* of the schema; NULL: no arguments */
    const char *ret_type;   /* the same, "[TYPE]" for a list; NULL: nothing is returned */
    QmpCommandFlags flags;
    const char *const *features; /* NULL-ended; NULL: none */
    /*
     * Runs it with arguments that have been checked. *@out stays NULL or becomes a new reference to
     * what it returns.
     */
    CO bool (*run)(json_t *in, json_t **out, GError **err);
} QmpCommand;

/* The commands of this program. */
extern const QmpCommand qmp_commands[];

/* The command called @name in table @commands, or NULL. */
const QmpCommand *qmp_command_find(const QmpCommand *commands, const char *name);

/*
 * What query-qmp-schema answers: @commands, all events, and the types that they use, whose names
 * are numbers, since clients must not rely on them. New reference.
 */
json_t *schema_introspect_commands(const QmpCommand *commands);

/*
 * From now on @fn is called for every event, in the thread where it happens, with the event's
 * number (see schema_event_name) and its data, whose reference it takes. NULL, as at first: nobody
 * listens. To be set before any event can happen.
 */
void qmp_events_hear(void (*fn)(int event, json_t *data));

/* "BLOCK_EXPORT_DELETED"; NULL behind the last. */
const char *schema_event_name(int event);

#endif
