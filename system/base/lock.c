/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/base/lock.h"
#include <glib.h>
#include <pthread.h>
#include <stdbool.h>

static pthread_mutex_t lock = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;

struct MachineCond {
    pthread_cond_t cond;
    unsigned wakes;    /* read by any thread, atomic */
    bool is_held;      /* it is in .conds of a thread's wakes */
};

/* What a thread has kept back. */
static __thread struct {
    bool is_on;
    GPtrArray *conds;  /* of MachineCond; NULL: none yet */
} held;

void machine_lock(void)
{
    pthread_mutex_lock(&lock);
}

/* What this thread does when it has given up the lock. */
enum { DUE_MAX = 8 };
static __thread struct {
    struct {
        void (*fn)(void *arg);
        void *arg;
    } call[DUE_MAX];
    unsigned n;
} due;

static void wake_due(void)
{
    while (due.n) {
        due.n--;
        due.call[due.n].fn(due.call[due.n].arg);
    }
}

void machine_unlock(void)
{
    pthread_mutex_unlock(&lock);
    wake_due();
}

void machine_wake_later(void (*fn)(void *arg), void *arg)
{
    if (due.n == DUE_MAX)
        wake_due();
    due.call[due.n].fn = fn;
    due.call[due.n++].arg = arg;
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

    wake_due();
    if (deadline_ns == INT64_MAX)
        pthread_cond_wait(&c->cond, &lock);
    else
        pthread_cond_timedwait(&c->cond, &lock, &t);
}

static void wake(MachineCond *c)
{
    __atomic_add_fetch(&c->wakes, 1, __ATOMIC_RELEASE);
    pthread_cond_broadcast(&c->cond);
}

void machine_cond_wake(MachineCond *c)
{
    if (!held.is_on) {
        wake(c);
    } else if (!c->is_held) {
        c->is_held = true;
        g_ptr_array_add(held.conds, c);
    }
}

unsigned machine_cond_wakes(const MachineCond *c)
{
    return __atomic_load_n(&c->wakes, __ATOMIC_ACQUIRE);
}

void machine_wakes_hold(void)
{
    held.is_on = true;
    if (!held.conds)
        held.conds = g_ptr_array_new();
}

void machine_wakes_release(void)
{
    held.is_on = false;
    for (guint i = 0; i < held.conds->len; i++) {
        MachineCond *c = held.conds->pdata[i];

        c->is_held = false;
        wake(c);
    }
    g_ptr_array_set_size(held.conds, 0);
}
