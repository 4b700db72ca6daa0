/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "monitor/hmp.h"
#include "util/err.h"
#include <string.h>

static const HmpCommand *commands;
static HmpRegister *register_value;

void hmp_begin(const HmpCommand *c, HmpRegister *reg)
{
    commands = c;
    register_value = reg;
}

const HmpCommand *hmp_commands(void)
{
    return commands;
}

/* ---- finding --------------------------------------------------------------------------------- */

/* Is the word of @len bytes at @word one of @names, "stop|s"? */
static bool is_named(const char *names, const char *word, size_t len)
{
    for (const char *n = names;; n++) {
        size_t l = strcspn(n, "|");

        if (l == len && !memcmp(n, word, len))
            return true;
        n += l;
        if (!*n)
            return false;
    }
}

static size_t word_length(const char *text)
{
    return strcspn(text, " \t/");
}

static const HmpCommand *find(const char *word, size_t len)
{
    for (const HmpCommand *c = commands; len && c && c->name; c++)
        if (is_named(c->name, word, len))
            return c;
    return NULL;
}

/*
 * The command at the start of @line, and where its arguments begin. NULL: *@len bytes of @line are
 * the name of none.
 */
static const HmpCommand *find_at(const char *line, const char **rest, size_t *len)
{
    size_t first = word_length(line);
    const HmpCommand *c;

    *len = first;
    *rest = line + first;
    if (is_named("info", line, first)) {
        const char *second = line + first + strspn(line + first, " \t");
        size_t n = word_length(second);
        g_autofree char *name = g_strdup_printf("info %.*s", (int)n, second);

        if (n) {
            c = find(name, strlen(name));
            *len = second + n - line;
            *rest = second + n;
            return c;
        }
    }
    c = find(line, first);
    return c;
}

/* ---- help ------------------------------------------------------------------------------------ */

static void help_line(Hmp *h, const HmpCommand *c)
{
    g_string_append_printf(h->out, "%s %s -- %s\n", c->name, c->synopsis, c->doc);
}

static void help_all(Hmp *h, bool info)
{
    for (const HmpCommand *c = commands; c->name; c++)
        if (g_str_has_prefix(c->name, "info ") == info)
            help_line(h, c);
}

void hmp_help(Hmp *h, const char *name)
{
    const char *rest;
    size_t len;
    const HmpCommand *c = name ? find_at(name, &rest, &len) : NULL;

    if (name && !strcmp(name, "info"))
        help_all(h, true);
    else if (!name)
        help_all(h, false);
    else if (c)
        help_line(h, c);
    else
        g_string_append_printf(h->out, "unknown command: '%s'\n", name);
}

void hmp_error(Hmp *h, GError *e)
{
    g_autoptr(GError) err = e;

    if (err)
        g_string_append_printf(h->out, "Error: %s\n", err->message);
}

/* ---- running --------------------------------------------------------------------------------- */

CO void hmp_run(Hmp *h, const char *line)
{
    const HmpCommand *c;
    g_autofree char *text = NULL;
    HmpArguments a;
    const char *rest;
    size_t len;

    line += strspn(line, " \t");
    if (!*line || *line == '#')
        return;
    c = find_at(line, &rest, &len);
    if (!c) {
        g_string_append_printf(h->out, "unknown command: '%.*s'\n", (int)len, line);
        return;
    }
    text = g_strdup(rest);
    if (hmp_arguments_read(h, c, text, &a, register_value))
        c->run(h, &a);
}

/* ---- completion ------------------------------------------------------------------------------ */

static int by_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

GPtrArray *hmp_complete(const char *text)
{
    GPtrArray *found = g_ptr_array_new_with_free_func(g_free);
    bool info = g_str_has_prefix(text, "info ") || g_str_has_prefix(text, "help info ");
    const char *word = strrchr(text, ' ') ? strrchr(text, ' ') + 1 : text;
    bool first = word == text || info || (g_str_has_prefix(text, "help ") && word == text + 5);

    for (const HmpCommand *c = commands; first && c->name; c++) {
        bool is_info = g_str_has_prefix(c->name, "info ");
        g_auto(GStrv) names = g_strsplit(is_info ? c->name + 5 : c->name, "|", -1);

        for (char **n = names; is_info == info && *n; n++)
            if (g_str_has_prefix(*n, word))
                g_ptr_array_add(found, g_strdup(*n));
    }
    g_ptr_array_sort(found, by_text);
    return found;
}
