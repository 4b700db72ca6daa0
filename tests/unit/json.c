/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON: what is refused, and what the writer prints. */
#include "tests/lib/harness.h"
#include "util/err.h"
#include "util/json.h"
#include <string.h>

static json_t *parse(const char *text)
{
    g_autoptr(GError) err = NULL;
    json_t *v = json_parse(text, strlen(text), &err);

    g_assert_no_error(err);
    return v;
}

static void expect_refused(const char *text, size_t len)
{
    g_autoptr(GError) err = NULL;

    g_assert_null(json_parse(text, len, &err));
    g_assert_error(err, FERRY_ERROR, EINVAL);
    g_assert_cmpstr(err->message, !=, "");
}

static void expect_printed(const char *text, const char *want)
{
    g_autoptr(json_t) v = parse(text);
    g_autofree char *got = json_print(v);

    g_assert_cmpstr(got, ==, want);
}

static void test_refuses_bad_syntax(void)
{
    static const char *const bad[] = {
        "", " ", "{", "[1,]", "{\"a\":1,}", "{\"a\":1,\"a\":2}", "{'a':1,\"a\":2}", "nul", "01",
        "+1",
        "1 2", "[1] x", "\"abc", "'abc", "'a\"", "NaN", "\"\\u0000\"", "\"\\ud800\"", "\"\x01\"",
        "\"\xff\"", "{1:2}", "{\"a\" 1}", "// x\n1", "9223372036854775808", "1e999", "\\", "'\\",
        "\"\\x\"", "]", "[[]",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        expect_refused(bad[i], strlen(bad[i]));
    expect_refused("1\0", 2);
    expect_refused("\"a\0b\"", 5);
}

static void test_does_not_read_past_the_end(void)
{
    g_autofree char *exact = g_memdup2("[12", 3);
    g_autoptr(json_t) v = NULL;
    g_autoptr(GError) err = NULL;

    expect_refused(exact, 3);
    v = json_parse(exact + 1, 2, &err);
    g_assert_no_error(err);
    g_assert_cmpint(json_integer_value(v), ==, 12);
}

/* @depth lists inside each other. */
static char *nested(size_t depth)
{
    char *text = g_malloc(2 * depth + 1);

    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    text[2 * depth] = 0;
    return text;
}

static void test_depth_is_bounded(void)
{
    g_autofree char *most = nested(JSON_DEPTH_MAX), *more = nested(JSON_DEPTH_MAX + 1);
    g_autofree char *huge = nested(4 << 20), *line = NULL, *lines = NULL;
    g_autoptr(json_t) v = parse(most);

    line = json_print(v);
    lines = json_print_pretty(v);
    g_assert_cmpstr(line, ==, most);
    g_assert_cmpint(strlen(lines), >, strlen(line));
    expect_refused(more, strlen(more));
    expect_refused(huge, strlen(huge));
    expect_refused(huge, 4 << 20);
}

static void test_brackets_in_strings_are_not_depth(void)
{
    g_autoptr(GString) text = g_string_new("\"\\\"");
    g_autoptr(json_t) v = NULL;

    for (int i = 0; i < 2 * JSON_DEPTH_MAX; i++)
        g_string_append_c(text, '{');
    g_string_append_c(text, '"');
    v = parse(text->str);
    g_assert_cmpint(json_string_length(v), ==, 2 * JSON_DEPTH_MAX + 1);
}

static void test_size_is_bounded(void)
{
    g_autofree char *text = g_malloc(JSON_TEXT_MAX + 1);

    memset(text, ' ', JSON_TEXT_MAX + 1);
    text[0] = '1';
    expect_refused(text, JSON_TEXT_MAX + 1);
}

static void test_single_quotes(void)
{
    expect_printed("{'filename':'a\"b'}", "{\"filename\": \"a\\\"b\"}");
    expect_printed("'it\\'s'", "\"it's\"");
    expect_printed("\"it\\'s '\"", "\"it's '\"");
    expect_printed("'\\\\'", "\"\\\\\"");
    expect_printed("'\\u00e9\\n'", "\"\\u00E9\\n\"");
}

static void test_escapes(void)
{
    expect_printed("\"\\b\\f\\n\\r\\t\\\"\\\\\\/\"", "\"\\b\\f\\n\\r\\t\\\"\\\\/\"");
    expect_printed("\"\\u0001\\u001f\\u007f~ \"", "\"\\u0001\\u001F\\u007F~ \"");
    expect_printed("\"\xc3\xa9\xf0\x9f\x98\x80\"", "\"\\u00E9\\uD83D\\uDE00\"");
}

static void test_bytes_that_are_not_utf8(void)
{
    g_autoptr(json_t) o = json_object();
    g_autofree char *text = NULL;

    json_put_str(o, "filename",
                 "a\xff"
                 "b\xed\xa0\x80"
                 "c\xc0\x80"
                 "d\xf0\x9fz\x80\x80\xf4\x90\x80\x80\xe2");
    text = json_print(o);
    g_assert_cmpstr(
        text, ==,
        "{\"filename\": \"a\\uFFFDb\\uFFFDc\\u0000d\\uFFFDz\\uFFFD\\uFFFD\\uFFFD\\uFFFD\"}");
}

static void test_numbers(void)
{
    expect_printed("[0,-0,9223372036854775807,-9223372036854775808]",
                   "[0, 0, 9223372036854775807, -9223372036854775808]");
    expect_printed("[1.0,1.5,0.1,1e3,1e100,1e-7]",
                   "[1, 1.5, 0.10000000000000001, 1000, 1e+100, 9.9999999999999995e-08]");
    expect_printed("[true,false,null]", "[true, false, null]");
}

static void test_pretty_forms(void)
{
    g_autoptr(json_t) v = parse("{\"filename\":\"x\",\"snapshots\":[],\"data\":{}}");
    g_autofree char *text = json_print_pretty(v);

    g_assert_true(strstr(text, "    \"snapshots\": [\n    ]"));
    g_assert_true(strstr(text, "    \"data\": {\n    }"));
    g_assert_true(g_str_has_prefix(text, "{\n    \""));
    g_assert_true(g_str_has_suffix(text, "\n}"));
}

/* More elements than are written at once. */
enum { ELEMENTS = 10000 };

static json_t *element(void *arg, int64_t n, size_t i)
{
    g_assert_cmpint(n, ==, 7);
    return i < ELEMENTS ? json_pack("{s:I}", "size", (json_int_t)i) : NULL;
}

static void test_lazy_arrays(void)
{
    const JsonLazy lazy = { "snapshots", element, NULL };
    g_autoptr(json_t) held = parse("[{\"filename\":\"x\"}]"), lazily = json_deep_copy(held);
    json_t *array = json_array();
    g_autofree char *want = NULL, *got = NULL;
    size_t len;
    FILE *f = open_memstream(&got, &len);

    for (size_t i = 0; i < ELEMENTS; i++)
        json_array_append_new(array, element(NULL, 7, i));
    json_put(json_array_get(held, 0), "snapshots", array);
    json_put_int(json_array_get(lazily, 0), "snapshots", 7);
    json_write_pretty(f, lazily, &lazy);
    fclose(f);
    want = json_print_pretty(held);
    g_assert_cmpint(len, ==, strlen(want) + 1);
    g_assert_true(!strncmp(got, want, len - 1) && got[len - 1] == '\n');
}

/* Learnt keys come in their order whatever the order of insertion, others last as inserted. */
static void test_key_order(void)
{
    expect_printed("{\"driver\":\"raw\",\"zz top\":1,\"file\":2,\"aa top\":3,\"size\":4}",
                   "{\"driver\": \"raw\", \"size\": 4, \"file\": 2, \"zz top\": 1, \"aa top\": 3}");
    expect_printed("{\"file\":2,\"size\":4,\"driver\":\"raw\"}",
                   "{\"driver\": \"raw\", \"size\": 4, \"file\": 2}");
}

/* Keys of one rank: the later one first. */
static void test_equal_ranks_last_first(void)
{
    expect_printed("{\"active-l1\":1,\"active-l2\":2}", "{\"active-l2\": 2, \"active-l1\": 1}");
    expect_printed("{\"active-l2\":2,\"active-l1\":1}", "{\"active-l1\": 1, \"active-l2\": 2}");
}

static void test_visible_keys(void)
{
    g_autoptr(json_t) o = parse("{'file':1,'none of ours':0,'driver':2}");
    g_autofree const char **keys = json_visible_keys(o);

    g_assert_cmpstr(keys[0], ==, "driver");
    g_assert_cmpstr(keys[1], ==, "file");
    g_assert_cmpstr(keys[2], ==, "none of ours");
    g_assert_null(keys[3]);
}

static void test_readers(void)
{
    g_autoptr(json_t) o = json_object();

    json_put_str(o, "s", "text");
    json_put_int(o, "i", INT64_MIN);
    json_put_bool(o, "b", true);
    json_put(o, "null", json_null());
    json_put_int(o, "i", 7);
    g_assert_cmpstr(json_get_str(o, "s", NULL), ==, "text");
    g_assert_cmpstr(json_get_str(o, "x", "def"), ==, "def");
    g_assert_cmpint(json_get_int(o, "i", 0), ==, 7);
    g_assert_cmpint(json_get_int(NULL, "i", 5), ==, 5);
    g_assert_true(json_get_bool(o, "b", false));
    g_assert_true(json_get_bool(o, "x", true));
    g_assert_true(json_has(o, "null"));
    g_assert_false(json_has(o, "x"));
}

/* At any place of a string: those that look eight bytes at a time see each byte. */
static void test_escapes_at_any_place(void)
{
    for (int c = 1; c < 128; c++)
        for (size_t at = 0; at < 20; at++) {
            char text[24] = "abcdefghijklmnopqrst";
            g_autoptr(json_t) v = NULL, back = NULL;
            g_autofree char *printed = NULL;

            text[at] = (char)c;
            v = json_string(text);
            printed = json_print(v);
            back = parse(printed);
            g_assert_cmpstr(json_string_value(back), ==, text);
            for (const char *p = printed; *p; p++)
                g_assert_true(*p >= 0x20 && *p < 0x7f);
            g_assert_cmpuint(strlen(printed), ==, strlen(text) + 2 +
                             (c == '"' || c == '\\' || strchr("\b\f\n\r\t", c) ? 1
                              : c < 0x20 || c == 0x7f ? 5 : 0));
        }
}

const Test tests[] = {
    { "/json/parse/refuses-bad-syntax", test_refuses_bad_syntax },
    { "/json/parse/stays-inside-the-text", test_does_not_read_past_the_end },
    { "/json/parse/depth-is-bounded", test_depth_is_bounded },
    { "/json/parse/brackets-in-strings-are-not-depth", test_brackets_in_strings_are_not_depth },
    { "/json/parse/size-is-bounded", test_size_is_bounded },
    { "/json/parse/single-quotes", test_single_quotes },
    { "/json/print/escapes", test_escapes },
    { "/json/print/escapes-at-any-place", test_escapes_at_any_place },
    { "/json/print/bytes-that-are-not-utf8", test_bytes_that_are_not_utf8 },
    { "/json/print/numbers", test_numbers },
    { "/json/print/pretty-forms", test_pretty_forms },
    { "/json/print/lazy-arrays", test_lazy_arrays },
    { "/json/print/key-order", test_key_order },
    { "/json/print/equal-ranks-last-first", test_equal_ranks_last_first },
    { "/json/visible-keys", test_visible_keys },
    { "/json/readers", test_readers },
    {}
};
