/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP: sessions on character devices, and events to all of them. Main loop only, but events happen
 * in any thread.
 *
 * Memory per client is bounded, whatever it sends or does not read: by JSON_STREAM_* for a
 * request, QMP_QUEUE_MAX for waiting requests, QMP_OUTPUT_PAUSE plus one answer for answers, and
 * QMP_OUTPUT_MAX for events.
 */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include "monitor/chardev.h"
#include "qapi/command.h"

enum {
    QMP_QUEUE_MAX = 8,              /* requests of a session with oob, the one that runs included */
    QMP_OUTPUT_PAUSE = 1 << 20,     /* bytes not taken: no more requests are looked at */
    QMP_OUTPUT_MAX = 16 << 20,      /* the same with events: the connection is cut */
};

/* From now on this thread's loop runs the commands @commands, and events are heard. */
void monitor_begin(const QmpCommand *commands);
/* A session on @c, which nobody else uses; it begins with monitor_start. False with @err. */
bool monitor_add(Chardev *c, bool pretty, GError **err);
/* The same for people. */
bool monitor_add_hmp(Chardev *c, GError **err);
/*
 * Calls @begin before each command that runs in turn and is not QMP_WITHOUT_NODES, and before each
 * line of people, and @end after it. Only commands out of band run out of turn.
 */
void monitor_set_turn(CO void (*begin)(void), void (*end)(void));
/* All is set up: clients are greeted. */
void monitor_start(void);
/*
 * Begins no more commands. Waits until those that run have ended, or wait in
 * monitor_await_release, or the monotonic time is @deadline_ns.
 */
CO void monitor_stop_commands(int64_t deadline_ns);
/*
 * For a command whose answer shall come when the program is about to end: waits for
 * monitor_release.
 */
CO void monitor_await_release(void);
void monitor_release(void);
/*
 * Sends what can be sent soon, ends all sessions and devices. False: a command does not end, so its
 * session is left as it is.
 */
CO bool monitor_end(void);

#endif
