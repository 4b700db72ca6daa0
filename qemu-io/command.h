/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a command of qemu-io is. Each file of commands ends in its Commands; commands[] is made from
 * the list of files.
 */
#ifndef QEMU_IO_COMMAND_H
#define QEMU_IO_COMMAND_H

#include "io/co.h"
#include "qemu-io/session.h"

/* What must hold before a command runs; the shell sees to it. */
typedef enum {
    CMD_WITHOUT_FILE = 1 << 0,  /* runs with no image open too */
    CMD_WRITES = 1 << 1,        /* the image is writable */
    CMD_RESIZES = 1 << 2,       /* and nobody else keeps its size */
} CommandFlags;

typedef enum {
    CMD_OK,
    CMD_FAILED,     /* the complaint was made */
    CMD_BAD_USAGE,  /* the shell prints the synopsis */
} CommandResult;

enum { ANY_COUNT = -1 };

typedef struct {
    const char *name;
    const char *alias;       /* a short name; NULL: none */
    int min_args, max_args;  /* words besides the name; max_args may be ANY_COUNT */
    unsigned flags;          /* CommandFlags */
    const char *synopsis;    /* the arguments in one line */
    const char *summary;     /* half a sentence */
    const char *help;        /* what "help NAME" adds, lines; NULL: nothing */
    /* @argv[0] is the name as typed; @argv ends in NULL and may be reordered (getopt). */
    CO CommandResult (*run)(Session *s, int argc, char **argv);
} Command;

extern const Command *const commands[];

/* The command called @name or known by that alias; NULL: none. */
const Command *command_find(const char *name);
/* "NAME ARGUMENTS -- SUMMARY" on standard output; @name is the name or alias of @c. */
void command_print_synopsis(const Command *c, const char *name);

/*
 * Reads option letters of @argv one by one as getopt does, complaining on its own; -1 at the end,
 * when the words follow from argv[optind]. Before the first call: command_options_begin().
 */
int command_option(int argc, char **argv, const char *letters);
void command_options_begin(void);

#endif
