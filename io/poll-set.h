/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptors of a library that has no waiting of its own and serves several coroutines of one
 * loop: whoever waits first waits for the descriptors on behalf of all, so nothing runs while
 * nobody waits.
 */
#ifndef IO_POLL_SET_H
#define IO_POLL_SET_H

#include "io/co.h"
#include <glib.h>

typedef struct PollSet PollSet;

/*
 * Descriptor @fd has @events (POLLIN, POLLOUT, POLLERR, POLLHUP), or the time of poll_set_alarm has
 * come (@fd is -1). Does not suspend.
 */
typedef void PollSetReady(void *opaque, int fd, unsigned events);

PollSet *poll_set_new(PollSetReady *ready, void *opaque, GError **err);
/* Nobody waits any more. NULL is fine. */
void poll_set_free(PollSet *s);

/* From now on @fd is looked at for @events, POLLIN or POLLOUT or both; 0: no more. 0 or -errno. */
int poll_set_watch(PollSet *s, int fd, unsigned events);
/* Calls ready at the monotonic time @deadline_ns, once, in place of an earlier alarm. 0: never. */
void poll_set_alarm(PollSet *s, int64_t deadline_ns);

/* Waits until *@done; whoever sets that then calls poll_set_changed. 0 or -errno. */
CO int poll_set_wait(PollSet *s, const bool *done);
void poll_set_changed(PollSet *s);

#endif
