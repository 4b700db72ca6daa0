/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The counted exclusion of two sides. */
#include "tests/lib/harness.h"
#include "util/err.h"
#include "util/hold.h"
#include <string.h>

static void expect_busy(HoldPoint *p, HoldSide side, const char *want)
{
    g_autoptr(GError) err = NULL;

    g_assert_null(hold_take(p, side, "me", &err));
    g_assert_error(err, FERRY_ERROR, EBUSY);
    g_assert_nonnull(strstr(err->message, want));
}

static void test_sides_exclude_each_other(void)
{
    HoldPoint p = HOLD_POINT_INIT("Migration");
    g_autoptr(Hold) use = hold_take(&p, HOLD_USE, "running", NULL);

    g_assert_nonnull(use);
    expect_busy(&p, HOLD_DENY, "running");
    g_clear_pointer(&use, hold_release);

    g_autoptr(Hold) deny = hold_take(&p, HOLD_DENY, "device", NULL);
    g_assert_nonnull(deny);
    expect_busy(&p, HOLD_USE, "Migration: device");
}

static void test_any_number_of_one_side(void)
{
    HoldPoint p = HOLD_POINT_INIT("Discard");
    g_autoptr(Hold) a = hold_take(&p, HOLD_USE, "a", NULL);
    g_autoptr(Hold) b = hold_take(&p, HOLD_USE, "b", NULL);

    g_assert_nonnull(a);
    g_assert_nonnull(b);
    g_clear_pointer(&a, hold_release);
    expect_busy(&p, HOLD_DENY, "b");
}

/* The reason told is that of whoever has held longest, and goes with its owner. */
static void test_oldest_reason(void)
{
    HoldPoint p = HOLD_POINT_INIT("Migration");
    g_autofree char *text = g_strdup("first");
    Hold *first = hold_take(&p, HOLD_DENY, text, NULL);
    g_autoptr(Hold) second = hold_take(&p, HOLD_DENY, "second", NULL);

    text[0] = 'X';
    g_assert_cmpstr(hold_denied(&p), ==, "first");
    expect_busy(&p, HOLD_USE, "first");
    hold_release(first);
    g_assert_cmpstr(hold_denied(&p), ==, "second");
    g_clear_pointer(&second, hold_release);
    g_assert_null(hold_denied(&p));
}

const Test tests[] = {
    { "/hold/sides-exclude-each-other", test_sides_exclude_each_other },
    { "/hold/any-number-of-one-side", test_any_number_of_one_side },
    { "/hold/oldest-reason", test_oldest_reason },
    {}
};
