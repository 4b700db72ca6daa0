/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Owner for a file descriptor: autofd int fd = open(...); closed on leaving scope, unless -1. */
#ifndef UTIL_FD_H
#define UTIL_FD_H

#include <unistd.h>

static inline void fd_cleanup(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

#define autofd __attribute__((cleanup(fd_cleanup)))

/* Hands @fd over: returns it and leaves -1. */
static inline int fd_steal(int *fd)
{
    int v = *fd;

    *fd = -1;
    return v;
}

#endif
