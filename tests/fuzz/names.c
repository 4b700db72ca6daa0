/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any text as the name of an image: json:{...}, blkdebug:..., null-co://, plain. What it describes
 * is checked, and opened if no real file can be part of it; then its name must describe it again.
 */
#include "block/internal.h"
#include "io/loop.h"
#include "util/keyval.h"
#include <string.h>

/* Drivers that need no file when all they stand on needs none. */
static bool driver_is_harmless(const char *name)
{
    static const char *const names[] = { "null-co", "null-aio", "raw", "blkdebug", "blkverify",
                                         "quorum", "throttle", "copy-on-read", "compress",
                                         "preallocate", NULL };

    return name && g_strv_contains(names, name);
}

/* True if opening @o makes no system call that names a file. */
static bool is_harmless(const json_t *o)
{
    const char *key;
    const json_t *v;

    if (!driver_is_harmless(json_get_str(o, "driver", NULL)))
        return false;
    json_object_foreach((json_t *)o, key, v) {
        size_t i;
        const json_t *item;

        if (strstr(key, "file") && !json_is_object(v))
            return false;
        if (!strcmp(key, "config") || (json_is_object(v) && !strcmp(key, "children")))
            return false;
        if (json_is_object(v) && strcmp(key, "cache") && !is_harmless(v))
            return false;
        json_array_foreach(v, i, item) {
            if (json_is_object(item) && !strcmp(key, "children") && !is_harmless(item))
                return false;
        }
    }
    return true;
}

static CO void open_and_name(json_t *options)
{
    g_autoptr(GError) err = NULL;
    Handle *h = handle_open(NULL, json_incref(options), OPEN_RDWR, &err);
    uint8_t sector[512];

    if (!h) {
        g_assert_nonnull(err);
        return;
    }
    g_assert_nonnull(node_filename(handle_node(h)));
    if (!json_has(options, "latency-ns") && handle_size(h) >= sizeof(sector))
        (void)handle_pread(h, 0, span_of(sector, sizeof(sector)), 0);
    handle_close(h);
}

static CO void fuzz_run(void *arg)
{
    const char *name = arg;
    g_autoptr(GError) err = NULL, combine_err = NULL;
    g_autoptr(json_t) o = json_object();
    g_autofree char *beside = filename_combine("/folder/image", name, &combine_err);
    g_autofree char *base = filename_combine(name, "image", NULL);
    json_t *child;

    g_assert_true(beside || combine_err);
    g_assert_true(base || g_str_has_prefix(name, "json:"));
    if (!node_describe_child(o, "child", name, &err)) {
        g_assert_nonnull(err);
        return;
    }
    child = json_get(o, "child");
    g_assert_true(json_is_object(child));
    if (is_harmless(child) && !strstr(name, "latency"))
        open_and_name(child);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    g_autofree char *text = g_strndup((const char *)data, len);

    loop_run(fuzz_run, text);
    return 0;
}
