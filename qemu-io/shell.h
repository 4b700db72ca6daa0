/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Running command lines: one, or those that standard input holds. */
#ifndef QEMU_IO_SHELL_H
#define QEMU_IO_SHELL_H

#include "qemu-io/session.h"

/* Runs one line: words between spaces. False: it failed. An empty line does nothing. */
CO bool shell_run_line(Session *s, const char *line);

/*
 * Prompts for lines on standard input and runs them until it ends or a command says so; on a
 * terminal with editing and history. False: a command failed.
 */
CO bool shell_run_input(Session *s);

#endif
