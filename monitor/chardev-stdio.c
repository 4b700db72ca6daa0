/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Kind stdio: standard input and output of the process. A terminal gives us each byte as it is typed;
 * that, and that the descriptors do not block, is undone at the end, since others share them.
 */
#include "monitor/backend.h"
#include "util/err.h"
#include <errno.h>
#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

typedef struct {
    bool is_owner;      /* of standard input and output */
    bool is_terminal;
    struct termios before;
    int flags[2];       /* of the descriptors 0 and 1, before */
} Stdio;

static bool is_taken, is_forbidden;

void chardev_forbid_stdio(void)
{
    is_forbidden = true;
}

static void terminal_prepare(Stdio *s, bool signals)
{
    struct termios t;

    s->is_terminal = tcgetattr(STDIN_FILENO, &s->before) == 0;
    if (!s->is_terminal)
        return;
    t = s->before;
    t.c_iflag &= ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    t.c_oflag |= OPOST;
    t.c_lflag &= ~(ECHO | ECHONL | ICANON | IEXTEN);
    if (!signals)
        t.c_lflag &= ~ISIG;
    t.c_cc[VMIN] = 1;
    t.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &t);
}

static CO bool stdio_open(Chardev *c, const json_t *data, GError **err)
{
    Stdio *s = c->state;
    int in, out;

    if (is_forbidden)
        return err_set(err, EBUSY, "cannot use stdio with -daemonize");
    if (is_taken)
        return err_set(err, EBUSY, "cannot use stdio by multiple character devices");
    for (int fd = STDIN_FILENO; fd <= STDOUT_FILENO; fd++)
        s->flags[fd] = fcntl(fd, F_GETFL);
    in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    out = in < 0 ? -1 : fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    if (out < 0) {
        err_set_errno(err, errno, "Cannot use standard input and output");
        if (in >= 0)
            close(in);
        return false;
    }
    is_taken = s->is_owner = true;
    terminal_prepare(s, json_get_bool(data, "signal", true));
    chardev_connected(c, channel_new_fd(in), channel_new_fd(out));
    return true;
}

static void stdio_close(Chardev *c)
{
    Stdio *s = c->state;

    if (!s->is_owner)
        return;
    if (s->is_terminal)
        tcsetattr(STDIN_FILENO, TCSANOW, &s->before);
    for (int fd = STDIN_FILENO; fd <= STDOUT_FILENO; fd++)
        if (s->flags[fd] >= 0)
            fcntl(fd, F_SETFL, s->flags[fd]);
    is_taken = false;
}

const ChardevDriver backend_stdio = {
    .name = "stdio",
    .state_size = sizeof(Stdio),
    .open = stdio_open,
    .close = stdio_close,
};
