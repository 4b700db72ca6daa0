/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The scheduler: a queue of coroutines that can run, and a wait for what makes more of them ready.
 *
 *     run all that are ready now -> mail of other threads -> timers -> wait if nothing is ready
 *
 * Waiting is on the ring or the epoll set if something needed one, else on the mailbox alone. To
 * sleep and be woken takes longer than many an event, above all in a guest, where it means an exit
 * to the host and back. So after some short waits in a row, if what may come any moment is waited
 * for, the loop looks again and again for a while before it sleeps. One while in vain ends that.
 *
 * When loop_run returns, coroutines that are left are never run again; requests of theirs that
 * are in flight are waited for, since they end in the memory of those coroutines.
 */
#include "io/internal.h"
#include "io/memory.h"
#include "io/thread.h"
#include "util/err.h"
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    STACKS_KEPT = 128,     /* of ended coroutines, for the next ones, by one loop ... */
    /* ... which may always keep so many and asks for so many more at once ... */
    STACKS_EACH = 8,
    STACKS_ALL = 2048,     /* ... of what all loops may keep ... */
    STACK_SHARE = 1 << 20, /* ... or fewer: a quarter of the process' memory has so many of these */
    /* rounds of the queue between looks for events, if the queue never empties */
    POLL_EVERY = 16,
    POLL_AFTER_NS = 200000, /* the same if rounds are long */
    SHORT_WAITS = 4,       /* in a row make it worth to look again instead of sleeping */
    SHORT_WAIT_NS = 80000, /* what such a wait takes at most, waking up included */
};

_Thread_local Loop *loop_current;

static _Atomic unsigned stacks_lent; /* that loops may keep beyond STACKS_EACH */

/* ---- run queue ------------------------------------------------------------------------------- */

static void ready_push(Loop *l, Co *co)
{
    co->state = CO_READY;
    co->next = NULL;
    if (l->ready_tail)
        l->ready_tail->next = co;
    else
        l->ready_head = co;
    l->ready_tail = co;
}

/* A coroutine that is in no queue yet. */
static Co *loop_new_co(Loop *l, CoFn *fn, void *arg)
{
    Co *co = l->free_stacks;

    if (co) {
        l->free_stacks = co->next;
        l->n_free_stacks--;
    } else {
        co = co_new();
    }
    co->loop = l;
    co->fn = fn;
    co->arg = arg;
    co->group = NULL;
    co->is_keeper = false;
    co->woken = false;
    co->all_prev = NULL;
    co->all_next = l->all;
    if (l->all)
        l->all->all_prev = co;
    l->all = co;
    l->n_co++;
    return co;
}

Co *loop_start_co(Loop *l, CoFn *fn, void *arg)
{
    Co *co = loop_new_co(l, fn, arg);

    ready_push(l, co);
    return co;
}

static void loop_unlink_co(Loop *l, Co *co)
{
    if (co->all_prev)
        co->all_prev->all_next = co->all_next;
    else
        l->all = co->all_next;
    if (co->all_next)
        co->all_next->all_prev = co->all_prev;
    l->n_co--;
    l->n_keepers -= co->is_keeper;
}

/* Lets @l keep more stacks, which it may do until it ends. False: there are enough. */
static bool loop_keep_more(Loop *l)
{
    unsigned lent = stacks_lent, all = memory_shares(STACKS_ALL, STACK_SHARE);

    if (l->max_free_stacks == STACKS_KEPT)
        return false;
    do {
        if (lent + STACKS_EACH > all)
            return false;
    } while (!atomic_compare_exchange_weak(&stacks_lent, &lent, lent + STACKS_EACH));
    l->max_free_stacks += STACKS_EACH;
    return true;
}

/* @co has ended: its stack may serve the next one. */
static void loop_recycle_co(Loop *l, Co *co)
{
    loop_unlink_co(l, co);
    if (l->n_free_stacks == l->max_free_stacks && !loop_keep_more(l)) {
        co_free(co);
        return;
    }
    co->next = l->free_stacks;
    l->free_stacks = co;
    l->n_free_stacks++;
}

/* Runs @co until it waits or ends, and whom it starts now in between. */
static void loop_enter_co(Loop *l, Co *co)
{
    Co *child;

    do {
        co->state = CO_RUNNING;
        l->running = co;
        co_enter(&l->home, co);
        l->running = NULL;
        child = g_steal_pointer(&l->child);
        if (child)
            loop_enter_co(l, child);
    } while (child);
    if (co->state == CO_ENDED) {
        CoGroup *group = co->group;

        loop_recycle_co(l, co);
        if (group)
            co_group_leave(group);
    }
}

/* Runs those that are ready now; who becomes ready meanwhile waits for the next round. */
static void loop_run_ready(Loop *l)
{
    Co *batch = l->ready_head;

    l->ready_head = l->ready_tail = NULL;
    while (batch && !l->stop) {
        Co *co = batch;

        batch = co->next;
        loop_enter_co(l, co);
    }
}

/* Waits for @timeout_ns (0: not at all, -1: no limit) or an event. */
static void loop_wait_for(Loop *l, int64_t timeout_ns)
{
    if (timeout_ns && !mailbox_sleep_begin(l->mailbox))
        timeout_ns = 0;
    if (l->ring)
        ring_wait(l, timeout_ns);
    else if (l->epoll)
        epoll_wait_events(l, timeout_ns);
    else if (timeout_ns)
        mailbox_wait(l->mailbox, timeout_ns);
    mailbox_sleep_end(l->mailbox);
}

/* Looks for events without sleeping. True as soon as something can go on, false after @ns. */
static bool loop_spin(Loop *l, int64_t ns)
{
    int64_t deadline = clock_now_ns() + ns;

    do {
        loop_wait_for(l, 0);
        if (l->ready_head || mailbox_has_mail(l->mailbox))
            return true;
    } while (clock_now_ns() < deadline);
    return false;
}

static void loop_sleep(Loop *l)
{
    loop_wait_for(l, timers_wait_ns(&l->timers));
}

/* Waits for an event or a timer, whichever comes first. */
static void loop_wait(Loop *l)
{
    int64_t start, timeout;

    if (l->may_spin && l->n_expecting && l->short_waits >= SHORT_WAITS) {
        timeout = timers_wait_ns(&l->timers);
        if (loop_spin(l, timeout < 0 ? l->poll_ns : MIN(timeout, l->poll_ns)))
            return;
        l->short_waits = 0;
        loop_sleep(l);
    } else {
        start = clock_now_ns();
        loop_sleep(l);
        l->short_waits = clock_now_ns() - start <= SHORT_WAIT_NS ? l->short_waits + 1 : 0;
    }
}

/* Looks for events now and then while there is always somebody who can run. */
static void loop_look(Loop *l)
{
    int64_t now = clock_now_ns();

    if (!l->busy_rounds++)
        l->busy_since_ns = now;
    else if (l->busy_rounds == POLL_EVERY || now - l->busy_since_ns >= POLL_AFTER_NS) {
        l->busy_rounds = 0;
        loop_wait_for(l, 0);
    }
}

static void loop_work(Loop *l)
{
    for (;;) {
        loop_run_ready(l);
        mailbox_deliver(l->mailbox);
        if (l->stop || (l->stop_when_empty && !l->n_co))
            return;
        timers_run(&l->timers);
        if (l->ready_head) {
            loop_look(l);
        } else {
            l->busy_rounds = 0;
            loop_wait(l);
        }
    }
}

/* ---- life of a loop -------------------------------------------------------------------------- */

static Loop *loop_new(void)
{
    Loop *l = g_new0(Loop, 1);

    l->mailbox = mailbox_new();
    l->may_spin = g_get_num_processors() > 1;
    l->poll_ns = LOOP_POLL_NS;
    l->max_free_stacks = STACKS_EACH;
    return l;
}

/* Waits for what still writes into the memory of coroutines, without running any. */
static void loop_drain(Loop *l)
{
    while (l->in_flight) {
        loop_sleep(l);
        mailbox_deliver(l->mailbox);
        timers_run(&l->timers);
    }
}

static void loop_free(Loop *l)
{
    loop_drain(l);
    while (l->all) {
        Co *co = l->all;

        loop_unlink_co(l, co);
        co_free(co);
    }
    while (l->free_stacks) {
        Co *co = l->free_stacks;

        l->free_stacks = co->next;
        co_free(co);
    }
    stacks_lent -= l->max_free_stacks - STACKS_EACH;
    g_clear_pointer(&l->ring, ring_free);
    g_clear_pointer(&l->epoll, epoll_free);
    g_free(l->timers.at);
    g_free(l->wall);
    mailbox_unref(l->mailbox);
    co_home_clear(&l->home);
    g_free(l);
}

/* On the thread that the loop shall live in. */
static void loop_live(Loop *l)
{
    loop_current = l;
    co_home_init(&l->home);
    loop_work(l);
    loop_free(l);
    loop_current = NULL;
}

typedef struct {
    CoFn *fn;
    void *arg;
} First;

static void first_run(void *arg)
{
    First *first = arg;

    first->fn(first->arg);
    loop_here()->stop = true;
}

void loop_run(CoFn *fn, void *arg)
{
    First first = { fn, arg };
    Loop *l;

    if (loop_current)
        g_error("loop_run inside of a loop");
    l = loop_new();
    loop_start_co(l, first_run, &first);
    loop_live(l);
}

Loop *loop_self(void)
{
    return loop_current;
}

bool loop_is_alone(void)
{
    Loop *l = loop_here();

    return l->n_co - l->n_keepers == 1;
}

void loop_poll_at_most(int64_t ns)
{
    loop_here()->poll_ns = ns;
}

void loop_limit_batch(unsigned n)
{
    Loop *l = loop_here();

    if (n)
        l->max_batch = l->max_batch ? MIN(l->max_batch, n) : n;
}

/* ---- coroutines of the calling thread -------------------------------------------------------- */

void co_start(CoFn *fn, void *arg)
{
    loop_start_co(loop_here(), fn, arg);
}

void co_start_keeper(CoFn *fn, void *arg)
{
    Loop *l = loop_here();

    loop_start_co(l, fn, arg)->is_keeper = true;
    l->n_keepers++;
}

Co *co_self(void)
{
    return loop_current ? loop_current->running : NULL;
}

void co_start_now(CoFn *fn, void *arg)
{
    Loop *l = loop_here();
    Co *co = l->running;

    l->child = loop_new_co(l, fn, arg);
    co_leave(&l->home, co);
}

/* Gives control to the scheduler until somebody makes the coroutine ready. */
static void co_stop(Loop *l, CoState state)
{
    Co *co = l->running;

    g_assert(co);
    co->state = state;
    co_leave(&l->home, co);
}

void co_block(void)
{
    co_stop(loop_here(), CO_BLOCKED);
}

void co_unblock(Co *co)
{
    g_assert(co->state == CO_BLOCKED);
    ready_push(co->loop, co);
}

void co_suspend(void)
{
    Loop *l = loop_here();
    Co *co = l->running;

    if (!co->woken)
        co_stop(l, CO_SUSPENDED);
    co->woken = false;
}

void co_wake(Co *co)
{
    if (co->woken)
        return;
    co->woken = true;
    if (co->state == CO_SUSPENDED)
        ready_push(co->loop, co);
}

static void wake_deliver(Mail *m)
{
    Co *co = CONTAINER_OF(m, Co, wake_mail);

    /* First: from here on a new wake sends new mail. */
    atomic_store(&co->wake_sent, false);
    co_wake(co);
}

void co_wake_from_thread(Co *co)
{
    if (atomic_exchange(&co->wake_sent, true))
        return;
    co->wake_mail.deliver = wake_deliver;
    mailbox_post(co->loop->mailbox, &co->wake_mail);
}

void co_yield(void)
{
    Loop *l = loop_here();
    Co *co = l->running;

    ready_push(l, co);
    co_leave(&l->home, co);
}

typedef struct {
    Timer timer;
    Co *co;
    bool passed;
} Sleep;

static void sleep_expired(Timer *t)
{
    Sleep *s = CONTAINER_OF(t, Sleep, timer);

    if (s->co->state != CO_SUSPENDED)
        return; /* woken before, but has not run yet */
    s->passed = true;
    ready_push(s->co->loop, s->co);
}

bool co_sleep(int64_t ns)
{
    Loop *l = loop_here();
    Co *co = l->running;
    int64_t now = clock_now_ns();
    Sleep s = { .timer.expired = sleep_expired, .co = co };

    if (!co->woken) {
        s.timer.deadline_ns = ns > INT64_MAX - now ? INT64_MAX : now + MAX(ns, 0);
        timer_add(&l->timers, &s.timer);
        co_stop(l, CO_SUSPENDED);
        timer_remove(&l->timers, &s.timer);
    }
    if (!s.passed)
        co->woken = false;
    return s.passed;
}

/* ---- calls between loops --------------------------------------------------------------------- */

typedef struct {
    Mail mail;
    Loop *to;
    CoFn *fn;
    void *arg;
} Call;

static void call_deliver(Mail *m)
{
    g_autofree Call *call = CONTAINER_OF(m, Call, mail);

    loop_start_co(call->to, call->fn, call->arg);
}

void loop_post(Loop *loop, Mail *m)
{
    mailbox_post(loop->mailbox, m);
}

void loop_call(Loop *loop, CoFn *fn, void *arg)
{
    Call *call = g_new(Call, 1);

    *call = (Call){ .mail.deliver = call_deliver, .to = loop, .fn = fn, .arg = arg };
    mailbox_post(loop->mailbox, &call->mail);
}

/* On the stack of the calling coroutine; mailed there and back. */
typedef struct {
    Mail mail;
    Loop *from, *to;
    CoFn *fn;
    void *arg;
    Co *caller;
} CallWait;

static void call_answered(Mail *m)
{
    CallWait *call = CONTAINER_OF(m, CallWait, mail);

    call->from->in_flight--;
    co_unblock(call->caller);
}

static void call_run(void *arg)
{
    CallWait *call = arg;

    call->fn(call->arg);
    call->mail.deliver = call_answered;
    mailbox_post(call->from->mailbox, &call->mail);
}

static void call_wait_deliver(Mail *m)
{
    CallWait *call = CONTAINER_OF(m, CallWait, mail);

    loop_start_co(call->to, call_run, call);
}

void loop_call_wait(Loop *loop, CoFn *fn, void *arg)
{
    Loop *l = loop_here();
    CallWait call = {
        .mail.deliver = call_wait_deliver,
        .from = l,
        .to = loop,
        .fn = fn,
        .arg = arg,
        .caller = l->running,
    };

    if (loop == l) {
        fn(arg);
        return;
    }
    l->in_flight++;
    mailbox_post(loop->mailbox, &call.mail);
    co_block();
}

/* ---- loops in threads ------------------------------------------------------------------------ */

struct LoopThread {
    pthread_t thread;
    sem_t started;      /* from then on .id is set */
    int id;             /* as the system calls it */
    Loop *loop;
    unsigned refs;
    Mail stop;
};

static void *loop_thread_main(void *arg)
{
    LoopThread *t = arg;
    Loop *l = t->loop;

    t->id = (int)syscall(SYS_gettid);
    sem_post(&t->started);
    loop_live(l);
    return NULL;
}

LoopThread *loop_thread_start(const char *name, GError **err)
{
    g_autofree LoopThread *t = g_new0(LoopThread, 1);
    int r;

    t->loop = loop_new();
    t->refs = 1;
    sem_init(&t->started, 0, 0);
    r = thread_start(&t->thread, name, loop_thread_main, t);
    if (r) {
        sem_destroy(&t->started);
        err_set_errno(err, r, "Cannot start thread '%s'", name);
        loop_free(t->loop);
        return NULL;
    }
    while (sem_wait(&t->started) < 0)
        ;
    return g_steal_pointer(&t);
}

int loop_thread_id(const LoopThread *t)
{
    return t->id;
}

LoopThread *loop_thread_ref(LoopThread *t)
{
    t->refs++;
    return t;
}

Loop *loop_thread_loop(LoopThread *t)
{
    return t->loop;
}

static void stop_deliver(Mail *m)
{
    loop_here()->stop_when_empty = true;
}

void loop_thread_stop(LoopThread *t)
{
    if (--t->refs)
        return;
    t->stop.deliver = stop_deliver;
    mailbox_post(t->loop->mailbox, &t->stop);
    pthread_join(t->thread, NULL);
    sem_destroy(&t->started);
    g_free(t);
}
