/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preloaded into a program: makes its Nth call of one kind fail.
 *
 * FAIL_CALL names the function, or "any" for every system call below, or "change" for those that
 * change a file or make that durable, or "memory" for every allocation of FAIL_SIZE bytes and more
 * (32 KiB; smaller ones are GLib's own, which ends the program when it has no memory). FAIL_NTH
 * counts from 1 (0: none fails), FAIL_ERRNO is what it fails with, or "kill": the program ends
 * there and then; FAIL_TELL says so. The number of calls seen is written to the file FAIL_COUNT
 * names when the program exits.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct io_uring;
struct io_uring_params;

static atomic_int seen;

static bool has_word(const char *words, const char *word)
{
    size_t len = strlen(word);

    for (const char *p = words; len && (p = strstr(p, word)); p += len)
        if ((p == words || p[-1] == ' ') && (!p[len] || p[len] == ' '))
            return true;
    return false;
}

/* True if this call, one of @kinds and named @name, is the one to fail; errno is set then. */
static int fails(const char *kinds, const char *name)
{
    const char *call = getenv("FAIL_CALL"), *nth = getenv("FAIL_NTH"), *e = getenv("FAIL_ERRNO");

    if (!call || (strcmp(call, name) && !has_word(kinds, call)))
        return 0;
    if (atomic_fetch_add(&seen, 1) + 1 != (nth ? atoi(nth) : 0))
        return 0;
    if (getenv("FAIL_TELL"))
        fprintf(stderr, "%s fails\n", name);
    if (e && !strcmp(e, "kill"))
        kill(getpid(), SIGKILL);
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

/* ---- system calls --------------------------------------------------------------------------- */

#define REAL(type, name, params)                                                                   \
    static type(*real) params;                                                                     \
    if (!real)                                                                                     \
        real = (type(*) params)dlsym(RTLD_NEXT, #name)

/* @failed: what a call that fails returns. */
#define WRAP_KIND(type, name, params, args, failed, kinds)                                         \
    type name params;                                                                              \
    type name params                                                                               \
    {                                                                                              \
        REAL(type, name, params);                                                                  \
        return fails(kinds, #name) ? (failed) : real args;                                         \
    }
#define WRAP_AS(type, name, params, args, failed) WRAP_KIND(type, name, params, args, failed, "any")
#define WRAP(type, name, params, args) WRAP_KIND(type, name, params, args, (type)-1, "any")
#define WRAP_CHANGE(type, name, params, args)                                                      \
    WRAP_KIND(type, name, params, args, (type)-1, "any change")

WRAP(ssize_t, preadv, (int fd, const struct iovec *v, int n, off_t o), (fd, v, n, o))
WRAP(ssize_t, preadv64, (int fd, const struct iovec *v, int n, off64_t o), (fd, v, n, o))
WRAP_CHANGE(ssize_t, pwritev, (int fd, const struct iovec *v, int n, off_t o), (fd, v, n, o))
WRAP_CHANGE(ssize_t, pwritev64, (int fd, const struct iovec *v, int n, off64_t o), (fd, v, n, o))
WRAP(ssize_t, preadv2, (int fd, const struct iovec *v, int n, off_t o, int f), (fd, v, n, o, f))
WRAP(ssize_t, preadv64v2, (int fd, const struct iovec *v, int n, off64_t o, int f),
     (fd, v, n, o, f))
WRAP_CHANGE(ssize_t, pwritev2, (int fd, const struct iovec *v, int n, off_t o, int f),
            (fd, v, n, o, f))
WRAP_CHANGE(ssize_t, pwritev64v2, (int fd, const struct iovec *v, int n, off64_t o, int f),
            (fd, v, n, o, f))
WRAP_CHANGE(ssize_t, pwrite64, (int fd, const void *b, size_t n, off64_t o), (fd, b, n, o))
WRAP(ssize_t, pread64, (int fd, void *b, size_t n, off64_t o), (fd, b, n, o))
WRAP_CHANGE(ssize_t, copy_file_range,
            (int i, off64_t *io, int o, off64_t *oo, size_t n, unsigned f), (i, io, o, oo, n, f))
WRAP_CHANGE(int, fdatasync, (int fd), (fd))
WRAP_CHANGE(int, fsync, (int fd), (fd))
WRAP_CHANGE(int, ftruncate, (int fd, off_t len), (fd, len))
WRAP_CHANGE(int, ftruncate64, (int fd, off64_t len), (fd, len))
WRAP_CHANGE(int, fallocate, (int fd, int m, off_t o, off_t l), (fd, m, o, l))
WRAP_CHANGE(int, fallocate64, (int fd, int m, off64_t o, off64_t l), (fd, m, o, l))
WRAP(int, fstat64, (int fd, struct stat64 *st), (fd, st))
WRAP(int, stat64, (const char *path, struct stat64 *st), (path, st))
WRAP(off64_t, lseek64, (int fd, off64_t o, int w), (fd, o, w))
WRAP(int, eventfd, (unsigned n, int f), (n, f))
WRAP(int, epoll_create1, (int f), (f))
WRAP_AS(int, posix_fallocate64, (int fd, off64_t o, off64_t l), (fd, o, l), errno)
WRAP_AS(int, pthread_create,
        (pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg), (t, a, fn, arg),
        errno)
WRAP_AS(int, io_uring_queue_init_params,
        (unsigned n, struct io_uring *r, struct io_uring_params *p), (n, r, p), -errno)

/* "open_direct" is opening for direct access: what some file systems refuse. */
int open64(const char *path, int flags, ...)
{
    const char *call = getenv("FAIL_CALL");
    bool direct = call && !strcmp(call, "open_direct");
    va_list ap;
    mode_t mode;

    REAL(int, open64, (const char *, int, ...));
    va_start(ap, flags);
    mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    if (direct ? flags & O_DIRECT && fails("open_direct", "open64") : fails("any", "open64"))
        return -1;
    return real(path, flags, mode);
}

/* The one argument behind @last, whatever it is, passed on. */
#define WRAP_VARIADIC(name, params, ...)                                                           \
    int name params;                                                                               \
    int name params                                                                                \
    {                                                                                              \
        va_list ap;                                                                                \
        void *more;                                                                                \
                                                                                                   \
        REAL(int, name, params);                                                                   \
        va_start(ap, last);                                                                        \
        more = va_arg(ap, void *);                                                                 \
        va_end(ap);                                                                                \
        return fails("any", #name) ? -1 : real(__VA_ARGS__, more);                                 \
    }

WRAP_VARIADIC(openat64, (int dir, const char *path, int last, ...), dir, path, last)
WRAP_VARIADIC(fcntl64, (int fd, int last, ...), fd, last)
WRAP_VARIADIC(ioctl, (int fd, unsigned long last, ...), fd, last)

/* ---- memory --------------------------------------------------------------------------------- */

/* The C library's, or in their place those of the address sanitizer. */
#define ALLOCATOR(type, name, params, args)                                                        \
    type __libc_##name params;                                                                     \
    type __interceptor_##name params __attribute__((weak));                                        \
    static type real_##name params                                                                 \
    {                                                                                              \
        return __interceptor_##name ? __interceptor_##name args : __libc_##name args;              \
    }

ALLOCATOR(void *, malloc, (size_t size), (size))
ALLOCATOR(void *, calloc, (size_t n, size_t size), (n, size))
ALLOCATOR(void *, realloc, (void *p, size_t size), (p, size))
ALLOCATOR(void *, memalign, (size_t align, size_t size), (align, size))

static int memory_fails(size_t size)
{
    const char *least = size >= 512 ? getenv("FAIL_SIZE") : NULL;

    if (size < (least ? (size_t)atol(least) : 32 << 10) || !fails("memory", "memory"))
        return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size)
{
    return memory_fails(size) ? NULL : real_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return (!size || n <= SIZE_MAX / size) && memory_fails(n * size) ? NULL : real_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
    return memory_fails(size) ? NULL : real_realloc(p, size);
}

int posix_memalign(void **p, size_t align, size_t size)
{
    *p = memory_fails(size) ? NULL : real_memalign(align, size);
    return *p ? 0 : ENOMEM;
}
