/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a source sends besides for postcopy: docs/spec/migration-stream.md. */
#ifndef MIGRATION_POSTCOPY_SOURCE_H
#define MIGRATION_POSTCOPY_SOURCE_H

#include "migration/source.h"

/* Postcopy may follow. After source_open_return_path, before all memory. */
CO void postcopy_source_advise(MigSource *s);
/* The target answers RETURN_PONG with @value when it has all that came before. */
CO void postcopy_source_ping(MigSource *s, uint32_t value);
/* The target shall forget what it has of pending pages. */
CO void postcopy_source_discard(MigSource *s);
/*
 * What the package consists of: devices, of MigSection *, with the commands that start the guest.
 */
CO int postcopy_source_put_package(MigSource *s, const GPtrArray *sections);
/* A package of @len bytes follows. */
CO int postcopy_source_announce_package(MigSource *s, uint32_t len);
/* ---- with another connection, after the first has broken ------------------------------------- */

/* Nothing of it is known yet: asks what the target has of @b. 0 or a negative errno. */
CO int postcopy_source_ask_received(MigSource *s, const RamBlock *b);
/*
 * The target has the pages of block number @n in @map, as of return_map_read: the others are
 * pending.
 */
void postcopy_source_set_received(MigSource *s, guint n, const uint8_t *map);
/* The rest of memory follows. 0 or a negative errno. */
CO int postcopy_source_resume(MigSource *s);

/* ---------------------------------------------------------------------------------------------- */

/* Everything has been sent. 0 or the first error of all. */
CO int postcopy_source_end(MigSource *s);

#endif
