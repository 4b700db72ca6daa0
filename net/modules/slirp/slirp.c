/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs a stack of libslirp on the loop. Its sockets are in an epoll set, which the loop waits for
 * as for one descriptor; what they wait for is asked anew after each round and after the guest's
 * packets.
 */
#include "io/aio.h"
#include "io/timer.h"
#include "net/backend.h"
#include "net/modules/slirp/internal.h"
#include "util/err.h"
#include "util/module.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { WAITING_MAX = 512, EVENTS = 64 };

/* A socket of the stack. */
typedef struct {
    uint32_t wants;  /* in the epoll set */
    uint32_t asked;  /* in this round */
    uint32_t ready;  /* of the last wait */
} Watch;

typedef struct {
    Netdev *netdev;
    Slirp *slirp;
    int epoll, wake;
    bool is_woken, is_running;
    GArray *watches; /* of Watch, by descriptor */
    GArray *asked;   /* descriptors of this round, in the stack's order */
    GQueue waiting;  /* of GBytes: packets that the guest has no room for yet */
} User;

/* ---- packets --------------------------------------------------------------------------------- */

static void wake(User *s)
{
    if (s->is_woken || !s->is_running)
        return;
    s->is_woken = true;
    eventfd_write(s->wake, 1);
}

static ssize_t to_guest(const void *buf, size_t len, void *opaque)
{
    User *s = opaque;

    if (g_queue_is_empty(&s->waiting) && netdev_deliver(s->netdev, span_of_const(buf, len)))
        return len;
    /* What is lost comes again. */
    if (s->waiting.length < WAITING_MAX)
        g_queue_push_tail(&s->waiting, g_bytes_new(buf, len));
    return len;
}

static void user_ready(Netdev *n)
{
    User *s = n->state;
    GBytes *b;

    while ((b = g_queue_peek_head(&s->waiting))) {
        size_t len;
        const void *data = g_bytes_get_data(b, &len);

        if (!netdev_deliver(n, span_of_const(data, len)))
            return;
        g_bytes_unref(g_queue_pop_head(&s->waiting));
    }
    wake(s);
}

static bool user_send(Netdev *n, Span packet)
{
    User *s = n->state;
    size_t head;
    uint8_t *p = span_head(packet, &head);
    g_autofree uint8_t *whole = NULL;

    if (head < packet.len) {
        p = whole = g_malloc(packet.len);
        span_read(packet, whole);
    }
    slirp_input(s->slirp, p, packet.len);
    wake(s);
    return true;
}

/* ---- time ------------------------------------------------------------------------------------ */

typedef struct {
    Timer timer;
    SlirpTimerCb fn;
    void *arg;
} StackTimer;

static void timer_expired(Timer *t)
{
    StackTimer *s = (StackTimer *)t;

    s->fn(s->arg);
}

static int64_t stack_now(void *opaque)
{
    return clock_now_ns();
}

static void *stack_timer_new(SlirpTimerCb fn, void *arg, void *opaque)
{
    StackTimer *t = g_new0(StackTimer, 1);

    t->timer.expired = timer_expired;
    t->fn = fn;
    t->arg = arg;
    return t;
}

static void stack_timer_free(void *timer, void *opaque)
{
    timer_cancel(&((StackTimer *)timer)->timer);
    g_free(timer);
}

static void stack_timer_set(void *timer, int64_t due_ms, void *opaque)
{
    timer_set(&((StackTimer *)timer)->timer, due_ms * 1000000);
}

/* ---- sockets --------------------------------------------------------------------------------- */

static Watch *watch_of(User *s, int fd)
{
    if (fd >= s->watches->len)
        g_array_set_size(s->watches, fd + 1);
    return &g_array_index(s->watches, Watch, fd);
}

static void forget(int fd, void *opaque)
{
    User *s = opaque;
    Watch *w = watch_of(s, fd);

    if (w->wants)
        epoll_ctl(s->epoll, EPOLL_CTL_DEL, fd, NULL);
    *w = (Watch){ 0 };
}

/* A number may have belonged to another socket. */
static void begin(int fd, void *opaque)
{
    forget(fd, opaque);
}

static int ask(int fd, int events, void *opaque)
{
    User *s = opaque;
    Watch *w = watch_of(s, fd);

    w->asked = (events & SLIRP_POLL_IN ? EPOLLIN : 0) | (events & SLIRP_POLL_OUT ? EPOLLOUT : 0) |
               (events & SLIRP_POLL_PRI ? EPOLLPRI : 0) | EPOLLERR | EPOLLHUP;
    g_array_append_val(s->asked, fd);
    return fd;
}

static void watch(User *s, int fd)
{
    Watch *w = watch_of(s, fd);
    struct epoll_event e = { .events = w->asked, .data.fd = fd };

    if (w->wants != w->asked && (epoll_ctl(s->epoll, w->wants ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd,
                                           &e) == 0))
        w->wants = w->asked;
}

/* Asks what the stack waits for; how long it wants to wait at most, in milliseconds. */
static uint32_t ask_all(User *s)
{
    uint32_t timeout = UINT32_MAX;
    g_autoptr(GArray) old = s->asked;

    s->asked = g_array_new(FALSE, FALSE, sizeof(int));
    for (guint i = 0; i < old->len; i++)
        watch_of(s, g_array_index(old, int, i))->asked = 0;
    slirp_pollfds_fill(s->slirp, &timeout, ask, s);
    for (guint i = 0; i < s->asked->len; i++)
        watch(s, g_array_index(s->asked, int, i));
    for (guint i = 0; i < old->len; i++) {
        int fd = g_array_index(old, int, i);

        if (!watch_of(s, fd)->asked && watch_of(s, fd)->wants)
            forget(fd, s);
    }
    return timeout;
}

static int ready(int fd, void *opaque)
{
    uint32_t r = fd >= 0 ? watch_of(opaque, fd)->ready : 0;

    return (r & EPOLLIN ? SLIRP_POLL_IN : 0) | (r & EPOLLOUT ? SLIRP_POLL_OUT : 0) |
           (r & EPOLLPRI ? SLIRP_POLL_PRI : 0) | (r & EPOLLERR ? SLIRP_POLL_ERR : 0) |
           (r & EPOLLHUP ? SLIRP_POLL_HUP : 0);
}

static void collect(User *s)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(s->epoll, events, EVENTS, 0);

    for (guint i = 0; i < s->asked->len; i++)
        watch_of(s, g_array_index(s->asked, int, i))->ready = 0;
    for (int i = 0; i < n; i++) {
        eventfd_t count;

        if (events[i].data.fd != s->wake)
            watch_of(s, events[i].data.fd)->ready = events[i].events;
        else if (eventfd_read(s->wake, &count) == 0)
            s->is_woken = false;
    }
}

static CO void run(void *arg)
{
    User *s = arg;

    while (!s->netdev->closing) {
        uint32_t ms = ask_all(s);

        aio_poll(s->epoll, POLLIN, ms == UINT32_MAX ? 0 : clock_now_ns() + ms * INT64_C(1000000));
        collect(s);
        slirp_pollfds_poll(s->slirp, 0, ready, s);
    }
}

static void notify(void *opaque)
{
    wake(opaque);
}

static void guest_error(const char *text, void *opaque)
{
}

/* ---- the netdev ------------------------------------------------------------------------------ */

static bool make_watches(User *s, GError **err)
{
    struct epoll_event e = { .events = EPOLLIN };

    s->watches = g_array_new(FALSE, TRUE, sizeof(Watch));
    s->asked = g_array_new(FALSE, FALSE, sizeof(int));
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    e.data.fd = s->wake;
    return (s->epoll >= 0 && s->wake >= 0 &&
            epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->wake, &e) == 0) ||
           err_set_errno(err, errno, "Cannot wait for sockets");
}

static CO bool user_open(Netdev *n, const json_t *options, GError **err)
{
    static const SlirpCb callbacks = {
        .send_packet = to_guest, .guest_error = guest_error, .clock_get_ns = stack_now,
        .timer_new = stack_timer_new, .timer_free = stack_timer_free, .timer_mod = stack_timer_set,
        .register_poll_fd = begin, .unregister_poll_fd = forget, .notify = notify,
    };
    User *s = g_new0(User, 1);
    UserConfig config;
    bool ok;

    n->state = s;
    s->netdev = n;
    g_queue_init(&s->waiting);
    if (!make_watches(s, err))
        return false;
    ok = user_config_read(&config, options, err);
    s->slirp = ok ? slirp_new(&config.config, &callbacks, s) : NULL;
    user_config_clear(&config);
    if (!ok)
        return false;
    ok = s->slirp ? user_forwards_add(s->slirp, options, err)
                  : err_set(err, EINVAL, "The network cannot be set up");
    n->takes_long = n->is_checked = true;
    s->is_running = ok;
    if (ok)
        co_group_start(&n->running, run, s);
    return ok;
}

static void user_interrupt(Netdev *n)
{
    wake(n->state);
}

static CO void user_close(Netdev *n)
{
    User *s = n->state;

    s->is_running = false;
    if (s->slirp)
        slirp_cleanup(s->slirp);
    if (s->watches)
        g_array_unref(s->watches);
    if (s->asked)
        g_array_unref(s->asked);
    g_queue_clear_full(&s->waiting, (GDestroyNotify)g_bytes_unref);
    close(s->epoll);
    close(s->wake);
    g_free(s);
}

MODULE_EXPORT const NetdevDriver ferry_module_slirp = {
    .type = "user",
    .open = user_open,
    .send = user_send,
    .ready = user_ready,
    .interrupt = user_interrupt,
    .close = user_close,
};
