/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options of subcommands: from a table to getopt_long, from there into a struct; and their help. */
#include "qemu-img/command.h"
#include "qemu-img/tool.h"
#include "tools/options.h"
#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum { CODE_LONG_ONLY = 256, CODE_HELP = 1000 };

static unsigned option_count(const Command *c)
{
    unsigned n = 0;

    while (c->options[n].letter || c->options[n].name)
        n++;
    return n;
}

/* The text and table that getopt_long wants. Codes are letters, or CODE_LONG_ONLY plus the index. */
static struct option *getopt_tables(const Command *c, unsigned n, GString *letters)
{
    struct option *longs = g_new0(struct option, n + 2), *l = longs;

    g_string_assign(letters, ":h");
    *l++ = (struct option){ .name = "help", .val = CODE_HELP };
    for (unsigned i = 0; i < n; i++) {
        const Option *o = &c->options[i];

        if (o->letter) {
            g_string_append_c(letters, o->letter);
            if (o->value && o->kind != OPT_MAYBE)
                g_string_append_c(letters, ':');
        }
        if (o->name)
            *l++ = (struct option){
                .name = o->name,
                .has_arg = !o->value ? no_argument :
                           o->kind == OPT_MAYBE ? optional_argument : required_argument,
                .val = CODE_LONG_ONLY + (int)i,
            };
    }
    return longs;
}

static const Option *option_of_code(const Command *c, unsigned n, int code)
{
    if (code >= CODE_LONG_ONLY)
        return &c->options[code - CODE_LONG_ONLY];
    for (unsigned i = 0; i < n; i++)
        if (c->options[i].letter == code)
            return &c->options[i];
    return NULL;
}

static void option_store(const Option *o, void *args, GPtrArray *objects, const char *value)
{
    void *place = (char *)args + o->place;
    GArray **list = place;

    switch (o->kind) {
    case OPT_FLAG:
        *(bool *)place = true;
        break;
    case OPT_TEXT:
        *(const char **)place = value;
        break;
    case OPT_MAYBE:
        *(const char **)place = value ? value : "";
        break;
    case OPT_LIST:
        if (!*list)
            *list = g_array_new(FALSE, FALSE, sizeof(Given));
        g_array_append_val(*list, ((Given){ o, value }));
        break;
    case OPT_OBJECT:
        g_ptr_array_add(objects, (char *)value);
        break;
    }
}

static bool is_negative_number(const char *word)
{
    return word[0] == '-' && g_ascii_isdigit(word[1]);
}

/* The option getopt has just stumbled over, as it was typed. */
static char *option_as_typed(char **argv)
{
    if (optopt > 0 && optopt < CODE_LONG_ONLY)
        return g_strdup_printf("-%c", optopt);
    return g_strdup(argv[optind - 1]);
}

ParseResult command_parse(const Command *c, int argc, char **argv, void *args, GPtrArray *objects,
                          int *first)
{
    unsigned n = option_count(c);
    bool keep_last = c->last_is_word && argc > 1 && is_negative_number(argv[argc - 1]);
    g_autoptr(GString) letters = g_string_new(NULL);
    g_autofree struct option *longs = getopt_tables(c, n, letters);
    int code;

    optind = 0;
    opterr = 0;
    while ((code = getopt_long(argc - keep_last, argv, letters->str, longs, NULL)) != -1) {
        g_autofree char *typed = code == ':' || code == '?' ? option_as_typed(argv) : NULL;

        if (code == 'h' || code == CODE_HELP)
            return PARSE_HELP;
        if (code == ':') {
            complain_usage("Option '%s' needs a value", typed);
            return PARSE_BAD;
        }
        if (code == '?') {
            g_autofree char *perhaps = option_suggestion(longs, typed);

            complain_usage("Unknown or ambiguous option '%s' for '%s'%s", typed, c->name, perhaps);
            return PARSE_BAD;
        }
        option_store(option_of_code(c, n, code), args, objects, optarg);
    }
    *first = optind;
    return PARSE_RUN;
}

void command_args_clear(const Command *c, void *args)
{
    for (const Option *o = c->options; o->letter || o->name; o++)
        if (o->kind == OPT_LIST) {
            GArray **list = (GArray **)((char *)args + o->place);

            g_clear_pointer(list, g_array_unref);
        }
}

/* ---- help ----------------------------------------------------------------------------------- */

/* Prints @text in lines of at most 79 columns, all but the first behind @indent spaces. */
static void print_wrapped(const char *text, int indent, int column)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);

    for (char **w = words; *w; w++) {
        int len = (int)g_utf8_strlen(*w, -1);

        if (column > indent && column + 1 + len > 79) {
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

static void print_option(const Option *o)
{
    g_autoptr(GString) s = g_string_new("  ");

    g_string_append_printf(s, o->letter ? "-%c" : "  ", o->letter);
    g_string_append(s, o->letter && o->name ? ", " : "  ");
    if (o->name)
        g_string_append_printf(s, "--%s", o->name);
    if (o->value && o->kind == OPT_MAYBE)
        g_string_append_printf(s, "[=%s]", o->value);
    else if (o->value)
        g_string_append_printf(s, "%c%s", o->name ? '=' : ' ', o->value);
    fputs(s->str, stdout);
    if (s->len > 28)
        printf("\n%30s", "");
    else
        printf("%*s", (int)(30 - s->len), "");
    print_wrapped(o->help, 30, 30);
}

static void print_option_synopsis(const Option *o)
{
    g_autofree char *value = o->value ? g_ascii_strdown(o->value, -1) : NULL;

    if (o->letter)
        printf(" [-%c%s%s]", o->letter, value && o->kind != OPT_MAYBE ? " " : "",
               value && o->kind != OPT_MAYBE ? value : "");
    if (o->name && o->kind == OPT_MAYBE)
        printf(" [--%s[=%s]]", o->name, value);
    else if (o->name)
        printf(" [--%s%s%s]", o->name, !value ? "" : o->kind == OPT_OBJECT ? " " : "=",
               value ? value : "");
}

void command_print_synopsis(const Command *c)
{
    printf("  %s", c->name);
    for (const Option *o = c->options; o->letter || o->name; o++)
        if (o->kind == OPT_OBJECT)
            print_option_synopsis(o);
    for (const Option *o = c->options; o->letter || o->name; o++)
        if (o->kind != OPT_OBJECT)
            print_option_synopsis(o);
    printf(" %s\n", c->words);
}

void command_help(const Command *c)
{
    printf("Usage: %s %s %s\n", tool_name(), c->name, c->synopsis);
    command_print_synopsis(c);
    print_wrapped(c->summary, 0, 0);
    putchar('\n');
    for (const Option *o = c->options; o->letter || o->name; o++)
        print_option(o);
    print_option(&(Option){ 'h', "help", NULL, "print this text and exit", OPT_FLAG, 0 });
    if (c->notes)
        printf("\n%s", c->notes);
}
