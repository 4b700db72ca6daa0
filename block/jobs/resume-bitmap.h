/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The persistent bitmap of a mirror with x-resume. Its name in the image is NAME.x-resume-TARGET,
 * where NAME is the user's and TARGET a hash of what is known of the target, so that no other one
 * is taken for it.
 */
#ifndef BLOCK_JOBS_RESUME_BITMAP_H
#define BLOCK_JOBS_RESUME_BITMAP_H

#include "block/dirty.h"

/*
 * The bitmap @name of @source for @target, busy from now on. If there is none one is made, with all
 * set, and *@is_new. NULL with @err: also if there is one for another target.
 */
CO DirtyBitmap *resume_bitmap_take(Node *source, const Node *target, const char *name,
                                   uint32_t granularity, bool *is_new, GError **err);

#endif
