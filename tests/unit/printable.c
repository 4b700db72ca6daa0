/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text that a terminal must not obey. */
#include "tests/lib/harness.h"
#include "util/printable.h"

static void expect(const char *text, const char *want)
{
    g_autofree char *got = printable(text);

    g_assert_cmpstr(got, ==, want);
}

static void test_letters_stay(void)
{
    expect("", "");
    expect("it's \"50%\" of C:\\x", "it's \"50%\" of C:\\x");
    expect("Zürich 東京 😀", "Zürich 東京 😀");
}

static void test_controls_are_written_out(void)
{
    expect("a\nb\tc\r\a\b\v\f", "a\\nb\\tc\\r\\a\\b\\v\\f");
    expect("\x1b[2J\x7f\x01", "\\x1b[2J\\x7f\\x01");
    expect("\xc2\x9b" "31m", "\\u009b31m");                /* the one-character form of ESC [ */
    expect("a\xe2\x80\xae" "b", "a\\u202eb");              /* turns the direction of the text */
    expect("\xf3\xa0\x80\x81", "\\U000e0001");
}

static void test_no_utf8_is_written_out(void)
{
    expect("Z\xfcrich", "Z\\xfcrich");
    expect("\xe2\x80", "\\xe2\\x80");
    expect("\x9b" "31m", "\\x9b31m");
}

const Test tests[] = {
    { "/printable/letters-stay", test_letters_stay },
    { "/printable/controls-are-written-out", test_controls_are_written_out },
    { "/printable/no-utf8-is-written-out", test_no_utf8_is_written_out },
    {}
};
