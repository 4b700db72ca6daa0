/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The connections of this program's migrations, as capabilities and parameters want them. */
#ifndef SYSTEM_MIGRATION_CHANNELS_H
#define SYSTEM_MIGRATION_CHANNELS_H

#include "migration/multifd.h"
#include "migration/transport.h"

/* False with @err if @uri cannot be used as the capabilities want. */
bool migration_check_uri(const char *uri, GError **err);
/* With TLS, if it is wanted; not open yet. NULL with @err. */
Transport *migration_transport_new(const char *uri, bool sends, GError **err);
/* How many connections follow the main one. */
unsigned migration_more_channels(void);
MultifdSend *migration_multifd_send(void);
MultifdReceive *migration_multifd_receive(RamBlocks *ram, void (*failed)(void *opaque),
                                          void *opaque);
/* Adds them. False with @err. */
CO bool migration_connect_more(Transport *t, MultifdSend *m, GError **err);
CO bool migration_accept_more(Transport *t, MultifdReceive *m, GError **err);
/*
 * Puts the guest's UUID into @uuid and returns it, if it goes with the stream and the target
 * compares it with its own; else NULL.
 */
const uint8_t *migration_carried_uuid(uint8_t uuid[16]);

#endif
