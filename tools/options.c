/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options from a table to getopt_long, and from there into a struct. */
#include "tools/options.h"
#include "tools/complain.h"
#include "util/suggest.h"
#include <getopt.h>
#include <string.h>

enum { CODE_WORD = 1, CODE_HELP = 'h', CODE_LONG = 256 };

/* What getopt_long wants. Codes are letters, or CODE_LONG plus the index. */
typedef struct {
    const Option *table;
    GString *letters;
    GArray *longs;      /* of struct option */
} Reader;

static void reader_clear(Reader *r)
{
    g_string_free(r->letters, TRUE);
    g_array_unref(r->longs);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Reader, reader_clear)

static void reader_add_letter(Reader *r, const Option *o)
{
    g_string_append_c(r->letters, o->letter);
    if (o->value && o->kind != OPT_MAYBE)
        g_string_append_c(r->letters, ':');
}

static void reader_add_name(Reader *r, const Option *o)
{
    struct option l = {
        .name = o->name,
        .has_arg = o->kind == OPT_MAYBE || o->kind == OPT_REFUSED ? optional_argument :
                   o->value ? required_argument : no_argument,
        .val = CODE_LONG + (int)(o - r->table),
    };

    g_array_append_val(r->longs, l);
}

static bool is_form_of_last(const Option *table, const Option *o)
{
    return o > table && o->name && o[-1].name && !strcmp(o->name, o[-1].name);
}

static const Option *word_entry(const Option *table)
{
    while (!option_is_end(table) && table->kind != OPT_WORD)
        table++;
    return option_is_end(table) ? NULL : table;
}

static Reader reader_new(const Option *table, OptionOrder order)
{
    const struct option help = { .name = "help", .val = CODE_HELP };
    Reader r = { table, g_string_new(order == OPTIONS_BEFORE_WORDS ? "+" : ""),
                 g_array_new(TRUE, TRUE, sizeof(struct option)) };

    if (word_entry(table))
        g_string_append_c(r.letters, '-');
    g_string_append(r.letters, ":h");
    g_array_append_val(r.longs, help);
    for (const Option *o = table; !option_is_end(o); o++) {
        if (is_form_of_last(table, o))
            continue;
        if (o->letter)
            reader_add_letter(&r, o);
        if (o->name)
            reader_add_name(&r, o);
    }
    return r;
}

static const Option *option_of_code(const Option *table, int code)
{
    if (code == CODE_WORD)
        return word_entry(table);
    if (code >= CODE_LONG)
        return &table[code - CODE_LONG];
    while (table->letter != code)
        table++;
    return table;
}

static OptionResult option_store(const Option *o, void *args, const char *value)
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
    case OPT_CALL:
    case OPT_WORD:
        return o->call(args, value);
    case OPT_REFUSED:
        complain("%s", o->help);
        return OPTION_USAGE;
    case OPT_TITLE:
        g_assert_not_reached();
    }
    return OPTION_DONE;
}

/* "; did you mean '--NAME'?" or "", for the end of a message about @typed. Caller frees. */
static char *suggestion(const Option *known, const char *typed)
{
    g_autofree char *name = NULL;
    Suggestion s = { 0 };

    if (!g_str_has_prefix(typed, "--"))
        return g_strdup("");
    name = g_strndup(typed + 2, strcspn(typed + 2, "="));
    s.word = name;
    suggest_try(&s, "help");
    for (; !option_is_end(known); known++)
        if (known->name && known->kind != OPT_REFUSED)
            suggest_try(&s, known->name);
    return s.nearest ? g_strdup_printf("; did you mean '--%s'?", s.nearest) : g_strdup("");
}

/* Complains about the option that getopt has just stumbled over; @word is where it stands. */
static OptionResult refuse(const Reader *r, int code, const char *word)
{
    /* A letter is what getopt saw as a char: below 0 where it is no ASCII. 0: a long name. */
    bool is_letter = optopt && optopt < CODE_LONG && optopt != CODE_HELP;
    char letter[] = { '-', (char)optopt, 0 };
    const char *typed = is_letter ? letter : word;

    if (code == ':') {
        complain("Option '%s' needs a value", typed);
    } else if (optopt && !is_letter) {
        complain("Option '--%s' takes no value",
                 optopt == CODE_HELP ? "help" : r->table[optopt - CODE_LONG].name);
    } else {
        g_autofree char *perhaps = suggestion(r->table, typed);

        complain("Unknown or ambiguous option '%s'%s", typed, perhaps);
    }
    return OPTION_USAGE;
}

OptionResult options_parse(const Option *table, OptionOrder order, int argc, char **argv,
                           void *args, int *first)
{
    g_auto(Reader) r = reader_new(table, order);
    const struct option *longs = (const struct option *)r.longs->data;
    int code;

    optind = 0;
    opterr = 0;
    while ((code = getopt_long(argc, argv, r.letters->str, longs, NULL)) != -1) {
        OptionResult result;

        if (code == CODE_HELP)
            return OPTION_HELP;
        if (code == ':' || code == '?')
            return refuse(&r, code, argv[optind - 1]);
        result = option_store(option_of_code(table, code), args, optarg);
        if (result != OPTION_DONE)
            return result;
    }
    *first = optind;
    return OPTION_DONE;
}

void options_clear(const Option *table, void *args)
{
    for (const Option *o = table; !option_is_end(o); o++)
        if (o->kind == OPT_LIST) {
            GArray **list = (GArray **)((char *)args + o->place);

            g_clear_pointer(list, g_array_unref);
        }
}
