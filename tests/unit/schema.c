/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checking values against the schema. */
#include "gen/schema.h"
#include "tests/lib/harness.h"
#include "util/err.h"
#include <string.h>

static json_t *parse(const char *text)
{
    g_autoptr(GError) err = NULL;
    json_t *v = json_parse(text, strlen(text), &err);

    g_assert_no_error(err);
    return v;
}

/* @text is accepted as @type and becomes @want. */
static void expect(const char *type, const char *text, const char *want)
{
    g_autoptr(json_t) v = parse(text), wanted = parse(want);
    g_autoptr(GError) err = NULL;

    schema_check(type, v, &err);
    g_assert_no_error(err);
    if (!json_equal(v, wanted)) {
        g_autofree char *shown = json_print(v);

        g_error("%s became %s", text, shown);
    }
}

/* @text is refused as @type with a message that holds @what. */
static void expect_refused(const char *type, const char *text, const char *what)
{
    g_autoptr(json_t) v = parse(text);
    g_autoptr(GError) err = NULL;

    g_assert_false(schema_check(type, v, &err));
    g_assert_error(err, FERRY_ERROR, EINVAL);
    if (!strstr(err->message, what))
        g_error("%s: \"%s\" does not say %s", text, err->message, what);
}

static void test_text_becomes_typed(void)
{
    expect("BlockdevOptions",
           "{'driver':'raw','file':'f','size':'1.5k','offset':'0x200','read-only':'yes',"
           "'force-share':'n','cache':{'direct':'on','no-flush':'off'}}",
           "{'driver':'raw','file':'f','size':1536,'offset':512,'read-only':true,"
           "'force-share':false,'cache':{'direct':true,'no-flush':false}}");
    expect("BlockdevOptions",
           "{'driver':'blkdebug','image':'f','inject-error':[{'event':'none','errno':'010',"
           "'state':'-1','once':'y','sector':'0x10'}]}",
           "{'driver':'blkdebug','image':'f','inject-error':[{'event':'none','errno':8,"
           "'state':-1,'once':true,'sector':16}]}");
}

static void test_typed_stays(void)
{
    static const char text[] = "{'driver':'qcow2','file':{'driver':'file','filename':'x'},"
                               "'backing':null,'lazy-refcounts':true,'l2-cache-size':65536,"
                               "'overlap-check':{'template':'all','main-header':false}}";

    expect("BlockdevOptions", text, text);
}

static void test_booleans(void)
{
    static const char *const odd[] = { "'ON'", "'1'", "1", "0", "''", "null", "[]", "{}", "'x'" };

    for (size_t i = 0; i < G_N_ELEMENTS(odd); i++) {
        g_autofree char *text = g_strdup_printf("{'direct':%s}", odd[i]);

        expect_refused("BlockdevCacheOptions", text, "'direct'");
    }
}

static void test_integers(void)
{
    static const char *const odd[] = { "'1k'", "'x'", "''", "'1.5'", "1.5", "true", "null", "[]",
                                       "'9223372036854775808'", "1e300", "'5 '" };

    for (size_t i = 0; i < G_N_ELEMENTS(odd); i++) {
        g_autofree char *text = g_strdup_printf("{'iops-total':%s}", odd[i]);

        expect_refused("ThrottleLimits", text, "'iops-total'");
    }
    expect("ThrottleLimits", "{'iops-total':'-9223372036854775808','bps-total':7.0}",
           "{'iops-total':-9223372036854775808,'bps-total':7}");
}

static void test_sizes(void)
{
    static const char *const odd[] = { "-1", "'-1'", "'1.5'", "'1kB'", "'16E'", "1.5", "true" };

    for (size_t i = 0; i < G_N_ELEMENTS(odd); i++) {
        g_autofree char *text = g_strdup_printf("{'driver':'null-co','size':%s}", odd[i]);

        expect_refused("BlockdevOptions", text, "'size'");
    }
    expect("BlockdevOptions", "{'driver':'null-co','size':'7E'}",
           "{'driver':'null-co','size':8070450532247928832}");
    /* More than a number here can hold is as good as the largest. */
    expect("BlockdevOptions", "{'driver':'null-co','size':'8E'}",
           "{'driver':'null-co','size':9223372036854775807}");
}

static void test_ranges(void)
{
    expect("SecretKeyringProperties", "{'serial':'2147483647'}", "{'serial':2147483647}");
    expect_refused("SecretKeyringProperties", "{'serial':2147483648}", "'serial' is 2147483648");
    expect_refused("Qcow2BitmapInfo", "{'name':'b','granularity':-1,'flags':[]}", "'granularity'");
    expect_refused("BlockdevOptions", "{'driver':'null-co','latency-ns':-1}", "'latency-ns'");
}

static void test_enums(void)
{
    expect_refused("BlockdevOptions", "{'driver':'floppy'}", "'floppy'");
    expect_refused("BlockdevOptions", "{'driver':5}", "'driver'");
    expect_refused("BlockdevOptions", "{'driver':'file','filename':'x','aio':'uring'}", "io_uring");
    expect("BlockdevOptions", "{'driver':'null-co','discard':'on'}",
           "{'driver':'null-co','discard':'unmap'}");
    expect("BlockdevOptions", "{'driver':'null-co','discard':'off'}",
           "{'driver':'null-co','discard':'ignore'}");
}

static void test_unknown_members(void)
{
    expect_refused("BlockdevOptions", "{'driver':'raw','file':'x','sizze':1}",
                   "'sizze' of driver 'raw'");
    expect_refused("BlockdevOptions", "{'driver':'file','filename':'x','size':1}", "'size'");
    expect_refused("BlockdevOptions",
                   "{'driver':'raw','file':{'driver':'raw','file':{'driver':'file','filename':'x',"
                   "'y':1}}}", "'file.file.y'");
}

static void test_missing_members(void)
{
    expect_refused("BlockdevOptions", "{}", "'driver'");
    expect_refused("BlockdevOptions", "{'driver':'raw'}", "'file'");
    expect_refused("BlockdevOptions", "{'driver':'blkdebug','image':'x','set-state':["
                   "{'event':'none','new_state':1},{'new_state':2}]}", "'set-state.1.event'");
    expect_refused("BlockdevOptions", "{'driver':'throttle','file':'x'}", "'throttle-group'");
}

static void test_alternates(void)
{
    expect_refused("BlockdevOptions", "{'driver':'raw','file':null}", "'file' cannot be null");
    expect_refused("BlockdevOptions", "{'driver':'raw','file':['x']}", "'file' cannot be a list");
    expect_refused("BlockdevOptions", "{'driver':'qcow2','file':'x','overlap-check':'most'}",
                   "'most'");
    expect_refused("BlockdevOptions",
                   "{'driver':'qcow2','file':'x','overlap-check':{'main':true}}",
                   "'overlap-check.main'");
}

static void test_lists(void)
{
    expect("BlockdevOptions", "{'driver':'quorum','vote-threshold':'2','children':['a',"
           "{'driver':'null-co','size':'1k'}]}",
           "{'driver':'quorum','vote-threshold':2,'children':['a',"
           "{'driver':'null-co','size':1024}]}");
    expect_refused("BlockdevOptions", "{'driver':'quorum','vote-threshold':1,'children':['a',5]}",
                   "'children.1'");
    expect_refused("BlockdevOptions",
                   "{'driver':'blkdebug','image':'x','take-child-perms':'write'}",
                   "must be a list");
}

/* inject-error.event=... without an index means the first rule. */
static void test_one_object_for_a_list(void)
{
    expect("BlockdevOptions", "{'driver':'blkdebug','image':'x','inject-error':{'event':'none',"
           "'errno':'5'}}",
           "{'driver':'blkdebug','image':'x','inject-error':[{'event':'none','errno':5}]}");
    expect_refused("BlockdevOptions",
                   "{'driver':'blkdebug','image':'x','inject-error':{'errno':5}}",
                   "'inject-error.0.event'");
}

/* The image knows its format; input that names none gets none. */
static void test_missing_discriminator(void)
{
    static const char text[] = "{'driver':'qcow2','file':'x','encrypt':{'key-secret':'s'}}";

    expect("BlockdevOptions", text, text);
    expect_refused("BlockdevOptions", "{'driver':'qcow2','file':'x','encrypt':{'x':'s'}}",
                   "'encrypt.x'");
    expect_refused("QCryptoBlockCreateOptions", "{'key-secret':'s'}", "'format'");
}

static void test_unions(void)
{
    expect("ObjectOptions", "{'qom-type':'secret','id':'s','data':'x','format':'raw'}",
           "{'qom-type':'secret','id':'s','data':'x','format':'raw'}");
    expect_refused("ObjectOptions", "{'qom-type':'secret','id':'s','serial':1}", "'serial'");
    expect_refused("BlockdevCreateOptions", "{'driver':'raw','size':5}", "'size'");
    expect("BlockdevCreateOptions", "{'driver':'raw'}", "{'driver':'raw'}");
}

static void test_deep_values_are_refused(void)
{
    g_autoptr(GString) text = g_string_new("'x'");

    for (int i = 0; i < SCHEMA_DEPTH_MAX; i++) {
        g_string_prepend(text, "{'driver':'raw','file':");
        g_string_append_c(text, '}');
    }
    expect("BlockdevOptions", text->str, text->str);
    g_string_prepend(text, "{'driver':'raw','file':");
    g_string_append_c(text, '}');
    expect_refused("BlockdevOptions", text->str, "deeper");
}

static void test_enum_tables(void)
{
    g_assert_cmpint(schema_enum_parse(&blockdev_driver_enum, "qcow2"), ==, BLOCKDEV_DRIVER_QCOW2);
    g_assert_cmpint(schema_enum_parse(&blockdev_driver_enum, "QCOW2"), ==, -1);
    g_assert_cmpint(schema_enum_parse(&blockdev_driver_enum, ""), ==, -1);
    g_assert_cmpstr(schema_enum_name(&blkdebug_event_enum, BLKDEBUG_EVENT_NONE), ==, "none");
    g_assert_cmpint(blkdebug_event_enum.count, ==, BLKDEBUG_EVENT__COUNT);
    g_assert_cmpint(BLKDEBUG_EVENT__COUNT, ==, 48);
}

static void test_introspection_has_no_loose_ends(void)
{
    g_autoptr(json_t) list = schema_introspect(), names = json_object();
    json_t *entity, *member;
    size_t i, j;

    json_array_foreach(list, i, entity) {
        const char *name = json_get_str(entity, "name", NULL);

        g_assert_false(json_has(names, name));
        json_put_bool(names, name, true);
    }
    json_array_foreach(list, i, entity) {
        const char *element = json_get_str(entity, "element-type", NULL);

        g_assert_true(!element || json_has(names, element));
        json_array_foreach(json_get(entity, "members"), j, member) {
            const char *type = json_get_str(member, "type", NULL);

            g_assert_true(!type || json_has(names, type));
        }
        json_array_foreach(json_get(entity, "variants"), j, member)
            g_assert_true(json_has(names, json_get_str(member, "type", "")));
    }
}

const Test tests[] = {
    { "/schema/text-becomes-typed", test_text_becomes_typed },
    { "/schema/typed-stays", test_typed_stays },
    { "/schema/booleans", test_booleans },
    { "/schema/integers", test_integers },
    { "/schema/sizes", test_sizes },
    { "/schema/ranges", test_ranges },
    { "/schema/enums", test_enums },
    { "/schema/unknown-members", test_unknown_members },
    { "/schema/missing-members", test_missing_members },
    { "/schema/alternates", test_alternates },
    { "/schema/lists", test_lists },
    { "/schema/one-object-for-a-list", test_one_object_for_a_list },
    { "/schema/missing-discriminator", test_missing_discriminator },
    { "/schema/unions", test_unions },
    { "/schema/deep-values-are-refused", test_deep_values_are_refused },
    { "/schema/enum-tables", test_enum_tables },
    { "/schema/introspection-has-no-loose-ends", test_introspection_has_no_loose_ends },
    {}
};
