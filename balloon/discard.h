/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether memory of the guest may be discarded. Code that relies on its pages staying where they
 * are, such as a host device that has pinned them, holds a denial for as long as it does.
 *
 * Holds are taken and released on the main loop, without the machine's lock.
 */
#ifndef BALLOON_DISCARD_H
#define BALLOON_DISCARD_H

#include "util/hold.h"

/* Denies discarding until discard_allow. Never fails. */
Hold *discard_deny(const char *owner, const char *reason);
void discard_allow(Hold *h);

/*
 * Any thread, with the machine's lock: discarding is denied now, and stays so while the lock is
 * held.
 */
bool discard_is_denied(void);
/* All denials, the oldest first. Main loop. */
const GQueue *discard_denials(void);

/*
 * @fn is called when the first denial has been taken (@denied) and when the last has gone. One
 * listener only; NULL: none. Main loop, without the lock.
 */
void discard_hear(void (*fn)(void *opaque, bool denied), void *opaque);

#endif
