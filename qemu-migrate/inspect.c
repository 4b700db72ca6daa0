/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-migrate inspect: what a stream holds. */
#include "qemu-migrate/migrate.h"
#include "tools/complain.h"
#include "util/printable.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- JSON ------------------------------------------------------------------------------------ */

static json_t *ram_to_json(const RamBlocks *r)
{
    json_t *o = json_object(), *blocks = json_array();

    for (guint i = 0; i < r->blocks->len; i++) {
        const RamBlock *b = r->blocks->pdata[i];
        json_t *block = json_object();

        json_put_str(block, "name", b->name);
        json_put_int(block, "size", b->size);
        json_array_append_new(blocks, block);
    }
    json_put(o, "blocks", blocks);
    json_put_int(o, "pages", r->pages);
    json_put_int(o, "zero-pages", r->zero_pages);
    json_put_int(o, "delta-pages", r->delta_pages);
    json_put_int(o, "compressed-pages", r->compressed_pages);
    return o;
}

static void print_json(const SavedStream *s, size_t size, bool fields, const GError *why)
{
    g_autoptr(json_t) o = json_object();
    json_t *section;
    size_t i;

    if (s->machine)
        json_put_str(o, "machine", s->machine);
    json_put_int(o, "size", size);
    json_put_bool(o, "whole", s->is_whole);
    json_put_bool(o, "described", s->is_described);
    json_put_int(o, "commands", s->commands);
    json_put(o, "ram", ram_to_json(&s->ram));
    if (!fields)
        json_array_foreach(s->sections, i, section)
            json_object_del(section, "fields");
    json_put(o, "sections", json_incref(s->sections));
    if (why)
        json_put_str(o, "error", why->message);
    json_write_pretty(stdout, o, NULL);
}

/* ---- text ------------------------------------------------------------------------------------ */

static void print_value(const json_t *v, bool is_bytes)
{
    if (json_is_integer(v))
        printf("%" JSON_INTEGER_FORMAT, json_integer_value(v));
    else
        printf("%s", json_string_value(v));
}

static void print_fields(const json_t *fields, int indent);

static void print_field(const json_t *f, int indent)
{
    const json_t *v = json_object_get(f, "value"), *element;
    bool is_struct = !strcmp(json_get_str(f, "type", ""), "struct");
    g_autofree char *name = printable(json_get_str(f, "name", json_get_str(f, "part", "")));
    size_t i;

    printf("%*s%s", indent, "", name);
    if (json_has(f, "part")) {
        putchar('\n');
        print_fields(json_get(f, "fields"), indent + 2);
    } else if (is_struct && json_is_object(json_array_get(v, 0))) {
        putchar('\n');
        print_fields(v, indent + 2);
    } else if (is_struct) {
        putchar('\n');
        json_array_foreach(v, i, element) {
            printf("%*s%zu\n", indent + 2, "", i);
            print_fields(element, indent + 4);
        }
    } else if (json_is_array(v)) {
        putchar(':');
        json_array_foreach(v, i, element) {
            putchar(' ');
            print_value(element, false);
        }
        putchar('\n');
    } else {
        printf(": ");
        print_value(v, false);
        putchar('\n');
    }
}

static void print_fields(const json_t *fields, int indent)
{
    const json_t *f;
    size_t i;

    json_array_foreach(fields, i, f)
        print_field(f, indent);
}

static void print_text(const SavedStream *s, size_t size, bool fields)
{
    const json_t *section;
    size_t i;

    if (s->machine) {
        g_autofree char *machine = printable(s->machine);

        printf("machine: %s\n", machine);
    }
    printf("size: %zu bytes%s\n", size, s->is_whole ? "" : ", damaged");
    if (!s->is_described)
        puts(
            "There is no description: where sections end is guessed, and their fields are unknown");
    puts("memory:");
    for (guint n = 0; n < s->ram.blocks->len; n++) {
        const RamBlock *b = s->ram.blocks->pdata[n];

        printf("  %-24s %" PRIu64 " bytes\n", b->name, b->size);
    }
    printf("pages: %" PRIu64 " full, %" PRIu64 " zero", s->ram.pages, s->ram.zero_pages);
    if (s->ram.delta_pages)
        printf(", %" PRIu64 " changed", s->ram.delta_pages);
    if (s->ram.compressed_pages)
        printf(", %" PRIu64 " compressed", s->ram.compressed_pages);
    puts("\nsections:");
    json_array_foreach(s->sections, i, section) {
        g_autofree char *name = printable(json_get_str(section, "name", ""));
        g_autofree char *full =
            g_strdup_printf("%s/%" PRId64, name, json_get_int(section, "instance", 0));

        printf("  %-40s version %" PRId64 ", %" PRId64 " bytes at %" PRId64 "\n", full,
               json_get_int(section, "version", 0), json_get_int(section, "size", 0),
               json_get_int(section, "offset", 0));
        if (fields)
            print_fields(json_get(section, "fields"), 4);
    }
}

/* ---- the command ----------------------------------------------------------------------------- */

int migrate_inspect(const MigrateArgs *a, char **words)
{
    g_autoptr(GBytes) bytes = file_read(words[0]);
    g_auto(SavedStream) s = { 0 };
    g_autoptr(GError) err = NULL;
    const void *data;
    size_t size;
    bool ok;

    if (!bytes)
        return MIGRATE_FAILED;
    data = g_bytes_get_data(bytes, &size);
    ok = saved_read(&s, data ? data : "", size, NULL, NULL, &err);
    if (a->json)
        print_json(&s, size, a->fields, err);
    else
        print_text(&s, size, a->fields);
    if (ok)
        return MIGRATE_OK;
    fflush(stdout);
    complain("%s: %s", words[0], err->message);
    return MIGRATE_FAILED;
}
