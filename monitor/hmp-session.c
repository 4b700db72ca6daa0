/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The monitor for people on a character device: a prompt, a line that can be edited, its history,
 * completion by the tab key. What is typed is echoed; a terminal shows each key as it comes.
 */
#include "monitor/hmp.h"
#include "monitor/session.h"
#include <string.h>

#define PROMPT "(qemu) "
enum { LONGEST = 4096, HISTORY_MAX = 64, ESCAPE = 27 };

/* What comes after ESC. */
typedef enum { KEYS_PLAIN, KEYS_ESCAPE, KEYS_SEQUENCE } Keys;

struct HmpSession {
    Chardev *chardev;
    Hmp hmp;
    GString *line;
    size_t cursor;
    guint at;      /* place in the history; its length: the new line */
    char *unsent;  /* the new line, while another of the history is shown */
    Keys keys;
    char digit;    /* of ESC [ 3 ~ */
    GString *shown; /* to be sent */
    size_t drawn;  /* cells from the prompt to where the cursor stands */
};

/* ---- showing --------------------------------------------------------------------------------- */

/* A line feed needs a carriage return before it on a terminal. */
static void show(HmpSession *s, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\n')
            g_string_append_c(s->shown, '\r');
        g_string_append_c(s->shown, text[i]);
    }
}

static void show_text(HmpSession *s, const char *text)
{
    show(s, text, strlen(text));
}

static CO bool flush(HmpSession *s)
{
    bool ok = chardev_write(s->chardev, s->shown->str, s->shown->len) >= 0;

    g_string_truncate(s->shown, 0);
    return ok;
}

static void move_back(HmpSession *s, size_t n)
{
    while (n--)
        show_text(s, "\033[D");
}

/* Draws the line anew from cell @from on. */
static void draw_from(HmpSession *s, size_t from)
{
    move_back(s, s->drawn > from ? s->drawn - from : 0);
    for (size_t i = s->drawn; i < from; i++)
        show_text(s, "\033[C");
    show_text(s, "\033[K");
    show(s, s->line->str + from, s->line->len - from);
    move_back(s, s->line->len - s->cursor);
    s->drawn = s->cursor;
}

static void prompt(HmpSession *s)
{
    show_text(s, PROMPT);
    show(s, s->line->str, s->line->len);
    move_back(s, s->line->len - s->cursor);
    s->drawn = s->cursor;
}

/* ---- editing --------------------------------------------------------------------------------- */

static void insert(HmpSession *s, const char *text)
{
    size_t len = strlen(text);

    if (s->line->len + len > LONGEST)
        return;
    g_string_insert(s->line, s->cursor, text);
    s->cursor += len;
    if (s->cursor == s->line->len) {
        show(s, text, len);
        s->drawn = s->cursor;
    } else {
        draw_from(s, s->cursor - len);
    }
}

static void erase(HmpSession *s, size_t from, size_t to)
{
    if (from == to)
        return;
    g_string_erase(s->line, from, to - from);
    s->cursor = from;
    draw_from(s, from);
}

static void move_to(HmpSession *s, size_t cursor)
{
    if (cursor < s->cursor)
        move_back(s, s->cursor - cursor);
    for (; s->cursor < cursor; s->cursor++)
        show_text(s, "\033[C");
    s->cursor = s->drawn = cursor;
}

static size_t word_start(const HmpSession *s)
{
    size_t at = s->cursor;

    while (at && s->line->str[at - 1] == ' ')
        at--;
    while (at && s->line->str[at - 1] != ' ')
        at--;
    return at;
}

static void replace(HmpSession *s, const char *text)
{
    g_string_assign(s->line, text);
    s->cursor = s->line->len;
    draw_from(s, 0);
}

static void browse(HmpSession *s, int step)
{
    GPtrArray *history = s->hmp.history;

    if (step < 0 ? s->at == 0 : s->at >= history->len)
        return;
    if (s->at == history->len) {
        g_free(s->unsent);
        s->unsent = g_strdup(s->line->str);
    }
    s->at += step;
    replace(s, s->at == history->len ? s->unsent : history->pdata[s->at]);
}

/* ---- completion ------------------------------------------------------------------------------ */

static size_t common_length(const GPtrArray *words)
{
    const char *first = words->pdata[0];
    size_t n = strlen(first);

    for (guint i = 1; i < words->len; i++)
        while (strncmp(first, words->pdata[i], n))
            n--;
    return n;
}

static void complete(HmpSession *s)
{
    g_autofree char *before = g_strndup(s->line->str, s->cursor);
    g_autoptr(GPtrArray) words = hmp_complete(before);
    size_t typed = strlen(before) - (strrchr(before, ' ') ? strrchr(before, ' ') + 1 - before : 0);
    g_autofree char *more = NULL;

    if (!words->len)
        return;
    more = g_strndup((char *)words->pdata[0] + typed, common_length(words) - typed);
    insert(s, more);
    if (words->len == 1) {
        insert(s, " ");
        return;
    }
    if (*more)
        return;
    show_text(s, "\n");
    for (guint i = 0; i < words->len; i++) {
        show_text(s, words->pdata[i]);
        show_text(s, i + 1 < words->len ? " " : "\n");
    }
    prompt(s);
}

/* ---- lines ----------------------------------------------------------------------------------- */

static void remember(HmpSession *s, const char *line)
{
    GPtrArray *history = s->hmp.history;

    if (history->len && !strcmp(history->pdata[history->len - 1], line))
        return;
    if (history->len == HISTORY_MAX)
        g_ptr_array_remove_index(history, 0);
    g_ptr_array_add(history, g_strdup(line));
}

static CO void run_line(void *opaque)
{
    HmpSession *s = opaque;

    hmp_run(&s->hmp, s->line->str);
}

static CO bool enter(HmpSession *s)
{
    move_to(s, s->line->len);
    show_text(s, "\n");
    if (*s->line->str)
        remember(s, s->line->str);
    if (!flush(s) || !session_in_turn(run_line, s))
        return false;
    show(s, s->hmp.out->str, s->hmp.out->len);
    g_string_truncate(s->hmp.out, 0);
    g_string_truncate(s->line, 0);
    s->cursor = 0;
    s->at = s->hmp.history->len;
    prompt(s);
    return true;
}

/* ---- keys ------------------------------------------------------------------------------------ */

/* The last letter of ESC [ ... */
static void sequence(HmpSession *s, char key)
{
    s->keys = KEYS_PLAIN;
    if (g_ascii_isdigit(key)) {
        s->digit = key;
        s->keys = KEYS_SEQUENCE;
    } else if (key == 'A' || key == 'B') {
        browse(s, key == 'A' ? -1 : 1);
    } else if (key == 'C' && s->cursor < s->line->len) {
        move_to(s, s->cursor + 1);
    } else if (key == 'D' && s->cursor) {
        move_to(s, s->cursor - 1);
    } else if (key == 'H' || (key == '~' && s->digit == '1')) {
        move_to(s, 0);
    } else if (key == 'F' || (key == '~' && s->digit == '4')) {
        move_to(s, s->line->len);
    } else if (key == '~' && s->digit == '3' && s->cursor < s->line->len) {
        erase(s, s->cursor, s->cursor + 1);
    }
}

static void control_key(HmpSession *s, char key)
{
    switch (key + '@') {
    case 'A':
        move_to(s, 0);
        break;
    case 'D':
        if (s->cursor < s->line->len)
            erase(s, s->cursor, s->cursor + 1);
        break;
    case 'E':
        move_to(s, s->line->len);
        break;
    case 'H':
        if (s->cursor)
            erase(s, s->cursor - 1, s->cursor);
        break;
    case 'I':
        complete(s);
        break;
    case 'K':
        erase(s, s->cursor, s->line->len);
        break;
    case 'N':
        browse(s, 1);
        break;
    case 'P':
        browse(s, -1);
        break;
    case 'U':
        erase(s, 0, s->cursor);
        break;
    case 'W':
        erase(s, word_start(s), s->cursor);
        break;
    }
}

/* False: the connection is at its end. */
static CO bool take_key(HmpSession *s, char key)
{
    char text[2] = { key };

    if (s->keys == KEYS_SEQUENCE) {
        sequence(s, key);
    } else if (s->keys == KEYS_ESCAPE) {
        s->keys = key == '[' || key == 'O' ? KEYS_SEQUENCE : KEYS_PLAIN;
        s->digit = 0;
    } else if (key == ESCAPE) {
        s->keys = KEYS_ESCAPE;
    } else if (key == '\r' || key == '\n') {
        return enter(s);
    } else if (key == 127) {
        control_key(s, 'H' - '@');
    } else if ((uint8_t)key < ' ') {
        control_key(s, key);
    } else {
        insert(s, text);
    }
    return true;
}

/* ---- life ------------------------------------------------------------------------------------ */

static CO void connected(HmpSession *s)
{
    char buf[256];
    ssize_t n;

    g_string_truncate(s->line, 0);
    s->cursor = 0;
    s->keys = KEYS_PLAIN;
    s->at = s->hmp.history->len;
    show_text(s, "QEMU 7.2.22 monitor - type 'help' for more information\n");
    prompt(s);
    while (flush(s) && (n = chardev_read(s->chardev, buf, sizeof(buf))) > 0)
        for (ssize_t i = 0; i < n; i++)
            if (!take_key(s, buf[i]))
                return;
}

CO void hmp_session_run(void *session)
{
    HmpSession *s = session;

    while (chardev_wait_open(s->chardev)) {
        connected(s);
        chardev_hang_up(s->chardev);
    }
}

HmpSession *hmp_session_new(Chardev *c)
{
    HmpSession *s = g_new0(HmpSession, 1);

    s->chardev = c;
    s->line = g_string_new(NULL);
    s->shown = g_string_new(NULL);
    s->hmp.out = g_string_new(NULL);
    s->hmp.history = g_ptr_array_new_with_free_func(g_free);
    return s;
}

void hmp_session_free(HmpSession *s)
{
    chardev_release(s->chardev);
    g_string_free(s->line, TRUE);
    g_string_free(s->shown, TRUE);
    g_string_free(s->hmp.out, TRUE);
    g_ptr_array_unref(s->hmp.history);
    g_free(s->unsent);
    g_free(s);
}
