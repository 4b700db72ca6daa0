/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptors that a client has given to this process: by name, to be used once, or in numbered
 * sets, in which each open of /dev/fdset/NUMBER finds one with the right access. Main loop only.
 */
#ifndef UTIL_GIVEN_FD_H
#define UTIL_GIVEN_FD_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* @fd is kept under @name, in the place of an older one. */
void named_fd_put(const char *name, int fd);
/* The descriptor kept under @name, which stays there; -1: there is none. */
int named_fd_find(const char *name);
/* Takes the descriptor kept under @name, now the caller's; -1: there is none. */
int named_fd_take(const char *name);

typedef struct {
    int fd;
    char *opaque;   /* what the client said about it; NULL: nothing */
} FdSetMember;

/* A set and its members. */
typedef struct {
    int64_t id;
    GArray *members; /* of FdSetMember */
} FdSet;

/* Keeps @fd in set @id, or in a new one with the least free number if that is negative. */
FdSet *fdset_add(int64_t id, int fd, const char *opaque);
/* Closes member @fd of set @id, or all (@fd negative); false: there is none such. */
bool fdset_remove(int64_t id, int fd);
/* In falling order of their ids; NULL behind the last. */
const FdSet *fdset_at(unsigned i);

/*
 * As open for names of files; /dev/fdset/NUMBER is a duplicate of a member. A descriptor that is
 * closed on exec, or -1 with errno set.
 */
int fdset_open(const char *path, int flags);

/* Closes all. */
void given_fds_close(void);

#endif
