/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which program has an image locked, for people. */
#ifndef BLOCK_LOCK_HOLDER_H
#define BLOCK_LOCK_HOLDER_H

/*
 * Who else has @byte of file @fd locked: "qemu-nbd (process 4711)"; NULL if that cannot be seen, as
 * with programs of other users. Looks at all processes: for errors only. Caller frees.
 */
char *lock_holder(int fd, int byte);

#endif
