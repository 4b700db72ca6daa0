/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The receiving side of a migration. */
#ifndef MIGRATION_TARGET_H
#define MIGRATION_TARGET_H

#include "migration/input.h"
#include "migration/section.h"
#include "migration/stages.h"

/*
 * Reads a stream into @ram and @sections (of MigSection *) of machine @machine, which stands still.
 * @uuid: which the guest's has to be, if it comes; NULL: any.
 * @stages, unless NULL, takes the time that devices need.
 * @reply sends to the source, where that listens (NULL: it does not). False with @err: the guest must
 * not run, whatever has come.
 */
CO bool target_read(Input *in, const char *machine, const uint8_t *uuid, RamBlocks *ram,
                    const GPtrArray *sections,
                    CO int (*reply)(void *opaque, const void *buf, size_t len), void *opaque,
                    Stages *stages, GError **err);

#endif
