/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a subcommand is. Each lies in a file of its own that ends in its Command; commands[] is made
 * from the list of files.
 */
#ifndef QEMU_IMG_COMMAND_H
#define QEMU_IMG_COMMAND_H

#include "io/co.h"
#include "tools/options.h"
#include "tools/program.h"
#include <stdbool.h>
#include <stddef.h>

typedef struct {
    const char *name;
    const char *synopsis;   /* what follows the name in the first line of the help */
    const char *words;      /* what is no option, as callers look for it in the help: "filename" */
    const char *summary;    /* one sentence */
    const char *notes;      /* more help, after the options; NULL: none */
    const Option *options;  /* ended by OPTION_END */
    size_t args_size;
    /* @args: zeroed and filled in; @words: what was not an option. Returns the exit code. */
    CO int (*run)(const void *args, char **words, int count);
    bool last_is_word;      /* even if it looks like an option: -1G */
    int failure; /* exit code for what any command can fail with, if not 1: an --object that
                               is refused, standard output that is full */
} Command;

extern const Command *const commands[];

/* The help text of @c on standard output. */
void command_help(const Command *c);
/*
 * The line " NAME [-f fmt]... WORDS" with every option of @c, not wrapped: programs search the help
 * for it to learn what this version can do.
 */
void command_print_synopsis(const Command *c);

#endif
