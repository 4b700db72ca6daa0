/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "io/thread.h"
#include <glib.h>
#include <signal.h>

int thread_start(pthread_t *t, const char *name, void *(*fn)(void *arg), void *arg)
{
    char short_name[16];
    sigset_t all, before;
    int r;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(t, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r)
        return r;
    g_strlcpy(short_name, name, sizeof(short_name));
    pthread_setname_np(*t, short_name);
    return 0;
}
