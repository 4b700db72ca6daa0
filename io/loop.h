/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One event loop per thread: io_uring where the kernel lets us, else epoll and a thread pool behind
 * the same interface. FERRY_LOOP=uring|epoll in the environment chooses (uring fails when refused).
 *
 * The loop starts empty: the ring, the epoll set and threads appear with the first wait that needs
 * them. There are no nested loops: loop_run inside a coroutine aborts.
 */
#ifndef IO_LOOP_H
#define IO_LOOP_H

#include "io/co.h"
#include "io/mailbox.h"
#include <glib.h>

typedef struct Loop Loop;

/* Runs @fn(@arg) as the first coroutine on this thread's loop; returns when it has returned. */
void loop_run(CoFn *fn, void *arg);

/* The calling thread's loop; NULL outside of loop_run. */
Loop *loop_self(void);

/*
 * True while the running coroutine is the only one of its loop but for keepers: then a short system
 * call made directly delays nobody and is cheaper than any queue.
 */
bool loop_is_alone(void);

/*
 * How long the calling thread's loop looks for events before it sleeps; LOOP_POLL_NS if nobody
 * says.
 */
#define LOOP_POLL_NS 40000
void loop_poll_at_most(int64_t ns);

/*
 * Hands at most @n requests at once to the kernel from the calling thread's loop; of several such
 * limits the smallest counts; 0 is none. Without one all that are made in a round go together.
 */
void loop_limit_batch(unsigned n);

/* From now on no loop of this process may use io_uring (before any ring exists). */
void loop_forbid_uring(void);

/* True if this thread's loop uses, or would use, io_uring. @why, unless NULL, says why not. */
bool loop_has_uring(const char **why);

/* Starts @fn(@arg) as a coroutine on @loop, from any thread. Never fails, never waits. */
void loop_call(Loop *loop, CoFn *fn, void *arg);

/* The same and waits for @fn to return; the caller's loop goes on meanwhile. */
CO void loop_call_wait(Loop *loop, CoFn *fn, void *arg);

/*
 * Delivers @m on @loop, in no coroutine; from any thread, without taking memory. Until then the
 * caller sees to it that neither @m nor @loop ends.
 */
void loop_post(Loop *loop, Mail *m);

/*
 * A loop in a thread of its own, idle until loop_call. It is counted, by the thread that has
 * started it: with the last reference, loop_thread_stop lets its coroutines end and joins it.
 */
typedef struct LoopThread LoopThread;
LoopThread *loop_thread_start(const char *name, GError **err);
/* As the system calls the thread. */
int loop_thread_id(const LoopThread *t);
LoopThread *loop_thread_ref(LoopThread *t);
Loop *loop_thread_loop(LoopThread *t);
void loop_thread_stop(LoopThread *t);

#endif
