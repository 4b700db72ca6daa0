/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control/control.h"
#include "io/channel.h"
#include <signal.h>
#include <sys/signalfd.h>

static sigset_t obeyed; /* signals that come by descriptor */
static Channel *channel;
static CoGroup group;
static void (*stop_fn)(void);

/* What whoever started us ignores or blocks, as nohup(1) does, stays so. */
void signals_block(void)
{
    static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
    struct sigaction old;
    sigset_t blocked;

    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    sigemptyset(&obeyed);
    for (size_t i = 0; i < G_N_ELEMENTS(signals); i++)
        if (!sigismember(&blocked, signals[i]) && sigaction(signals[i], NULL, &old) == 0 &&
            old.sa_handler != SIG_IGN)
            sigaddset(&obeyed, signals[i]);
    pthread_sigmask(SIG_BLOCK, &obeyed, NULL);
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
