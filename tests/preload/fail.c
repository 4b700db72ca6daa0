/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preloaded into a program: makes its Nth call of one kind fail.
 *
 * FAIL_CALL names the function, FAIL_NTH counts from 1 (0: none fails), FAIL_ERRNO is what it fails
 * with. The number of calls seen is written to the file FAIL_COUNT names when the program exits.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_int seen;

/* True if this call of @name is the one to fail; errno is set then. */
static int fails(const char *name)
{
    const char *call = getenv("FAIL_CALL"), *nth = getenv("FAIL_NTH"), *e = getenv("FAIL_ERRNO");

    if (!call || strcmp(call, name))
        return 0;
    if (atomic_fetch_add(&seen, 1) + 1 != (nth ? atoi(nth) : 0))
        return 0;
    errno = e ? atoi(e) : EIO;
    return 1;
}

__attribute__((destructor)) static void report(void)
{
    const char *path = getenv("FAIL_COUNT");
    FILE *f = path ? fopen(path, "w") : NULL;

    if (f) {
        fprintf(f, "%d\n", atomic_load(&seen));
        fclose(f);
    }
}

#define WRAP(type, name, params, args)                                                             \
    type name params;                                                                              \
    type name params                                                                               \
    {                                                                                              \
        static type(*real) params;                                                                 \
                                                                                                   \
        if (!real)                                                                                 \
            real = (type(*) params)dlsym(RTLD_NEXT, #name);                                        \
        return fails(#name) ? (type)-1 : real args;                                                \
    }

WRAP(ssize_t, preadv, (int fd, const struct iovec *v, int n, off_t o), (fd, v, n, o))
WRAP(ssize_t, preadv64, (int fd, const struct iovec *v, int n, off64_t o), (fd, v, n, o))
WRAP(ssize_t, pwritev, (int fd, const struct iovec *v, int n, off_t o), (fd, v, n, o))
WRAP(ssize_t, pwritev64, (int fd, const struct iovec *v, int n, off64_t o), (fd, v, n, o))
WRAP(ssize_t, preadv2, (int fd, const struct iovec *v, int n, off_t o, int f), (fd, v, n, o, f))
WRAP(ssize_t, preadv64v2, (int fd, const struct iovec *v, int n, off64_t o, int f),
     (fd, v, n, o, f))
WRAP(ssize_t, pwritev2, (int fd, const struct iovec *v, int n, off_t o, int f), (fd, v, n, o, f))
WRAP(ssize_t, pwritev64v2, (int fd, const struct iovec *v, int n, off64_t o, int f),
     (fd, v, n, o, f))
WRAP(int, fdatasync, (int fd), (fd))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, ftruncate, (int fd, off_t len), (fd, len))
WRAP(int, ftruncate64, (int fd, off64_t len), (fd, len))
WRAP(int, fallocate, (int fd, int m, off_t o, off_t l), (fd, m, o, l))
WRAP(int, fallocate64, (int fd, int m, off64_t o, off64_t l), (fd, m, o, l))

/* Returns its error instead of setting errno. */
int posix_memalign(void **p, size_t align, size_t size)
{
    static int (*real)(void **, size_t, size_t);

    if (!real)
        real = (int (*)(void **, size_t, size_t))dlsym(RTLD_NEXT, "posix_memalign");
    /* Small ones are GLib's own, which ends the program when it has no memory. */
    return size > 8192 && fails("posix_memalign") ? ENOMEM : real(p, align, size);
}
