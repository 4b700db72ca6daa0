/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How much data a walk over an image may find. Tables of a hostile image refer to the same clusters
 * again and again, and reading it all would take for ever; a sound image has about as much data as
 * its files are long, and even one in which equal clusters are shared is far from the limit here.
 * Compressed clusters count apart, since a few bytes of them may be a lot of data: there may be as
 * much as the files could become if no byte of them was used twice. Inflating is slow, so they are
 * looked at from end to end as soon as some have come.
 */
#ifndef QEMU_IMG_PLAUSIBLE_H
#define QEMU_IMG_PLAUSIBLE_H

#include "block/block.h"

/* Zeroed at the start of a walk. */
typedef struct {
    uint64_t found, limit;  /* bytes; limit 0: not looked at yet */
    uint64_t compressed;    /* bytes found */
    bool looked;            /* the whole image has been looked at */
} Plausible;

/* Counts @e, the next extent of @top and its backing chain: 0, or -EUCLEAN when it is too much. */
CO int plausible_add(Plausible *p, Node *top, const Extent *e);

#endif
