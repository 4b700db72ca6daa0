/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -drive: images that a device names by the id they were given. */
#ifndef SYSTEM_DRIVE_H
#define SYSTEM_DRIVE_H

#include "block/block.h"

/* Opens what @text, the value of -drive, says. */
CO bool drive_add(const char *text, GError **err);
/* Closes all. False if the last data could not be written. */
CO bool drives_close(void);

#endif
