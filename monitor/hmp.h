/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The monitor for people: commands as lines of words, answers as text. hmp.c finds and runs
 * commands, hmp-arguments.c reads what stands behind them, hmp-session.c talks to a terminal. Main
 * loop only.
 */
#ifndef MONITOR_HMP_H
#define MONITOR_HMP_H

#include "monitor/chardev.h"

/* Who asks: what one session, or one line of QMP, keeps. */
typedef struct {
    GString *out;       /* the answer */
    unsigned cpu;       /* whose registers and addresses are meant */
    GPtrArray *history; /* of char *: lines typed so far; NULL: none is kept */
} Hmp;

enum { HMP_ARGUMENTS = 10 };

/* How x, xp and p show: as "/4xw" says. Kept from one command to the next. */
typedef struct {
    unsigned count;
    char format; /* x d u o c i */
    unsigned size;
} HmpFormat;

/* What stands behind a command, by HmpCommand.arguments. */
typedef struct {
    const char *text[HMP_ARGUMENTS];   /* of s, B, F and S; NULL: left out */
    uint64_t number[HMP_ARGUMENTS];    /* of n, o and b */
    bool is_given[HMP_ARGUMENTS];      /* this one, or this flag */
    HmpFormat format;
} HmpArguments;

typedef struct {
    const char *name; /* "stop|s"; of info: "info status". NULL ends a table */
    /*
     * A letter for each: s a word, B a word that names a block device, F one that names a file,
     * S all that is left, n a number or expression, o a size, of MiB unless it has a suffix, b on
     * or off; before it ? if it may be left out; -x a flag; / a format, which is no argument.
     */
    const char *arguments;
    const char *synopsis; /* for people */
    const char *doc;
    CO void (*run)(Hmp *h, const HmpArguments *a);
} HmpCommand;

/* Commands, and the value of a register called @name for expressions: NULL if there is none. */
typedef bool HmpRegister(const Hmp *h, const char *name, uint64_t *value);
void hmp_begin(const HmpCommand *commands, HmpRegister *reg);
const HmpCommand *hmp_commands(void);

/* Runs @line, and appends to the answer. */
CO void hmp_run(Hmp *h, const char *line);
/* help and help NAME */
void hmp_help(Hmp *h, const char *name);
/* "Error: ..." if there is one; frees it. */
void hmp_error(Hmp *h, GError *err);

/* The names that begin with @text, which is the start of a line: words for its end, sorted. */
GPtrArray *hmp_complete(const char *text);

/* ---- hmp-arguments.c ------------------------------------------------------------------------- */

/* False: what is wrong is in the answer. @text is changed; what @a points to lies in it. */
bool hmp_arguments_read(Hmp *h, const HmpCommand *c, char *text, HmpArguments *a,
                        HmpRegister *reg);

/* ---- hmp-session.c --------------------------------------------------------------------------- */

typedef struct HmpSession HmpSession;
HmpSession *hmp_session_new(Chardev *c);
void hmp_session_free(HmpSession *s);
CO void hmp_session_run(void *session);

#endif
