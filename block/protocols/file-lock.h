/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Image locks: byte ranges of the image file, shared with the reference programs.
 *
 * For each Access bit i, byte 100 + i is read-locked by who needs that access, byte 200 + i by who
 * does not share it. Whoever finds the opposite byte locked by another open file may not go on.
 * See docs/spec/locks.md.
 */
#ifndef BLOCK_PROTOCOLS_FILE_LOCK_H
#define BLOCK_PROTOCOLS_FILE_LOCK_H

#include <glib.h>
#include <stdbool.h>

/* Access bits held through one open file. */
typedef struct {
    unsigned needs;
    unsigned unshared;
} FileLock;

/*
 * Takes what is new in @needs and @unshared, checks for conflicts, then gives up the rest of @held.
 * On failure @held is as before and @err names the kind of access (EAGAIN). @name for messages.
 */
bool file_lock_change(int fd, FileLock *held, unsigned needs, unsigned unshared, const char *name,
                      GError **err);

/* Takes for @fd, opened for the same file, what @held says another descriptor of ours holds. */
bool file_lock_copy(int fd, const FileLock *held, const char *name, GError **err);

/*
 * Gives up all locks of the open file that @fd is. Closing alone does so too, but only when the
 * kernel has done with the last request, which may be after close(2) has returned.
 */
void file_lock_drop(int fd);

/* False if files of this kind cannot be locked (some network file systems). */
bool file_lock_is_supported(int fd);

#endif
