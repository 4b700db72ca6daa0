/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is known about an image, shown to people and programs. */
#include "qemu-img/describe.h"
#include "tools/print.h"
#include "util/size.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void describe_snapshots(const Snapshot *list, size_t count)
{
    g_autoptr(GString) table = g_string_new("Snapshot list:\n");

    snapshot_put_row(table, NULL, NULL);
    for (size_t i = 0; i < count; i++)
        snapshot_put_row(table, &list[i], NULL);
    fputs(table->str, stdout);
}

static void print_backing(const json_t *image)
{
    const char *stored = json_get_str(image, "backing-filename", NULL);
    const char *full = json_get_str(image, "full-backing-filename", NULL);
    const char *format = json_get_str(image, "backing-filename-format", NULL);

    if (!stored)
        return;
    printf("backing file: %s", stored);
    if (!full)
        fputs(" (cannot determine actual path)", stdout);
    else if (strcmp(stored, full))
        printf(" (actual path: %s)", full);
    putchar('\n');
    if (format)
        printf("backing file format: %s\n", format);
}

/* Lines that every node has; @indent in front of each. */
static void print_sizes(const json_t *image, const char *size_name, int indent)
{
    g_autofree char *size = size_format((uint64_t)json_get_int(image, "virtual-size", 0));
    g_autofree char *disk = NULL;

    printf("%*s%s: %s (%" PRId64 " bytes)\n", indent, "", size_name, size,
           json_get_int(image, "virtual-size", 0));
    if (json_has(image, "actual-size"))
        disk = size_format((uint64_t)json_get_int(image, "actual-size", 0));
    printf("%*sdisk size: %s\n", indent, "", disk ? disk : "unavailable");
}

static void print_children(const json_t *image, const char *path)
{
    const json_t *children = json_get(image, "children");

    for (size_t i = 0; i < json_array_size(children); i++) {
        const json_t *child = json_array_get(children, i), *info = json_get(child, "info");
        g_autofree char *name = g_strdup_printf("%s/%s", path, json_get_str(child, "name", ""));

        printf("Child node '%s':\n", name);
        printf("    filename: %s\n", json_get_str(info, "filename", ""));
        printf("    protocol type: %s\n", json_get_str(info, "format", ""));
        print_sizes(info, "file length", 4);
        print_section(json_get(json_get(info, "format-specific"), "data"),
                      "Format specific information", 1);
        print_section(json_get(info, "limits"), "Block limits", 1);
        print_children(info, name);
    }
}

void describe_print(const json_t *image, const GArray *lists)
{
    const json_t *snapshots = json_get(image, "snapshots");

    printf("image: %s\n", json_get_str(image, "filename", ""));
    printf("file format: %s\n", json_get_str(image, "format", ""));
    print_sizes(image, "virtual size", 0);
    if (json_get_bool(image, "encrypted", false))
        puts("encrypted: yes");
    if (json_has(image, "cluster-size"))
        printf("cluster_size: %" PRId64 "\n", json_get_int(image, "cluster-size", 0));
    if (json_get_bool(image, "dirty-flag", false))
        puts("cleanly shut down: no");
    print_backing(image);
    if (snapshots) {
        const SnapshotList *s = &g_array_index(lists, SnapshotList, json_integer_value(snapshots));

        describe_snapshots(s->list, s->count);
    }
    print_section(json_get(json_get(image, "format-specific"), "data"),
                  "Format specific information", 0);
    print_section(json_get(image, "limits"), "Block limits", 0);
    print_children(image, "");
}

static json_t *snapshot_element(void *arg, int64_t n, size_t i)
{
    const SnapshotList *s = &g_array_index((GArray *)arg, SnapshotList, n);

    return i < s->count ? describe_snapshot(&s->list[i]) : NULL;
}

void describe_print_json(const json_t *v, GArray *lists)
{
    const JsonLazy lazy = { "snapshots", snapshot_element, lists };

    json_write_pretty(stdout, v, &lazy);
}
