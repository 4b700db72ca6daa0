/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What stands behind a command: words, expressions, flags, formats. */
#include "monitor/hmp.h"
#include "util/size.h"
#include <inttypes.h>
#include <string.h>

typedef struct {
    Hmp *h;
    const char *at;
    HmpRegister *reg;
    bool failed;
} Expression;

static void skip_blanks(Expression *e)
{
    while (g_ascii_isspace(*e->at))
        e->at++;
}

static uint64_t fail(Expression *e, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
static uint64_t fail(Expression *e, const char *fmt, ...)
{
    va_list ap;

    if (!e->failed) {
        va_start(ap, fmt);
        g_string_append_vprintf(e->h->out, fmt, ap);
        va_end(ap);
        g_string_append_c(e->h->out, '\n');
    }
    e->failed = true;
    return 0;
}

/* ---- expressions ----------------------------------------------------------------------------- */

static uint64_t logic(Expression *e);

static uint64_t character(Expression *e)
{
    uint64_t v = (uint8_t)e->at[1];

    if (!e->at[1] || e->at[2] != '\'')
        return fail(e, "missing terminating ' character");
    e->at += 3;
    return v;
}

static uint64_t register_value(Expression *e)
{
    size_t n = 1;
    g_autofree char *name = NULL;
    uint64_t v = 0;

    while (g_ascii_isalnum(e->at[n]) || (e->at[n] && strchr("_.", e->at[n])))
        n++;
    name = g_strndup(e->at + 1, n - 1);
    e->at += n;
    return e->reg && e->reg(e->h, name, &v) ? v : fail(e, "unknown register");
}

static uint64_t number(Expression *e)
{
    char *end;
    uint64_t v = g_ascii_strtoull(e->at, &end, 0);

    if (end == e->at)
        return *e->at ? fail(e, "invalid char '%c' in expression", *e->at)
                      : fail(e, "unexpected end of expression");
    e->at = end;
    return v;
}

static uint64_t unary(Expression *e)
{
    uint64_t v;

    skip_blanks(e);
    switch (*e->at) {
    case '+':
        e->at++;
        return unary(e);
    case '-':
        e->at++;
        return -unary(e);
    case '~':
        e->at++;
        return ~unary(e);
    case '(':
        e->at++;
        v = logic(e);
        skip_blanks(e);
        if (*e->at != ')')
            return fail(e, "')' expected");
        e->at++;
        return v;
    case '\'':
        return character(e);
    case '$':
        return register_value(e);
    default:
        return number(e);
    }
}

static uint64_t product(Expression *e)
{
    uint64_t v = unary(e);

    for (skip_blanks(e); !e->failed && *e->at && strchr("*/%", *e->at); skip_blanks(e)) {
        char op = *e->at++;
        uint64_t by = unary(e);

        if (op != '*' && !by)
            return fail(e, "division by zero");
        v = op == '*' ? v * by : op == '/' ? v / by : v % by;
    }
    return v;
}

static uint64_t sum(Expression *e)
{
    uint64_t v = product(e);

    while (!e->failed && (*e->at == '+' || *e->at == '-')) {
        char op = *e->at++;
        uint64_t by = product(e);

        v = op == '+' ? v + by : v - by;
    }
    return v;
}

static uint64_t logic(Expression *e)
{
    uint64_t v = sum(e);

    while (!e->failed && *e->at && strchr("&|^", *e->at)) {
        char op = *e->at++;
        uint64_t by = sum(e);

        v = op == '&' ? v & by : op == '|' ? v | by : v ^ by;
    }
    return v;
}

/* ---- words and formats ----------------------------------------------------------------------- */

/* The next word, ended in place; one in quotes may have blanks. NULL: there is none. */
static char *word(char **text)
{
    char *p = *text, *start, *to;

    while (g_ascii_isspace(*p))
        p++;
    if (!*p)
        return NULL;
    start = to = p;
    if (*p == '"') {
        for (p++; *p && *p != '"'; p++)
            *to++ = *p == '\\' && p[1] ? *++p : *p;
    } else {
        while (*p && !g_ascii_isspace(*p))
            *to++ = *p++;
    }
    *text = *p ? p + 1 : p;
    *to = 0;
    return start;
}

static HmpFormat usual = { 1, 'x', 4 };

/* "/4xw". False: said. */
static bool read_format(Hmp *h, char **text, HmpFormat *f)
{
    char *p = *text;

    *f = usual;
    f->count = 1;
    while (g_ascii_isspace(*p))
        p++;
    if (*p == '/') {
        p++;
        if (g_ascii_isdigit(*p))
            f->count = g_ascii_strtoull(p, &p, 10);
        for (; *p && !g_ascii_isspace(*p); p++) {
            if (strchr("xduoci", *p)) {
                f->format = *p;
            } else if (strchr("bhwg", *p)) {
                f->size = *p == 'b' ? 1 : *p == 'h' ? 2 : *p == 'w' ? 4 : 8;
            } else {
                g_string_append_printf(h->out, "invalid char in format: '%c'\n", *p);
                return false;
            }
        }
        usual = *f;
    }
    *text = p;
    return true;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static bool read_number(Hmp *h, char **text, uint64_t *v, HmpRegister *reg)
{
    Expression e = { h, *text, reg, false };

    *v = logic(&e);
    *text += e.at - *text;
    return !e.failed;
}

/* What follows the size is the next argument's. */
static bool read_size(Hmp *h, char **text, uint64_t *v)
{
    const char *end;

    if (!size_parse(*text, MiB, v, &end) && *v <= INT64_MAX) {
        *text += end - *text;
        return true;
    }
    g_string_append(h->out, "invalid size\n");
    return false;
}

static bool read_switch(Hmp *h, const HmpCommand *c, const char *w, uint64_t *v)
{
    *v = !g_strcmp0(w, "on");
    if (!g_strcmp0(w, "on") || !g_strcmp0(w, "off"))
        return true;
    g_string_append_printf(h->out, "Expected 'on' or 'off'\n");
    return false;
}

static const char *name_of(const HmpCommand *c)
{
    return g_str_has_prefix(c->name, "info ") ? c->name + 5 : c->name;
}

/* One argument of kind @kind into place @i. */
static bool read_one(Hmp *h, const HmpCommand *c, char kind, bool optional, char **text,
                     HmpArguments *a, unsigned i, HmpRegister *reg)
{
    const char *name = name_of(c);

    g_strchug(*text);
    a->is_given[i] = **text;
    if (!**text && optional)
        return true;
    switch (kind) {
    case 's':
    case 'B':
    case 'F':
        a->text[i] = word(text);
        if (!a->text[i])
            g_string_append_printf(h->out, "%s: %s expected\n", name,
                                   kind == 's' ? "string" : kind == 'B' ? "block device name"
                                                                        : "filename");
        return a->text[i];
    case 'S':
        a->text[i] = *text;
        *text += strlen(*text);
        if (!*a->text[i])
            g_string_append_printf(h->out, "%s: string expected\n", name);
        return *a->text[i];
    case 'o':
        return read_size(h, text, &a->number[i]);
    case 'b':
        return read_switch(h, c, word(text), &a->number[i]);
    default:
        return read_number(h, text, &a->number[i], reg);
    }
}

/* False, with words: @text begins with a flag that is not among the arguments. */
static bool knows_flag(Hmp *h, const HmpCommand *c, const char *text)
{
    const char flag[] = { '-', text[0] ? text[1] : 0, 0 };

    if (text[0] != '-' || !g_ascii_isalpha(text[1]) || strstr(c->arguments, flag))
        return true;
    g_string_append_printf(h->out, "%s: unsupported option %s\n", name_of(c), flag);
    return false;
}

static bool read_all(Hmp *h, const HmpCommand *c, char *text, HmpArguments *a, HmpRegister *reg)
{
    unsigned i = 0;

    for (const char *p = c->arguments; *p; p++) {
        bool optional = *p == '?';

        if (*p == '/') {
            if (!read_format(h, &text, &a->format))
                return false;
        } else if (*p == '-') {
            g_strchug(text);
            if (!knows_flag(h, c, text))
                return false;
            a->is_given[i] = text[0] == '-' && text[1] == p[1];
            text += a->is_given[i] ? 2 : 0;
            i++;
            p++;
        } else {
            p += optional;
            if (!read_one(h, c, *p, optional, &text, a, i++, reg))
                return false;
        }
    }
    if (!*g_strchug(text))
        return true;
    g_string_append_printf(h->out, "%s: extraneous characters at the end of line\n", name_of(c));
    return false;
}

bool hmp_arguments_read(Hmp *h, const HmpCommand *c, char *text, HmpArguments *a,
                        HmpRegister *reg)
{
    *a = (HmpArguments){ 0 };
    if (read_all(h, c, text, a, reg))
        return true;
    g_string_append_printf(h->out, "Try \"help %.*s\" for more information\n",
                           (int)strcspn(c->name, "|"), c->name);
    return false;
}
