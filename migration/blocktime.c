/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/blocktime.h"
#include "io/co.h"

typedef struct {
    int thread;
    int64_t since;  /* 0: it does not wait */
    uint64_t at;    /* for which page it does */
    int64_t waited;
} Waiter;

struct Blocktime {
    unsigned n, waiting;
    int64_t all_since, all_waited;
    Waiter waiter[];
};

Blocktime *blocktime_new(const int *threads, unsigned n)
{
    Blocktime *b = g_malloc0(sizeof(*b) + n * sizeof(b->waiter[0]));

    b->n = n;
    for (unsigned i = 0; i < n; i++)
        b->waiter[i].thread = threads[i];
    return b;
}

void blocktime_free(Blocktime *b)
{
    g_free(b);
}

void blocktime_begin(Blocktime *b, int id, uint64_t at)
{
    int64_t now = clock_now_ns();

    for (unsigned i = 0; i < b->n; i++) {
        Waiter *w = &b->waiter[i];

        if (w->thread != id || w->since)
            continue;
        w->since = now;
        w->at = at;
        if (++b->waiting == b->n)
            b->all_since = now;
    }
}

void blocktime_end(Blocktime *b, uint64_t at)
{
    int64_t now = clock_now_ns();

    for (unsigned i = 0; i < b->n && b->waiting; i++) {
        Waiter *w = &b->waiter[i];

        if (!w->since || w->at != at)
            continue;
        w->waited += now - w->since;
        w->since = 0;
        if (b->waiting-- == b->n)
            b->all_waited += now - b->all_since;
    }
}

unsigned blocktime_count(const Blocktime *b)
{
    return b->n;
}

int64_t blocktime_of(const Blocktime *b, unsigned i)
{
    return b->waiter[i].waited;
}

int64_t blocktime_of_all(const Blocktime *b)
{
    return b->all_waited;
}
