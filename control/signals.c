/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The signals that tell a program which QMP controls to stop. */
#include "control/control.h"
#include "io/channel.h"
#include "tools/daemon.h"
#include <signal.h>
#include <sys/signalfd.h>

static sigset_t obeyed; /* signals that come by descriptor */
static Channel *channel;
static CoGroup group;
static void (*stop_fn)(void);

void signals_block(void)
{
    static const int signals[] = { SIGTERM, SIGINT, SIGHUP, 0 };

    daemon_take_signals(signals, &obeyed);
}

static CO void obey(void *arg)
{
    struct signalfd_siginfo info;

    if (channel_read(channel, &info, sizeof(info)) == sizeof(info))
        stop_fn();
}

CO void signals_begin(void (*stop)(void))
{
    stop_fn = stop;
    channel = channel_new_fd(signalfd(-1, &obeyed, SFD_NONBLOCK | SFD_CLOEXEC));
    co_group_start(&group, obey, NULL);
}

CO void signals_end(void)
{
    channel_shutdown(channel);
    co_group_wait(&group);
    channel_free(channel);
}
