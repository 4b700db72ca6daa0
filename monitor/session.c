/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One session: three coroutines for each connection of its device.
 *
 *     receive   reads, parses, queues requests; runs those out of band at once
 *     execute   runs requests in order
 *     send      hands output to the channel
 *
 * Who is too fast waits for the others. A connection ends when receive has come to its end, execute has
 * run what was sent, and send has sent the answers, or cannot any more.
 */
#include "monitor/session.h"
#include "util/err.h"
#include <string.h>

enum { READ_AT_ONCE = 16 << 10 };

/* ---- output ---------------------------------------------------------------------------------- */

size_t session_unsent(const QmpSession *s)
{
    return s->output->len + s->sending;
}

void session_send(QmpSession *s, const json_t *message)
{
    g_autofree char *text = NULL;

    if (!s->is_connected || s->is_broken)
        return;
    text = s->pretty ? json_print_pretty(message) : json_print(message);
    g_string_append(s->output, text);
    g_string_append(s->output, "\r\n");
    co_queue_wake_all(&s->changed);
}

void session_send_event(QmpSession *s, const json_t *message)
{
    if (!s->is_negotiated)
        return;
    session_send(s, message);
    /* An event that is left out would be missed: better a client that has to ask for all anew. */
    if (s->is_connected && session_unsent(s) > QMP_OUTPUT_MAX) {
        s->is_broken = true;
        chardev_cut(s->chardev);
        co_queue_wake_all(&s->changed);
    }
}

/* Until the client has taken most of what there is for it. */
static CO void wait_for_output(QmpSession *s)
{
    while (!s->is_broken && session_unsent(s) > QMP_OUTPUT_PAUSE)
        co_queue_wait(&s->changed);
}

static bool is_done(const QmpSession *s)
{
    return s->at_end && !s->is_running && !s->requests.length;
}

static CO void session_transmit(void *arg)
{
    QmpSession *s = arg;

    while (!s->is_broken) {
        GString *out = s->output;

        if (!out->len && is_done(s))
            break;
        if (!out->len) {
            co_queue_wait(&s->changed);
            continue;
        }
        s->output = g_string_new(NULL);
        s->sending = out->len;
        if (chardev_write(s->chardev, out->str, out->len) < 0)
            s->is_broken = true;
        s->sending = 0;
        g_string_free(out, TRUE);
        co_queue_wake_all(&s->changed);
    }
    if (s->is_broken)
        chardev_cut(s->chardev);
}

/* ---- requests -------------------------------------------------------------------------------- */

static void request_free(QmpRequest *r)
{
    json_decref(r->value);
    g_clear_error(&r->err);
    g_free(r);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(QmpRequest, request_free)

static CO void request_answer(QmpSession *s, QmpRequest *r)
{
    g_autoptr(json_t) answer = r->value ? session_dispatch(s, r->value)
                                        : session_error(r->err, NULL);

    if (answer)
        session_send(s, answer);
}

static CO void session_execute(void *arg)
{
    QmpSession *s = arg;

    while (!is_done(s)) {
        g_autoptr(QmpRequest) r = NULL;

        wait_for_output(s);
        r = g_queue_pop_head(&s->requests);
        if (!r) {
            co_queue_wait(&s->changed);
            continue;
        }
        s->is_running = true;
        request_answer(s, r);
        s->is_running = false;
        co_queue_wake_all(&s->changed);
    }
    co_queue_wake_all(&s->changed);
}

/* Queues @r, or runs it at once if it is out of band. */
static CO void session_take(QmpSession *s, QmpRequest *r)
{
    unsigned max = s->has_oob ? QMP_QUEUE_MAX : 1;

    if (r->value && session_is_oob(s, r->value)) {
        wait_for_output(s);
        request_answer(s, r);
        request_free(r);
        return;
    }
    g_queue_push_tail(&s->requests, r);
    co_queue_wake_all(&s->changed);
    while (!s->is_broken && g_queue_get_length(&s->requests) + s->is_running >= max)
        co_queue_wait(&s->changed);
}

/* Reads and parses until the end of the connection. */
static CO void session_receive(QmpSession *s)
{
    g_autofree char *buf = g_malloc(READ_AT_ONCE);

    while (!s->is_broken) {
        QmpRequest r = { 0 };
        ssize_t n;

        if (json_stream_next(s->input, &r.value, &r.err) != JSON_STREAM_MORE) {
            session_take(s, g_memdup2(&r, sizeof(r)));
            continue;
        }
        n = chardev_read(s->chardev, buf, READ_AT_ONCE);
        if (n <= 0)
            break;
        json_stream_feed(s->input, buf, n);
        explicit_bzero(buf, n);
        /* A client that always has something to say shall not keep out the others. */
        co_yield();
    }
    s->at_end = true;
    co_queue_wake_all(&s->changed);
}

/* ---- life ------------------------------------------------------------------------------------ */

static CO void session_connected(QmpSession *s)
{
    g_autoptr(json_t) greeting = session_greeting();
    CoGroup group = { 0 };
    QmpRequest *r;

    s->is_connected = true;
    s->is_negotiated = s->has_oob = s->at_end = s->is_broken = false;
    s->input = json_stream_new();
    g_string_truncate(s->output, 0);
    session_send(s, greeting);
    co_group_start(&group, session_transmit, s);
    co_group_start(&group, session_execute, s);
    session_receive(s);
    co_group_wait(&group);
    s->is_connected = false;
    while ((r = g_queue_pop_head(&s->requests)))
        request_free(r);
    g_clear_pointer(&s->input, json_stream_free);
}

CO void session_run(void *arg)
{
    QmpSession *s = arg;

    while (chardev_wait_open(s->chardev)) {
        session_connected(s);
        chardev_hang_up(s->chardev);
    }
}

QmpSession *session_new(Chardev *c, bool pretty)
{
    QmpSession *s = g_new0(QmpSession, 1);

    s->chardev = c;
    s->pretty = pretty;
    s->output = g_string_new(NULL);
    return s;
}

void session_free(QmpSession *s)
{
    chardev_release(s->chardev);
    g_string_free(s->output, TRUE);
    g_free(s);
}
