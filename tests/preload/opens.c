/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Preloaded into a program: every name it opens is written to the file OPENS_LOG, one a line. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int Open(const char *path, int flags, ...);
typedef int OpenAt(int dir, const char *path, int flags, ...);

static void tell(const char *path)
{
    const char *log = getenv("OPENS_LOG");
    Open *real = (Open *)dlsym(RTLD_NEXT, "open64");
    int fd = log ? real(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;

    if (fd < 0)
        return;
    dprintf(fd, "%s\n", path);
    close(fd);
}

#define WRAP_OPEN(name)                                                                            \
    int name(const char *path, int flags, ...);                                                    \
    int name(const char *path, int flags, ...)                                                     \
    {                                                                                              \
        va_list ap;                                                                                \
        int mode;                                                                                  \
                                                                                                   \
        va_start(ap, flags);                                                                       \
        mode = va_arg(ap, int);                                                                    \
        va_end(ap);                                                                                \
        tell(path);                                                                                \
        return ((Open *)dlsym(RTLD_NEXT, #name))(path, flags, mode);                               \
    }

#define WRAP_OPENAT(name)                                                                          \
    int name(int dir, const char *path, int flags, ...);                                           \
    int name(int dir, const char *path, int flags, ...)                                            \
    {                                                                                              \
        va_list ap;                                                                                \
        int mode;                                                                                  \
                                                                                                   \
        va_start(ap, flags);                                                                       \
        mode = va_arg(ap, int);                                                                    \
        va_end(ap);                                                                                \
        tell(path);                                                                                \
        return ((OpenAt *)dlsym(RTLD_NEXT, #name))(dir, path, flags, mode);                        \
    }

WRAP_OPEN(open)
WRAP_OPEN(open64)
WRAP_OPENAT(openat)
WRAP_OPENAT(openat64)
