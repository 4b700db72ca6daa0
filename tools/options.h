/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Command lines: options are a table, from which come what getopt_long wants, the struct that the
 * values go to, and the help.
 */
#ifndef TOOLS_OPTIONS_H
#define TOOLS_OPTIONS_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

/* What an option or the whole line comes to. */
typedef enum {
    OPTION_DONE,
    OPTION_EXIT,    /* what was asked for is done: a list was printed */
    OPTION_HELP,    /* -h or --help */
    OPTION_BAD,     /* complained */
    OPTION_USAGE,   /* complained about an option that does not exist or lacks its value */
} OptionResult;

/* Where the value of an option goes, in the struct of arguments. */
typedef enum {
    OPT_FLAG,      /* bool: true when given */
    OPT_TEXT,      /* const char *: the last one given */
    OPT_MAYBE,     /* const char *: "" when given without a value; a value only as --name=VALUE */
    OPT_LIST,      /* GArray * of Given: everything given, in order; NULL when nothing was */
    OPT_CALL,      /* no place: .call acts at once, in the order of the line */
    OPT_REFUSED,   /* is refused, with .help as the reason; takes a value or none */
    OPT_WORD,      /* no option: .call gets each word that is none, in its place between them */
    OPT_TITLE,     /* no option: .help is a line of its own in the help */
} OptionKind;

typedef struct {
    char letter;        /* 0: only a long name */
    const char *name;   /* NULL: only a letter; that of the entry before: another form of its
                           value */
    const char *value;  /* what the help calls its value, with a space in front where
                           "--name VALUE" is customary, not "--name=VALUE"; NULL: takes none */
    const char *help;
    OptionKind kind;
    size_t place;       /* offsetof in the arguments */
    OptionResult (*call)(void *args, const char *value);
} Option;

#define OPTION_TITLE(text) { .help = text, .kind = OPT_TITLE }
#define OPTION_END { 0 }

static inline bool option_is_end(const Option *o)
{
    return !o->letter && !o->name && o->kind != OPT_TITLE && o->kind != OPT_WORD;
}

/* One occurrence of an OPT_LIST option. Options may share a list. */
typedef struct {
    const Option *option;
    const char *value;  /* NULL for options without one */
} Given;

typedef enum {
    OPTIONS_ANYWHERE,       /* words and options may alternate */
    OPTIONS_BEFORE_WORDS,   /* the first word ends them */
} OptionOrder;

/*
 * Reads the options of @table, and -h and --help, from @argv behind argv[0] into @args. @argv is
 * put in order: the words follow from *@first on.
 */
OptionResult options_parse(const Option *table, OptionOrder order, int argc, char **argv,
                           void *args, int *first);
/* Frees the lists in @args. */
void options_clear(const Option *table, void *args);

/* A line or more about each option on standard output, -h first. */
void options_print_help(const Option *table);
/* @text in lines of at most 79 columns on standard output. */
void options_print_text(const char *text);

static inline OptionResult option_done_if(bool ok)
{
    return ok ? OPTION_DONE : OPTION_BAD;
}

#endif
