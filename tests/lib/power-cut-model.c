/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The timeline of a workload, and the model that walks along it. */
#include "tests/lib/power-cut-model.h"
#include <string.h>

/* Among the stamps that a sector may show: zero, or what was there. */
#define ANY_ZERO UINT64_MAX

typedef enum { EVENT_WRITE, EVENT_FORGET, EVENT_FLUSHED, EVENT_RESTORE } EventKind;

typedef struct {
    EventKind kind;
    size_t position;       /* of the log when it began (FLUSHED: when it was done) */
    uint64_t first, count; /* sectors */
    uint64_t stamp;
    SectorState *to;       /* RESTORE */
} Event;

struct Timeline {
    uint64_t sectors;
    SectorState *initial, *now;
    GArray *events;        /* of Event */
};

struct Model {
    const Timeline *t;
    /* per sector, of uint64_t: what it may read as; the last is the newest */
    GArray **allowed;
    guint next_event;
};

/* ---- the timeline --------------------------------------------------------------------------- */

Timeline *timeline_new(uint64_t size, const SectorState *initial)
{
    Timeline *t = g_new0(Timeline, 1);

    t->sectors = size / SECTOR;
    t->initial = initial ? g_memdup2(initial, t->sectors * sizeof(*initial))
                         : g_new0(SectorState, t->sectors);
    t->now = g_memdup2(t->initial, t->sectors * sizeof(*t->now));
    t->events = g_array_new(false, false, sizeof(Event));
    return t;
}

void timeline_free(Timeline *t)
{
    for (guint i = 0; i < t->events->len; i++)
        g_free(g_array_index(t->events, Event, i).to);
    g_array_free(t->events, true);
    g_free(t->initial);
    g_free(t->now);
    g_free(t);
}

static void event_add(Timeline *t, Event e)
{
    g_array_append_val(t->events, e);
}

static uint64_t event_end(const Timeline *t, const Event *e)
{
    return MIN(e->first + e->count, t->sectors);
}

void timeline_write(Timeline *t, size_t at, uint64_t off, uint64_t len, uint64_t stamp)
{
    Event e = { EVENT_WRITE, at, off / SECTOR, len / SECTOR, stamp, NULL };

    for (uint64_t i = e.first; i < event_end(t, &e); i++)
        t->now[i] = (SectorState){ stamp, false };
    event_add(t, e);
}

void timeline_forget(Timeline *t, size_t at, uint64_t off, uint64_t len)
{
    Event e = { EVENT_FORGET, at, off / SECTOR, len / SECTOR, ANY_ZERO, NULL };

    for (uint64_t i = e.first; i < event_end(t, &e); i++)
        t->now[i].or_zero = true;
    event_add(t, e);
}

void timeline_flushed(Timeline *t, size_t at)
{
    event_add(t, (Event){ .kind = EVENT_FLUSHED, .position = at });
}

void timeline_restore(Timeline *t, size_t at, const SectorState *to)
{
    memcpy(t->now, to, t->sectors * sizeof(*to));
    event_add(t, (Event){ .kind = EVENT_RESTORE, .position = at, .to = timeline_now(t) });
}

SectorState *timeline_now(const Timeline *t)
{
    return g_memdup2(t->now, t->sectors * sizeof(*t->now));
}

/* ---- the model ------------------------------------------------------------------------------ */

static void allow(GArray *a, SectorState s)
{
    uint64_t any = ANY_ZERO;

    g_array_append_val(a, s.stamp);
    if (s.or_zero)
        g_array_append_val(a, any);
}

Model *model_new(const Timeline *t)
{
    Model *m = g_new0(Model, 1);

    m->t = t;
    m->allowed = g_new(GArray *, t->sectors);
    for (uint64_t i = 0; i < t->sectors; i++) {
        m->allowed[i] = g_array_new(false, false, sizeof(uint64_t));
        allow(m->allowed[i], t->initial[i]);
    }
    return m;
}

void model_free(Model *m)
{
    for (uint64_t i = 0; i < m->t->sectors; i++)
        g_array_free(m->allowed[i], true);
    g_free(m->allowed);
    g_free(m);
}

/* What is durable now is what was newest; a discarded sector stays undecided. */
static void flush(Model *m)
{
    for (uint64_t i = 0; i < m->t->sectors; i++) {
        GArray *a = m->allowed[i];
        uint64_t last = g_array_index(a, uint64_t, a->len - 1);

        if (last != ANY_ZERO && a->len > 1) {
            g_array_set_size(a, 0);
            g_array_append_val(a, last);
        }
    }
}

static void apply(Model *m, const Event *e)
{
    if (e->kind == EVENT_FLUSHED)
        flush(m);
    if (e->kind == EVENT_RESTORE)
        for (uint64_t i = 0; i < m->t->sectors; i++)
            allow(m->allowed[i], e->to[i]);
    for (uint64_t i = e->first; i < event_end(m->t, e); i++)
        g_array_append_val(m->allowed[i], e->stamp);
}

void model_advance(Model *m, size_t at)
{
    for (; m->next_event < m->t->events->len; m->next_event++) {
        const Event *e = &g_array_index(m->t->events, Event, m->next_event);

        if (e->kind == EVENT_FLUSHED ? e->position > at : e->position >= at)
            break;
        apply(m, e);
    }
}

bool model_allows(const Model *m, uint64_t sector, uint64_t stamp)
{
    const GArray *a = m->allowed[sector];

    for (guint i = 0; i < a->len; i++) {
        uint64_t v = g_array_index(a, uint64_t, i);

        if (v == stamp || (v == ANY_ZERO && stamp == 0))
            return true;
    }
    return false;
}

uint64_t model_oldest(const Model *m, uint64_t sector)
{
    return g_array_index(m->allowed[sector], uint64_t, 0);
}
