/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ends of a migration: running programs, or what they said of themselves. */
#ifndef QEMU_MIGRATE_END_H
#define QEMU_MIGRATE_END_H

#include "util/json.h"

/*
 * The MigrationEnd that @name leads to: unix:PATH or tcp:HOST:PORT of a QMP monitor, the path of
 * its socket, or of a file with a description ("-": standard input). @uri: what a running program
 * is asked about, too; NULL: nothing. A new reference, checked by the schema. NULL: complained.
 */
json_t *end_read(const char *name, const char *uri);

#endif
