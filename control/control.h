/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What programs that QMP controls do alike: options that make something, the pid file, signals. */
#ifndef CONTROL_CONTROL_H
#define CONTROL_CONTROL_H

#include "io/co-lock.h"
#include "util/json.h"

/* ---- setup.c: options that make something, as key=value or JSON ------------------------------ */

/* The value @text of schema type @type; @implied names a first word without '='. NULL with @err. */
json_t *setup_parse(const char *text, const char *type, const char *implied, GError **err);

CO bool setup_blockdev(const char *text, GError **err);
CO bool setup_chardev(const char *text, GError **err);
CO bool setup_monitor(const char *text, GError **err);
CO bool setup_object(const char *text, GError **err);

/* ---- pid-file.c ------------------------------------------------------------------------------ */

/* Stores our process id in @path and keeps others from doing that. False: complained. */
bool pid_file_write(const char *path);
/* Removes it, if it was written. */
void pid_file_remove(void);

/* ---- signals.c ------------------------------------------------------------------------------- */

/* To be called before anything that may start threads. */
void signals_block(void);
/* Calls @stop when the first of SIGINT, SIGHUP and SIGTERM comes. */
CO void signals_begin(void (*stop)(void));
CO void signals_end(void);

#endif
