/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Walks over images, see the header. */
#include "qemu-img/walk.h"
#include "io/memory.h"
#include "qemu-img/tool.h"
#include <errno.h>

void walk_stop(Walk *w, unsigned what, uint64_t at, int error, unsigned side)
{
    if (!w->stop.what || at < w->stop.at)
        w->stop = (WalkStop){ what, at, error, side };
    co_queue_wake_all(&w->turns);
    if (w->ops->stopped)
        w->ops->stopped(w);
}

bool walk_is_stopped(Walk *w)
{
    if (!w->stop.what && tool_interrupted())
        walk_stop(w, WALK_INTERRUPTED, w->next, -EINTR, 0);
    return w->stop.what;
}

CO bool walk_await_turn(Walk *w, const WalkPiece *p)
{
    while (!w->any_order && w->turn != p->number && !w->stop.what)
        co_queue_wait(&w->turns);
    return !w->stop.what;
}

void walk_pass_turn(Walk *w)
{
    w->turn++;
    co_queue_wake_all(&w->turns);
}

void *walk_buffer(const Walk *w, WalkPiece *p)
{
    if (!p->buf)
        p->buf = aligned_try_alloc(w->room);
    return p->buf;
}

/* Is there anything at the cursor? */
static CO bool walk_has_more(Walk *w)
{
    if (walk_is_stopped(w))
        return false;
    if (w->next >= w->end && w->ops->grow)
        w->ops->grow(w);
    return !w->stop.what && w->next < w->end;
}

/* Takes the next piece that is not left out; false when there is none. */
static CO bool walk_take(Walk *w, WalkPiece *p)
{
    CO_LOCKED(&w->looking);

    while (walk_has_more(w)) {
        bool is_wanted;

        p->off = w->next;
        is_wanted = w->ops->look(w, p);
        if (w->stop.what)
            return false;
        w->next += p->len;
        if (is_wanted) {
            p->number = w->handed++;
            return true;
        }
    }
    return false;
}

static CO void walk_work(void *arg)
{
    Walk *w = arg;
    WalkPiece p = {};

    while (walk_take(w, &p)) {
        w->ops->work(w, &p);
        w->done += p.len;
        w->ops->show(w);
    }
    aligned_free(p.buf);
}

CO void walk_run(Walk *w)
{
    CoGroup group = {};

    for (unsigned i = memory_shares(w->workers, w->memory); i-- > 0;)
        co_group_start(&group, walk_work, w);
    co_group_wait(&group);
}
