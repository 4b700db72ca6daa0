/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a subcommand is. Each lies in a file of its own that ends in its Command; commands[] is made
 * from the list of files.
 */
#ifndef QEMU_IMG_COMMAND_H
#define QEMU_IMG_COMMAND_H

#include "io/co.h"
#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

/* Where the value of an option goes, in the struct that Command.args_size describes. */
typedef enum {
    OPT_FLAG,      /* bool: true when given */
    OPT_TEXT,      /* const char *: the last one given */
    OPT_MAYBE,     /* const char *: "" when given without a value; a value only as --name=VALUE */
    OPT_LIST,      /* GArray * of Given: everything given, in order; NULL when nothing was */
    OPT_OBJECT,    /* no place: handled before the command runs */
} OptionKind;

typedef struct {
    char letter;        /* 0: only a long name */
    const char *name;   /* NULL: only a letter */
    const char *value;  /* what the help calls its value; NULL: takes none */
    const char *help;
    OptionKind kind;
    size_t place;       /* offsetof in the arguments */
} Option;

/* One occurrence of an OPT_LIST option. Options may share a list. */
typedef struct {
    const Option *option;
    const char *value;  /* NULL for options without one */
} Given;

typedef struct {
    const char *name;
    const char *synopsis;   /* what follows the name in the first line of the help */
    const char *words;      /* what is no option, as callers look for it in the help: "filename" */
    const char *summary;    /* one sentence */
    const char *notes;      /* more help, after the options; NULL: none */
    const Option *options;  /* ended by one with neither letter nor name */
    size_t args_size;
    /* @args: zeroed and filled in; @words: what was not an option. Returns the exit code. */
    CO int (*run)(const void *args, char **words, int count);
    bool last_is_word;      /* even if it looks like an option: -1G */
    int failure;            /* exit code for what any command can fail with, if not 1: an --object that
                               is refused, standard output that is full */
} Command;

extern const Command *const commands[];

typedef enum { PARSE_RUN, PARSE_HELP, PARSE_BAD } ParseResult;

/*
 * Reads the options of @c from @argv (@argv[0] is the command's name), which is put in order: the
 * words follow from *@first on. @objects (of const char *) gets the OPT_OBJECT values. PARSE_BAD:
 * the complaint was made.
 */
ParseResult command_parse(const Command *c, int argc, char **argv, void *args, GPtrArray *objects,
                          int *first);
/* Frees the lists in @args. */
void command_args_clear(const Command *c, void *args);
/* The help text of @c on standard output. */
void command_help(const Command *c);
/*
 * The line "  NAME [-f fmt]... WORDS" with every option of @c, not wrapped: programs search the help
 * for it to learn what this version can do.
 */
void command_print_synopsis(const Command *c);

/* Entries that many option tables hold. */
#define OPTION_OBJECT                                                                              \
    { 0, "object", "OBJECT", "define an object, such as secret,id=ID,file=FILE ('help' lists them)", \
      OPT_OBJECT, 0 }
#define OPTION_END { 0 }

#endif
