/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Streams of JSON values: where they end, what comes after an error, what is too much. */
#include "util/json-stream.h"
#include "tests/lib/harness.h"
#include <string.h>

/* What comes out of @text fed in pieces of @piece bytes: values, and errors in angle brackets. */
static char *read_all(const char *text, size_t len, size_t piece)
{
    g_autoptr(JsonStream) s = json_stream_new();
    GString *out = g_string_new(NULL);

    for (size_t at = 0; at < len; at += piece) {
        json_stream_feed(s, text + at, MIN(piece, len - at));
        for (;;) {
            g_autoptr(json_t) v = NULL;
            g_autoptr(GError) err = NULL;
            g_autofree char *shown = NULL;
            JsonStreamResult r = json_stream_next(s, &v, &err);

            if (r == JSON_STREAM_MORE)
                break;
            shown = v ? json_print(v) : NULL;
            g_string_append_printf(out, v ? "%s;" : "<%s>;", v ? shown : err->message);
        }
    }
    return g_string_free(out, FALSE);
}

static void expect(const char *text, const char *wanted)
{
    static const size_t pieces[] = { 1, 2, 3, 7, 4096 };

    for (size_t i = 0; i < G_N_ELEMENTS(pieces); i++) {
        g_autofree char *got = read_all(text, strlen(text), pieces[i]);

        g_assert_cmpstr(got, ==, wanted);
    }
}

#define BAD(text) "<JSON parse error, " text ">;"

static void test_values_follow_each_other(void)
{
    expect("{\"a\":1}{\"b\":[true,null]} 5 \"x\"[]",
           "{\"a\": 1};{\"b\": [true, null]};5;\"x\";[];");
    expect("1true", "1;");
    expect("1true ", "1;true;");
    expect("  \n\t\r ", "");
    expect("{'a':'b\\'c\"d'}", "{\"a\": \"b'c\\\"d\"};");
    expect("-0 1.50 1E+2 ", "0;1.5;100;");
    expect("9223372036854775807 9223372036854775808 ",
           "9223372036854775807;9223372036854775808;");
    expect("\"\\u0041\\ud83d\\ude00\\u0000\"", "\"A\\uD83D\\uDE00\\u0000\";");
}

static void test_half_a_value_is_none(void)
{
    expect("{\"a\": [1, 2", "");
    expect("\"abc", "");
    expect("12", "");
}

static void test_errors_are_told_at_the_end_of_a_value(void)
{
    expect("{\"a\" 1}", BAD("missing : in object pair"));
    expect("{\"a\":1,}", BAD("expecting value"));
    expect("{1:2}", BAD("key is not a string in object"));
    expect("[1 2]", BAD("expected separator in list"));
    expect("{\"a\":1 \"b\":2}", BAD("expected separator in dict"));
    expect("{\"a\":1,\"a\":2}", BAD("duplicate key"));
    expect("{\"a\":tru}", BAD("invalid keyword 'tru'"));
    expect("\"a\\qb\"", BAD("invalid escape sequence in string"));
    expect("\"\\ud800\"", BAD("\\ud800 is not a valid Unicode character"));
    expect("\"\\u12\"", BAD("\\u12\" is not a valid Unicode character"));
    expect("\"\xc3\"", BAD("invalid UTF-8 sequence in string"));
    expect("1e999 ", BAD("number out of range"));
}

/*
 * The reference's places to go on were learnt by asking it; tests/compat/qmp-text.py compares
 * more.
 */
static void test_input_goes_on_after_an_error(void)
{
    expect("foo bar\n", BAD("invalid keyword 'foo'") BAD("invalid keyword 'bar'"));
    expect("}\n{}", BAD("expecting value") "{};");
    expect("@ skipped {\"a\":1}", BAD("stray '@'") "{\"a\": 1};");
    expect("@ 5\n6\n", BAD("stray '@'") "6;");
    expect("{\"a\":\x01{\"b\":2}", BAD("stray '\x01'") "{\"b\": 2};");
    expect("[[[[\xff[]", BAD("stray '\xff'") "[];");
    expect("01\n2\n", BAD("stray '01'") "2;");
    expect("\"abc\n\"\n\"d\"", BAD("stray '\"abc\n'") "\"d\";");
}

static char *nested(unsigned depth)
{
    char *text = g_malloc(2 * depth + 1);

    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    text[2 * depth] = 0;
    return text;
}

static void test_depth_is_bounded(void)
{
    g_autofree char *fits = nested(JSON_STREAM_DEPTH_MAX);
    g_autofree char *too_deep = nested(JSON_STREAM_DEPTH_MAX + 1);
    g_autofree char *fine = read_all(fits, strlen(fits), 100);
    g_autofree char *refused = read_all(too_deep, strlen(too_deep), 100);
    g_autofree char *wanted = g_strconcat(fits, ";", NULL);

    g_assert_cmpstr(fine, ==, wanted);
    g_assert_true(g_str_has_prefix(refused, "<JSON nesting depth limit exceeded>;"));
}

/* A string, or a list, without an end does not take more and more memory. */
static void test_text_and_tokens_are_bounded(void)
{
    g_autoptr(JsonStream) s = json_stream_new();
    g_autofree char *many = g_malloc(1 << 20);
    const char *limits[] = { "JSON token size limit exceeded", "JSON token count limit exceeded" };
    g_autoptr(json_t) v = NULL;

    for (int i = 0; i < 2; i++) {
        g_autoptr(GError) err = NULL;
        JsonStreamResult r = JSON_STREAM_MORE;

        memset(many, i ? ',' : 'x', 1 << 20);
        json_stream_feed(s, i ? "[" : "\"", 1);
        for (int mib = 0; mib <= 64 && r == JSON_STREAM_MORE; mib++) {
            json_stream_feed(s, many, 1 << 20);
            r = json_stream_next(s, &v, &err);
        }
        g_assert_cmpint(r, ==, JSON_STREAM_ERROR);
        g_assert_cmpstr(err->message, ==, limits[i]);
        json_stream_free(g_steal_pointer(&s));
        s = json_stream_new();
    }
}

const Test tests[] = {
    { "/json-stream/values-follow-each-other", test_values_follow_each_other },
    { "/json-stream/half-a-value-is-none", test_half_a_value_is_none },
    { "/json-stream/errors-are-told-at-the-end-of-a-value",
      test_errors_are_told_at_the_end_of_a_value },
    { "/json-stream/input-goes-on-after-an-error", test_input_goes_on_after_an_error },
    { "/json-stream/depth-is-bounded", test_depth_is_bounded },
    { "/json-stream/text-and-tokens-are-bounded", test_text_and_tokens_are_bounded },
    {},
};
