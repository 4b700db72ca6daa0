/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a tool says when something went wrong: one line on standard error behind its name. */
#ifndef TOOLS_COMPLAIN_H
#define TOOLS_COMPLAIN_H

#include <glib.h>
#include <stdarg.h>
#include <stdbool.h>

/* The name this program was called by, without folders. */
void tool_set_name(const char *argv0);
const char *tool_name(void);

/*
 * @fn is called before a complaint is written, so that it can clear what it has drawn on the
 * terminal. NULL: nobody has drawn anything.
 */
void complain_after(void (*fn)(void));

/*
 * Lines begin with the time, in UTC, and with @guest, before the program's name. NULL: without one.
 * @guest is kept, not copied.
 */
void complain_stamp(bool has_time, const char *guest);

/*
 * One line on standard error after the program's name. Always false. Control characters are shown
 * escaped, here and in all functions below: names come from images and servers.
 */
bool complain(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
bool complain_va(const char *fmt, va_list ap) G_GNUC_PRINTF(1, 0);
/* The message of @err and what belongs to it: its fixed line, its advice on a terminal. False. */
bool complain_err(const GError *err);
/* A message without an error of its own about request failure @r: "TEXT: No space left". False. */
bool complain_errno(int r, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/*
 * What a program says besides the reason when it has to end on the spot, for want of memory
 * perhaps: what it leaves behind. NULL: nothing. A line as complain() writes it.
 */
void complain_last_words_set(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
/* The line, with program name and newline; NULL: there is none. Fit for signal handlers. */
const char *complain_last_words(void);

#endif
