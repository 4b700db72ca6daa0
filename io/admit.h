/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether a client may use a server, decided by who TLS proved it to be. */
#ifndef IO_ADMIT_H
#define IO_ADMIT_H

#include "io/channel.h"
#include "io/detached-call.h"

/*
 * Asks authorisation object @authz about the peer of @c, until the monotonic time @deadline_ns (0:
 * no limit), since some objects ask others, which may never answer. Meanwhile *@asked is what
 * detached_call_cancel ends the waiting by. False with @err: it is not welcome, or nobody said so.
 */
CO bool channel_admit_peer(Channel *c, const char *authz, int64_t deadline_ns, DetachedCall **asked,
                           GError **err);

#endif
