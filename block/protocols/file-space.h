/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Space of regular files: making, growing, cutting and copying them. */
#ifndef BLOCK_PROTOCOLS_FILE_SPACE_H
#define BLOCK_PROTOCOLS_FILE_SPACE_H

#include "block/block.h"

/* Changes the size of @fd from @old to @size bytes; new space as @prealloc says. On failure the
 * size is @old again. @name for messages. Runs what may take long in the pool. */
CO bool file_space_resize(int fd, const char *name, uint64_t old, uint64_t size, Prealloc prealloc,
                          GError **err);

/* Makes (or empties) @filename under the image lock, with size, preallocation, nocow and
 * extent_size_hint from @opts. A file made by a call that fails is removed again. */
CO bool file_space_create(const char *filename, json_t *opts, GError **err);

/*
 * copy_file_range of exactly @len bytes in the pool; -ENOTSUP if these files cannot. @share: the
 * files share the space afterwards (FICLONERANGE); -EINVAL if just this range cannot be shared.
 */
CO int file_space_copy(int from, uint64_t from_off, int to, uint64_t to_off, uint64_t len,
                       bool share);

#endif
