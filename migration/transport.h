/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a stream travels: tcp:HOST:PORT, unix:PATH, vsock:CID:PORT, fd:NAME, exec:COMMAND, file:PATH. */
#ifndef MIGRATION_TRANSPORT_H
#define MIGRATION_TRANSPORT_H

#include "io/channel.h"
#include "io/net.h"
#include <glib.h>

typedef struct Transport Transport;

/* True if @uri is of a kind that is known; else @err. */
bool transport_check(const char *uri, GError **err);

/* Opens @uri to send to it. NULL with @err. */
CO Transport *transport_connect(const char *uri, GError **err);

/*
 * Waits until somebody sends by @uri. @listening, unless NULL, is told of the addresses of sockets as
 * a JSON list, which it owns. NULL with @err.
 */
CO Transport *transport_accept(const char *uri, void (*listening)(void *opaque, json_t *addresses),
                               void *opaque, GError **err);

/* As channel_read and channel_write_all; @opaque is the Transport. */
CO ssize_t transport_read(void *opaque, void *buf, size_t len);
CO int transport_write(void *opaque, const void *buf, size_t len);
/* True if the other side can be answered, or answers. */
bool transport_is_socket(const Transport *t);
/* Whoever waits for it fails soon, and so do all who use it later. */
void transport_interrupt(Transport *t);
/* All that was written has been taken over: 0, or a negative errno, also if the command failed. */
CO int transport_finish(Transport *t);
CO void transport_free(Transport *t);

#endif
