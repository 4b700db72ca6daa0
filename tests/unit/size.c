/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sizes as text, and checked arithmetic. */
#include "tests/lib/harness.h"
#include "util/size.h"
#include <errno.h>

static void expect(const char *text, uint64_t want)
{
    uint64_t got = 0;

    g_assert_cmpint(size_parse(text, 1, &got, NULL), ==, 0);
    g_assert_cmpuint(got, ==, want);
}

static void expect_refused(const char *text, int r)
{
    uint64_t got = 4711;

    g_assert_cmpint(size_parse(text, 1, &got, NULL), ==, r);
    g_assert_cmpuint(got, ==, 4711);
}

static void test_suffixes(void)
{
    expect("0", 0);
    expect("1000", 1000);
    expect("1b", 1);
    expect("1B", 1);
    expect("1k", 1 << 10);
    expect("1K", 1 << 10);
    expect("3M", 3 * MiB);
    expect("3g", 3 * GiB);
    expect("2T", 2 * TiB);
    expect("1P", UINT64_C(1) << 50);
    expect("15E", UINT64_C(15) << 60);
    expect("010k", 10240);
}

static void test_fractions_round_to_nearest(void)
{
    expect("1.5k", 1536);
    expect("1.7k", 1741);
    expect("0.1K", 102);
    expect("0.5M", MiB / 2);
    expect("1.k", 1024);
    expect("1.0", 1);
    expect("7.9999999E", UINT64_C(9223371921562625408));
    expect("1.00000000000000000000000000000000000000000000000000000000000000000005k", 1024);
    expect_refused("1.5", -EINVAL);
    expect_refused("1.5b", -EINVAL);
    expect_refused(".5k", -EINVAL);
    expect_refused("1..5k", -EINVAL);
}

static void test_hexadecimal(void)
{
    expect("0x400", 1024);
    expect("0X400", 1024);
    expect("0x400b", 0x400b);
    expect("0x10K", 16384);
    expect_refused("0x", -EINVAL);
    expect_refused("0x1.5", -EINVAL);
    expect_refused("00x10", -EINVAL);
}

static void test_spaces_and_signs(void)
{
    expect(" 1k", 1024);
    expect("+1k", 1024);
    expect_refused("1k ", -EINVAL);
    expect_refused("1 k", -EINVAL);
    expect_refused("-1", -EINVAL);
    expect_refused("+-1", -EINVAL);
    expect_refused("", -EINVAL);
    expect_refused("k", -EINVAL);
    expect_refused("1kx", -EINVAL);
    expect_refused("1e3", -EINVAL);
    expect_refused("inf", -EINVAL);
}

static void test_overflow_is_reported(void)
{
    expect("18446744073709551615", UINT64_MAX);
    expect_refused("18446744073709551616", -ERANGE);
    expect_refused("16E", -ERANGE);
    expect_refused("15.99999999999999999999E", -ERANGE);
    expect_refused("99999999999999999999999999k", -ERANGE);
}

static void test_end_and_unit(void)
{
    const char *end;
    uint64_t n;

    g_assert_cmpint(size_parse("12k rest", 512, &n, &end), ==, 0);
    g_assert_cmpuint(n, ==, 12 * KiB);
    g_assert_cmpstr(end, ==, " rest");
    g_assert_cmpint(size_parse("3,", 512, &n, &end), ==, 0);
    g_assert_cmpuint(n, ==, 3 * 512);
    g_assert_cmpstr(end, ==, ",");
    g_assert_cmpint(size_parse("1.5", 1024, &n, NULL), ==, 0);
    g_assert_cmpuint(n, ==, 1536);
}

static void expect_format(uint64_t bytes, const char *want)
{
    g_autofree char *got = size_format(bytes);

    g_assert_cmpstr(got, ==, want);
}

static void test_format(void)
{
    expect_format(0, "0 B");
    expect_format(512, "512 B");
    expect_format(1000, "0.977 KiB");
    expect_format(1024, "1 KiB");
    expect_format(196 * KiB, "196 KiB");
    expect_format(1536 * MiB, "1.5 GiB");
    expect_format(UINT64_MAX, "16 EiB");
}

static void test_arithmetic(void)
{
    uint64_t n;

    g_assert_true(size_add(UINT64_MAX - 1, 1, &n));
    g_assert_cmpuint(n, ==, UINT64_MAX);
    g_assert_false(size_add(UINT64_MAX, 1, &n));
    g_assert_true(size_mul(UINT32_MAX, UINT32_MAX, &n));
    g_assert_false(size_mul(UINT64_C(1) << 32, UINT64_C(1) << 32, &n));
    g_assert_cmpuint(round_up(1, 4096), ==, 4096);
    g_assert_cmpuint(round_up(4096, 4096), ==, 4096);
    g_assert_cmpuint(round_up(UINT64_MAX, 4096), ==, 0);
    g_assert_cmpuint(round_down(4095, 4096), ==, 0);
    g_assert_cmpuint(div_round_up(UINT64_MAX, 2), ==, UINT64_C(1) << 63);
    g_assert_false(is_power_of_2(0));
    g_assert_true(is_power_of_2(UINT64_C(1) << 63));
    g_assert_true(is_aligned(8192, 4096));
    g_assert_false(is_aligned(8193, 4096));
}

const Test tests[] = {
    { "/size/suffixes", test_suffixes },
    { "/size/fractions-round-to-nearest", test_fractions_round_to_nearest },
    { "/size/hexadecimal", test_hexadecimal },
    { "/size/spaces-and-signs", test_spaces_and_signs },
    { "/size/overflow-is-reported", test_overflow_is_reported },
    { "/size/end-and-unit", test_end_and_unit },
    { "/size/format", test_format },
    { "/size/arithmetic", test_arithmetic },
    {}
};
