/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-migrate: whether migrations will work, and what saved streams hold. */
#ifndef QEMU_MIGRATE_MIGRATE_H
#define QEMU_MIGRATE_MIGRATE_H

#include "migration/saved.h"
#include <stdbool.h>

/* What options say. */
typedef struct {
    bool json;           /* --output=json */
    bool fields;         /* --fields */
    bool elf;            /* --format=elf */
    const char *block;   /* --block; NULL: the machine's memory */
    const char *uri;     /* --uri; NULL: none */
} MigrateArgs;

/* Exit codes. */
enum { MIGRATE_OK, MIGRATE_DIFFERS, MIGRATE_FAILED };

int migrate_inspect(const MigrateArgs *a, char **words);
int migrate_diff(const MigrateArgs *a, char **words);
int migrate_extract(const MigrateArgs *a, char **words);
int migrate_check(const MigrateArgs *a, char **words);
int migrate_describe(const MigrateArgs *a, char **words);

/* ---- file.c ---------------------------------------------------------------------------------- */

/* All bytes of file @name, or of standard input for "-". NULL: complained. */
GBytes *file_read(const char *name);

/* Memory for content, which takes space only where it is written. NULL: there is none. */
uint8_t *memory_new(void *opaque, const char *name, uint64_t size);
void memory_free_all(SavedStream *s);

#endif
