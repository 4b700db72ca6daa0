/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The counted exclusion of two sides. */
#include "tests/lib/harness.h"
#include "util/err.h"
#include "util/hold.h"
#include <string.h>

static void expect_busy(HoldPoint *p, HoldSide side, const char *want)
{
    g_autoptr(GError) err = NULL;

    g_assert_null(hold_take(p, side, "owner", "me", &err));
    g_assert_error(err, FERRY_ERROR, EBUSY);
    g_assert_nonnull(strstr(err->message, want));
}

static void test_sides_exclude_each_other(void)
{
    HoldPoint p = HOLD_POINT_INIT("Migration");
    g_autoptr(Hold) use = hold_take(&p, HOLD_USE, "owner", "running", NULL);

    g_assert_nonnull(use);
    expect_busy(&p, HOLD_DENY, "running");
    g_clear_pointer(&use, hold_release);

    g_autoptr(Hold) deny = hold_take(&p, HOLD_DENY, "owner", "device", NULL);
    g_assert_nonnull(deny);
    expect_busy(&p, HOLD_USE, "Migration: device");
}

static void test_any_number_of_one_side(void)
{
    HoldPoint p = HOLD_POINT_INIT("Discard");
    g_autoptr(Hold) a = hold_take(&p, HOLD_USE, "owner", "a", NULL);
    g_autoptr(Hold) b = hold_take(&p, HOLD_USE, "owner", "b", NULL);

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
    Hold *first = hold_take(&p, HOLD_DENY, "owner", text, NULL);
    g_autoptr(Hold) second = hold_take(&p, HOLD_DENY, "owner", "second", NULL);

    text[0] = 'X';
    g_assert_cmpstr(hold_denied(&p), ==, "first");
    expect_busy(&p, HOLD_USE, "first");
    hold_release(first);
    g_assert_cmpstr(hold_denied(&p), ==, "second");
    g_clear_pointer(&second, hold_release);
    g_assert_null(hold_denied(&p));
}

static unsigned firsts, lasts;

static void count_change(const Hold *h, bool denied)
{
    g_assert_cmpstr(h->owner, ==, denied ? "first" : "second");
    firsts += denied;
    lasts += !denied;
}

/* Whoever listens hears of the first denial and of the end of the last, with its owner. */
static void test_first_and_last_are_told(void)
{
    HoldPoint p = HOLD_POINT_INIT("Discard");
    Hold *first, *second;

    p.changed = count_change;
    first = hold_take(&p, HOLD_DENY, "first", "a", NULL);
    second = hold_take(&p, HOLD_DENY, "second", "b", NULL);
    g_assert_cmpint(first->since_us, <=, second->since_us);
    hold_release(first);
    g_assert_cmpint(firsts, ==, 1);
    g_assert_cmpint(lasts, ==, 0);
    hold_release(second);
    g_assert_cmpint(lasts, ==, 1);
}

static void test_denials_can_be_refused(void)
{
    HoldPoint p = HOLD_POINT_INIT("Migration");
    g_autoptr(GError) err = NULL;
    g_autoptr(Hold) use = NULL;

    p.refusal = "not here";
    g_assert_null(hold_take(&p, HOLD_DENY, "me", "because", &err));
    g_assert_cmpstr(err->message, ==, "not here: because");
    use = hold_take(&p, HOLD_USE, "me", "because", NULL);
    g_assert_nonnull(use);
}

const Test tests[] = {
    { "/hold/sides-exclude-each-other", test_sides_exclude_each_other },
    { "/hold/any-number-of-one-side", test_any_number_of_one_side },
    { "/hold/oldest-reason", test_oldest_reason },
    { "/hold/first-and-last-are-told", test_first_and_last_are_told },
    { "/hold/denials-can-be-refused", test_denials_can_be_refused },
    {}
};
