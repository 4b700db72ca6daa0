/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "balloon/hints.h"

/* Linux hints at 4 MiB at a time: so many are 16 GiB. */
enum { RUNS_MAX = 4096 };

void hints_init(BalloonHints *h, uint64_t pages)
{
    *h = (BalloonHints){ .pages = pages, .runs = g_array_new(FALSE, FALSE, sizeof(HintRun)) };
}

void hints_clear(BalloonHints *h)
{
    g_clear_pointer(&h->runs, g_array_unref);
}

static void forget(BalloonHints *h)
{
    h->left = h->pages;
    g_array_set_size(h->runs, 0);
}

void hints_begin_round(BalloonHints *h)
{
    h->round = h->round < HINTS_FIRST_ROUND || h->round == UINT32_MAX ? HINTS_FIRST_ROUND
                                                                      : h->round + 1;
    h->command = h->round;
    h->is_answering = false;
    forget(h);
}

void hints_end_round(BalloonHints *h, uint32_t command)
{
    h->command = command;
    h->is_answering = false;
    forget(h);
}

void hints_take_number(BalloonHints *h, uint32_t number)
{
    h->is_answering = number >= HINTS_FIRST_ROUND && number == h->command;
}

void hints_add(BalloonHints *h, uint64_t first, uint64_t count)
{
    HintRun *last = h->runs->len ? &g_array_index(h->runs, HintRun, h->runs->len - 1) : NULL;
    HintRun run = { first, count };

    if (!h->is_answering || !count || count > h->left)
        return;
    if (last && last->first + last->count == first)
        last->count += count;
    else if (h->runs->len < RUNS_MAX)
        g_array_append_val(h->runs, run);
    h->left -= count;
}

void hints_take(BalloonHints *h, void (*fn)(void *opaque, uint64_t first, uint64_t count),
                void *opaque)
{
    for (guint i = 0; i < h->runs->len; i++) {
        const HintRun *run = &g_array_index(h->runs, HintRun, i);

        fn(opaque, run->first, run->count);
    }
    forget(h);
}
