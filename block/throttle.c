/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Limits on bytes and requests a second: buckets, turns, and the object throttle-group. */
#include "block/throttle.h"
#include "io/loop.h"
#include "util/err.h"
#include "qapi/object.h"
#include "util/trace.h"
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#define RATE_MAX INT64_C(1000000000000000)
#define SECOND 1e9
#define DELAY_MAX 1e6 /* seconds, within int64_t of ns; who has slept for that long looks again */

/* In the order in which the options are listed; every third one has bytes of "total" first. */
typedef enum {
    BPS_TOTAL, BPS_READ, BPS_WRITE, IOPS_TOTAL, IOPS_READ, IOPS_WRITE, BUCKETS,
} BucketKind;

typedef struct {
    int64_t rate;         /* units a second; 0: no limit */
    int64_t burst_rate;   /* units a second while a burst lasts; 0: no bursts */
    int64_t burst_length; /* seconds */
    double level;         /* units over what has leaked */
    double burst_level;   /* the same at the burst rate */
} Bucket;

/*
 * Limits and members are changed on the main loop only, so that it need not lock to look at them.
 * The lock is the innermost one, and nobody suspends with it.
 */
struct ThrottleGroup {
    char *name;
    bool is_object;       /* else it ends with its last member */
    pthread_mutex_t lock; /* protects all below, and what members have of it */
    Bucket buckets[BUCKETS];
    int64_t iops_size;    /* bytes; longer requests count as several; 0: every one counts as one */
    int64_t leaked_ns;    /* when the buckets leaked last */
    GPtrArray *members;   /* of ThrottleMember, not owned */
    bool has_turn[2];     /* a read, a write is at the buckets */
};

static const char *const bucket_names[BUCKETS] = {
    "bps-total", "bps-read", "bps-write", "iops-total", "iops-read", "iops-write",
};

static GPtrArray *implicit_groups; /* of ThrottleGroup that are no objects; NULL: there were none */

/* ---- buckets -------------------------------------------------------------------------------- */

static void buckets_leak(ThrottleGroup *g)
{
    int64_t now = clock_now_ns();
    double seconds = (now - g->leaked_ns) / SECOND;

    g->leaked_ns = now;
    for (int i = 0; i < BUCKETS; i++) {
        Bucket *b = &g->buckets[i];

        b->level = MAX(b->level - b->rate * seconds, 0);
        b->burst_level = MAX(b->burst_level - b->burst_rate * seconds, 0);
    }
}

/* Units that @b takes before anybody waits. */
static double bucket_brim(const Bucket *b)
{
    return b->burst_rate ? (double)b->burst_rate * b->burst_length : b->rate / 10.0;
}

/* Nanoseconds until @b is no more over its brim. */
static int64_t bucket_delay(const Bucket *b)
{
    double over = b->level - bucket_brim(b), seconds = 0;

    if (!b->rate)
        return 0;
    if (over > 0)
        seconds = over / b->rate;
    /* During a long burst nobody may be faster than its rate either. */
    over = b->burst_level - b->burst_rate / 10.0;
    if (b->burst_rate && b->burst_length > 1 && over > 0)
        seconds = MAX(seconds, over / b->burst_rate);
    return (int64_t)(MIN(seconds, DELAY_MAX) * SECOND);
}

static const BucketKind buckets_of[2][4] = {
    { BPS_TOTAL, BPS_READ, IOPS_TOTAL, IOPS_READ },
    { BPS_TOTAL, BPS_WRITE, IOPS_TOTAL, IOPS_WRITE },
};

static int64_t group_delay(ThrottleGroup *g, bool is_write)
{
    int64_t delay = 0;

    buckets_leak(g);
    for (int i = 0; i < 4; i++)
        delay = MAX(delay, bucket_delay(&g->buckets[buckets_of[is_write][i]]));
    return delay;
}

static void group_account(ThrottleGroup *g, bool is_write, uint64_t len)
{
    double requests = g->iops_size && len > (uint64_t)g->iops_size ? (double)len / g->iops_size : 1;

    for (int i = 0; i < 4; i++) {
        Bucket *b = &g->buckets[buckets_of[is_write][i]];
        double units = i < 2 ? (double)len : requests;

        /* Only what is limited leaks. */
        b->level += b->rate ? units : 0;
        b->burst_level += b->burst_rate ? units : 0;
    }
}

/* ---- turns ---------------------------------------------------------------------------------- */

/*
 * A request that waits, on its stack. Whoever ends that, on whatever loop, sends it a mail, which
 * has to come before it may go on.
 */
struct ThrottleWait {
    Mail mail;          /* the first member */
    GList link;         /* in ThrottleMember.waiting */
    Loop *loop;
    Co *co;
    bool is_ended;      /* with the lock: the mail is under way */
    bool has_mail;      /* its loop's: it has come */
    bool has_turn;
};

static void wait_deliver(Mail *mail)
{
    ThrottleWait *w = (ThrottleWait *)mail;

    w->has_mail = true;
    co_wake(w->co);
}

static void wait_begin(ThrottleWait *w)
{
    *w = (ThrottleWait){
        .mail.deliver = wait_deliver, .link.data = w, .loop = loop_self(), .co = co_self(),
    };
}

static void wait_end(ThrottleWait *w)
{
    if (!w->is_ended)
        loop_post(w->loop, &w->mail);
    w->is_ended = true;
}

/* Without the lock. */
static CO void wait_for_mail(const ThrottleWait *w)
{
    while (!w->has_mail)
        co_suspend();
}

/* Lets the first request go that waits at @m. False: none does. */
static bool first_go(ThrottleMember *m, bool is_write, bool has_turn)
{
    GList *link = g_queue_pop_head_link(&m->waiting[is_write]);
    ThrottleWait *w = link ? link->data : NULL;

    if (!w)
        return false;
    w->has_turn = has_turn;
    wait_end(w);
    return true;
}

/* Lets the request that sleeps at @m look again for how long it has to. */
static void sleeper_wake(ThrottleMember *m, bool is_write)
{
    if (m->sleeping[is_write])
        wait_end(m->sleeping[is_write]);
}

/* Gives the turn to the next member after @m that has a request waiting. False: none has. */
static bool turn_pass(const ThrottleMember *m, bool is_write)
{
    GPtrArray *members = m->group->members;
    guint at = 0;

    if (!g_ptr_array_find(members, m, &at))
        return false;
    for (guint i = 1; i <= members->len; i++)
        if (first_go(members->pdata[(at + i) % members->len], is_write, true))
            return true;
    return false;
}

/*
 * Waits for the turn, with the lock, which is given up meanwhile. False: there is no need to wait
 * any more.
 */
static CO bool turn_take(ThrottleMember *m, bool is_write)
{
    ThrottleGroup *g = m->group;
    ThrottleWait w;

    if (m->is_rushed)
        return false;
    if (!g->has_turn[is_write])
        return g->has_turn[is_write] = true;
    wait_begin(&w);
    g_queue_push_tail_link(&m->waiting[is_write], &w.link);
    pthread_mutex_unlock(&g->lock);
    wait_for_mail(&w);
    pthread_mutex_lock(&g->lock);
    return w.has_turn;
}

/* The one with the turn sleeps @ns, or until it is to look again. The lock: as with turn_take(). */
static CO void turn_sleep(ThrottleMember *m, bool is_write, int64_t ns)
{
    ThrottleGroup *g = m->group;
    ThrottleWait w;

    wait_begin(&w);
    m->sleeping[is_write] = &w;
    pthread_mutex_unlock(&g->lock);
    co_sleep(ns);
    pthread_mutex_lock(&g->lock);
    m->sleeping[is_write] = NULL;
    if (!w.is_ended)
        return;
    pthread_mutex_unlock(&g->lock);
    wait_for_mail(&w);
    pthread_mutex_lock(&g->lock);
}

CO void throttle_wait(ThrottleMember *m, bool is_write, uint64_t len)
{
    ThrottleGroup *g = m->group;
    int64_t delay;
    bool has_turn;

    pthread_mutex_lock(&g->lock);
    has_turn = turn_take(m, is_write);
    while (has_turn && !m->is_rushed && (delay = group_delay(g, is_write)) > 0) {
        TRACE(throttle_wait, "%s len=%" PRIu64 " ns=%" PRId64, is_write ? "write" : "read", len,
              delay);
        turn_sleep(m, is_write, delay);
    }
    group_account(g, is_write, len);
    if (has_turn)
        g->has_turn[is_write] = turn_pass(m, is_write);
    pthread_mutex_unlock(&g->lock);
}

bool throttle_is_over(ThrottleMember *m)
{
    ThrottleGroup *g = m->group;
    bool is_over = false;

    pthread_mutex_lock(&g->lock);
    for (int is_write = 0; is_write < 2; is_write++)
        is_over |= m->waiting[is_write].length || m->sleeping[is_write] ||
                   group_delay(g, is_write) > 0;
    pthread_mutex_unlock(&g->lock);
    return is_over;
}

void throttle_rush(ThrottleMember *m, bool on)
{
    ThrottleGroup *g = m->group;

    if (g)
        pthread_mutex_lock(&g->lock);
    m->is_rushed = on;
    for (int is_write = 0; g && on && is_write < 2; is_write++) {
        while (first_go(m, is_write, false)) {
        }
        sleeper_wake(m, is_write);
    }
    if (g)
        pthread_mutex_unlock(&g->lock);
}

void throttle_join(ThrottleMember *m, ThrottleGroup *group)
{
    m->group = group;
    pthread_mutex_lock(&group->lock);
    g_ptr_array_add(group->members, m);
    pthread_mutex_unlock(&group->lock);
}

static void group_destroy(void *state)
{
    ThrottleGroup *g = state;

    g_ptr_array_free(g->members, true);
    g_free(g->name);
    pthread_mutex_destroy(&g->lock);
}

void throttle_leave(ThrottleMember *m)
{
    ThrottleGroup *g = m->group;

    pthread_mutex_lock(&g->lock);
    g_ptr_array_remove(g->members, m);
    pthread_mutex_unlock(&g->lock);
    m->group = NULL;
    if (g->is_object || g->members->len)
        return;
    g_ptr_array_remove(implicit_groups, g);
    group_destroy(g);
    g_free(g);
}

/* ---- the object ----------------------------------------------------------------------------- */

static bool bucket_check(const Bucket *b, const char *name, GError **err)
{
    if (b->rate < 0 || b->burst_rate < 0 || b->rate > RATE_MAX || b->burst_rate > RATE_MAX)
        return err_set(err, ERANGE, "'%s' and its maximum lie between 0 and %" PRId64, name,
                       RATE_MAX);
    if (b->burst_length <= 0 || b->burst_length > UINT32_MAX)
        return err_set(err, ERANGE, "'%s-max-length' lies between 1 and %u", name, UINT32_MAX);
    if (b->burst_length > 1 && !b->burst_rate)
        return err_set(err, EINVAL, "'%s-max-length' was given without '%s-max'", name, name);
    if (b->burst_rate && !b->rate)
        return err_set(err, EINVAL, "'%s-max' was given without '%s'", name, name);
    if (b->burst_rate && b->burst_rate < b->rate)
        return err_set(err, EINVAL, "'%s-max' is less than '%s'", name, name);
    return true;
}

static bool group_check(const ThrottleGroup *g, GError **err)
{
    bool has_iops = false;

    for (int i = 0; i < BUCKETS; i++) {
        const Bucket *total = &g->buckets[i - i % 3], *b = &g->buckets[i];

        if (!bucket_check(b, bucket_names[i], err))
            return false;
        if (i % 3 && total->rate && b->rate)
            return err_set(err, EINVAL, "'%s' and '%s' exclude each other", bucket_names[i - i % 3],
                           bucket_names[i]);
        has_iops |= i >= IOPS_TOTAL && b->rate;
    }
    if (g->iops_size < 0)
        return err_set(err, ERANGE, "'iops-size' is negative");
    if (g->iops_size && !has_iops)
        return err_set(err, EINVAL, "'iops-size' was given without a limit on requests");
    return true;
}

/* Takes what @o has of the limits, whose names are preceded by @prefix. */
static void group_read(ThrottleGroup *g, const json_t *o, const char *prefix)
{
    g_autofree char *size = g_strconcat(prefix, "iops-size", NULL);

    for (int i = 0; i < BUCKETS; i++) {
        g_autofree char *rate = g_strconcat(prefix, bucket_names[i], NULL);
        g_autofree char *max = g_strconcat(rate, "-max", NULL);
        g_autofree char *length = g_strconcat(rate, "-max-length", NULL);
        Bucket *b = &g->buckets[i];

        b->rate = json_get_int(o, rate, b->rate);
        b->burst_rate = json_get_int(o, max, b->burst_rate);
        b->burst_length = json_get_int(o, length, b->burst_length);
    }
    g->iops_size = json_get_int(o, size, g->iops_size);
}

static const char *const group_changeable[] = { "limits", NULL };

static ThrottleGroup group_without_limits(void)
{
    ThrottleGroup g = { 0 };

    for (int i = 0; i < BUCKETS; i++)
        g.buckets[i].burst_length = 1;
    return g;
}

/*
 * Limits in force at once. What was counted stays, so that a change gives nobody a new burst, but
 * no more than fills the new buckets: nobody waits for what other limits have allowed.
 */
static void group_adopt(ThrottleGroup *g, const ThrottleGroup *new)
{
    pthread_mutex_lock(&g->lock);
    buckets_leak(g);
    for (int i = 0; i < BUCKETS; i++) {
        Bucket *b = &g->buckets[i];

        b->rate = new->buckets[i].rate;
        b->burst_rate = new->buckets[i].burst_rate;
        b->burst_length = new->buckets[i].burst_length;
        b->level = MIN(b->level, bucket_brim(b));
        b->burst_level = MIN(b->burst_level, b->burst_rate / 10.0);
    }
    g->iops_size = new->iops_size;
    for (guint i = 0; i < g->members->len; i++)
        for (int is_write = 0; is_write < 2; is_write++)
            sleeper_wake(g->members->pdata[i], is_write);
    pthread_mutex_unlock(&g->lock);
}

static bool group_change(void *state, json_t *props, GError **err)
{
    ThrottleGroup new = group_without_limits();

    group_read(&new, props, "x-");
    group_read(&new, json_get(props, "limits"), "");
    if (!group_check(&new, err))
        return false;
    group_adopt(state, &new);
    return true;
}

static void group_init(ThrottleGroup *g, const char *name, bool is_object)
{
    g->name = g_strdup(name);
    g->is_object = is_object;
    pthread_mutex_init(&g->lock, NULL);
    g->members = g_ptr_array_new();
    g->leaked_ns = clock_now_ns();
}

static ThrottleGroup *implicit_find(const char *name)
{
    for (guint i = 0; implicit_groups && i < implicit_groups->len; i++) {
        ThrottleGroup *g = implicit_groups->pdata[i];

        if (!strcmp(g->name, name))
            return g;
    }
    return NULL;
}

static bool group_create(void *state, const char *id, json_t *props, GError **err)
{
    ThrottleGroup *g = state;

    group_init(g, id, true);
    if (implicit_find(id))
        return err_set(err, EEXIST, "A group with this name already exists");
    return group_change(state, props, err) || err_prefix(err, "Throttle group '%s': ", id);
}

static void show_limit(json_t *all, json_t *limits, const char *name, int64_t value)
{
    g_autofree char *old = g_strconcat("x-", name, NULL);

    json_put_int(limits, name, value);
    json_put_int(all, old, value);
}

static json_t *group_show(const void *state)
{
    const ThrottleGroup *g = state;
    json_t *all = json_object(), *limits = json_object();

    for (int i = 0; i < BUCKETS; i++) {
        g_autofree char *max = g_strconcat(bucket_names[i], "-max", NULL);
        g_autofree char *length = g_strconcat(bucket_names[i], "-max-length", NULL);
        const Bucket *b = &g->buckets[i];

        show_limit(all, limits, bucket_names[i], b->rate);
        show_limit(all, limits, max, b->burst_rate);
        show_limit(all, limits, length, b->burst_length);
    }
    show_limit(all, limits, "iops-size", g->iops_size);
    json_put(all, "limits", limits);
    return all;
}

static bool group_is_used(const void *state)
{
    const ThrottleGroup *g = state;

    return g->members->len;
}

const ObjectClass object_throttle_group = {
    .name = "throttle-group",
    .state_size = sizeof(ThrottleGroup),
    .props = "ThrottleGroupProperties",
    .changeable = group_changeable,
    .change = group_change,
    .show = group_show,
    .create = group_create,
    .destroy = group_destroy,
    .is_used = group_is_used,
};

ThrottleGroup *throttle_group_find(const char *id, GError **err)
{
    return object_find(id, &object_throttle_group, err);
}

/* ---- groups of drives ------------------------------------------------------------------------ */

ThrottleGroup *throttle_group_set(const char *name, const json_t *limits, GError **err)
{
    bool is_object = object_class_of(name) == &object_throttle_group;
    ThrottleGroup new = group_without_limits();
    ThrottleGroup *g;

    group_read(&new, limits, "");
    if (!group_check(&new, err))
        return NULL;
    g = is_object ? throttle_group_find(name, err) : implicit_find(name);
    if (!g) {
        g = g_new0(ThrottleGroup, 1);
        group_init(g, name, false);
        if (!implicit_groups)
            implicit_groups = g_ptr_array_new();
        g_ptr_array_add(implicit_groups, g);
    }
    group_adopt(g, &new);
    return g;
}

bool throttle_limits_any(const json_t *limits, GError **err)
{
    ThrottleGroup g = group_without_limits();
    bool any = false;

    group_read(&g, limits, "");
    if (!group_check(&g, err))
        return false;
    for (int i = 0; i < BUCKETS; i++)
        any |= g.buckets[i].rate > 0;
    return any;
}

const char *throttle_group_name(const ThrottleGroup *g)
{
    return g->name;
}

/* A burst is told of only if there is one. */
#define SHOW(name, kind)                                                                           \
    do {                                                                                           \
        const Bucket *b = &g->buckets[kind];                                                       \
                                                                                                   \
        info->name = b->rate;                                                                      \
        info->has_##name##_max = info->has_##name##_max_length = b->burst_rate;                    \
        info->name##_max = b->burst_rate;                                                          \
        info->name##_max_length = b->burst_length;                                                 \
    } while (0)

void throttle_group_info(const ThrottleGroup *g, BlockDeviceInfo *info)
{
    SHOW(bps, BPS_TOTAL);
    SHOW(bps_rd, BPS_READ);
    SHOW(bps_wr, BPS_WRITE);
    SHOW(iops, IOPS_TOTAL);
    SHOW(iops_rd, IOPS_READ);
    SHOW(iops_wr, IOPS_WRITE);
    info->has_iops_size = g->iops_size;
    info->iops_size = g->iops_size;
    g_free(info->group);
    info->group = g_strdup(g->name);
}

static bool limit_take(json_t *o, json_t *limits, const char *old, const char *name,
                       const char *prefix, GError **err)
{
    json_t *v = json_object_get(o, old);

    if (!v)
        return true;
    if (json_has(limits, name))
        return err_set(err, EINVAL, "'%s%s' and its alias '%s' can't be used at the same time",
                       prefix, name, old);
    json_object_set(limits, name, v);
    json_object_del(o, old);
    return true;
}

bool throttle_limits_take(json_t *o, json_t *limits, const char *prefix, GError **err)
{
    static const char *const olds[BUCKETS] = { "bps", "bps_rd", "bps_wr",
                                               "iops", "iops_rd", "iops_wr" };

    for (int i = 0; i < BUCKETS; i++) {
        g_autofree char *old_max = g_strconcat(olds[i], "_max", NULL);
        g_autofree char *old_length = g_strconcat(olds[i], "_max_length", NULL);
        g_autofree char *max = g_strconcat(bucket_names[i], "-max", NULL);
        g_autofree char *length = g_strconcat(max, "-length", NULL);

        if (!limit_take(o, limits, olds[i], bucket_names[i], prefix, err) ||
            !limit_take(o, limits, old_max, max, prefix, err) ||
            !limit_take(o, limits, old_length, length, prefix, err))
            return false;
    }
    return limit_take(o, limits, "iops_size", "iops-size", prefix, err);
}
