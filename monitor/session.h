/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sessions as the rest of the room sees them. */
#ifndef MONITOR_SESSION_H
#define MONITOR_SESSION_H

#include "io/co-lock.h"
#include "monitor/monitor.h"
#include "util/json-stream.h"

/* A request that waits for its turn: a value, or what was wrong with it. */
typedef struct {
    json_t *value;          /* NULL: there is only @err */
    GError *err;
} QmpRequest;

typedef struct {
    Chardev *chardev;
    bool pretty;

    /* Of the connection. */
    bool is_connected;
    bool is_negotiated;     /* qmp_capabilities has been run */
    bool has_oob;           /* exec-oob is understood */
    bool at_end;            /* nothing more will come */
    bool is_broken;         /* nothing more can be sent */
    JsonStream *input;
    GQueue requests;        /* of QmpRequest */
    bool is_running;        /* a request taken from there */
    GString *output;        /* not handed to the channel yet ... */
    size_t sending;         /* ... and bytes that it has now */
    CoQueue changed;        /* woken when any of these changes */
} QmpSession;

/* Appends @message to what is sent, if anybody is there. */
void session_send(QmpSession *s, const json_t *message);
/* The same for an event. */
void session_send_event(QmpSession *s, const json_t *message);
/* Bytes that the client has not taken. */
size_t session_unsent(const QmpSession *s);

/* The session whose command is running: for commands that concern it. */
QmpSession *session_current(void);
/* The commands of this program. */
const QmpCommand *session_commands(void);
/* The greeting that starts every connection. New reference. */
json_t *session_greeting(void);

/* Runs coroutines of the session until its device ends; in monitor.c the others are. */
CO void session_run(void *session);
QmpSession *session_new(Chardev *c, bool pretty);
void session_free(QmpSession *s);

/*
 * dispatch.c: runs what @value asks for and returns the answer, a new reference; NULL if the
 * program ends before its turn.
 */
CO json_t *session_dispatch(QmpSession *s, json_t *value);
/* @value is for exec-oob, and the client may use that. */
bool session_is_oob(const QmpSession *s, const json_t *value);
/* Runs @fn between commands. False: the program ends before its turn. */
CO bool session_in_turn(CO void (*fn)(void *opaque), void *opaque);
/* The answer to something that was no request. */
json_t *session_error(const GError *err, json_t *id);

/* event.c */
void events_begin(void);
void events_end(void);
/* monitor.c: calls session_send_event for all. */
void monitor_broadcast(const json_t *message);

#endif
