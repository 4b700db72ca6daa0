/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a tool says when something went wrong. */
#include "tools/complain.h"
#include "util/err.h"
#include "util/printable.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *program = "ferry";
static void (*clear_line)(void);

void tool_set_name(const char *argv0)
{
    const char *slash = strrchr(argv0, '/');

    if (*argv0)
        program = slash ? slash + 1 : argv0;
    g_set_prgname(program);
}

const char *tool_name(void)
{
    return program;
}

void complain_after(void (*fn)(void))
{
    clear_line = fn;
}

static struct {
    bool has_time;
    const char *guest;
} stamp;

void complain_stamp(bool has_time, const char *guest)
{
    stamp.has_time = has_time;
    stamp.guest = guest;
}

/* "2026-11-30T19:08:18.262192Z guest ", or what is wanted of it. Caller frees. */
static char *stamp_text(void)
{
    g_autofree char *shown = stamp.guest ? printable(stamp.guest) : NULL, *time = NULL;

    if (stamp.has_time) {
        g_autoptr(GDateTime) now = g_date_time_new_now_utc();
        g_autofree char *seconds = g_date_time_format(now, "%Y-%m-%dT%H:%M:%S");

        time = g_strdup_printf("%s.%06dZ ", seconds, g_date_time_get_microsecond(now));
    }
    return g_strdup_printf("%s%s%s", time ? time : "", shown ? shown : "", shown ? " " : "");
}

bool complain_va(const char *fmt, va_list ap)
{
    g_autofree char *text = g_strdup_vprintf(fmt, ap), *shown = printable(text);
    g_autofree char *begin = stamp_text();

    if (clear_line)
        clear_line();
    /* What was printed so far comes first where both streams end in one file. */
    fflush(stdout);
    fprintf(stderr, "%s%s: %s\n", begin, program, shown);
    return false;
}

bool complain(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    complain_va(fmt, ap);
    va_end(ap);
    return false;
}

bool complain_err(const GError *err)
{
    const char *line = err_get_line(err);
    g_autofree char *hint = err_get_hint(err) ? printable(err_get_hint(err)) : NULL;

    complain("%s", err->message);
    if (line)
        fprintf(stderr, "%s\n", line);
    if (hint && isatty(STDERR_FILENO))
        fprintf(stderr, "Hint: %s\n", hint);
    return false;
}

bool complain_errno(int r, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return complain("%s: %s", text, g_strerror(r < 0 ? -r : r));
}

static char *last_words;

void complain_last_words_set(const char *fmt, ...)
{
    g_autofree char *text = NULL, *shown = NULL;
    va_list ap;

    g_clear_pointer(&last_words, g_free);
    if (!fmt)
        return;
    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    shown = printable(text);
    last_words = g_strdup_printf("%s: %s\n", program, shown);
}

const char *complain_last_words(void)
{
    return last_words;
}
