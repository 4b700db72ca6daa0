/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The help that a table of options makes. */
#include "tools/options.h"
#include <stdio.h>
#include <string.h>

enum { COLUMNS = 79, HELP_COLUMN = 30 };

/* Prints @text in lines of at most COLUMNS, all but the first behind @indent spaces. */
static void print_wrapped(const char *text, int indent, int column)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);

    for (char **w = words; *w; w++) {
        int len = (int)g_utf8_strlen(*w, -1);

        if (column > indent && column + 1 + len > COLUMNS) {
            printf("\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            putchar(' ');
            column++;
        }
        fputs(*w, stdout);
        column += len;
    }
    putchar('\n');
}

void options_print_text(const char *text)
{
    print_wrapped(text, 0, 0);
}

static void append_value(GString *s, const Option *o)
{
    if (o->kind == OPT_MAYBE)
        g_string_append_printf(s, "[=%s]", o->value);
    else if (o->value[0] == ' ')
        g_string_append(s, o->value);
    else
        g_string_append_printf(s, "%c%s", o->name ? '=' : ' ', o->value);
}

static void print_option(const Option *o)
{
    g_autoptr(GString) s = g_string_new("  ");

    g_string_append_printf(s, o->letter ? "-%c" : "  ", o->letter);
    g_string_append(s, o->letter && o->name ? ", " : "  ");
    if (o->name)
        g_string_append_printf(s, "--%s", o->name);
    if (o->value)
        append_value(s, o);
    fputs(s->str, stdout);
    if (s->len > HELP_COLUMN - 2)
        printf("\n%*s", HELP_COLUMN, "");
    else
        printf("%*s", (int)(HELP_COLUMN - s->len), "");
    print_wrapped(o->help, HELP_COLUMN, HELP_COLUMN);
}

void options_print_help(const Option *table)
{
    print_option(&(Option){ 'h', "help", NULL, "print this text and exit" });
    for (const Option *o = table; !option_is_end(o); o++) {
        if (o->kind == OPT_TITLE)
            printf("\n%s\n", o->help);
        else if (o->kind != OPT_WORD && o->kind != OPT_REFUSED)
            print_option(o);
    }
}
