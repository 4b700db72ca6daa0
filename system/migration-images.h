/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest's images belong to one end of a migration at a time. Main loop only. */
#ifndef SYSTEM_MIGRATION_IMAGES_H
#define SYSTEM_MIGRATION_IMAGES_H

#include "util/err.h"
#include "io/co.h"

/* False: they were left to the other end. */
bool migration_images_are_ours(void);
/* They are the other end's; those that are opened from now on are neither locked nor written. */
void migration_images_await(void);
/* Leaves them to the other end. False with @err: nothing has changed. */
CO bool migration_images_leave(GError **err);
/* Takes them (back), as the other end has left them. False with @err: nothing has changed. */
CO bool migration_images_take(GError **err);
/*
 * For an end that may not be orderly: what images keep in memory is stored, and they are used no
 * more. One that cannot be stored is complained of and does not keep the others from it.
 */
CO void migration_images_store(void);

#endif
