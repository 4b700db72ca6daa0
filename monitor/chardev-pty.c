/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Kind pty: a new pseudoterminal. Whoever opens its other end is connected until it is closed there;
 * nothing tells of the opening, so we look for it from time to time.
 */
#include "monitor/backend.h"
#include "util/err.h"
#include "util/fd.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>

enum { LOOK_NS = 100 * 1000 * 1000 };

typedef struct {
    int fd;          /* our end, from 1 on: 0 is none */
    Co *looking;     /* while it sleeps */
} Pty;

/* Sets what goes through it to be passed on as it is, and leaves it without a user. */
static bool make_raw(const char *name, GError **err)
{
    autofd int fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct termios t;

    if (fd < 0 || tcgetattr(fd, &t) < 0)
        return err_set_errno(err, errno, "Cannot use terminal '%s'", name);
    cfmakeraw(&t);
    tcsetattr(fd, TCSAFLUSH, &t);
    return true;
}

static CO bool pty_open(Chardev *c, const json_t *data, GError **err)
{
    Pty *s = c->state;
    char name[64];
    int r;

    s->fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (s->fd < 0 || grantpt(s->fd) < 0 || unlockpt(s->fd) < 0)
        return err_set_errno(err, errno, "Failed to create PTY");
    r = ptsname_r(s->fd, name, sizeof(name));
    if (r)
        return err_set_errno(err, r, "Failed to create PTY");
    c->pty = g_strdup(name);
    return make_raw(name, err);
}

/* Somebody has the other end open. */
static bool has_peer(const Pty *s)
{
    struct pollfd p = { .fd = s->fd, .events = POLLIN };

    return poll(&p, 1, 0) >= 0 && !(p.revents & POLLHUP);
}

static CO void pty_run(Chardev *c)
{
    Pty *s = c->state;

    while (!c->closing) {
        Channel *channel;
        int fd;

        if (!has_peer(s)) {
            s->looking = co_self();
            co_sleep(LOOK_NS);
            s->looking = NULL;
            continue;
        }
        fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
            break;
        channel = channel_new_fd(fd);
        chardev_connected(c, channel, channel);
        chardev_wait_closed(c);
    }
}

static void pty_interrupt(Chardev *c)
{
    Pty *s = c->state;

    if (s->looking)
        co_wake(s->looking);
}

static void pty_close(Chardev *c)
{
    Pty *s = c->state;

    if (s->fd > 0)
        close(s->fd);
}

static char *pty_filename(const Chardev *c)
{
    return g_strconcat("pty:", c->pty, NULL);
}

const ChardevDriver backend_pty = {
    .name = "pty",
    .state_size = sizeof(Pty),
    .open = pty_open,
    .run = pty_run,
    .interrupt = pty_interrupt,
    .close = pty_close,
    .filename = pty_filename,
};
