/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-migrate diff: in what two streams differ. A line for each difference. */
#include "migration/check.h"
#include "migration/wire.h"
#include "qemu-migrate/migrate.h"
#include "tools/complain.h"
#include "util/printable.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- fields ---------------------------------------------------------------------------------- */

static unsigned report(const char *where, const char *a, const char *b)
{
    g_autofree char *shown = printable(where);

    printf("%s: %s, %s\n", shown, a, b);
    return 1;
}

static unsigned diff_values(const char *where, const json_t *a, const json_t *b);

static const char *field_name(const json_t *f)
{
    return json_get_str(f, "name", json_get_str(f, "part", ""));
}

/* The first field of @list called @name from the @nth of its name on; NULL: none. */
static const json_t *find_field(const json_t *list, const char *name, unsigned nth)
{
    const json_t *f;
    size_t i;

    json_array_foreach(list, i, f)
        if (json_is_object(f) && !strcmp(field_name(f), name) && nth-- == 0)
            return f;
    return NULL;
}

static unsigned nth_of_name(const json_t *list, size_t at)
{
    const char *name = field_name(json_array_get(list, at));
    unsigned n = 0;

    for (size_t i = 0; i < at; i++)
        n += !strcmp(field_name(json_array_get(list, i)), name);
    return n;
}

static unsigned diff_fields(const char *where, const json_t *a, const json_t *b)
{
    unsigned n = 0;
    const json_t *f, *g;
    size_t i;

    json_array_foreach(a, i, f) {
        g_autofree char *inner = g_strdup_printf("%s %s", where, field_name(f));

        g = find_field(b, field_name(f), nth_of_name(a, i));
        n += g ? diff_values(inner, json_object_get(f, json_has(f, "part") ? "fields" : "value"),
                             json_object_get(g, json_has(g, "part") ? "fields" : "value"))
               : report(inner, "there", "missing");
    }
    json_array_foreach(b, i, g) {
        g_autofree char *inner = g_strdup_printf("%s %s", where, field_name(g));

        if (!find_field(a, field_name(g), nth_of_name(b, i)))
            n += report(inner, "missing", "there");
    }
    return n;
}

static unsigned diff_lists(const char *where, const json_t *a, const json_t *b)
{
    size_t count = MAX(json_array_size(a), json_array_size(b));
    unsigned n = 0;

    for (size_t i = 0; i < count; i++) {
        g_autofree char *inner = g_strdup_printf("%s[%zu]", where, i);

        n += diff_values(inner, json_array_get(a, i), json_array_get(b, i));
    }
    return n;
}

static unsigned diff_values(const char *where, const json_t *a, const json_t *b)
{
    g_autofree char *text_a = NULL, *text_b = NULL;

    if (json_equal(a, b))
        return 0;
    if (json_is_object(json_array_get(a, 0)) && json_is_object(json_array_get(b, 0)))
        return diff_fields(where, a, b);
    if (json_is_array(a) && json_is_array(b))
        return diff_lists(where, a, b);
    text_a = a ? json_print(a) : g_strdup("missing");
    text_b = b ? json_print(b) : g_strdup("missing");
    return report(where, text_a, text_b);
}

/* ---- sections -------------------------------------------------------------------------------- */

static char *section_name(const json_t *s)
{
    return g_strdup_printf("%s/%" PRId64, json_get_str(s, "name", ""),
                           json_get_int(s, "instance", 0));
}

static unsigned diff_sections(const json_t *a, const json_t *b)
{
    const json_t *s, *t;
    unsigned n = 0;
    size_t i;

    json_array_foreach(a, i, s) {
        g_autofree char *name = section_name(s), *version = g_strdup_printf("%s version", name);

        t = migration_find_section(b, s);
        if (!t) {
            n += report(name, "there", "missing");
            continue;
        }
        n += diff_values(version, json_get(s, "version"), json_get(t, "version"));
        n += diff_fields(name, json_get(s, "fields"), json_get(t, "fields"));
    }
    json_array_foreach(b, i, t) {
        g_autofree char *name = section_name(t);

        if (!migration_find_section(a, t))
            n += report(name, "missing", "there");
    }
    return n;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static unsigned diff_block(const RamBlock *a, const RamBlock *b)
{
    uint64_t pages = 0, first = 0;
    g_autofree char *size_a = NULL, *size_b = NULL;

    if (a->size != b->size) {
        size_a = g_strdup_printf("%" PRIu64 " bytes", a->size);
        size_b = g_strdup_printf("%" PRIu64 " bytes", b->size);
        return report(a->name, size_a, size_b);
    }
    for (uint64_t off = 0; a->host && b->host && off < a->size; off += RAM_PAGE_SIZE)
        if (memcmp(a->host + off, b->host + off, RAM_PAGE_SIZE) && !pages++)
            first = off;
    if (pages)
        printf("%s: %" PRIu64 " pages, the first at 0x%" PRIx64 "\n", a->name, pages, first);
    return pages > 0;
}

static unsigned diff_ram(const RamBlocks *a, const RamBlocks *b)
{
    unsigned n = 0;

    for (guint i = 0; i < a->blocks->len; i++) {
        const RamBlock *block = a->blocks->pdata[i], *other = ram_block_find(b, block->name);

        n += other ? diff_block(block, other) : report(block->name, "there", "missing");
    }
    for (guint i = 0; i < b->blocks->len; i++)
        if (!ram_block_find(a, ((RamBlock *)b->blocks->pdata[i])->name))
            n += report(((RamBlock *)b->blocks->pdata[i])->name, "missing", "there");
    return n;
}

/* ---- the command ----------------------------------------------------------------------------- */

static bool take(SavedStream *s, const char *name)
{
    g_autoptr(GBytes) bytes = file_read(name);
    g_autoptr(GError) err = NULL;
    const void *data;
    size_t size;

    if (!bytes)
        return false;
    data = g_bytes_get_data(bytes, &size);
    if (saved_read(s, data ? data : "", size, memory_new, NULL, &err))
        return true;
    return complain("%s: %s", name, err->message);
}

static unsigned diff(const SavedStream *a, const SavedStream *b)
{
    unsigned n = 0;

    if (g_strcmp0(a->machine, b->machine))
        n += report("machine", a->machine ? a->machine : "unknown",
                    b->machine ? b->machine : "unknown");
    return n + diff_ram(&a->ram, &b->ram) + diff_sections(a->sections, b->sections);
}

int migrate_diff(const MigrateArgs *a, char **words)
{
    SavedStream s[2] = { 0 };
    bool ok = take(&s[0], words[0]) && take(&s[1], words[1]);
    int code = !ok ? MIGRATE_FAILED : diff(&s[0], &s[1]) ? MIGRATE_DIFFERS : MIGRATE_OK;

    for (unsigned i = 0; i < 2; i++) {
        if (s[i].ram.blocks)
            memory_free_all(&s[i]);
        saved_clear(&s[i]);
    }
    return code;
}
