/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hw/char-line.h"
#include "hw/sleeper.h"
#include "io/co-lock.h"
#include "monitor/chardev.h"
#include "util/err.h"
#include <string.h>

enum { SEND_MAX = 4096, LAST_WORDS_NS = 500 * 1000 * 1000, ESCAPE = 1 };

static struct {
    const char *id; /* NULL: there is none */
    void (*quit)(void);
} escape;

struct CharLine {
    Chardev *chardev;
    const CharLineOps *ops;
    void *opaque;
    CoGroup running;
    Sleeper reader, writer;
    CoQueue written;    /* the writer has put its bytes away */
    bool is_writing;    /* main loop only */
    bool ending;        /* with the lock held */
    bool was_full;
    bool has_escape, is_escaped; /* the last key was Ctrl-A */
    size_t pending;
    uint8_t out[SEND_MAX];
};

/* ---- to the host ----------------------------------------------------------------------------- */

size_t char_line_send(CharLine *line, const void *buf, size_t len)
{
    size_t n = MIN(len, SEND_MAX - line->pending);

    memcpy(line->out + line->pending, buf, n);
    line->pending += n;
    if (n < len)
        line->was_full = true;
    if (line->pending)
        sleeper_wake(&line->writer);
    return n;
}

static CO void put_away(CharLine *line, const uint8_t *buf, size_t len)
{
    line->is_writing = true;
    machine_unlock();
    chardev_write(line->chardev, buf, len);
    line->is_writing = false;
    co_queue_wake_all(&line->written);
    machine_lock();
}

static CO void write_out(void *arg)
{
    CharLine *line = arg;
    uint8_t buf[SEND_MAX];

    machine_lock();
    while (!line->ending || line->pending) {
        size_t len = line->pending;

        if (!len) {
            sleeper_wait(&line->writer);
            continue;
        }
        memcpy(buf, line->out, len);
        line->pending = 0;
        if (line->was_full) {
            line->was_full = false;
            line->ops->sent(line->opaque);
        }
        put_away(line, buf, len);
    }
    machine_unlock();
}

/* ---- from the host --------------------------------------------------------------------------- */

void char_line_accept(CharLine *line)
{
    sleeper_wake(&line->reader);
}

/* Waits until the device takes something. 0: it is to end. */
static CO size_t wait_room(CharLine *line)
{
    size_t room;

    machine_lock();
    while (!(room = line->ops->room(line->opaque)) && !line->ending)
        sleeper_wait(&line->reader);
    room = line->ending ? 0 : room;
    machine_unlock();
    return room;
}

static void tell_open(CharLine *line, bool open)
{
    machine_lock();
    if (line->ops->opened)
        line->ops->opened(line->opaque, open);
    machine_unlock();
}

/* What is left of @n keys once those that are for us have been obeyed. */
static size_t obey_escapes(CharLine *line, uint8_t *buf, size_t n)
{
    size_t left = 0;

    for (size_t i = 0; i < n; i++) {
        uint8_t key = buf[i];
        bool was_escaped = line->is_escaped;

        line->is_escaped = !was_escaped && key == ESCAPE;
        if (was_escaped && key == 'x')
            escape.quit();
        else if (!line->is_escaped && (!was_escaped || key == ESCAPE))
            buf[left++] = key;
    }
    return left;
}

/* Passes @n bytes on as the device takes them. False: it is to end. */
static CO bool pass_on(CharLine *line, const uint8_t *buf, size_t n)
{
    for (size_t at = 0; at < n;) {
        size_t part = wait_room(line);

        if (!part)
            return false;
        part = MIN(part, n - at);
        machine_lock();
        line->ops->receive(line->opaque, buf + at, part);
        machine_unlock();
        at += part;
    }
    return true;
}

/* Passes on what comes over one connection. */
static CO void read_connection(CharLine *line)
{
    uint8_t buf[256];

    /* An escape is seen even if the guest takes nothing, unless other keys wait before it. */
    while (line->has_escape || wait_room(line)) {
        ssize_t n = chardev_read(line->chardev, buf, sizeof(buf));

        if (n > 0 && line->has_escape)
            n = obey_escapes(line, buf, n);
        else if (n <= 0)
            return;
        if (!pass_on(line, buf, n))
            return;
    }
}

static CO void read_in(void *arg)
{
    CharLine *line = arg;

    while (chardev_wait_open(line->chardev)) {
        tell_open(line, true);
        read_connection(line);
        if (!chardev_comes_again(line->chardev) || line->ending)
            return;
        tell_open(line, false);
        chardev_cut(line->chardev);
        while (line->is_writing)
            co_queue_wait(&line->written);
        chardev_hang_up(line->chardev);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

void char_line_set_escape(const char *id, void (*quit)(void))
{
    escape.id = id;
    escape.quit = quit;
}

CharLine *char_line_new(const char *id, const CharLineOps *ops, void *opaque, GError **err)
{
    Chardev *c = chardev_find(id);
    CharLine *line;

    if (!c) {
        err_set(err, ENOENT, "Property 'chardev': can't find value '%s'", id);
        return NULL;
    }
    if (!chardev_claim(c, err))
        return NULL;
    line = g_new0(CharLine, 1);
    line->chardev = c;
    line->ops = ops;
    line->opaque = opaque;
    line->has_escape = escape.id && !strcmp(escape.id, id);
    co_group_start(&line->running, write_out, line);
    co_group_start(&line->running, read_in, line);
    return line;
}

CO void char_line_free(CharLine *line)
{
    int64_t deadline = clock_now_ns() + LAST_WORDS_NS;

    if (!line)
        return;
    machine_lock();
    line->ending = true;
    sleeper_wake(&line->writer);
    sleeper_wake(&line->reader);
    machine_unlock();
    while ((line->pending || line->is_writing) && clock_now_ns() < deadline)
        co_sleep(1000000);
    chardev_shutdown(line->chardev);
    co_group_wait(&line->running);
    chardev_release(line->chardev);
    g_free(line);
}
