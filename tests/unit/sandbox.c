/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside the sandbox what is open works and nothing new can be reached. */
#include "io/aio.h"
#include "io/loop.h"
#include "io/pool.h"
#include "io/sandbox.h"
#include "tests/lib/harness.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void enter(void)
{
    g_autoptr(GError) err = NULL;
    const char *missing;

#ifdef __SANITIZE_THREAD__
    test_skip("the thread sanitizer has a thread of its own, which the sandbox refuses");
#endif
    g_assert_true(sandbox_prepare(&err));
    g_assert_no_error(err);
    missing = sandbox_missing();
    g_assert_true(sandbox_enter(&err));
    g_assert_no_error(err);
    if (missing && strstr(missing, "seccomp"))
        test_skip("this kernel has no seccomp");
}

static CO void test_planted_calls_fail(void)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = "/nowhere" };
    char *argv[] = { (char *)"/bin/true", NULL };
    int s = socket(AF_UNIX, SOCK_STREAM, 0);

    g_assert_cmpint(s, >=, 0);
    enter();
    g_assert_cmpint(openat(AT_FDCWD, "/etc/passwd", O_RDONLY), ==, -1);
    g_assert_cmpint(errno, ==, EPERM);
    g_assert_cmpint(connect(s, (struct sockaddr *)&addr, sizeof(addr)), ==, -1);
    g_assert_cmpint(errno, ==, EPERM);
    g_assert_cmpint(execve(argv[0], argv, argv + 1), ==, -1);
    g_assert_cmpint(errno, ==, EPERM);
    g_assert_cmpint(socket(AF_INET, SOCK_STREAM, 0), ==, -1);
    g_assert_cmpint(errno, ==, EPERM);
    g_assert_cmpint(fork(), ==, -1);
}

static int add_one(void *arg)
{
    ++*(int *)arg;
    return 0;
}

static CO void test_open_files_and_the_pool_work(void)
{
    g_autofree char *path = test_path("f");
    int fd = open(path, O_RDWR | O_CREAT, 0600), n = 41;
    char buf[4] = "abc", back[4] = "";
    struct iovec out = { buf, 4 }, in = { back, 4 };
    const char *why;

    enter();
    g_assert_false(loop_has_uring(&why));
    g_assert_cmpint(aio_pwritev(AIO_THREADS, fd, &out, 1, 0, 0), ==, 4);
    g_assert_cmpint(aio_fdatasync(AIO_AUTO, fd), ==, 0);
    g_assert_cmpint(aio_preadv(AIO_THREADS, fd, &in, 1, 0), ==, 4);
    g_assert_cmpstr(back, ==, "abc");
    g_assert_cmpint(pool_run(add_one, &n), ==, 0);
    g_assert_cmpint(n, ==, 42);
    g_assert_true(co_sleep(1000));
}

const Test tests[] = {
    { "/sandbox/planted-calls-fail", test_planted_calls_fail },
    { "/sandbox/open-files-and-the-pool-work", test_open_files_and_the_pool_work },
    {}
};
