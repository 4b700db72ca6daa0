/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The rules of blkdebug. */
#include "block/filters/blkdebug-rules.h"
#include <stdio.h>
#include <string.h>

enum { SECTOR = 512 };

typedef struct {
    enum { RULE_ERROR, RULE_STATE, RULE_BREAK } kind;
    BlockEvent event;
    int64_t state;        /* 0: whatever the state */
    int64_t new_state;    /* of RULE_STATE */
    unsigned io;          /* of RULE_ERROR from here: DebugIo bits */
    int64_t error;        /* a positive errno; others: no error */
    int64_t sector;       /* -1: wherever; other negative ones: nowhere */
    int64_t delay_ns;
    bool once, immediately;
    char *tag;            /* of RULE_BREAK from here */
    bool is_resumed;
} Rule;

struct DebugRules {
    int64_t state;
    GPtrArray *rules;     /* of Rule, owned, in the order they were added */
    GPtrArray *active;    /* of Rule, RULE_ERROR only, the one that counts first in front */
    GPtrArray *suspended; /* of Rule that hold a request; owned by that request */
    CoQueue waiters;      /* requests held */
};

static void rule_free(Rule *r)
{
    g_free(r->tag);
    g_free(r);
}

DebugRules *debug_rules_new(void)
{
    DebugRules *d = g_new0(DebugRules, 1);

    d->state = 1;
    d->rules = g_ptr_array_new_with_free_func((GDestroyNotify)rule_free);
    d->active = g_ptr_array_new();
    d->suspended = g_ptr_array_new();
    return d;
}

void debug_rules_free(DebugRules *d)
{
    if (!d)
        return;
    g_ptr_array_free(d->active, true);
    g_ptr_array_free(d->suspended, true);
    g_ptr_array_free(d->rules, true);
    g_free(d);
}

/* ---- adding --------------------------------------------------------------------------------- */

/* The bits of an iotype; 0: there is none of that name. */
static unsigned io_parse(const char *name)
{
    static const char *const names[] = { "read", "write", "write-zeroes", "discard", "flush",
                                         "block-status" };

    if (!name)
        return DEBUG_READ | DEBUG_WRITE | DEBUG_WRITE_ZEROES | DEBUG_DISCARD | DEBUG_FLUSH;
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        if (!strcmp(name, names[i]))
            return 1u << i;
    return 0;
}

bool debug_rules_add(DebugRules *d, bool is_error, const json_t *o, GError **err)
{
    const char *event = json_get_str(o, "event", NULL), *io = json_get_str(o, "iotype", NULL);
    Rule *r;

    if (!event)
        return err_set(err, EINVAL, "A rule names no event");
    if (block_event_parse(event) < 0)
        return err_set(err, EINVAL, "There is no event '%s'", event);
    if (!io_parse(io))
        return err_set(err, EINVAL, "There is no iotype '%s'", io);
    r = g_new0(Rule, 1);
    *r = (Rule){
        .kind = is_error ? RULE_ERROR : RULE_STATE,
        .event = block_event_parse(event),
        .state = json_get_int(o, "state", 0),
        .new_state = json_get_int(o, "new_state", 0),
        .io = io_parse(io),
        .error = json_get_int(o, "errno", EIO),
        .sector = json_get_int(o, "sector", -1),
        .delay_ns = json_get_int(o, "delay-ns", 0),
        .once = json_get_bool(o, "once", false),
        .immediately = json_get_bool(o, "immediately", false),
    };
    g_ptr_array_add(d->rules, r);
    return true;
}

/* ---- events --------------------------------------------------------------------------------- */

/* Makes the breakpoint at index @i of the rules hold the running request, which owns it then. */
static Rule *rule_suspend(DebugRules *d, guint i)
{
    Rule *r = g_ptr_array_steal_index(d->rules, i);

    g_ptr_array_add(d->suspended, r);
    printf("blkdebug: Suspended request '%s'\n", r->tag);
    fflush(stdout);
    return r;
}

CO void debug_rules_event(DebugRules *d, BlockEvent event)
{
    g_autoptr(GPtrArray) held = NULL;
    int64_t state = d->state;
    bool is_first = true;

    for (guint i = d->rules->len; i-- > 0;) {
        Rule *r = d->rules->pdata[i];

        if (r->event != event || (r->state && r->state != state))
            continue;
        switch (r->kind) {
        case RULE_ERROR:
            if (is_first)
                g_ptr_array_set_size(d->active, 0);
            is_first = false;
            g_ptr_array_insert(d->active, 0, r);
            break;
        case RULE_STATE:
            d->state = r->new_state;
            break;
        case RULE_BREAK:
            if (!held)
                held = g_ptr_array_new_with_free_func((GDestroyNotify)rule_free);
            g_ptr_array_add(held, rule_suspend(d, i));
            break;
        }
    }
    for (guint i = 0; held && i < held->len; i++)
        while (!((Rule *)held->pdata[i])->is_resumed)
            co_queue_wait(&d->waiters);
}

static bool rule_matches(const Rule *r, DebugIo io, uint64_t off, uint64_t len)
{
    uint64_t at;

    if (!(r->io & io))
        return false;
    if (r->sector == -1)
        return true;
    return r->sector >= 0 && size_mul(r->sector, SECTOR, &at) && at >= off && at - off < len;
}

CO int debug_rules_check(DebugRules *d, DebugIo io, uint64_t off, uint64_t len)
{
    Rule *r = NULL;
    int64_t delay;
    bool immediately;
    int error;

    for (guint i = 0; i < d->active->len && !r; i++)
        if (rule_matches(d->active->pdata[i], io, off, len))
            r = d->active->pdata[i];
    if (!r || (r->error <= 0 && r->delay_ns <= 0))
        return 0;
    error = r->error > 0 && r->error <= INT_MAX ? (int)r->error : 0;
    delay = r->delay_ns;
    immediately = r->immediately;
    if (r->once) {
        g_ptr_array_remove(d->active, r);
        g_ptr_array_remove(d->rules, r);
    }
    if (delay > 0)
        co_sleep(delay);
    else if (!immediately)
        co_yield();
    return -error;
}

/* ---- breakpoints ---------------------------------------------------------------------------- */

bool debug_rules_break(DebugRules *d, const char *event, const char *tag, GError **err)
{
    Rule *r;

    if (block_event_parse(event) < 0)
        return err_set(err, ENOENT, "There is no event '%s'", event);
    r = g_new0(Rule, 1);
    *r = (Rule){
        .kind = RULE_BREAK, .event = block_event_parse(event), .tag = g_strdup(tag),
    };
    g_ptr_array_add(d->rules, r);
    return true;
}

/* Lets go what breakpoints @tag hold: all of it, or one request. False if they hold none. */
static bool rules_resume(DebugRules *d, const char *tag, bool all)
{
    bool found = false;

    for (guint i = 0; i < d->suspended->len && (all || !found);) {
        Rule *r = d->suspended->pdata[i];

        if (strcmp(r->tag, tag)) {
            i++;
            continue;
        }
        printf("blkdebug: Resuming request '%s'\n", tag);
        fflush(stdout);
        found = r->is_resumed = true;
        g_ptr_array_remove_index(d->suspended, i);
    }
    if (found)
        co_queue_wake_all(&d->waiters);
    return found;
}

bool debug_rules_unbreak(DebugRules *d, const char *tag, GError **err)
{
    bool found = false;

    for (guint i = d->rules->len; i-- > 0;) {
        const Rule *r = d->rules->pdata[i];

        if (r->kind == RULE_BREAK && !strcmp(r->tag, tag)) {
            g_ptr_array_remove_index(d->rules, i);
            found = true;
        }
    }
    rules_resume(d, tag, true);
    return found || err_set(err, ENOENT, "There is no breakpoint '%s'", tag);
}

bool debug_rules_resume(DebugRules *d, const char *tag, GError **err)
{
    return rules_resume(d, tag, false) ||
           err_set(err, ENOENT, "No request is suspended by a breakpoint '%s'", tag);
}

bool debug_rules_has_breaks(const DebugRules *d)
{
    for (guint i = 0; i < d->rules->len; i++)
        if (((const Rule *)d->rules->pdata[i])->kind == RULE_BREAK)
            return true;
    return d->suspended->len;
}

bool debug_rules_is_suspended(const DebugRules *d, const char *tag)
{
    for (guint i = 0; i < d->suspended->len; i++)
        if (!strcmp(((const Rule *)d->suspended->pdata[i])->tag, tag))
            return true;
    return false;
}
