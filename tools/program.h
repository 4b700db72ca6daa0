/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Standard options and the end of a program, alike in all tools. */
#ifndef TOOLS_PROGRAM_H
#define TOOLS_PROGRAM_H

#include "tools/options.h"
#include <stdbool.h>

/* Locale, signals and the name complaints start with. The first thing in main. */
void tool_begin(const char *argv0);

/* The lines of --version. @name: what callers expect before the number, "qemu-img version". */
void tool_print_version(const char *name);
/* "Supported formats:" and the drivers of this build, one line. */
void tool_print_formats(void);

/* "help" or "?". */
bool tool_is_help(const char *text);

/* Acts on the value of -T. OPTION_BAD: complained. */
OptionResult tool_trace(void *args, const char *spec);
/* Makes the object that the value of --object describes, or prints its help. */
OptionResult tool_object(void *args, const char *text);

/* Entries that many option tables hold. */
#define OPTION_TRACE                                                                               \
    { 'T', "trace", " [[enable=]PATTERN][,events=FILE][,file=FILE]",                               \
      "turn on trace points ('help' lists them)", OPT_CALL, .call = tool_trace }
#define OPTION_OBJECT                                                                              \
    { 0, "object", "OBJECT",                                                                      \
      "define an object, such as secret,id=ID,file=FILE ('help' lists them)", OPT_CALL,            \
      .call = tool_object }

/*
 * Deletes all objects, secrets among them. The exit code of a program that would end with @code:
 * what standard output did not take is an error too, also for help texts, and the code is @failure
 * at least; but not if the reader of a pipe has left.
 */
int tool_finish(int code, int failure);

#endif
