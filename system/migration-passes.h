/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The memory of a guest that leaves: passes over it while it is written. Main loop only. */
#ifndef SYSTEM_MIGRATION_PASSES_H
#define SYSTEM_MIGRATION_PASSES_H

#include "system/migration-outgoing.h"

/* False with @err: the migration was cancelled, or its stream cannot be written. */
bool passes_may_go_on(const Outgoing *o, GError **err);
/* Pages that are written from now on are noted. */
CO void passes_begin(Outgoing *o);
CO void passes_end(Outgoing *o);
/* Sends all memory, then what was written meanwhile, until the rest is short enough to stop for. */
CO bool passes_send_live(Outgoing *o, GError **err);
/* The last pass, of a guest that stands still. */
CO bool passes_send_rest(Outgoing *o, GError **err);
/* The same, but it only begins: what is pending is sent by passes_send_wanted. */
CO void passes_begin_postcopy(Outgoing *o);
/* Sends all that is pending, what the target waits for first. */
CO bool passes_send_wanted(Outgoing *o, GError **err);
/* Brings the figures up to date. */
void passes_note_progress(Outgoing *o);

#endif
