/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A lexer that takes one byte at a time finds tokens and counts brackets; the text of a value is
 * kept until its brackets match and then parsed by descent.
 *
 *     fed bytes -> lexer -> [ text of the value so far ] -> parser -> json_t
 *                              one string, tokens apart by their places
 *
 * What the lexer accepts and where it goes on after an error was learnt by asking the reference.
 */
#include "util/json-stream.h"
#include "util/err.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Where the lexer is. */
typedef enum {
    AT_START,       /* between tokens */
    IN_RECOVERY,    /* after an error: until a structural or control character */
    IN_KEYWORD,
    IN_STRING,      /* up to @quote */
    IN_ESCAPE,      /* behind a backslash in one */
    AFTER_MINUS,
    AFTER_ZERO,     /* a leading zero is a whole integer part */
    IN_DIGITS,
    AFTER_POINT,    /* a digit must follow */
    IN_FRACTION,
    AFTER_E,        /* a sign or digit must follow */
    AFTER_E_SIGN,   /* a digit must follow */
    IN_EXPONENT,
} LexState;

/* A token: bytes of the text. */
typedef struct {
    uint32_t start, len;
} Token;

struct JsonStream {
    GString *input;     /* fed */
    size_t at;          /* of those looked at */
    LexState state;
    char quote;
    GString *text;      /* tokens of the value so far, one behind the other */
    GArray *tokens;     /* of Token */
    size_t token_start; /* of the unfinished one, in @text */
    int braces, brackets; /* opened and not closed */
};

JsonStream *json_stream_new(void)
{
    JsonStream *s = g_new0(JsonStream, 1);

    s->input = g_string_new(NULL);
    s->text = g_string_new(NULL);
    s->tokens = g_array_new(FALSE, FALSE, sizeof(Token));
    return s;
}

/* Requests may hold secrets. A large allocation is given back. */
static void wipe(GString **s)
{
    enum { KEEP = 64 << 10 };

    explicit_bzero((*s)->str, (*s)->len);
    if ((*s)->allocated_len > KEEP) {
        g_string_free(*s, TRUE);
        *s = g_string_new(NULL);
    }
    g_string_truncate(*s, 0);
}

void json_stream_free(JsonStream *s)
{
    if (!s)
        return;
    wipe(&s->input);
    wipe(&s->text);
    g_string_free(s->input, TRUE);
    g_string_free(s->text, TRUE);
    g_array_unref(s->tokens);
    g_free(s);
}

/* Appends without leaving copies behind in memory that growing gives back. */
static void append_wiping(GString **s, const char *bytes, size_t len)
{
    if ((*s)->len + len + 1 > (*s)->allocated_len) {
        GString *larger = g_string_sized_new(2 * (*s)->len + len);

        g_string_append_len(larger, (*s)->str, (*s)->len);
        explicit_bzero((*s)->str, (*s)->len);
        g_string_free(*s, TRUE);
        *s = larger;
    }
    g_string_append_len(*s, bytes, len);
}

void json_stream_feed(JsonStream *s, const char *bytes, size_t len)
{
    if (s->at == s->input->len) {
        wipe(&s->input);
        s->at = 0;
    }
    append_wiping(&s->input, bytes, len);
}

/* ---- parsing one value ----------------------------------------------------------------------- */

typedef struct {
    const char *text;
    const Token *tokens;
    guint n, at;
    GError **err;
} Parser;

static json_t *fail(Parser *p, const char *what)
{
    err_set(p->err, EINVAL, "JSON parse error, %s", what);
    return NULL;
}

/* The first byte of the next token, 0 at the end. */
static char peek(const Parser *p)
{
    return p->at < p->n ? p->text[p->tokens[p->at].start] : 0;
}

static bool take(Parser *p, char c)
{
    if (peek(p) != c)
        return false;
    p->at++;
    return true;
}

/* The number of four hexadecimal digits, or -1. */
static int hex4(const char *s, const char *end)
{
    int v = 0;

    if (end - s < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        if (!g_ascii_isxdigit(s[i]))
            return -1;
        v = v << 4 | g_ascii_xdigit_value(s[i]);
    }
    return v;
}

static bool is_unicode(gunichar c)
{
    return c <= 0x10ffff && !(c >= 0xd800 && c <= 0xdfff) && (c & 0xfffe) != 0xfffe &&
           !(c >= 0xfdd0 && c <= 0xfdef);
}

/* NUL is written as two bytes, so that strings stay strings of C. */
static void append_char(GString *out, gunichar c)
{
    if (c)
        g_string_append_unichar(out, c);
    else
        g_string_append_len(out, "\xc0\x80", 2);
}

/* The escape \uXXXX, perhaps of a pair, at *@s, which moves behind it. */
static bool unescape_unicode(Parser *p, const char **s, const char *end, GString *out)
{
    const char *start = *s;
    int v = hex4(start + 2, end), low = -1;

    if (v >= 0xd800 && v <= 0xdbff && end - start >= 8 && start[6] == '\\' && start[7] == 'u')
        low = hex4(start + 8, end);
    if (low >= 0xdc00 && low <= 0xdfff) {
        v = 0x10000 + ((v & 0x3ff) << 10 | (low & 0x3ff));
        *s = start + 12;
    } else {
        *s = start + 6;
    }
    if (v < 0 || !is_unicode(v)) {
        /* The closing quote still belongs to the token. */
        g_autofree char *shown = g_strndup(start, MIN(6, end + 1 - start));
        g_autofree char *text = g_strconcat(shown, " is not a valid Unicode character", NULL);

        fail(p, text);
        return false;
    }
    append_char(out, v);
    return true;
}

static bool unescape(Parser *p, const char **s, const char *end, GString *out)
{
    static const char letters[] = "bfnrt\"'\\/", meanings[] = "\b\f\n\r\t\"'\\/";
    const char *found = strchr(letters, (*s)[1]);

    if ((*s)[1] == 'u')
        return unescape_unicode(p, s, end, out);
    if (!found) {
        fail(p, "invalid escape sequence in string");
        return false;
    }
    g_string_append_c(out, meanings[found - letters]);
    *s += 2;
    return true;
}

/* Copies one character that is not ASCII. */
static bool copy_utf8(Parser *p, const char **s, const char *end, GString *out)
{
    gunichar c = g_utf8_get_char_validated(*s, end - *s);
    size_t len;

    if (end - *s >= 2 && !memcmp(*s, "\xc0\x80", 2)) {
        g_string_append_len(out, *s, 2);
        *s += 2;
        return true;
    }
    if (c == (gunichar)-1 || c == (gunichar)-2 || !is_unicode(c)) {
        fail(p, "invalid UTF-8 sequence in string");
        return false;
    }
    len = g_utf8_skip[(unsigned char)**s];
    g_string_append_len(out, *s, len);
    *s += len;
    return true;
}

static json_t *parse_string(Parser *p)
{
    const Token *t = &p->tokens[p->at++];
    const char *s = p->text + t->start + 1, *end = p->text + t->start + t->len - 1;
    GString *out = g_string_sized_new(t->len);
    json_t *v = NULL;

    while (s < end) {
        if (*s == '\\') {
            if (!unescape(p, &s, end, out))
                goto out;
        } else if (*s & 0x80) {
            if (!copy_utf8(p, &s, end, out))
                goto out;
        } else {
            g_string_append_c(out, *s++);
        }
    }
    v = json_stringn_nocheck(out->str, out->len);
out:
    explicit_bzero(out->str, out->len);
    g_string_free(out, TRUE);
    return v;
}

static json_t *parse_number(Parser *p)
{
    const Token *t = &p->tokens[p->at++];
    g_autofree char *text = g_strndup(p->text + t->start, t->len);
    double d;

    if (!strpbrk(text, ".eE")) {
        gint64 i;

        errno = 0;
        i = g_ascii_strtoll(text, NULL, 10);
        if (!errno)
            return json_integer(i);
    }
    d = g_ascii_strtod(text, NULL);
    return isfinite(d) ? json_real(d) : fail(p, "number out of range");
}

static json_t *parse_keyword(Parser *p)
{
    const Token *t = &p->tokens[p->at++];
    g_autofree char *word = g_strndup(p->text + t->start, t->len), *text = NULL;

    if (!strcmp(word, "true"))
        return json_true();
    if (!strcmp(word, "false"))
        return json_false();
    if (!strcmp(word, "null"))
        return json_null();
    text = g_strdup_printf("invalid keyword '%s'", word);
    return fail(p, text);
}

static json_t *parse_value(Parser *p);

/* A key, a colon and a value into @o. */
static bool parse_pair(Parser *p, json_t *o)
{
    g_autoptr(json_t) key = parse_value(p);
    json_t *v = NULL;

    if (!key)
        return false;
    if (!json_is_string(key))
        fail(p, "key is not a string in object");
    else if (!take(p, ':'))
        fail(p, "missing : in object pair");
    else if ((v = parse_value(p)) && json_has(o, json_string_value(key)))
        fail(p, "duplicate key");
    else if (v)
        return json_object_set_new_nocheck(o, json_string_value(key), v) == 0;
    json_decref(v);
    return false;
}

static json_t *parse_object(Parser *p)
{
    g_autoptr(json_t) o = json_object();

    p->at++;
    if (take(p, '}'))
        return g_steal_pointer(&o);
    while (parse_pair(p, o)) {
        if (take(p, '}'))
            return g_steal_pointer(&o);
        if (!take(p, ','))
            return fail(p, "expected separator in dict");
    }
    return NULL;
}

static json_t *parse_array(Parser *p)
{
    g_autoptr(json_t) a = json_array();
    json_t *v;

    p->at++;
    if (take(p, ']'))
        return g_steal_pointer(&a);
    while ((v = parse_value(p))) {
        json_array_append_new(a, v);
        if (take(p, ']'))
            return g_steal_pointer(&a);
        if (!take(p, ','))
            return fail(p, "expected separator in list");
    }
    return NULL;
}

/* Nested as deep as the lexer lets through. */
static json_t *parse_value(Parser *p)
{
    char c = peek(p);

    if (c == '{')
        return parse_object(p);
    if (c == '[')
        return parse_array(p);
    if (c == '"' || c == '\'')
        return parse_string(p);
    if (c == '-' || g_ascii_isdigit(c))
        return parse_number(p);
    if (g_ascii_islower(c))
        return parse_keyword(p);
    return fail(p, "expecting value");
}

/* ---- tokens ---------------------------------------------------------------------------------- */

/* Forgets what there is of a value. */
static void value_drop(JsonStream *s)
{
    wipe(&s->text);
    g_array_set_size(s->tokens, 0);
    s->token_start = 0;
    s->braces = s->brackets = 0;
}

static JsonStreamResult value_parse(JsonStream *s, json_t **value, GError **err)
{
    Parser p = {
        .text = s->text->str,
        .tokens = (const Token *)s->tokens->data,
        .n = s->tokens->len,
        .err = err,
    };

    *value = parse_value(&p);
    value_drop(s);
    return *value ? JSON_STREAM_VALUE : JSON_STREAM_ERROR;
}

static JsonStreamResult limit_exceeded(JsonStream *s, const char *what, GError **err)
{
    value_drop(s);
    err_set(err, EINVAL, "JSON %s limit exceeded", what);
    return JSON_STREAM_ERROR;
}

/* The token that ends here is complete: perhaps the value is, too. */
static JsonStreamResult token_end(JsonStream *s, json_t **value, GError **err)
{
    Token t = { s->token_start, s->text->len - s->token_start };
    char c = s->text->str[t.start];

    s->state = AT_START;
    s->token_start = s->text->len;
    g_array_append_val(s->tokens, t);
    s->braces += (c == '{') - (c == '}');
    s->brackets += (c == '[') - (c == ']');
    if (s->braces < 0 || s->brackets < 0 || (!s->braces && !s->brackets))
        return value_parse(s, value, err);
    if (s->braces + s->brackets > JSON_STREAM_DEPTH_MAX)
        return limit_exceeded(s, "nesting depth", err);
    if (s->tokens->len >= JSON_STREAM_TOKENS_MAX)
        return limit_exceeded(s, "token count", err);
    return JSON_STREAM_MORE;
}

/* The byte @c cannot go on what has begun. */
static JsonStreamResult stray(JsonStream *s, GError **err)
{
    g_autofree char *text = g_strndup(s->text->str + s->token_start,
                                      s->text->len - s->token_start);

    s->state = IN_RECOVERY;
    value_drop(s);
    err_set(err, EINVAL, "JSON parse error, stray '%s'", text);
    explicit_bzero(text, strlen(text));
    return JSON_STREAM_ERROR;
}

/* ---- the lexer ------------------------------------------------------------------------------- */

/* What state @c leads to inside of a token; AT_START: @c is behind it; IN_RECOVERY: @c is wrong. */
static LexState lex_step(const JsonStream *s, unsigned char c)
{
    bool digit = g_ascii_isdigit(c);

    switch (s->state) {
    case IN_STRING:
        return c < 0x20 || c >= 0xfe ? IN_RECOVERY : c == '\\' ? IN_ESCAPE : IN_STRING;
    case IN_ESCAPE:
        return c < 0x20 || c >= 0xfe ? IN_RECOVERY : IN_STRING;
    case IN_KEYWORD:
        return g_ascii_islower(c) ? IN_KEYWORD : AT_START;
    case AFTER_MINUS:
        return c == '0' ? AFTER_ZERO : digit ? IN_DIGITS : IN_RECOVERY;
    case AFTER_ZERO:
        return digit ? IN_RECOVERY : c == '.' ? AFTER_POINT : (c | 0x20) == 'e' ? AFTER_E : AT_START;
    case IN_DIGITS:
        return digit ? IN_DIGITS : c == '.' ? AFTER_POINT : (c | 0x20) == 'e' ? AFTER_E : AT_START;
    case AFTER_POINT:
        return digit ? IN_FRACTION : IN_RECOVERY;
    case IN_FRACTION:
        return digit ? IN_FRACTION : (c | 0x20) == 'e' ? AFTER_E : AT_START;
    case AFTER_E:
        return digit ? IN_EXPONENT : c == '+' || c == '-' ? AFTER_E_SIGN : IN_RECOVERY;
    case AFTER_E_SIGN:
        return digit ? IN_EXPONENT : IN_RECOVERY;
    default: /* IN_EXPONENT */
        return digit ? IN_EXPONENT : AT_START;
    }
}

/* What state a token that begins with @c is in; AT_START: @c is all of it; IN_RECOVERY: none does. */
static LexState lex_begin(unsigned char c)
{
    if (strchr("{}[],:", c) && c)
        return AT_START;
    if (c == '"' || c == '\'')
        return IN_STRING;
    if (c == '-')
        return AFTER_MINUS;
    if (c == '0')
        return AFTER_ZERO;
    if (g_ascii_isdigit(c))
        return IN_DIGITS;
    return g_ascii_islower(c) ? IN_KEYWORD : IN_RECOVERY;
}

static bool is_blank(unsigned char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Input makes sense again with @c. */
static bool ends_recovery(unsigned char c)
{
    return (c < 0x20 && c != '\t') || c >= 0xfe || strchr("{}[],:", c);
}

static void text_add(JsonStream *s, char c)
{
    append_wiping(&s->text, &c, 1);
}

/* @c begins a token, or is none. */
static JsonStreamResult start_byte(JsonStream *s, unsigned char c, json_t **value, GError **err)
{
    LexState next;

    if (is_blank(c))
        return JSON_STREAM_MORE;
    text_add(s, c);
    next = lex_begin(c);
    if (next == IN_RECOVERY)
        return stray(s, err);
    if (next == AT_START)
        return token_end(s, value, err);
    s->state = next;
    s->quote = c;
    return JSON_STREAM_MORE;
}

/* Looks at the byte @c; *@again: look at it once more. */
static JsonStreamResult lex_byte(JsonStream *s, unsigned char c, json_t **value, bool *again,
                                 GError **err)
{
    LexState next;

    *again = false;
    if (s->state == IN_RECOVERY) {
        if (!ends_recovery(c))
            return JSON_STREAM_MORE;
        s->state = AT_START;
    }
    if (s->state == AT_START)
        return start_byte(s, c, value, err);
    next = lex_step(s, c);
    if (next == AT_START) {
        *again = true;
        return token_end(s, value, err);
    }
    if (s->text->len >= JSON_STREAM_TEXT_MAX) {
        s->state = IN_RECOVERY;
        return limit_exceeded(s, "token size", err);
    }
    text_add(s, c);
    if (next == IN_RECOVERY)
        return stray(s, err);
    if (s->state == IN_STRING && c == (unsigned char)s->quote)
        return token_end(s, value, err);
    s->state = next;
    return JSON_STREAM_MORE;
}

JsonStreamResult json_stream_next(JsonStream *s, json_t **value, GError **err)
{
    while (s->at < s->input->len) {
        bool again;
        JsonStreamResult r = lex_byte(s, s->input->str[s->at], value, &again, err);

        s->at += !again;
        if (r != JSON_STREAM_MORE)
            return r;
    }
    return JSON_STREAM_MORE;
}
