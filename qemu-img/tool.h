/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the subcommands share: opening images, reading option values. */
#ifndef QEMU_IMG_TOOL_H
#define QEMU_IMG_TOOL_H

#include "block/block.h"
#include "block/snapshot.h"
#include "tools/complain.h"
#include "tools/image.h"
#include "tools/program.h"
#include "util/err.h"
#include "util/json.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Prints the line that points to --help. */
void usage_hint(void);
/* Complains as complain() does, then gives the hint. Always false. */
bool complain_usage(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* ---- values of options ---------------------------------------------------------------------- */

/*
 * Reads a size between 0 and @max with the usual suffixes. @what: "image size". False: complained,
 * with as many lines as callers of the reference are used to.
 */
bool tool_size(const char *what, const char *text, uint64_t max, uint64_t *out);
/* A whole number from @min to @max. */
bool tool_number(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *out);
/* "human" (also for NULL) or "json". */
bool tool_output(const char *text, bool *json);
/* Format driver @name exists; @what as in "Unknown WHAT 'name'". */
const BlockDriver *tool_format(const char *what, const char *name);

/* ---- images --------------------------------------------------------------------------------- */

/*
 * Opens @name: a file name of format @format (NULL: probed), or with @image_opts a full option
 * string. NULL: complained.
 */
CO Handle *tool_open(const char *name, const char *format, bool image_opts, OpenFlags flags);
/* The same with the reason in @err. */
CO Handle *tool_open_err(const char *name, const char *format, bool image_opts, OpenFlags flags,
                         GError **err);
/* --image-opts and a format exclude each other. False: complained. */
bool tool_check_image_opts(bool image_opts, const char *format);
/* Flushes, then closes *@h and clears it. False: complained. Fine with NULL. */
CO bool tool_close(Handle **h);

/* ---- being stopped -------------------------------------------------------------------------- */

/*
 * From now on SIGINT, SIGTERM and SIGHUP do not kill us but are remembered: long work looks at
 * tool_interrupted, ends, and says what it leaves behind. The second signal kills, and so do ten
 * seconds that this takes: what the work waits for may never come.
 */
void tool_watch_interrupts(void);

/*
 * For work that cannot look: from now on these signals say complain_last_words(), which have to be
 * set, then kill. @on false: they only kill again.
 */
void tool_say_when_killed(bool on);
/* The same, with the words "Interrupted: TEXT". */
void tool_say_interrupted(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* True once a signal has come that tool_watch_interrupts watches for. */
bool tool_interrupted(void);

/*
 * The end of a program that such a signal ended: it dies of it after all, so that a shell stops
 * too.
 */
void tool_die_if_interrupted(void);

/* ---- results -------------------------------------------------------------------------------- */

/* Prints @v as the --output=json of every command: indented, with a newline. */
void tool_print_json(const json_t *v);

#endif
