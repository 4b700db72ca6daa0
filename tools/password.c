/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tools/password.h"
#include "util/fd.h"
#include "util/printable.h"
#include <fcntl.h>
#include <glib.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

enum { PASSWORD_MAX = 1024 };

static void fatal_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGQUIT);
    sigaddset(set, SIGTSTP);
}

/* Reads a line from @tty into @text; its length, -1 if there is none or a signal came. */
static ssize_t line_read(int tty, int signals, char *text, size_t max)
{
    struct pollfd fds[] = { { .fd = tty, .events = POLLIN }, { .fd = signals, .events = POLLIN } };
    ssize_t n;

    if (poll(fds, 2, -1) < 0 || fds[1].revents)
        return -1;
    /* The terminal gives whole lines. */
    n = read(tty, text, max);
    return n > 0 && text[n - 1] == '\n' ? n - 1 : -1;
}

/* Prompts for a line, which is not echoed. What was typed before that is dropped. */
static ssize_t line_read_hidden(int tty, int signals, const char *what, char *text, size_t max)
{
    struct termios old, hidden;
    ssize_t n;

    if (tcgetattr(tty, &old) < 0)
        return -1;
    hidden = old;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    hidden.c_lflag |= ICANON | ISIG;
    if (tcsetattr(tty, TCSAFLUSH, &hidden) < 0)
        return -1;
    dprintf(tty, "Password of '%s': ", what);
    n = line_read(tty, signals, text, max);
    tcsetattr(tty, TCSAFLUSH, &old);
    dprintf(tty, "\n");
    return n;
}

bool password_ask(const char *what, SecretBytes *out)
{
    autofd int tty = isatty(STDIN_FILENO) ? open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY) : -1;
    autofd int signals = -1;
    g_autofree char *shown = printable(what);
    char text[PASSWORD_MAX];
    sigset_t set, before;
    ssize_t n = -1;

    if (tty < 0)
        return false;
    fatal_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, &before);
    signals = signalfd(-1, &set, SFD_CLOEXEC);
    if (signals >= 0)
        n = line_read_hidden(tty, signals, shown, text, sizeof(text));
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (n >= 0) {
        out->data = g_malloc0((size_t)n + 1);
        memcpy(out->data, text, (size_t)n);
        out->len = (size_t)n;
    }
    explicit_bzero(text, sizeof(text));
    return n >= 0;
}
