/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Events to all sessions. Some kinds come at most once a second: the first at once, of those that
 * follow within that second, only the last, when it is over.
 */
#include "io/loop.h"
#include "io/timer.h"
#include "monitor/session.h"
#include <string.h>

/* Which events are limited. */
typedef struct {
    const char *event;
    const char *key;     /* for each value of that member on its own; NULL: for all together */
} Limit;

enum { LIMIT_NS = 1000 * 1000 * 1000 };

static const Limit limits[] = {
    { "BALLOON_CHANGE", NULL },
    { "QUORUM_FAILURE", NULL },
    { "QUORUM_REPORT_BAD", "node-name" },
    { "WATCHDOG", NULL },
};

/* An event that was sent less than a second ago. */
typedef struct {
    char *key;           /* its name and, if that counts, the value of the member */
    Timer timer;
    json_t *last;        /* to be sent when that expires; NULL: none came */
} Recent;

static Loop *loop;              /* where all this lives; NULL: there is no monitor */
static GHashTable *recent;      /* Recent by key */

static void recent_free(void *p)
{
    Recent *r = p;

    timer_cancel(&r->timer);
    json_decref(r->last);
    g_free(r->key);
    g_free(r);
}

static void recent_expired(Timer *t)
{
    Recent *r = (Recent *)((char *)t - offsetof(Recent, timer));

    if (!r->last) {
        g_hash_table_remove(recent, r->key);
        return;
    }
    monitor_broadcast(r->last);
    g_clear_pointer(&r->last, json_decref);
    timer_set(&r->timer, clock_now_ns() + LIMIT_NS);
}

/* What events like @message are limited by. Caller frees; NULL: they are not. */
static char *limit_key(const json_t *message)
{
    const char *name = json_get_str(message, "event", "");

    for (size_t i = 0; i < G_N_ELEMENTS(limits); i++) {
        const char *key = limits[i].key;

        if (!strcmp(limits[i].event, name))
            return g_strconcat(name, "/",
                               key ? json_get_str(json_get(message, "data"), key, "") : "", NULL);
    }
    return NULL;
}

/* Takes over @message. */
static void event_send(json_t *message)
{
    char *key = limit_key(message);
    Recent *r = key ? g_hash_table_lookup(recent, key) : NULL;

    if (r) {
        json_decref(r->last);
        r->last = message;
        g_free(key);
        return;
    }
    monitor_broadcast(message);
    json_decref(message);
    if (!key)
        return;
    r = g_new0(Recent, 1);
    r->key = key;
    r->timer.expired = recent_expired;
    g_hash_table_insert(recent, key, r);
    timer_set(&r->timer, clock_now_ns() + LIMIT_NS);
}

static CO void event_arrived(void *message)
{
    if (loop)
        event_send(message);
    else
        json_decref(message);
}

static json_t *event_message(int event, json_t *data)
{
    json_t *message = json_object(), *when = json_object();
    int64_t now = clock_wall_ns();

    json_put_int(when, "seconds", now / 1000000000);
    json_put_int(when, "microseconds", now % 1000000000 / 1000);
    json_put(message, "timestamp", when);
    json_put_str(message, "event", schema_event_name(event));
    if (json_object_size(data))
        json_put(message, "data", data);
    else
        json_decref(data);
    return message;
}

/* Any thread: nobody else knows of the message until it has arrived. */
static void event_heard(int event, json_t *data)
{
    json_t *message = event_message(event, data);

    if (loop_self() == loop)
        event_send(message);
    else
        loop_call(loop, event_arrived, message);
}

void events_begin(void)
{
    loop = loop_self();
    recent = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, recent_free);
    qmp_events_hear(event_heard);
}

void events_end(void)
{
    qmp_events_hear(NULL);
    g_clear_pointer(&recent, g_hash_table_unref);
    loop = NULL;
}
