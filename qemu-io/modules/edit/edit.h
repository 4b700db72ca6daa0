/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The module "edit": lines typed on a terminal, with editing and history. */
#ifndef QEMU_IO_MODULES_EDIT_EDIT_H
#define QEMU_IO_MODULES_EDIT_EDIT_H

#include <stdbool.h>

typedef struct {
    /* Shows @prompt and takes over the terminal for one line. */
    void (*begin)(const char *prompt);
    /*
     * Reads a key, waiting for one. True when the line is done: *@line is malloc'ed, NULL at the
     * end of input, and the terminal is as it was before begin.
     */
    bool (*feed)(char **line);
} EditModule;

#endif
