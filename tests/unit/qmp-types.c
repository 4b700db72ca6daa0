/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is generated for commands and events: exact checks, structs from JSON and back, events. */
#include "gen/qmp.h"
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

/* @text is refused as @type with the reference's @message; NULL: it is fine. */
static void expect(const char *type, const char *text, const char *message)
{
    g_autoptr(json_t) v = parse(text);
    g_autoptr(json_t) before = json_deep_copy(v);
    g_autoptr(GError) err = NULL;

    g_assert_cmpint(schema_check_exact(type, v, &err), ==, !message);
    g_assert_cmpstr(err ? err->message : NULL, ==, message);
    g_assert_true(json_equal(v, before));
}

/* The messages are what the reference's daemon answers. */
static void test_exact_checks(void)
{
    expect("QmpBlockResizeArgs", "{'size':4}", NULL);
    expect("QmpBlockResizeArgs", "{}", "Parameter 'size' is missing");
    expect("QmpBlockResizeArgs", "{'size':'4'}",
           "Invalid parameter type for 'size', expected: integer");
    expect("QmpBlockResizeArgs", "{'size':4.0}",
           "Invalid parameter type for 'size', expected: integer");
    expect("QmpBlockResizeArgs", "{'size':4,'x':1}", "Parameter 'x' is unexpected");
    expect("QmpBlockResizeArgs", "{'size':4,'device':5}",
           "Invalid parameter type for 'device', expected: string");
    expect("BlockDirtyBitmapAdd", "{'node':'a','name':'b','granularity':4294967296}",
           "Parameter 'granularity' expects uint32_t");
    expect("BlockDirtyBitmapAdd", "{'node':'a','name':'b','persistent':1}",
           "Invalid parameter type for 'persistent', expected: boolean");
    expect("QmpQmpCapabilitiesArgs", "{'enable':'oob'}",
           "Invalid parameter type for 'enable', expected: array");
    expect("QmpQmpCapabilitiesArgs", "{'enable':['x']}",
           "Parameter 'null' does not accept value 'x'");
    expect("BlockdevOptions", "{'driver':'qcow2','file':{'driver':'file'}}",
           "Parameter 'file.filename' is missing");
    expect("BlockdevOptions", "{'driver':'qcow2','file':5}",
           "Invalid parameter type for 'file', expected: BlockdevRef");
    expect("BlockdevOptions", "{'driver':'raw','file':'z','size':-1}",
           "Parameter 'size' expects a non-negative number below 2^64");
    expect("BlockdevOptions",
           "{'driver':'quorum','vote-threshold':1,'children':[{'driver':'null-co','size':'x'}]}",
           "Invalid parameter type for 'children[0].size', expected: integer");
    expect("BlockdevOptions", "{'driver':'qcow2','file':{'driver':'file','filename':'a','y':1}}",
           "Parameter 'file.y' is unexpected");
    expect("BlockdevOptions", "{'driver':'x'}", "Parameter 'driver' does not accept value 'x'");
    expect("BlockdevOptions", "{}", "Parameter 'driver' is missing");
    expect("ObjectOptions", "{'qom-type':'authz-list','id':'a','rules':[{'match':'x'}]}",
           "Parameter 'rules[0].policy' is missing");
}

static void test_deep_arguments_are_refused(void)
{
    GString *text = g_string_new("'x'");
    g_autoptr(GError) err = NULL;
    g_autoptr(json_t) v = NULL;

    for (int i = 0; i < SCHEMA_DEPTH_MAX + 1; i++) {
        g_string_prepend(text, "{'driver':'raw','file':");
        g_string_append_c(text, '}');
    }
    v = parse(text->str);
    g_assert_false(schema_check_exact("BlockdevOptions", v, &err));
    g_assert_nonnull(strstr(err->message, "nested deeper"));
    g_string_free(text, TRUE);
}

static void test_structs_from_json(void)
{
    g_autoptr(json_t) o = parse("{'node':'a','name':'b','granularity':512,'persistent':false}");
    g_autoptr(BlockDirtyBitmapAdd) add = block_dirty_bitmap_add_parse(o);
    g_autoptr(json_t) caps = parse("{'enable':['oob']}");
    g_autoptr(QmpQmpCapabilitiesArgs) enable = qmp_qmp_capabilities_args_parse(caps);
    g_autoptr(json_t) none = parse("{}");
    g_autoptr(QmpQmpCapabilitiesArgs) nothing = qmp_qmp_capabilities_args_parse(none);

    g_assert_cmpstr(add->node, ==, "a");
    g_assert_cmpstr(add->name, ==, "b");
    g_assert_true(add->has_granularity && add->granularity == 512);
    g_assert_true(add->has_persistent && !add->persistent);
    g_assert_false(add->has_disabled);
    g_assert_cmpuint(enable->enable->len, ==, 1);
    g_assert_cmpint(g_array_index(enable->enable, int, 0), ==, QMP_CAPABILITY_OOB);
    g_assert_null(nothing->enable);
}

static void test_structs_to_json(void)
{
    g_autoptr(BlockDeviceInfo) info = g_new0(BlockDeviceInfo, 1);
    BlockDirtyInfo *bitmap = g_new0(BlockDirtyInfo, 1);
    g_autoptr(json_t) o = NULL;
    const json_t *b;

    info->file = g_strdup("f");
    info->drv = g_strdup("raw");
    info->detect_zeroes = BLOCKDEV_DETECT_ZEROES_OPTIONS_UNMAP;
    info->has_bps_max = true;
    info->bps_max = 7;
    info->image = parse("{'filename':'f'}");
    info->cache = g_new0(BlockdevCacheInfo, 1);
    info->cache->direct = true;
    info->dirty_bitmaps = g_ptr_array_new_with_free_func((GDestroyNotify)block_dirty_info_free);
    bitmap->name = g_strdup("b");
    bitmap->count = 65536;
    g_ptr_array_add(info->dirty_bitmaps, bitmap);
    o = block_device_info_to_json(info);
    g_assert_cmpstr(json_get_str(o, "detect_zeroes", ""), ==, "unmap");
    g_assert_cmpint(json_get_int(o, "bps_max", 0), ==, 7);
    g_assert_false(json_has(o, "bps_rd_max") || json_has(o, "node-name") || json_has(o, "group"));
    g_assert_true(json_get_bool(json_get(o, "cache"), "direct", false));
    g_assert_cmpstr(json_get_str(json_get(o, "image"), "filename", ""), ==, "f");
    b = json_array_get(json_get(o, "dirty-bitmaps"), 0);
    g_assert_cmpstr(json_get_str(b, "name", ""), ==, "b");
    g_assert_cmpint(json_get_int(b, "count", 0), ==, 65536);
    g_assert_false(json_has(b, "inconsistent"));
}

/* ---- events ---------------------------------------------------------------------------------- */

static json_t *heard;
static const char *heard_name;

static void hear(int event, json_t *data)
{
    json_decref(heard);
    heard = data;
    heard_name = schema_event_name(event);
}

static void test_events(void)
{
    /* Nobody listens: nothing happens. */
    event_block_export_deleted("a");
    qmp_events_hear(hear);
    event_block_export_deleted("b");
    g_assert_cmpstr(heard_name, ==, "BLOCK_EXPORT_DELETED");
    g_assert_cmpstr(json_get_str(heard, "id", ""), ==, "b");
    event_quorum_report_bad(QUORUM_OP_TYPE_FLUSH, NULL, "n", 1, 2);
    g_assert_cmpstr(heard_name, ==, "QUORUM_REPORT_BAD");
    g_assert_false(json_has(heard, "error"));
    g_assert_cmpstr(json_get_str(heard, "type", ""), ==, "flush");
    g_assert_cmpint(json_get_int(heard, "sectors-count", 0), ==, 2);
    qmp_events_hear(NULL);
    g_clear_pointer(&heard, json_decref);
}

/* ---- introspection --------------------------------------------------------------------------- */

static const char *const feature[] = { "deprecated", NULL };

static const QmpCommand commands[] = {
    { .name = "one", .arg_type = "BlockDirtyBitmapAdd", .ret_type = "[BlockExportInfo]" },
    { .name = "two", .flags = QMP_OOB, .features = feature },
    {},
};

static const json_t *entity(const json_t *list, const char *name)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!strcmp(json_get_str(json_array_get(list, i), "name", ""), name))
            return json_array_get(list, i);
    g_assert_not_reached();
}

static void test_introspection_of_commands(void)
{
    g_autoptr(json_t) list = schema_introspect_commands(commands);
    const json_t *one = entity(list, "one"), *two = entity(list, "two"), *t;
    const char *ret = json_get_str(one, "ret-type", "");

    g_assert_true(*ret == '[' && g_ascii_isdigit(ret[1]));
    t = entity(list, json_get_str(entity(list, ret), "element-type", ""));
    g_assert_cmpuint(json_array_size(json_get(t, "members")), ==, 4);
    t = entity(list, json_get_str(one, "arg-type", ""));
    g_assert_cmpuint(json_array_size(json_get(t, "members")), ==, 5);
    g_assert_false(json_has(one, "allow-oob") || json_has(one, "features"));
    g_assert_true(json_get_bool(two, "allow-oob", false));
    g_assert_cmpuint(json_array_size(json_get(two, "features")), ==, 1);
    t = entity(list, json_get_str(two, "arg-type", ""));
    g_assert_cmpuint(json_array_size(json_get(t, "members")), ==, 0);
    /* What nobody takes or returns is not told. */
    for (size_t i = 0; i < json_array_size(list); i++)
        g_assert_null(strstr(json_get_str(json_array_get(list, i), "name", ""), "Blockdev"));
}

const Test tests[] = {
    { "/qmp-types/exact-checks", test_exact_checks },
    { "/qmp-types/deep-arguments-are-refused", test_deep_arguments_are_refused },
    { "/qmp-types/structs-from-json", test_structs_from_json },
    { "/qmp-types/structs-to-json", test_structs_to_json },
    { "/qmp-types/events", test_events },
    { "/qmp-types/introspection-of-commands", test_introspection_of_commands },
    {},
};
