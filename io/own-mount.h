/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files that this process shows itself, by FUSE. Whatever asks the kernel about one of them waits
 * for our own loop, so the loop must not ask: names are looked at here first.
 */
#ifndef IO_OWN_MOUNT_H
#define IO_OWN_MOUNT_H

#include <stdbool.h>

/* From now on, until own_mount_remove, what is mounted at @path is a file of ours. Main loop. */
void own_mount_add(const char *path);
void own_mount_remove(const char *path);
/*
 * True if @path, which may be a link, means such a file. Does not wait for the file system it is
 * on. Any loop, while no mount comes or goes.
 */
bool own_mount_has(const char *path);

#endif
