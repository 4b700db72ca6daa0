/* SPDX-License-Identifier: GPL-2.0-or-later */
/* key=value option strings. */
#include "tests/lib/harness.h"
#include "util/err.h"
#include "util/keyval.h"
#include <string.h>

typedef json_t *ParseFn(const char *text, const char *implied_key, GError **err);

static void expect(ParseFn *parse, const char *text, const char *implied, const char *want)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(json_t) got = parse(text, implied, &err);
    g_autoptr(json_t) wanted = json_parse(want, strlen(want), NULL);

    g_assert_no_error(err);
    g_assert_nonnull(wanted);
    if (!json_equal(got, wanted)) {
        g_autofree char *shown = json_print(got);

        g_error("'%s' is %s, not %s", text, shown, want);
    }
}

static void expect_refused(ParseFn *parse, const char *text, const char *implied)
{
    g_autoptr(GError) err = NULL;

    g_assert_null(parse(text, implied, &err));
    g_assert_error(err, FERRY_ERROR, EINVAL);
}

static void test_commas(void)
{
    expect(keyval_parse, "driver=raw,file.filename=a,,b", NULL,
           "{'driver':'raw','file':{'filename':'a,b'}}");
    expect(keyval_parse, "a=,,", NULL, "{'a':','}");
    expect(keyval_parse, "a=,,,b=c,,,,", NULL, "{'a':',','b':'c,,'}");
    expect(keyval_parse, "a=x,", NULL, "{'a':'x'}");
    expect(keyval_parse, "", NULL, "{}");
    expect(keyval_parse, "a=b=c", NULL, "{'a':'b=c'}");
    expect(keyval_parse, "a=", NULL, "{'a':''}");
    expect_refused(keyval_parse, ",a=x", NULL);
}

static void test_implied_key(void)
{
    expect(keyval_parse, "x,,y,a=1", "file", "{'file':'x,y','a':'1'}");
    expect(keyval_parse, ",a=1", "file", "{'file':'','a':'1'}");
    expect(keyval_parse, "a=1,b", "file", "{'a':'1','b':'on'}");
    expect(keyval_parse_strict, "secret,id=x", "qom-type", "{'qom-type':'secret','id':'x'}");
    expect(keyval_parse_strict, "id=x,qom-type=secret", "qom-type",
           "{'qom-type':'secret','id':'x'}");
}

static void test_bare_keys(void)
{
    g_auto(GStrv) forms = keyval_short_forms("ro,nord,a=b,,c,x.y", NULL);

    expect(keyval_parse, "ro,nord,a=b", NULL, "{'ro':'on','rd':'off','a':'b'}");
    g_assert_cmpstr(forms[0], ==, "ro=on");
    g_assert_cmpstr(forms[1], ==, "rd=off");
    g_assert_cmpstr(forms[2], ==, "x.y=on");
    g_assert_null(forms[3]);
    expect_refused(keyval_parse_strict, "a=b,ro", NULL);
}

static void test_last_one_wins(void)
{
    expect(keyval_parse, "a=1,a=2", NULL, "{'a':'2'}");
    expect(keyval_parse_strict, "a.b=1,a.b=2", NULL, "{'a':{'b':'2'}}");
}

static void test_flat_merges(void)
{
    g_autoptr(json_t) o = json_object();

    g_assert_true(keyval_parse_flat("a=1,b.c=2", NULL, o, NULL));
    g_assert_true(keyval_parse_flat("a=3,d", NULL, o, NULL));
    g_assert_cmpint(json_object_size(o), ==, 3);
    g_assert_cmpstr(json_get_str(o, "a", NULL), ==, "3");
    g_assert_cmpstr(json_get_str(o, "b.c", NULL), ==, "2");
    g_assert_cmpstr(json_get_str(o, "d", NULL), ==, "on");
}

static void test_lists(void)
{
    expect(keyval_parse, "a.0=x,a.1=y", NULL, "{'a':['x','y']}");
    expect(keyval_parse, "a.1=y,a.0=x", NULL, "{'a':['x','y']}");
    expect(keyval_parse, "a.0.b=1,a.0.c=2,a.1.d.0=3", NULL,
           "{'a':[{'b':'1','c':'2'},{'d':['3']}]}");
    expect(keyval_parse, "a.10=k,a.0=a,a.1=b,a.2=c,a.3=d,a.4=e,a.5=f,a.6=g,a.7=h,a.8=i,a.9=j", NULL,
           "{'a':['a','b','c','d','e','f','g','h','i','j','k']}");
    expect_refused(keyval_parse, "a.1=y", NULL);
    expect_refused(keyval_parse, "a.0=x,a.2=y", NULL);
    expect_refused(keyval_parse, "a.0=x,a.b=y", NULL);
    expect_refused(keyval_parse, "a.0=x,a.00=y", NULL);
    expect_refused(keyval_parse, "a.4294967296=x", NULL);
    expect_refused(keyval_parse, "a.99999999999999999999999=x", NULL);
}

static void test_clashes(void)
{
    expect_refused(keyval_parse, "a=1,a.b=2", NULL);
    expect_refused(keyval_parse, "a.b=2,a=1", NULL);
    expect_refused(keyval_parse, "a.b=2,a.b.c=1", NULL);
    expect_refused(keyval_parse, "a..b=1", NULL);
    expect_refused(keyval_parse, ".a=1", NULL);
    expect_refused(keyval_parse, "a.=1", NULL);
}

static void test_strict_names(void)
{
    static const char *const bad[] = { "=1", "1a=x", "a b=1", "a.1b=2", "0.a=1", "a%=1", ",a=b",
                                       "a.-b=1", "_a=1" };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        expect_refused(keyval_parse_strict, bad[i], NULL);
    expect(keyval_parse_strict, "a-b_c=1,__org=2", NULL, "{'a-b_c':'1','__org':'2'}");
}

static void test_deep_keys_are_refused(void)
{
    g_autoptr(GString) key = g_string_new("a");

    for (int i = 0; i < 100000; i++)
        g_string_append(key, ".a");
    g_string_append(key, "=1");
    expect_refused(keyval_parse, key->str, NULL);
}

static void expect_nested(const char *text, const char *want)
{
    g_autoptr(json_t) o = json_parse(text, strlen(text), NULL);
    g_autoptr(json_t) wanted = json_parse(want, strlen(want), NULL);

    g_assert_nonnull(o);
    g_assert_true(keyval_nest(o, NULL));
    g_assert_true(json_equal(o, wanted));
}

/* Dotted keys may also stand inside JSON, beside groups and in lists. */
static void test_nest_json(void)
{
    expect_nested("{'file.filename':'x','file':{'driver':'file'}}",
                  "{'file':{'filename':'x','driver':'file'}}");
    expect_nested("{'children':[{'driver':'raw','file.filename':'x'}],'children.1.driver':'raw'}",
                  "{'children':[{'driver':'raw','file':{'filename':'x'}},{'driver':'raw'}]}");
    expect_nested("{'children':{'0':{'a':1},'1':{'a':2}}}", "{'children':[{'a':1},{'a':2}]}");
    expect_nested("{'a':[],'b':{},'c':null,'d':[1,true]}", "{'a':[],'b':{},'c':null,'d':[1,true]}");
}

static void test_failed_nest_changes_nothing(void)
{
    g_autoptr(json_t) o = json_parse("{'a.b':1,'a':2}", 15, NULL);
    g_autoptr(json_t) before = json_deep_copy(o);

    g_assert_false(keyval_nest(o, NULL));
    g_assert_true(json_equal(o, before));
}

static void test_flatten(void)
{
    static const char nested[] = "{'a':{'b':[1,{'c':true}]},'d':[],'e':null}";
    g_autoptr(json_t) o = json_parse(nested, strlen(nested), NULL);
    g_autoptr(json_t) flat = keyval_flatten(o);

    g_assert_cmpint(json_object_size(flat), ==, 4);
    g_assert_cmpint(json_get_int(flat, "a.b.0", 0), ==, 1);
    g_assert_true(json_get_bool(flat, "a.b.1.c", false));
    g_assert_true(json_is_array(json_get(flat, "d")));
    g_assert_true(json_is_null(json_get(flat, "e")));
    g_assert_true(keyval_nest(flat, NULL));
    g_assert_true(json_equal(flat, o));
}

static void test_escape(void)
{
    g_autofree char *escaped = keyval_escape("a,b,,c,");
    g_autofree char *list = g_strdup_printf("x=%s,y=1", escaped);

    g_assert_cmpstr(escaped, ==, "a,,b,,,,c,,");
    expect(keyval_parse, list, NULL, "{'x':'a,b,,c,','y':'1'}");
}

const Test tests[] = {
    { "/keyval/commas", test_commas },
    { "/keyval/implied-key", test_implied_key },
    { "/keyval/bare-keys", test_bare_keys },
    { "/keyval/last-one-wins", test_last_one_wins },
    { "/keyval/flat-merges", test_flat_merges },
    { "/keyval/lists", test_lists },
    { "/keyval/clashes-are-refused", test_clashes },
    { "/keyval/strict-names", test_strict_names },
    { "/keyval/deep-keys-are-refused", test_deep_keys_are_refused },
    { "/keyval/nest-json", test_nest_json },
    { "/keyval/failed-nest-changes-nothing", test_failed_nest_changes_nothing },
    { "/keyval/flatten", test_flatten },
    { "/keyval/escape", test_escape },
    {}
};
