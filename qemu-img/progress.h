/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How far a long command has come. One at a time in the process.
 *
 *   -p                        the reference's text on standard output
 *   --progress=json[:FD]      a JSON line a tick, on standard error or descriptor FD
 *   otherwise, on a terminal  a bar on standard error
 *   SIGUSR1                   one line of the reference's text on standard error
 */
#ifndef QEMU_IMG_PROGRESS_H
#define QEMU_IMG_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/*
 * Starts. @how is the value of -p or --progress: NULL not given, "" plain, else json[:FD].
 * @quiet: -q. @phase: one word for what is going on. @step: the least percentage between two
 * lines of the plain text. False: complained.
 */
bool progress_begin(const char *how, bool quiet, const char *phase, double step);
/* @done of @total bytes. Cheap; call it as often as wanted. */
void progress_update(uint64_t done, uint64_t total);
/*
 * The same for parts of the work that the plain text does not count: they only show where there is
 * a phase to tell.
 */
void progress_update_phase(uint64_t done, uint64_t total);
/* Another part of the work begins, with bytes of its own. Means nothing to the plain text. */
void progress_phase(const char *phase);
/* All is done. */
void progress_done(void);
/* Ends what progress_begin started, after success or failure. */
void progress_end(void);
/* Takes a bar off the terminal, so that lines can be printed there; it comes back. */
void progress_hide(void);
/* Standard error for lines that may come at any time: they take the bar away first. */
FILE *progress_stderr(void);
/* True if somebody is shown how far we are: worth working out a total beforehand. */
bool progress_is_shown(void);

/* Entry of option tables for -p and --progress. */
#define OPTION_PROGRESS(type)                                                                      \
    { 'p', "progress", "json[:FD]",                                                                \
      "print how much is done; as JSON lines on standard error, or on descriptor FD, when asked",  \
      OPT_MAYBE, offsetof(type, progress) }
/* The same for commands that have no -p. */
#define OPTION_PROGRESS_LONG(type)                                                                 \
    { 0, "progress", "json[:FD]",                                                                  \
      "print how much is done; as JSON lines on standard error, or on descriptor FD, when asked",  \
      OPT_MAYBE, offsetof(type, progress) }

#endif
