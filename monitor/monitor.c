/* SPDX-License-Identifier: GPL-2.0-or-later */
/* All sessions. */
#include "monitor/hmp.h"
#include "monitor/session.h"
#include "util/given-fd.h"

enum { LAST_WORDS_MS = 200, MS = 1000000 };

static const QmpCommand *commands;
static GPtrArray *sessions; /* of QmpSession */
static GPtrArray *people;   /* of HmpSession */
static CoGroup running;
static bool is_started;

const QmpCommand *session_commands(void)
{
    return commands;
}

void monitor_begin(const QmpCommand *c)
{
    commands = c;
    sessions = g_ptr_array_new_with_free_func((GDestroyNotify)session_free);
    people = g_ptr_array_new_with_free_func((GDestroyNotify)hmp_session_free);
    events_begin();
}

bool monitor_add(Chardev *c, bool pretty, GError **err)
{
    QmpSession *s;

    if (!chardev_claim(c, err))
        return false;
    s = session_new(c, pretty);
    g_ptr_array_add(sessions, s);
    if (is_started)
        co_group_start(&running, session_run, s);
    return true;
}

bool monitor_add_hmp(Chardev *c, GError **err)
{
    HmpSession *s;

    if (!chardev_claim(c, err))
        return false;
    s = hmp_session_new(c);
    g_ptr_array_add(people, s);
    if (is_started)
        co_group_start(&running, hmp_session_run, s);
    return true;
}

void monitor_start(void)
{
    is_started = true;
    for (guint i = 0; i < sessions->len; i++)
        co_group_start(&running, session_run, sessions->pdata[i]);
    for (guint i = 0; i < people->len; i++)
        co_group_start(&running, hmp_session_run, people->pdata[i]);
}

void monitor_broadcast(const json_t *message)
{
    for (guint i = 0; i < sessions->len; i++)
        session_send_event(sessions->pdata[i], message);
}

static bool all_is_sent(void)
{
    for (guint i = 0; i < sessions->len; i++) {
        const QmpSession *s = sessions->pdata[i];

        if (s->is_connected && !s->is_broken && (session_unsent(s) || s->is_running))
            return false;
    }
    return true;
}

CO bool monitor_end(void)
{
    int64_t deadline = clock_now_ns() + (int64_t)LAST_WORDS_MS * MS;

    events_end();
    while (!all_is_sent() && clock_now_ns() < deadline)
        co_sleep(MS);
    chardev_shutdown_all();
    while (running.running && clock_now_ns() < deadline + (int64_t)LAST_WORDS_MS * MS)
        co_sleep(MS);
    if (running.running)
        return false;
    g_clear_pointer(&sessions, g_ptr_array_unref);
    g_clear_pointer(&people, g_ptr_array_unref);
    chardev_remove_all();
    given_fds_close();
    return true;
}
