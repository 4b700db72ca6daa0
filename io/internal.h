/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside of the room: coroutines as the scheduler sees them, timers, what waits for what.
 *
 *     co.c        stacks, switching               loop.c     run queue, life of a loop
 *     timer.c     heap of deadlines               mailbox.c  what other threads hand to a loop
 *     wall-timer.c  timers of the time of day
 *     ring.c      io_uring                        epoll.c    readiness where rings are refused
 *     poll.c      waiting for readiness, on either
 *     pool.c      worker threads                  aio.c      picks a way for each system call
 *
 * A coroutine waits in one of two ways. co_suspend ends by co_wake, which anybody may call.
 * co_block ends by co_unblock, which only the thing waited for calls; a stray co_wake is kept for
 * the next co_suspend. Every wait with a result is of the second kind.
 */
#ifndef IO_INTERNAL_H
#define IO_INTERNAL_H

#include "io/co-lock.h"
#include "io/co.h"
#include "io/loop.h"
#include "io/mailbox.h"
#include "io/timer.h"
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

/* ---- coroutines ------------------------------------------------------------------------------ */

typedef enum {
    CO_READY,     /* in the run queue */
    CO_RUNNING,
    CO_SUSPENDED, /* until co_wake (or its timer) */
    CO_BLOCKED,   /* until co_unblock */
    CO_ENDED,
} CoState;

/* Lives at the top of its own stack. Home loop only, except where said. */
struct Co {
    void *sp;             /* saved stack pointer while not running (assembly switch) */
    CoState state;
    bool woken;           /* a co_wake not yet consumed by co_suspend */
    Co *next;             /* in the run queue, or in the list of free stacks */
    Co *all_prev, *all_next;
    Loop *loop;
    CoFn *fn;
    void *arg;
    CoGroup *group;       /* it is a member of, or NULL */
    bool is_keeper;       /* started by co_start_keeper */
    char *stack;          /* lowest usable address */
    size_t stack_len;
    Mail wake_mail;       /* any thread: carries co_wake_from_thread */
    _Atomic bool wake_sent; /* any thread: wake_mail is on its way */
    void *context;        /* ucontext_t of the ucontext switch */
    void *asan_fake_stack;
    void *tsan_fiber;
    unsigned valgrind_id;
};

/* The thread's own stack, on which the scheduler runs. */
typedef struct {
    void *sp;
    void *context;
    void *asan_fake_stack;
    const void *asan_stack;
    size_t asan_stack_len;
    void *tsan_fiber;
} CoHome;

/*
 * A new stack with a Co on it, which runs co->fn when entered, and again when entered after that
 * has returned (CO_ENDED). Never fails: lack of memory ends the program.
 */
Co *co_new(void);
void co_free(Co *co);

/* From the scheduler into @co, until it gives back control. */
void co_enter(CoHome *home, Co *co);
/* From @co back to the scheduler. */
void co_leave(CoHome *home, Co *co);

void co_home_init(CoHome *home);
void co_home_clear(CoHome *home);

/* Suspends the running coroutine until co_unblock; not disturbed by co_wake. */
CO void co_block(void);
void co_unblock(Co *co);

/* A member of @g has ended. */
void co_group_leave(CoGroup *g);

/* ---- timers ---------------------------------------------------------------------------------- */

typedef struct {
    Timer **at; /* at[1 .. len] */
    unsigned len, max;
} TimerHeap;

void timer_add(TimerHeap *h, Timer *t);
/* Nothing happens if it is not in the heap. */
void timer_remove(TimerHeap *h, Timer *t);
/* Calls expired() of all that are due. Reads the clock only if there are timers. */
void timers_run(TimerHeap *h);
/* Nanoseconds until the first deadline (at least 0), or -1 without timers. */
int64_t timers_wait_ns(const TimerHeap *h);

/* The time of day of a loop, in wall-timer.c. */
typedef struct WallClock WallClock;
/* Somebody has set the clock: all timers of @l look again. There is a clock. */
void wall_clock_jumped(Loop *l);

/* ---- the loop -------------------------------------------------------------------------------- */

typedef struct Ring Ring;
typedef struct Epoll Epoll;

struct Loop {
    Co *ready_head, *ready_tail;
    Co *running;
    Co *child;            /* to run before @running goes on */
    Co *all;              /* every coroutine of this loop */
    unsigned n_co;        /* how many those are */
    unsigned n_keepers;   /* of those, started by co_start_keeper */
    unsigned in_flight;   /* requests whose end touches the memory of a coroutine */
    bool stop;            /* loop_run returns */
    bool stop_when_empty; /* the same once no coroutine is left */
    CoHome home;
    Mailbox *mailbox;     /* the only part that other threads touch */
    TimerHeap timers;
    WallClock *wall;      /* wall timers; NULL: there were none yet */
    Ring *ring;           /* NULL until needed, or refused */
    bool no_ring;         /* refused */
    /* how long it looks for events before it sleeps, if that has paid lately */
    int64_t poll_ns;
    bool may_spin;        /* whom it waits for has a core to run on meanwhile */
    unsigned n_expecting; /* how many coroutines wait for what may come any moment */
    unsigned short_waits; /* how many of the last sleeps in a row were short */
    unsigned busy_rounds; /* of the queue since somebody looked for events, as it never emptied */
    int64_t busy_since_ns; /* when the first of them ended */
    unsigned max_batch;   /* requests that the ring queues before it submits them; 0: any number */
    Epoll *epoll;         /* NULL until needed */
    Co *free_stacks;
    unsigned n_free_stacks, max_free_stacks;
};

/* The calling thread's loop, NULL outside of one. */
extern _Thread_local Loop *loop_current;

/* The same where there must be one. */
static inline Loop *loop_here(void)
{
    g_assert(loop_current);
    return loop_current;
}

/* Starts a coroutine on @l, which is the calling thread's. */
Co *loop_start_co(Loop *l, CoFn *fn, void *arg);

/* ---- waiting for readiness ------------------------------------------------------------------- */

typedef struct PollWait PollWait;
struct PollWait {
    int fd;
    int events;     /* POLLIN, POLLOUT */
    int result;     /* ready set or negative errno */
    int cancelled;  /* result given to poll_wait_cancel, or 0 */
    bool done;
    Co *co;
    Timer timer;
    PollWait *prev, *next; /* others on the same descriptor (epoll) */
};

/* Fills and waits on @w, which lives on the caller's stack. As aio_poll. */
CO int poll_wait(PollWait *w, int fd, int events, int64_t deadline_ns);
/* Makes the wait return @result (a negative errno). Same loop. */
void poll_wait_cancel(PollWait *w, int result);

/* For the back ends: @w is over. */
void poll_wait_done(PollWait *w, int result);

/* ---- io_uring -------------------------------------------------------------------------------- */

/* The ring of @l, made if it does not exist; NULL where it is refused. */
Ring *ring_get(Loop *l);
void ring_free(Ring *r);

/* Submits what is queued, waits for @timeout_ns (0: not at all, -1: no limit) or an event. */
void ring_wait(Loop *l, int64_t timeout_ns);

/* True if operation @opcode (IORING_OP_*) exists. */
bool ring_can(const Ring *r, int opcode);

/* One operation each, with the result of the system call or a negative errno. */
CO ssize_t ring_preadv(Ring *r, int fd, const struct iovec *iov, int niov, uint64_t off);
CO ssize_t ring_pwritev(Ring *r, int fd, const struct iovec *iov, int niov, uint64_t off, int rwf);
CO int ring_fdatasync(Ring *r, int fd);
CO int ring_fallocate(Ring *r, int fd, int flags, uint64_t off, uint64_t len);

void ring_poll_start(Ring *r, PollWait *w);
/* poll_wait_done will follow, at once or with the next wait. */
void ring_poll_cancel(Ring *r, PollWait *w);

/* ---- epoll ----------------------------------------------------------------------------------- */

Epoll *epoll_get(Loop *l);
void epoll_free(Epoll *e);
void epoll_wait_events(Loop *l, int64_t timeout_ns);
/* May call poll_wait_done at once. */
void epoll_poll_start(Epoll *e, PollWait *w);
void epoll_poll_cancel(Epoll *e, PollWait *w);

#endif
