/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests: a file ends in its table of tests; main is in harness.c.
 *
 * Each test is the first coroutine of a fresh loop in a process of its own, so that one that
 * aborts does not stop the others. A test fails by a failing g_assert or any other abnormal end.
 */
#ifndef TESTS_LIB_HARNESS_H
#define TESTS_LIB_HARNESS_H

#include <glib.h>

typedef struct {
    const char *name; /* "/room/behaviour" */
    void (*run)(void);
} Test;

/* Defined by the test file; ends with an empty entry. */
extern const Test tests[];

/* Ends the running test as skipped. */
void test_skip(const char *reason) __attribute__((noreturn));

/*
 * A folder for the files of this test process, made at the first call; it is removed with all in
 * it when the test ends.
 */
const char *test_dir(void);

/* Path of @name inside test_dir. Caller frees. */
char *test_path(const char *name);

/* True in a build with a sanitizer or under valgrind: do less of what only takes time. */
gboolean test_is_slowed(void);
/* How many of @n random things a slow test is to do: FERRY_SHARE=N asks for an N-th. */
unsigned test_share(unsigned n);

#endif
