/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-migrate check, describe: will a migration between two ends work, and if not, why? */
#include "migration/check.h"
#include "qemu-migrate/end.h"
#include "qemu-migrate/migrate.h"
#include "util/printable.h"
#include <stdio.h>

static void print_list(const json_t *list, const char *before)
{
    const json_t *r;
    size_t i;

    json_array_foreach(list, i, r) {
        g_autofree char *text = printable(json_get_str(r, "reason", ""));

        printf("%s%s: %s\n", before, json_get_str(r, "subject", ""), text);
    }
}

static void print_text(const json_t *verdict)
{
    puts(json_get_bool(verdict, "possible", false) ? "The guest can be migrated"
                                                   : "The guest cannot be migrated:");
    print_list(json_get(verdict, "reasons"), "  ");
    print_list(json_get(verdict, "warnings"), "warning: ");
}

int migrate_check(const MigrateArgs *a, char **words)
{
    g_autoptr(json_t) source = end_read(words[0], a->uri), target = NULL, verdict = NULL;

    if (!source)
        return MIGRATE_FAILED;
    if (words[1]) {
        target = end_read(words[1], a->uri);
        if (!target)
            return MIGRATE_FAILED;
    }
    verdict = migration_check(source, target, a->uri);
    if (a->json)
        json_write_pretty(stdout, verdict, NULL);
    else
        print_text(verdict);
    return json_get_bool(verdict, "possible", false) ? MIGRATE_OK : MIGRATE_DIFFERS;
}

int migrate_describe(const MigrateArgs *a, char **words)
{
    g_autoptr(json_t) end = end_read(words[0], a->uri);

    if (!end)
        return MIGRATE_FAILED;
    json_write_pretty(stdout, end, NULL);
    return MIGRATE_OK;
}
