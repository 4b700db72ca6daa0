/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Running command lines. */
#include "qemu-io/shell.h"
#include "io/aio.h"
#include "io/loop.h"
#include "qemu-io/command.h"
#include "qemu-io/modules/edit/edit.h"
#include "tools/complain.h"
#include "util/err.h"
#include "util/module.h"
#include "util/suggest.h"
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char prompt[] = "qemu-io> ";

/* ---- commands ------------------------------------------------------------------------------- */

const Command *command_find(const char *name)
{
    for (const Command *const *c = commands; *c; c++)
        if (!strcmp((*c)->name, name) || !g_strcmp0((*c)->alias, name))
            return *c;
    return NULL;
}

void command_print_synopsis(const Command *c, const char *name)
{
    printf("%s%s%s -- %s\n", name, *c->synopsis ? " " : "", c->synopsis, c->summary);
}

void command_options_begin(void)
{
    optind = 0;
    opterr = 0;
}

int command_option(int argc, char **argv, const char *letters)
{
    g_autofree char *with_colon = g_strconcat(":", letters, NULL);
    int c = getopt(argc, argv, with_colon);

    if (c != ':' && c != '?')
        return c;
    fflush(stdout);
    fprintf(stderr, c == ':' ? "%s: option requires an argument -- '%c'\n"
                             : "%s: invalid option -- '%c'\n", argv[0], optopt);
    return '?';
}

/* ---- one line ------------------------------------------------------------------------------- */

/* The words of @line, ended by NULL. Free with g_strfreev. */
static char **line_words(const char *line, int *count)
{
    g_auto(GStrv) parts = g_strsplit(line, " ", -1);
    g_autoptr(GStrvBuilder) words = g_strv_builder_new();

    *count = 0;
    for (char **p = parts; *p; p++)
        if (**p) {
            g_strv_builder_add(words, *p);
            ++*count;
        }
    return g_strv_builder_end(words);
}

/* A line on standard error without the program's name, as scripts know it. Always false. */
static bool tell(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
static bool tell(const char *fmt, ...)
{
    va_list ap;

    fflush(stdout);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return false;
}

/* The line is known to scripts; advice is for people. */
static bool command_unknown(const char *name)
{
    Suggestion s = { .word = name };

    tell("command \"%s\" not found", name);
    for (const Command *const *c = commands; *c; c++)
        suggest_try(&s, (*c)->name);
    if (s.nearest && isatty(STDERR_FILENO))
        tell("Hint: did you mean '%s'?", s.nearest);
    return false;
}

static bool command_takes(const Command *c, const char *name, int words)
{
    if (words >= c->min_args && (c->max_args == ANY_COUNT || words <= c->max_args))
        return true;
    if (c->max_args == ANY_COUNT)
        return tell("bad argument count %d to %s, expected at least %d arguments", words, name,
                    c->min_args);
    if (c->min_args == c->max_args)
        return tell("bad argument count %d to %s, expected %d arguments", words, name, c->min_args);
    return tell("bad argument count %d to %s, expected between %d and %d arguments", words, name,
                c->min_args, c->max_args);
}

/* Sees to what @c says must hold of the image. */
static CO bool command_access(Session *s, const Command *c)
{
    g_autoptr(GError) err = NULL;

    if (c->flags & CMD_WRITES && !handle_is_writable(s->file))
        return complain("Image '%s' is open for reading only", node_filename(handle_node(s->file)));
    if (c->flags & CMD_RESIZES && !handle_require(s->file, ACCESS_RESIZE, &err))
        return complain_err(err);
    return true;
}

CO bool shell_run_line(Session *s, const char *line)
{
    int count;
    g_auto(GStrv) words = line_words(line, &count);
    /* Commands reorder and keep pointers to the words; the list that owns them stays as it is. */
    g_autofree char **argv = g_memdup2(words, (count + 1) * sizeof(*words));
    const Command *c;
    CommandResult result;

    if (!count)
        return true;
    c = command_find(argv[0]);
    if (!c)
        return command_unknown(argv[0]);
    if (!s->file && !(c->flags & CMD_WITHOUT_FILE))
        return tell("no file open, try 'help open'");
    if (!command_takes(c, argv[0], count - 1) || !command_access(s, c))
        return false;
    result = c->run(s, count, argv);
    if (result == CMD_BAD_USAGE)
        command_print_synopsis(c, c->name);
    return result == CMD_OK;
}

/* ---- standard input ------------------------------------------------------------------------- */

/* Lets what runs in the background go on until there is input. */
static CO void input_wait(void)
{
    if (!loop_is_alone())
        aio_poll(STDIN_FILENO, POLLIN, 0);
}

/* The next line of standard input, without its end; NULL when there is no more. Caller frees. */
static CO char *input_line(GString *pending)
{
    const char *end;
    char *line;

    while (!(end = strchr(pending->str, '\n'))) {
        char buf[4096];
        ssize_t n;

        input_wait();
        n = read(STDIN_FILENO, buf, sizeof(buf));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        /* Text ends at a NUL, as it does everywhere in a command. */
        g_string_append_len(pending, buf, strnlen(buf, n));
    }
    if (!end && !pending->len)
        return NULL;
    line = g_strndup(pending->str, end ? (gsize)(end - pending->str) : pending->len);
    g_string_erase(pending, 0, end ? end - pending->str + 1 : -1);
    return line;
}

static CO bool run_pipe(Session *s)
{
    g_autoptr(GString) pending = g_string_new(NULL);
    bool ok = true;

    while (!s->quit) {
        g_autofree char *line = NULL;

        fputs(prompt, stdout);
        fflush(stdout);
        line = input_line(pending);
        if (!line)
            break;
        ok &= shell_run_line(s, line);
    }
    return ok;
}

/* The next line typed with editing; NULL at the end. Free with free(). */
static CO char *edit_line(const EditModule *edit)
{
    char *line = NULL;

    fflush(stdout);
    edit->begin(prompt);
    do
        input_wait();
    while (!edit->feed(&line));
    return line;
}

static CO bool run_terminal(Session *s, const EditModule *edit)
{
    bool ok = true;
    char *line;

    while (!s->quit && (line = edit_line(edit))) {
        ok &= shell_run_line(s, line);
        free(line);
    }
    if (!s->quit)
        putchar('\n');
    return ok;
}

CO bool shell_run_input(Session *s)
{
    const EditModule *edit = NULL;

    /* Without the module a terminal is read like any other input. */
    if (isatty(STDIN_FILENO))
        edit = module_load("edit", NULL);
    return edit ? run_terminal(s, edit) : run_pipe(s);
}
