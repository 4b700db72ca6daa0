/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Errors: message, code, advice. */
#include "tests/lib/harness.h"
#include "util/err.h"

static void test_set(void)
{
    g_autoptr(GError) err = NULL;

    g_assert_false(err_set(&err, EINVAL, "Image '%s' is odd", "x"));
    g_assert_error(err, FERRY_ERROR, EINVAL);
    g_assert_cmpstr(err->message, ==, "Image 'x' is odd");
    g_assert_cmpint(err_errno(err), ==, -EINVAL);
}

static void test_either_sign_of_code(void)
{
    g_autoptr(GError) err = NULL;

    err_set_errno(&err, -ENOENT, "Cannot open 'x'");
    g_assert_cmpint(err_errno(err), ==, -ENOENT);
    g_assert_cmpstr(err->message, ==, "Cannot open 'x': No such file or directory");
}

static void test_nobody_wants_it(void)
{
    g_assert_false(err_set(NULL, EIO, "lost"));
    g_assert_false(err_set_errno(NULL, EIO, "lost"));
    g_assert_false(err_prefix(NULL, "x: "));
    g_assert_false(err_hint(NULL, "try"));
    g_assert_null(err_get_hint(NULL));
}

static void test_prefix(void)
{
    g_autoptr(GError) err = NULL;

    g_assert_false(err_prefix(&err, "x: "));
    g_assert_no_error(err);
    err_set(&err, ENOSPC, "full");
    g_assert_false(err_prefix(&err, "Image '%s': ", "%s"));
    g_assert_cmpstr(err->message, ==, "Image '%s': full");
    g_assert_cmpint(err_errno(err), ==, -ENOSPC);
}

static void test_hint(void)
{
    g_autoptr(GError) err = NULL, copy = NULL;

    err_set(&err, EAGAIN, "locked");
    g_assert_null(err_get_hint(err));
    err_hint(&err, "first");
    err_hint(&err, "use %s", "-U");
    g_assert_cmpstr(err_get_hint(err), ==, "use -U");
    copy = g_error_copy(err);
    g_clear_error(&err);
    g_assert_cmpstr(err_get_hint(copy), ==, "use -U");
}

static void test_foreign_errors(void)
{
    g_autoptr(GError) err = g_error_new_literal(G_FILE_ERROR, G_FILE_ERROR_NOENT, "glib's");

    g_assert_false(err_hint(&err, "no"));
    g_assert_null(err_get_hint(err));
    g_assert_cmpint(err_errno(err), ==, -EIO);
}

const Test tests[] = {
    { "/err/set", test_set },
    { "/err/code-of-either-sign", test_either_sign_of_code },
    { "/err/nobody-wants-it", test_nobody_wants_it },
    { "/err/prefix", test_prefix },
    { "/err/hint-rides-along", test_hint },
    { "/err/foreign-errors", test_foreign_errors },
    {}
};
