/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * JSON: bounds and single quotes in front of jansson's parser, a writer of our own behind it.
 *
 * The writer differs from jansson's in what callers see: the order of keys, everything outside
 * printable ASCII escaped with upper-case digits, bytes that are not UTF-8 shown as U+FFFD.
 */
#include "util/json.h"
#include "util/err.h"
#include "util/json-order.h"
#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ---- */

/* What is freed may have been a secret, on its way through whatever jansson makes of a text. */
static void wiping_free(void *p)
{
    if (p)
        explicit_bzero(p, malloc_usable_size(p));
    free(p);
}

/* Before anybody allocates. jansson never calls realloc() then. */
__attribute__((constructor)) static void memory_init(void)
{
    json_set_alloc_funcs(malloc, wiping_free);
}

/* ---- reading ---- */

/* What is inside a pass over JSON text. */
typedef struct {
    const char *text;
    size_t len;
    size_t at;
    GString *out; /* NULL: only count depth */
} Pass;

static void pass_emit(Pass *p, char c)
{
    if (p->out)
        g_string_append_c(p->out, c);
}

/* Passes the string that starts at p->at, with its quotes; copies it as one in double quotes. */
static void pass_string(Pass *p)
{
    char quote = p->text[p->at++];

    pass_emit(p, '"');
    while (p->at < p->len) {
        char c = p->text[p->at++];

        if (c == quote) {
            pass_emit(p, '"');
            return;
        }
        if (c == '\\' && p->at < p->len) {
            char next = p->text[p->at++];

            if (next != '\'')
                pass_emit(p, '\\');
            pass_emit(p, next);
        } else {
            if (c == '"')
                pass_emit(p, '\\');
            pass_emit(p, c);
        }
    }
}

/* Passes over the whole text; returns its greatest depth. Syntax is the parser's concern. */
static size_t pass_run(Pass *p)
{
    size_t depth = 0, deepest = 0;

    while (p->at < p->len) {
        char c = p->text[p->at];

        if (c == '"' || c == '\'') {
            pass_string(p);
            continue;
        }
        if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && depth)
            depth--;
        deepest = MAX(deepest, depth);
        pass_emit(p, c);
        p->at++;
    }
    return deepest;
}

json_t *json_parse(const char *text, size_t len, GError **err)
{
    json_error_t e;
    json_t *v;

    if (len > JSON_TEXT_MAX) {
        err_set(err, EINVAL, "JSON text of %zu bytes is longer than %d", len, JSON_TEXT_MAX);
        return NULL;
    }
    if (memchr(text, 0, len)) {
        err_set(err, EINVAL, "JSON text holds a NUL byte");
        return NULL;
    }

    /* Room for the worst, every byte escaped: growing would leave copies behind. */
    g_autoptr(GString) plain = memchr(text, '\'', len) ? g_string_sized_new(2 * len) : NULL;
    Pass pass = { .text = text, .len = len, .out = plain };

    if (pass_run(&pass) > JSON_DEPTH_MAX) {
        err_set(err, EINVAL, "JSON text is nested deeper than %d", JSON_DEPTH_MAX);
        return NULL;
    }
    if (plain) {
        text = plain->str;
        len = plain->len;
    }
    v = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (!v)
        err_set(err, EINVAL, "Invalid JSON at line %d, column %d: %s", e.line, e.column, e.text);
    if (plain)
        explicit_bzero(plain->str, plain->len);
    return v;
}

/* ---- writing ---- */

enum { WRITE_AT_ONCE = 64 << 10 };

typedef struct {
    GString *out;
    int indent; /* spaces at the current depth; negative: all on one line */
    FILE *file; /* where @out is moved to when it is long; NULL: it holds all */
    const JsonLazy *lazy;
} Writer;

/*
 * The code point of the UTF-8 sequence at *@p, which moves behind it. An invalid one is U+FFFD as a
 * whole: its first byte and the continuation bytes it claims, as far as they are there. Two bytes
 * C0 80 are NUL, as the reference writes it.
 */
static gunichar utf8_next(const char **p)
{
    const unsigned char *s = (const unsigned char *)*p;
    int more = *s < 0x80 ? 0 : *s < 0xc0 ? -1 : *s < 0xe0 ? 1 : *s < 0xf0 ? 2 : *s < 0xf8 ? 3
             : *s < 0xfc ? 4 : *s < 0xfe ? 5 : -1;
    gunichar c = more <= 0 ? *s : *s & (0x3f >> more);
    static const gunichar least[] = { 0, 0x80, 0x800, 0x10000, 0x200000, 0x4000000 };

    s++;
    for (int i = 0; i < more; i++, s++) {
        if ((*s & 0xc0) != 0x80) {
            *p = (const char *)s;
            return 0xfffd;
        }
        c = c << 6 | (*s & 0x3f);
    }
    *p = (const char *)s;
    if (more < 0 || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) || (c & 0xfffe) == 0xfffe ||
        (c >= 0xfdd0 && c <= 0xfdef))
        return 0xfffd;
    if (more > 0 && c < least[more] && !(more == 1 && c == 0))
        return 0xfffd;
    return c;
}

/* A character that does not stand for itself. */
static void write_escaped(GString *out, gunichar c)
{
    static const char special[] = "\b\f\n\r\t\"\\", letter[] = "bfnrt\"\\";
    const char *p = c && c < 0x80 ? strchr(special, (int)c) : NULL;

    if (p) {
        g_string_append_c(out, '\\');
        g_string_append_c(out, letter[p - special]);
    } else if (c > 0xffff) {
        c -= 0x10000;
        g_string_append_printf(out, "\\u%04X\\u%04X", 0xd800 | c >> 10, 0xdc00 | (c & 0x3ff));
    } else {
        g_string_append_printf(out, "\\u%04X", c);
    }
}

/* Do eight bytes stand for themselves? A byte of a term has its top bit set if it does not. */
static bool eight_are_plain(const char *s)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    uint64_t v, quote, backslash;

    memcpy(&v, s, 8);
    quote = v ^ ones * '"';
    backslash = v ^ ones * '\\';
    return !((v | (v - ones * 0x20) | (v + ones) | (quote - ones) | (backslash - ones)) & tops);
}

/* Bytes at the start of @s that stand for themselves. */
static size_t plain_run(const char *s, size_t len)
{
    size_t n = 0;

    while (n + 8 <= len && eight_are_plain(s + n))
        n += 8;
    while (n < len && s[n] >= 0x20 && s[n] < 0x7f && s[n] != '"' && s[n] != '\\')
        n++;
    return n;
}

static void write_string(Writer *w, const char *s, size_t len)
{
    const char *end = s + len;

    g_string_append_c(w->out, '"');
    while (s < end) {
        size_t plain = plain_run(s, end - s);

        g_string_append_len(w->out, s, plain);
        s += plain;
        if (s < end)
            write_escaped(w->out, utf8_next(&s));
    }
    g_string_append_c(w->out, '"');
}

static void write_value(Writer *w, const json_t *v);

static void write_to_file(Writer *w)
{
    fwrite(w->out->str, 1, w->out->len, w->file);
    g_string_truncate(w->out, 0);
}

static void write_line_start(Writer *w)
{
    gsize len = w->out->len;

    g_string_set_size(w->out, len + 1 + (gsize)w->indent);
    w->out->str[len] = '\n';
    memset(w->out->str + len + 1, ' ', (gsize)w->indent);
}

/* Starts the next member: a comma unless @first, then a new line or a space. */
static void write_separator(Writer *w, bool first)
{
    if (!first)
        g_string_append_c(w->out, ',');
    if (w->indent >= 0)
        write_line_start(w);
    else if (!first)
        g_string_append_c(w->out, ' ');
}

static void write_open(Writer *w, char bracket)
{
    g_string_append_c(w->out, bracket);
    if (w->indent >= 0)
        w->indent += 4;
}

static void write_close(Writer *w, char bracket)
{
    if (w->indent >= 0) {
        w->indent -= 4;
        write_line_start(w);
    }
    g_string_append_c(w->out, bracket);
}

typedef struct {
    const char *key;
    const json_t *value;
    int rank;
    size_t index; /* of insertion */
} Member;

static int member_compare(const void *a, const void *b)
{
    const Member *x = a, *y = b;
    int by_index = x->index < y->index ? -1 : 1;

    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return x->rank == JSON_RANK_UNKNOWN ? by_index : -by_index;
}

/* The members of @o, sorted. The array is freed by the caller. */
static Member *members_sorted(const json_t *o)
{
    Member *members = g_new(Member, json_object_size(o) + 1);
    const char *key;
    json_t *value;
    size_t n = 0;

    json_object_foreach((json_t *)o, key, value) {
        members[n] = (Member){ key, value, json_key_rank(key), n };
        n++;
    }
    qsort(members, n, sizeof(*members), member_compare);
    return members;
}

static void write_lazy_array(Writer *w, int64_t n)
{
    json_t *v;

    write_open(w, '[');
    for (size_t i = 0; (v = w->lazy->element(w->lazy->arg, n, i)); i++) {
        write_separator(w, i == 0);
        write_value(w, v);
        json_decref(v);
        if (w->file && w->out->len > WRITE_AT_ONCE)
            write_to_file(w);
    }
    write_close(w, ']');
}

static void write_object(Writer *w, const json_t *o)
{
    g_autofree Member *members = members_sorted(o);

    write_open(w, '{');
    for (size_t i = 0; i < json_object_size(o); i++) {
        write_separator(w, i == 0);
        write_string(w, members[i].key, strlen(members[i].key));
        g_string_append(w->out, ": ");
        if (w->lazy && !strcmp(members[i].key, w->lazy->key))
            write_lazy_array(w, json_integer_value(members[i].value));
        else
            write_value(w, members[i].value);
    }
    write_close(w, '}');
}

static void write_array(Writer *w, const json_t *a)
{
    write_open(w, '[');
    for (size_t i = 0; i < json_array_size(a); i++) {
        write_separator(w, i == 0);
        write_value(w, json_array_get(a, i));
    }
    write_close(w, ']');
}

static void write_integer(Writer *w, int64_t v)
{
    char digits[24], *at = digits + sizeof(digits);
    uint64_t rest = v < 0 ? -(uint64_t)v : (uint64_t)v;

    do
        *--at = '0' + rest % 10;
    while (rest /= 10);
    if (v < 0)
        *--at = '-';
    g_string_append_len(w->out, at, digits + sizeof(digits) - at);
}

/* A double that nothing else has: UINT64_MAX is none. */
#define UINT64_MAX_AS_REAL 0x1.0000000000001p64

json_t *json_uint64(uint64_t v)
{
    if (v <= INT64_MAX)
        return json_integer((json_int_t)v);
    return json_real(v == UINT64_MAX ? UINT64_MAX_AS_REAL : (double)v);
}

static void write_real(Writer *w, double v)
{
    char buf[G_ASCII_DTOSTR_BUF_SIZE];

    if (v == UINT64_MAX_AS_REAL)
        g_string_append_printf(w->out, "%" PRIu64, UINT64_MAX);
    else if (v >= 0x1p63 && v < 0x1p64)
        g_string_append_printf(w->out, "%" PRIu64, (uint64_t)v);
    else
        g_string_append(w->out, g_ascii_formatd(buf, sizeof(buf), "%.17g", v));
}

static void write_value(Writer *w, const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        write_object(w, v);
        break;
    case JSON_ARRAY:
        write_array(w, v);
        break;
    case JSON_STRING:
        write_string(w, json_string_value(v), json_string_length(v));
        break;
    case JSON_INTEGER:
        write_integer(w, json_integer_value(v));
        break;
    case JSON_REAL:
        write_real(w, json_real_value(v));
        break;
    case JSON_TRUE:
        g_string_append(w->out, "true");
        break;
    case JSON_FALSE:
        g_string_append(w->out, "false");
        break;
    case JSON_NULL:
        g_string_append(w->out, "null");
        break;
    }
}

char *json_print(const json_t *v)
{
    Writer w = { .out = g_string_new(NULL), .indent = -1 };

    write_value(&w, v);
    return g_string_free(w.out, FALSE);
}

char *json_print_pretty(const json_t *v)
{
    Writer w = { .out = g_string_new(NULL), .indent = 0 };

    write_value(&w, v);
    return g_string_free(w.out, FALSE);
}

void json_write_pretty(FILE *f, const json_t *v, const JsonLazy *lazy)
{
    Writer w = { .out = g_string_new(NULL), .indent = 0, .file = f, .lazy = lazy };

    write_value(&w, v);
    g_string_append_c(w.out, '\n');
    write_to_file(&w);
    g_string_free(w.out, TRUE);
}

const char **json_visible_keys(const json_t *o)
{
    g_autofree Member *members = members_sorted(o);
    size_t n = json_object_size(o);
    const char **keys = g_new0(const char *, n + 1);

    for (size_t i = 0; i < n; i++)
        keys[i] = members[i].key;
    return keys;
}

/* ---- members ---- */

json_t *json_get(const json_t *o, const char *key)
{
    return o ? json_object_get(o, key) : NULL;
}

bool json_has(const json_t *o, const char *key)
{
    return json_get(o, key) != NULL;
}

const char *json_get_str(const json_t *o, const char *key, const char *def)
{
    const json_t *v = json_get(o, key);

    return v ? json_string_value(v) : def;
}

int64_t json_get_int(const json_t *o, const char *key, int64_t def)
{
    const json_t *v = json_get(o, key);

    return v ? json_integer_value(v) : def;
}

bool json_get_bool(const json_t *o, const char *key, bool def)
{
    const json_t *v = json_get(o, key);

    return v ? json_is_true(v) : def;
}

void json_put(json_t *o, const char *key, json_t *value)
{
    json_object_set_new_nocheck(o, key, value);
}

void json_put_str(json_t *o, const char *key, const char *value)
{
    /* Unchecked: file names may hold bytes that are not UTF-8. */
    json_put(o, key, json_string_nocheck(value));
}

void json_put_int(json_t *o, const char *key, int64_t value)
{
    json_put(o, key, json_integer(value));
}

void json_put_bool(json_t *o, const char *key, bool value)
{
    json_put(o, key, json_boolean(value));
}
