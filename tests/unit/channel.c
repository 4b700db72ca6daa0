/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Channels: partial transfers, the end, shutting down under somebody who waits. */
#include "io/channel.h"
#include "io/co-lock.h"
#include "io/loop.h"
#include "tests/lib/harness.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    Channel *a, *b;
} Pair;

static Pair socket_pair(void)
{
    int s[2], type = AF_UNIX;

    g_assert_cmpint(socketpair(type, SOCK_STREAM | SOCK_CLOEXEC, 0, s), ==, 0);
    return (Pair){ channel_new_socket(s[0]), channel_new_socket(s[1]) };
}

static Pair pipe_pair(void)
{
    int p[2];

    g_assert_cmpint(pipe(p), ==, 0);
    return (Pair){ channel_new_fd(p[0]), channel_new_fd(p[1]) };
}

static void test_read_returns_what_is_there(void)
{
    Pair p = socket_pair();
    char buf[100];

    g_assert_cmpint(channel_write_all(p.a, "hello", 5), ==, 0);
    g_assert_cmpint(channel_read(p.b, buf, 3), ==, 3);
    g_assert_cmpint(channel_read(p.b, buf, 100), ==, 2);
    g_assert_cmpint(memcmp(buf, "lo", 2), ==, 0);
    channel_free(p.a);
    channel_free(p.b);
}

enum { BIG = 3 * 1000 * 1000 + 7 };

typedef struct {
    Channel *c;
    int result;
    size_t step;
} Transfer;

static char byte_at(size_t i)
{
    return i * 31 + i / 251;
}

/* Sends BIG bytes as vectors of odd sizes, more of them than fit in one system call. */
static void send_big(void *arg)
{
    Transfer *t = arg;
    g_autofree char *data = g_malloc(BIG);
    g_autofree struct iovec *iov = g_new(struct iovec, BIG / 1001 + 2);
    int niov = 0;

    for (size_t i = 0; i < BIG; i++)
        data[i] = byte_at(i);
    for (size_t off = 0; off < BIG; off += 1001)
        iov[niov++] = (struct iovec){ data + off, MIN(1001, BIG - off) };
    iov[niov++] = (struct iovec){ data, 0 };
    t->result = channel_writev_all(t->c, iov, niov);
    channel_free(t->c);
}

static void receive_big(Channel *c)
{
    g_autofree char *data = g_malloc(BIG);
    char more;

    g_assert_cmpint(channel_read_all(c, data, BIG), ==, 0);
    for (size_t i = 0; i < BIG; i++)
        g_assert_true(data[i] == byte_at(i));
    g_assert_cmpint(channel_read(c, &more, 1), ==, 0);
    channel_free(c);
}

static void test_large_socket(void)
{
    Pair p = socket_pair();
    Transfer t = { .c = p.a, .result = -1 };

    co_start(send_big, &t);
    receive_big(p.b);
    g_assert_cmpint(t.result, ==, 0);
}

static void test_large_pipe(void)
{
    Pair p = pipe_pair();
    Transfer t = { .c = p.b, .result = -1 };

    co_start(send_big, &t);
    receive_big(p.a);
    g_assert_cmpint(t.result, ==, 0);
}

static void test_end_between_and_inside(void)
{
    Pair p = socket_pair();
    char buf[10];

    g_assert_cmpint(channel_write_all(p.a, "12345678", 8), ==, 0);
    channel_free(p.a);
    g_assert_cmpint(channel_read_all(p.b, buf, 5), ==, 0);
    g_assert_cmpint(channel_read_all(p.b, buf, 5), ==, -EIO);
    g_assert_cmpint(channel_read_all(p.b, buf, 5), ==, -EPIPE);
    g_assert_cmpint(channel_read_all(p.b, buf, 0), ==, 0);
    g_assert_cmpint(channel_read(p.b, buf, 5), ==, 0);
    channel_free(p.b);
}

/* Without SIGPIPE, which would end the test. */
static void test_write_to_closed(void)
{
    Pair p = socket_pair();

    channel_free(p.b);
    g_assert_cmpint(channel_write_all(p.a, "x", 1), ==, -EPIPE);
    channel_free(p.a);
}

typedef struct {
    Channel *c;
    ssize_t n;
} Read;

static void read_some(void *arg)
{
    Read *r = arg;
    char buf[10];

    r->n = channel_read(r->c, buf, sizeof(buf));
}

static void write_much(void *arg)
{
    Read *r = arg;
    g_autofree char *data = g_malloc0(BIG);

    r->n = channel_write_all(r->c, data, BIG);
}

/* A reader and a writer that wait at the same time both end. */
static void shutdown_wakes(Channel *in, Channel *out)
{
    Read r = { in, 1 }, w = { out, 1 };
    CoGroup g = {};
    char c;

    co_group_start(&g, read_some, &r);
    co_group_start(&g, write_much, &w);
    co_sleep(5000000);
    g_assert_cmpuint(g.running, ==, 2);
    channel_shutdown(in);
    channel_shutdown(out);
    channel_shutdown(out);
    co_group_wait(&g);
    g_assert_cmpint(r.n, <=, 0);
    g_assert_cmpint(w.n, <, 0);
    g_assert_cmpint(channel_read(in, &c, 1), <=, 0);
    g_assert_cmpint(channel_write_all(out, "x", 1), <, 0);
}

static void test_shutdown_socket(void)
{
    Pair p = socket_pair();

    shutdown_wakes(p.a, p.a);
    channel_free(p.a);
    channel_free(p.b);
}

/* The other side of a socket learns of it too. */
static void test_shutdown_reaches_peer(void)
{
    Pair p = socket_pair();
    Read r = { p.b, 1 };
    CoGroup g = {};

    co_group_start(&g, read_some, &r);
    co_sleep(1000000);
    channel_shutdown(p.a);
    co_group_wait(&g);
    g_assert_cmpint(r.n, ==, 0);
    channel_free(p.a);
    channel_free(p.b);
}

static void test_shutdown_pipe(void)
{
    Pair in = pipe_pair(), out = pipe_pair();

    shutdown_wakes(in.a, out.b);
    channel_free(in.a);
    channel_free(in.b);
    channel_free(out.a);
    channel_free(out.b);
}

static void echo(void *arg)
{
    Channel *c = arg;
    char line[16];

    while (channel_read_all(c, line, sizeof(line)) == 0)
        g_assert_cmpint(channel_write_all(c, line, sizeof(line)), ==, 0);
}

static void test_ping_pong(void)
{
    Pair p = socket_pair();
    CoGroup g = {};

    co_group_start(&g, echo, p.b);
    for (int i = 0; i < 1000; i++) {
        char out[16] = "", in[16];

        g_snprintf(out, sizeof(out), "ping %d", i);
        g_assert_cmpint(channel_write_all(p.a, out, sizeof(out)), ==, 0);
        g_assert_cmpint(channel_read_all(p.a, in, sizeof(in)), ==, 0);
        g_assert_cmpint(memcmp(in, out, sizeof(in)), ==, 0);
    }
    channel_free(p.a);
    co_group_wait(&g);
    channel_free(p.b);
}

/* ---- what may come any moment ---------------------------------------------------------------- */

enum { MANY = 2000 };

/* A channel; what it is connected to is @far. */
static Channel *channel_to(int *far)
{
    int s[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), ==, 0);
    *far = s[1];
    return channel_new_socket(s[0]);
}

/* Sends one byte at a time, each as soon as the one before has come back. In a thread. */
static void *ask_quickly(void *arg)
{
    int fd = *(int *)arg;
    char byte = 0;

    for (int i = 0; i < MANY; i++)
        g_assert_true(write(fd, &byte, 1) == 1 && read(fd, &byte, 1) == 1);
    return NULL;
}

/* Answers @ask_quickly until the loop no longer sleeps in between; @c's other end is @far. */
static void answer_quickly(Channel *c, int far)
{
    pthread_t thread;
    char byte;

    g_assert_cmpint(pthread_create(&thread, NULL, ask_quickly, &far), ==, 0);
    for (int i = 0; i < MANY; i++) {
        g_assert_cmpint(channel_expect(c, 0), ==, 0);
        g_assert_cmpint(channel_read(c, &byte, 1), ==, 1);
        g_assert_cmpint(channel_write_all(c, &byte, 1), ==, 0);
    }
    pthread_join(thread, NULL);
}

static int64_t cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static void test_expecting_costs_nothing_when_idle(void)
{
    int far;
    Channel *c = channel_to(&far);
    int64_t before;

    answer_quickly(c, far);
    before = cpu_ns();
    for (int i = 0; i < 5; i++)
        g_assert_cmpint(channel_expect(c, clock_now_ns() + 100000000), ==, -ETIMEDOUT);
    g_assert_cmpint(cpu_ns() - before, <, 50000000);
    channel_free(c);
    close(far);
}

static void test_expecting_ends_at_the_deadline(void)
{
    int far;
    Channel *c = channel_to(&far);

    for (int us = 1; us < 100000; us *= 3) {
        int64_t deadline;

        answer_quickly(c, far);
        deadline = clock_now_ns() + us * INT64_C(1000);
        g_assert_cmpint(channel_expect(c, deadline), ==, -ETIMEDOUT);
        g_assert_cmpint(clock_now_ns(), >=, deadline);
    }
    channel_free(c);
    close(far);
}

typedef struct {
    Channel *c;
    Co *sleeper;
} Expectation;

static void expect_byte(void *arg)
{
    Expectation *x = arg;
    char byte;

    g_assert_cmpint(channel_expect(x->c, 0), ==, 0);
    g_assert_cmpint(channel_read(x->c, &byte, 1), ==, 1);
}

static void *wake_soon(void *arg)
{
    Expectation *x = arg;

    co_wake_from_thread(x->sleeper);
    return NULL;
}

/* What other threads hand over is not kept waiting by a loop that looks at its sockets. */
static void test_expecting_hears_other_threads(void)
{
    int far;
    Channel *c = channel_to(&far);

    for (int i = 0; i < 100; i++) {
        Expectation x = { c, co_self() };
        CoGroup g = {};
        pthread_t thread;

        if (i % 10 == 0)
            answer_quickly(c, far);
        co_group_start(&g, expect_byte, &x);
        g_assert_cmpint(pthread_create(&thread, NULL, wake_soon, &x), ==, 0);
        co_suspend();
        pthread_join(thread, NULL);
        g_assert_cmpint(write(far, "x", 1), ==, 1);
        co_group_wait(&g);
    }
    channel_free(c);
    close(far);
}

/* ---- descriptors ----------------------------------------------------------------------------- */

static bool is_same_file(int a, int b)
{
    struct stat x, y;

    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static unsigned open_fds(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void test_descriptors_go_both_ways(void)
{
    Pair p = socket_pair();
    int ends[2], fd;
    char buf[10];

    g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
    channel_accept_fds(p.a);
    channel_accept_fds(p.b);
    g_assert_cmpint(channel_take_fd(p.b), ==, -1);
    g_assert_cmpint(channel_write_fds(p.a, "ab", 2, ends, 2), ==, 0);
    g_assert_cmpint(channel_write_fds(p.b, "c", 1, ends, 1), ==, 0);
    g_assert_cmpint(channel_read_all(p.b, buf, 2), ==, 0);
    for (int i = 0; i < 2; i++) {
        fd = channel_take_fd(p.b);
        g_assert_true(fd != ends[i] && is_same_file(fd, ends[i]));
        g_assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        close(fd);
    }
    g_assert_cmpint(channel_take_fd(p.b), ==, -1);
    g_assert_cmpint(channel_read(p.a, buf, 10), ==, 1);
    close(channel_take_fd(p.a));
    close(ends[0]);
    close(ends[1]);
    channel_free(p.a);
    channel_free(p.b);
}

static void test_descriptors_nobody_takes_are_closed(void)
{
    unsigned before = open_fds();
    Pair p = socket_pair();
    int fds[CHANNEL_FDS_MAX];
    char buf[10];

    for (int i = 0; i < CHANNEL_FDS_MAX; i++)
        fds[i] = channel_fd(p.a);
    /* Before they are accepted the kernel drops them. */
    g_assert_cmpint(channel_write_fds(p.a, "a", 1, fds, 3), ==, 0);
    g_assert_cmpint(channel_read(p.b, buf, 1), ==, 1);
    g_assert_cmpuint(open_fds(), ==, before + 2);
    channel_accept_fds(p.b);
    for (int i = 0; i < 2; i++) {
        g_assert_cmpint(channel_write_fds(p.a, "a", 1, fds, CHANNEL_FDS_MAX), ==, 0);
        g_assert_cmpint(channel_read(p.b, buf, 1), ==, 1);
        g_assert_cmpuint(open_fds(), ==, before + 2 + CHANNEL_FDS_MAX);
    }
    channel_free(p.a);
    channel_free(p.b);
    g_assert_cmpuint(open_fds(), ==, before);
}

const Test tests[] = {
    { "/channel/read/what-is-there", test_read_returns_what_is_there },
    { "/channel/large/socket", test_large_socket },
    { "/channel/large/pipe", test_large_pipe },
    { "/channel/end/between-and-inside", test_end_between_and_inside },
    { "/channel/write/to-closed", test_write_to_closed },
    { "/channel/shutdown/socket", test_shutdown_socket },
    { "/channel/shutdown/peer", test_shutdown_reaches_peer },
    { "/channel/shutdown/pipe", test_shutdown_pipe },
    { "/channel/ping-pong", test_ping_pong },
    { "/channel/expecting/costs-nothing-when-idle", test_expecting_costs_nothing_when_idle },
    { "/channel/expecting/ends-at-the-deadline", test_expecting_ends_at_the_deadline },
    { "/channel/expecting/hears-other-threads", test_expecting_hears_other_threads },
    { "/channel/descriptors/go-both-ways", test_descriptors_go_both_ways },
    { "/channel/descriptors/nobody-takes-are-closed", test_descriptors_nobody_takes_are_closed },
    {}
};
