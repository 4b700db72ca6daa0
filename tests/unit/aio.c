/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System calls that wait. Each test of files runs in every mode, alone on the loop (AIO_AUTO then
 * makes the call directly) and with another coroutine present.
 */
#include "io/aio.h"
#include "io/co-lock.h"
#include "io/loop.h"
#include "tests/lib/harness.h"
#include "util/fd.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_temp(void)
{
    g_autofree char *path = test_path("file");
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    g_assert_cmpint(fd, >=, 0);
    return fd;
}

static ssize_t read_at(AioMode mode, int fd, void *buf, size_t len, uint64_t off)
{
    struct iovec iov = { buf, len };

    return aio_preadv(mode, fd, &iov, 1, off);
}

static ssize_t write_at(AioMode mode, int fd, const void *buf, size_t len, uint64_t off, int rwf)
{
    struct iovec iov = { (void *)buf, len };

    return aio_pwritev(mode, fd, &iov, 1, off, rwf);
}

static void sleep_long(void *arg)
{
    co_sleep(INT64_C(600) * 1000000000);
}

/* Runs @fn in each mode that exists here, alone and not. */
static void in_all_modes(void (*fn)(AioMode mode))
{
    for (int others = 0; others < 2; others++) {
        if (others)
            co_start(sleep_long, NULL);
        g_assert_true(loop_is_alone() == !others);
        fn(AIO_AUTO);
        fn(AIO_CACHED);
        fn(AIO_THREADS);
        if (loop_has_uring(NULL))
            fn(AIO_RING);
    }
}

static void read_write(AioMode mode)
{
    autofd int fd = open_temp();
    char in[10], out[] = "0123456789";

    g_assert_cmpint(write_at(mode, fd, out, 10, 100, 0), ==, 10);
    g_assert_cmpint(write_at(mode, fd, "AB", 2, 102, RWF_DSYNC), ==, 2);
    g_assert_cmpint(read_at(mode, fd, in, 10, 100), ==, 10);
    g_assert_cmpint(memcmp(in, "01AB456789", 10), ==, 0);
    g_assert_cmpint(read_at(mode, fd, in, 10, 50), ==, 10);
    g_assert_cmpint(in[0] | in[9], ==, 0);
    g_assert_cmpint(aio_fdatasync(mode, fd), ==, 0);
}

static void test_read_write(void)
{
    in_all_modes(read_write);
}

static void vectors(AioMode mode)
{
    autofd int fd = open_temp();
    char a[3], b[4], c[5];
    struct iovec out[] = { { (void *)"one", 3 }, { (void *)"", 0 }, { (void *)"twothree", 8 } };
    struct iovec in[] = { { a, 3 }, { b, 4 }, { c, 5 } };

    g_assert_cmpint(aio_pwritev(mode, fd, out, 3, 7, 0), ==, 11);
    g_assert_cmpint(aio_preadv(mode, fd, in, 3, 7), ==, 11);
    g_assert_cmpint(memcmp(a, "one", 3), ==, 0);
    g_assert_cmpint(memcmp(b, "twot", 4), ==, 0);
    g_assert_cmpint(memcmp(c, "hree", 4), ==, 0);
}

static void test_vectors(void)
{
    in_all_modes(vectors);
}

static void end_of_file(AioMode mode)
{
    autofd int fd = open_temp();
    char buf[100];

    g_assert_cmpint(write_at(mode, fd, "12345", 5, 0, 0), ==, 5);
    g_assert_cmpint(read_at(mode, fd, buf, 100, 2), ==, 3);
    g_assert_cmpint(read_at(mode, fd, buf, 100, 5), ==, 0);
    g_assert_cmpint(read_at(mode, fd, buf, 100, 1000000), ==, 0);
}

static void test_short_at_end(void)
{
    in_all_modes(end_of_file);
}

static void errors(AioMode mode)
{
    autofd int ro = open("/dev/null", O_RDONLY | O_CLOEXEC);
    autofd int dir = open("/", O_RDONLY | O_CLOEXEC);
    autofd int full = open("/dev/full", O_RDWR | O_CLOEXEC);
    autofd int fd = open_temp();
    char c = 0;

    g_assert_cmpint(read_at(mode, -1, &c, 1, 0), ==, -EBADF);
    g_assert_cmpint(write_at(mode, ro, &c, 1, 0, 0), ==, -EBADF);
    g_assert_cmpint(read_at(mode, dir, &c, 1, 0), ==, -EISDIR);
    g_assert_cmpint(write_at(mode, full, &c, 1, 0, 0), ==, -ENOSPC);
    g_assert_cmpint(aio_fdatasync(mode, -1), ==, -EBADF);
    g_assert_cmpint(aio_fallocate(mode, -1, 0, 0, 1), ==, -EBADF);
    g_assert_cmpint(aio_fallocate(mode, fd, 0, 0, 0), ==, -EINVAL);
    g_assert_cmpint(read_at(mode, fd, &c, 1, UINT64_MAX), ==, -EINVAL);
    g_assert_cmpint(write_at(mode, fd, &c, 1, UINT64_MAX - 1, 0), ==, -EINVAL);
    g_assert_cmpint(aio_fallocate(mode, fd, 0, 0, UINT64_MAX), ==, -EINVAL);
    /* A wrong address is reported by valgrind too, as it should be. */
    if (!test_is_slowed())
        g_assert_cmpint(write_at(mode, fd, (void *)16, 1, 0, 0), ==, -EFAULT);
}

static void test_errors(void)
{
    in_all_modes(errors);
}

static void allocate(AioMode mode)
{
    autofd int fd = open_temp();
    struct stat st;
    char buf[8192];
    int r = aio_fallocate(mode, fd, 0, 0, 65536);

    if (r == -EOPNOTSUPP)
        test_skip("no fallocate here");
    g_assert_cmpint(r, ==, 0);
    g_assert_cmpint(fstat(fd, &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, 65536);
    memset(buf, 'x', sizeof(buf));
    g_assert_cmpint(write_at(mode, fd, buf, 8192, 4096, 0), ==, 8192);
    r = aio_fallocate(mode, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096);
    g_assert_cmpint(r, ==, 0);
    g_assert_cmpint(read_at(mode, fd, buf, 8192, 4096), ==, 8192);
    g_assert_cmpint(buf[0], ==, 0);
    g_assert_cmpint(buf[4096], ==, 'x');
}

static void test_fallocate(void)
{
    in_all_modes(allocate);
}

typedef struct {
    int fd;
    unsigned index;
    AioMode mode;
} Block;

static void write_block(void *arg)
{
    Block *b = arg;
    char buf[512];

    memset(buf, b->index, sizeof(buf));
    g_assert_cmpint(write_at(b->mode, b->fd, buf, 512, b->index * 512, 0), ==, 512);
    memset(buf, 0, sizeof(buf));
    g_assert_cmpint(read_at(b->mode, b->fd, buf, 512, b->index * 512), ==, 512);
    for (int i = 0; i < 512; i++)
        g_assert_cmpint(buf[i], ==, (char)b->index);
}

/* More requests than the ring has entries, all at once. */
static void many(AioMode mode)
{
    autofd int fd = open_temp();
    unsigned n = test_is_slowed() ? 150 : mode == AIO_THREADS ? 300 : 2000;
    g_autofree Block *b = g_new(Block, n);
    CoGroup g = {};

    for (unsigned i = 0; i < n; i++) {
        b[i] = (Block){ fd, i, mode };
        co_group_start(&g, write_block, &b[i]);
    }
    co_group_wait(&g);
}

static void test_many_at_once(void)
{
    in_all_modes(many);
}

static void test_many_in_small_batches(void)
{
    loop_limit_batch(0);
    loop_limit_batch(3);
    loop_limit_batch(100);
    in_all_modes(many);
}

static void test_forbidden_ring(void)
{
    const char *why = NULL;

    g_unsetenv("FERRY_LOOP");
    loop_forbid_uring();
    g_assert_false(loop_has_uring(&why));
    g_assert_nonnull(why);
    co_start(sleep_long, NULL);
    read_write(AIO_AUTO);
    end_of_file(AIO_AUTO);
}

/* ---- poll ------------------------------------------------------------------------------------ */

static int64_t in_ms(int ms)
{
    return clock_now_ns() + ms * INT64_C(1000000);
}

/* From now on this process cannot start threads, nor the kernel for it. */
static void forbid_threads(void)
{
    const struct rlimit none = { 0, 0 };

    if (getuid() == 0)
        g_assert_cmpint(setresuid(65534, 65534, 65534), ==, 0);
    g_assert_cmpint(setrlimit(RLIMIT_NPROC, &none), ==, 0);
}

static void without_threads(AioMode mode)
{
    autofd int fd = memfd_create("test", MFD_CLOEXEC);
    char c = 'x';

    g_assert_cmpint(aio_fallocate(mode, fd, 0, 0, 4096), ==, 0);
    g_assert_cmpint(write_at(mode, fd, &c, 1, 4096, RWF_DSYNC), ==, 1);
    g_assert_cmpint(aio_fdatasync(mode, fd), ==, 0);
    g_assert_cmpint(read_at(mode, fd, &c, 1, 0), ==, 1);
    g_assert_cmpint(c, ==, 0);
}

/* What a ring or the pool would give to a thread is done all the same. */
static void test_threads_refused(void)
{
    forbid_threads();
    in_all_modes(without_threads);
    _exit(0); /* before a search for leaks, which would want a thread, too */
}

static void test_poll_ready(void)
{
    int p[2];

    g_assert_cmpint(pipe2(p, O_CLOEXEC), ==, 0);
    g_assert_cmpint(aio_poll(p[1], POLLOUT, 0), ==, POLLOUT);
    g_assert_cmpint(write(p[1], "x", 1), ==, 1);
    g_assert_cmpint(aio_poll(p[0], POLLIN, 0), ==, POLLIN);
    close(p[1]);
    g_assert_cmpint(aio_poll(p[0], POLLIN, 0) & (POLLIN | POLLHUP), ==, POLLIN | POLLHUP);
    close(p[0]);
    g_assert_cmpint(aio_poll(-1, POLLIN, 0), ==, -EBADF);
}

static void test_poll_times_out(void)
{
    int p[2];
    int64_t began = clock_now_ns();

    g_assert_cmpint(pipe2(p, O_CLOEXEC), ==, 0);
    g_assert_cmpint(aio_poll(p[0], POLLIN, in_ms(20)), ==, -ETIMEDOUT);
    g_assert_cmpint(clock_now_ns() - began, >=, 20 * 1000 * 1000);
    g_assert_cmpint(aio_poll(p[0], POLLIN, 1), ==, -ETIMEDOUT);
    g_assert_cmpint(write(p[1], "x", 1), ==, 1);
    g_assert_cmpint(aio_poll(p[0], POLLIN, in_ms(10000)), ==, POLLIN);
    close(p[0]);
    close(p[1]);
}

static void test_poll_file_is_ready(void)
{
    autofd int fd = open_temp();

    g_assert_cmpint(aio_poll(fd, POLLIN, 0) & POLLIN, ==, POLLIN);
    g_assert_cmpint(aio_poll(fd, POLLOUT, 0) & POLLOUT, ==, POLLOUT);
}

typedef struct {
    int fd, events, result;
} Poller;

static void poll_one(void *arg)
{
    Poller *p = arg;

    p->result = aio_poll(p->fd, p->events, in_ms(30000));
}

/* A reader and a writer wait for one socket; each is woken by its own event. */
static void test_poll_both_directions(void)
{
    int s[2], type = AF_UNIX;
    char buf[4096] = "";
    Poller in = { .events = POLLIN }, out = { .events = POLLOUT };
    CoGroup g = {};

    g_assert_cmpint(socketpair(type, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, s), ==, 0);
    in.fd = out.fd = s[0];
    while (write(s[0], buf, sizeof(buf)) > 0)
        ;
    co_group_start(&g, poll_one, &in);
    co_group_start(&g, poll_one, &out);
    co_sleep(10000000);
    g_assert_cmpint(in.result, ==, 0);
    g_assert_cmpint(out.result, ==, 0);
    while (read(s[1], buf, sizeof(buf)) > 0)
        ;
    co_sleep(10000000);
    g_assert_cmpint(in.result, ==, 0);
    g_assert_cmpint(out.result, ==, POLLOUT);
    g_assert_cmpint(write(s[1], "x", 1), ==, 1);
    co_group_wait(&g);
    g_assert_cmpint(in.result, ==, POLLIN);
    close(s[0]);
    close(s[1]);
}

/* The number of a closed descriptor stands for another file the next time. */
static void test_poll_reused_number(void)
{
    for (int i = 0; i < 3; i++) {
        int p[2];

        g_assert_cmpint(pipe2(p, O_CLOEXEC), ==, 0);
        g_assert_cmpint(aio_poll(p[0], POLLIN, in_ms(2)), ==, -ETIMEDOUT);
        g_assert_cmpint(write(p[1], "x", 1), ==, 1);
        g_assert_cmpint(aio_poll(p[0], POLLIN, in_ms(10000)), ==, POLLIN);
        close(p[0]);
        close(p[1]);
    }
}

const Test tests[] = {
    { "/aio/read-write", test_read_write },
    { "/aio/vectors", test_vectors },
    { "/aio/short-at-end", test_short_at_end },
    { "/aio/errors", test_errors },
    { "/aio/fallocate", test_fallocate },
    { "/aio/many-at-once", test_many_at_once },
    { "/aio/many-in-small-batches", test_many_in_small_batches },
    { "/aio/threads-refused", test_threads_refused },
    { "/aio/forbidden-ring", test_forbidden_ring },
    { "/aio/poll/ready", test_poll_ready },
    { "/aio/poll/times-out", test_poll_times_out },
    { "/aio/poll/file-is-ready", test_poll_file_is_ready },
    { "/aio/poll/both-directions", test_poll_both_directions },
    { "/aio/poll/reused-number", test_poll_reused_number },
    {}
};
