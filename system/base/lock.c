/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/base/lock.h"
#include <glib.h>
#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

struct MachineCond {
    pthread_cond_t cond;
};

void machine_lock(void)
{
    pthread_mutex_lock(&lock);
}

void machine_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

MachineCond *machine_cond_new(void)
{
    MachineCond *c = g_new0(MachineCond, 1);
    pthread_condattr_t monotonic;

    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&c->cond, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return c;
}

void machine_cond_free(MachineCond *c)
{
    pthread_cond_destroy(&c->cond);
    g_free(c);
}

void machine_cond_wait(MachineCond *c, int64_t deadline_ns)
{
    struct timespec t = { deadline_ns / 1000000000, deadline_ns % 1000000000 };

    if (deadline_ns == INT64_MAX)
        pthread_cond_wait(&c->cond, &lock);
    else
        pthread_cond_timedwait(&c->cond, &lock, &t);
}

void machine_cond_wake(MachineCond *c)
{
    pthread_cond_broadcast(&c->cond);
}
