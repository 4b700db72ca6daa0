/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs the table of tests it is linked with.
 *
 *     BINARY [--list] [PREFIX...]      only the tests whose name starts with a PREFIX
 *
 * One line per test: "ok NAME", "not ok NAME (why)" or "skip NAME reason". The exit code is 1 if
 * any failed.
 */
#include "tests/lib/harness.h"
#include "io/loop.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef HAVE_VALGRIND_H
#include <valgrind/valgrind.h>
#endif

enum { EXIT_SKIP = 77, REASON_MAX = 256 };

static char *skip_reason; /* memory shared with the test process */
static char *dir;

void test_skip(const char *reason)
{
    g_strlcpy(skip_reason, reason, REASON_MAX);
    exit(EXIT_SKIP);
}

unsigned test_share(unsigned n)
{
    const char *share = g_getenv("FERRY_SHARE");
    unsigned by = share ? strtoul(share, NULL, 10) : 1;

    return MAX(n / MAX(by, 1), 1);
}

gboolean test_is_slowed(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return TRUE;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    return TRUE;
#endif
#endif
#ifdef HAVE_VALGRIND_H
    return RUNNING_ON_VALGRIND != 0;
#else
    return FALSE;
#endif
}

const char *test_dir(void)
{
    if (!dir) {
        g_autoptr(GError) err = NULL;

        dir = g_dir_make_tmp("ferry-test-XXXXXX", &err);
        if (!dir)
            g_error("%s", err->message);
    }
    return dir;
}

char *test_path(const char *name)
{
    return g_build_filename(test_dir(), name, NULL);
}

static void remove_tree(const char *path)
{
    g_autoptr(GDir) d = g_dir_open(path, 0, NULL);
    const char *name;

    while (d && (name = g_dir_read_name(d))) {
        g_autofree char *child = g_build_filename(path, name, NULL);

        if (g_file_test(child, G_FILE_TEST_IS_DIR) && !g_file_test(child, G_FILE_TEST_IS_SYMLINK))
            remove_tree(child);
        else
            g_unlink(child);
    }
    g_rmdir(path);
}

static void remove_dir(void)
{
    if (dir)
        remove_tree(dir);
    g_clear_pointer(&dir, g_free);
}

static void test_run(void *arg)
{
    const Test *t = arg;

    t->run();
}

/* The life of a test process. */
static void test_child(const Test *t)
{
    atexit(remove_dir);
    loop_run(test_run, (void *)t);
    exit(0);
}

/* Runs @t and prints its line. False if it failed. */
static bool test_in_child(const Test *t)
{
    int status;
    pid_t pid;

    skip_reason[0] = 0;
    fflush(stdout);
    pid = fork();
    if (pid == 0)
        test_child(t);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (pid < 0)
        printf("not ok %s (fork: %s)\n", t->name, strerror(errno));
    else if (WIFSIGNALED(status))
        printf("not ok %s (%s)\n", t->name, strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) == EXIT_SKIP)
        printf("skip %s %s\n", t->name, skip_reason);
    else if (WEXITSTATUS(status) != 0)
        printf("not ok %s (exit code %d)\n", t->name, WEXITSTATUS(status));
    else
        printf("ok %s\n", t->name);
    return pid > 0 && WIFEXITED(status) &&
           (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == EXIT_SKIP);
}

static bool is_wanted(const Test *t, char **prefixes)
{
    if (!*prefixes)
        return true;
    for (char **p = prefixes; *p; p++) {
        if (g_str_has_prefix(t->name, *p))
            return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    bool list = argc > 1 && !strcmp(argv[1], "--list");
    char **prefixes = argv + 1 + list;
    int failed = 0;

    skip_reason = mmap(NULL, REASON_MAX, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (skip_reason == MAP_FAILED)
        g_error("mmap: %s", strerror(errno));
    for (const Test *t = tests; t->name; t++) {
        if (!is_wanted(t, prefixes))
            continue;
        if (list)
            printf("%s\n", t->name);
        else
            failed += !test_in_child(t);
    }
    return failed > 0;
}
