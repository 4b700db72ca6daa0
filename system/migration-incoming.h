/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest that this program waits for, with -incoming. Main loop only. */
#ifndef SYSTEM_MIGRATION_INCOMING_H
#define SYSTEM_MIGRATION_INCOMING_H

#include "migration/blocktime.h"
#include "migration/stages.h"
#include "system/machine.h"
#include "util/err.h"

/* @m waits for a guest by migration; its images are the source's (migration_images_await). */
void incoming_begin(Machine *m);
/* True from then on until the guest has come. */
bool incoming_is_awaited(void);
/* Waits for it at @uri. False with @err. */
bool incoming_receive(const char *uri, GError **err);
/* A guest runs here whose memory has not come as a whole. */
bool incoming_is_partial(void);
/*
 * False with @err: some is missing, and whoever looks at it waits for the source, perhaps for ever.
 */
bool incoming_memory_is_here(GError **err);
/* Until none is missing. False: the program ends before. */
CO bool incoming_await_memory(void);
/* False with @err: processors may wait for memory that nobody brings, until the source is back. */
bool incoming_may_stop(GError **err);
/* Breaks the connection over which that comes. */
void incoming_pause(void);
/* Waits at @uri for the rest, after the connection has broken. False with @err. */
bool incoming_recover(const char *uri, GError **err);
/* Ends what is under way. */
CO void incoming_end(void);
/* Of SocketAddress: where the source can connect; NULL: nowhere. Not the caller's. */
json_t *incoming_addresses(void);
/*
 * How long its processors waited for memory; NULL: it was not measured. While one comes not for
 * reading.
 */
const Blocktime *incoming_blocktime(void);
/* Of the guest's pause, as far as it was seen here. */
const Stages *incoming_stages(void);

#endif
