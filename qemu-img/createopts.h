/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Create options: reading -o, its help, printing what an image will be made with. */
#ifndef QEMU_IMG_CREATEOPTS_H
#define QEMU_IMG_CREATEOPTS_H

#include "block/block.h"
#include "util/json.h"
#include <glib.h>
#include <stdbool.h>

/*
 * Merges the -o values of @list (of Given; NULL: none) into @opts, later ones winning. *@help is
 * set, and nothing merged, when one of them asks for help. False: complained.
 */
bool createopts_read(const GArray *list, json_t *opts, bool *help);

/*
 * Prints the options that format @fmt knows and, when @filename is given, those of the protocol it
 * lies on. False: complained.
 */
bool createopts_help(const char *fmt, const char *filename);

/* Prints the options of @table under @title. */
void createopts_print_table(const char *title, const CreateOpt *table);

/* Options that formats with backing files share. */
#define BACKING_FILE "backing_file"
#define BACKING_FMT "backing_fmt"

/* True if @table has an option of that name. */
bool createopts_knows(const CreateOpt *table, const char *name);

/* False with @err if the backing file that @opts name is a file that creating @filename empties. */
bool createopts_check_backing(const char *filename, const json_t *opts, GError **err);
/*
 * Opens the backing file that @opts name as *@h, to be asked for its format and size, and to be
 * kept until @filename is made: no file that is open is created anew. Others may use it, for
 * writing too, and it needs no secret.
 */
CO bool createopts_open_backing(const char *filename, const json_t *opts, Handle **h, GError **err);

/* Format driver @fmt that can create; NULL: complained. */
const BlockDriver *createopts_format(const char *fmt);
/* The protocol driver for @filename, if it can create with @format; NULL: complained. */
const BlockDriver *createopts_protocol(const char *filename);

/* The line "Formatting 'x', fmt=..." for checked @opts. */
void createopts_print(const char *filename, const BlockDriver *format, const BlockDriver *protocol,
                      const json_t *opts);

#endif
