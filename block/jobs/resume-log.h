/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a mirror has still to copy, kept in the image it copies, so that after a crash or a broken
 * connection another mirror to the same target can go on (x-resume).
 *
 * What is stored always covers each granule in which source and target may differ, even if the
 * power fails now. So a granule is stored before a user's write to it begins, and it is left out
 * only when what was read from the source and what was written to the target is durable. A stored
 * granule too many costs a copy, one too few would be a lost write.
 */
#ifndef BLOCK_JOBS_RESUME_LOG_H
#define BLOCK_JOBS_RESUME_LOG_H

#include "block/jobs/copy.h"

typedef struct ResumeLog ResumeLog;

/* For @b of @n, which stays until the log is freed, and for @c, which copies what @b marks. */
ResumeLog *resume_log_new(Node *n, DirtyBitmap *b, Copy *c);
/*
 * Looks whether the target has, here and there, what the bitmap does not mark. Then stores what is
 * to be copied, and starts a coroutine that stores it again from time to time. False with @err: it
 * has not, or the first store failed, and the image does not claim to know what is to be copied.
 */
CO bool resume_log_start(ResumeLog *l, GError **err);
/* Around each change by a user: waits until the range is stored. */
CO void resume_log_enter(ResumeLog *l, uint64_t off, uint64_t len);
void resume_log_leave(ResumeLog *l);
/*
 * Call when users' changes will no longer be announced to the log. The stored bitmap becomes
 * inconsistent; the bitmap in memory then marks everything that may not be durable in the target.
 */
CO void resume_log_end(ResumeLog *l);
/* After resume_log_end, with nobody inside. NULL is fine. */
void resume_log_free(ResumeLog *l);

#endif
