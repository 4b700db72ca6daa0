/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Showing how far a long command has come. */
#include "qemu-img/progress.h"
#include "io/co.h"
#include "qemu-img/tool.h"
#include "util/json.h"
#include "util/size.h"
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Columns of the bar itself, brackets excluded, and of a terminal that does not tell its own. */
enum { BAR_MOST = 30, BAR_LEAST = 4, COLUMNS = 80 };
#define TICK_BAR_NS INT64_C(200000000)
#define TICK_JSON_NS INT64_C(500000000)

typedef enum { SHOW_NOTHING, SHOW_PLAIN, SHOW_JSON, SHOW_BAR } ProgressStyle;

static struct {
    bool active;
    ProgressStyle style;
    const char *phase;
    double step;             /* plain: least percentage between lines */
    double shown;            /* plain: percentage last printed */
    FILE *out;               /* JSON */
    uint64_t done, total;
    int64_t began_ns, next_ns;
    FILE *lines;             /* what progress_stderr gives out */
    bool bar_drawn;
} progress;

static volatile sig_atomic_t asked; /* by a signal */

static void on_signal(int sig)
{
    asked = 1;
}

static void watch_signal(void)
{
    struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

    sigaction(SIGUSR1, &sa, NULL);
#ifdef SIGINFO
    sigaction(SIGINFO, &sa, NULL);
#endif
}

/* Opens what "json" or "json:FD" means. */
static bool json_open(const char *how)
{
    uint64_t fd = STDERR_FILENO;
    int copy;

    if (strcmp(how, "json") && !g_str_has_prefix(how, "json:"))
        return complain("Progress is shown as 'json' or 'json:FD', not as '%s'", how);
    if (how[4] && !g_ascii_string_to_unsigned(how + 5, 10, 0, INT32_MAX, &fd, NULL))
        return complain("'%s' is not a file descriptor for --progress", how + 5);
    copy = fcntl((int)fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0)
        return complain_errno(errno, "Progress cannot be written to descriptor %d", (int)fd);
    progress.out = fdopen(copy, "w");
    if (!progress.out) {
        close(copy);
        return complain_errno(errno, "Progress cannot be written to descriptor %d", (int)fd);
    }
    return true;
}

static double percent(void)
{
    return progress.total ? 100.0 * (double)progress.done / (double)progress.total : 100.0;
}

/* Bytes per second so far, 0 when there is nothing to tell yet. */
static double rate(void)
{
    double seconds = (double)(clock_now_ns() - progress.began_ns) / 1e9;

    return seconds > 0.05 ? (double)progress.done / seconds : 0;
}

/* Seconds left at that rate, -1 when unknown. */
static double time_left(double bps)
{
    return bps > 0 ? (double)(progress.total - progress.done) / bps : -1;
}

static void plain_print(double now)
{
    printf("    (%3.2f/100%%)\r", now);
    fflush(stdout);
    progress.shown = now;
}

static void json_tick(void)
{
    double bps = rate(), left = time_left(bps);

    fprintf(progress.out, "{\"phase\": \"%s\", \"done\": %" PRIu64 ", \"total\": %" PRIu64
            ", \"rate\": %.0f, \"eta\": ", progress.phase, progress.done, progress.total, bps);
    if (left < 0)
        fputs("null}\n", progress.out);
    else
        fprintf(progress.out, "%.1f}\n", left);
    fflush(progress.out);
}

static char *seconds_text(double s)
{
    unsigned n = s < 0 || s > 359999 ? 359999 : (unsigned)(s + 0.5);

    return n >= 3600 ? g_strdup_printf("%u:%02u:%02u", n / 3600, n / 60 % 60, n % 60)
                     : g_strdup_printf("%u:%02u", n / 60, n % 60);
}

/* The columns of this terminal now: people change it while they wait. */
static int terminal_columns(void)
{
    struct winsize size;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_col ? COLUMNS : size.ws_col;
}

/* Appends @more, which is taken, to @s if both fit in @columns. */
static void append_fitting(GString *s, char *more, int columns)
{
    if ((int)(s->len + strlen(more)) <= columns)
        g_string_append(s, more);
    g_free(more);
}

static char *bar_of(int width)
{
    int filled = (int)(percent() * width / 100);
    GString *s = g_string_new(" [");

    for (int i = 0; i < width; i++)
        g_string_append_c(s, i < filled ? '#' : '.');
    g_string_append_c(s, ']');
    return g_string_free(s, FALSE);
}

/*
 * "convert [#####.....]  51.2%  1.2 GiB/s  0:12 left", as much of it as fits into a line whose last
 * column stays free: the percentage comes first, then rate, time, phase and bar.
 */
static char *bar_text(void)
{
    double bps = rate(), left = time_left(bps);
    g_autofree char *speed = size_format((uint64_t)bps), *eta = seconds_text(left);
    g_autoptr(GString) end = g_string_new(NULL);
    GString *s = g_string_new(NULL);
    int columns = terminal_columns() - 1, room;

    g_string_printf(end, " %5.1f%%", percent());
    if (bps > 0)
        append_fitting(end, g_strdup_printf("  %s/s", speed),
                       columns - (int)strlen(progress.phase));
    if (left >= 0)
        append_fitting(end, g_strdup_printf("  %s left", eta),
                       columns - (int)strlen(progress.phase));
    append_fitting(s, g_strdup(progress.phase), columns - (int)end->len);
    room = columns - (int)(s->len + end->len) - (int)strlen(" []");
    if (room >= BAR_LEAST)
        append_fitting(s, bar_of(MIN(room, BAR_MOST)), columns);
    append_fitting(s, g_strdup(end->str), columns);
    return g_string_free(s, FALSE);
}

static void bar_draw(void)
{
    g_autofree char *text = bar_text();

    fprintf(stderr, "\r%s\033[K", text);
    progress.bar_drawn = true;
}

static void answer_signal(void)
{
    g_autofree char *text = NULL;

    asked = 0;
    if (progress.style == SHOW_PLAIN)
        return;
    if (progress.style == SHOW_BAR) {
        text = bar_text();
        fprintf(stderr, "\r%s\033[K\n", text);
        return;
    }
    fprintf(stderr, "    (%3.2f/100%%)\n", percent());
}

static void show(void)
{
    double now = percent();
    int64_t t;

    switch (progress.style) {
    case SHOW_NOTHING:
        break;
    case SHOW_PLAIN:
        if (now - progress.shown >= progress.step || now <= 0 || now >= 100)
            plain_print(now);
        break;
    case SHOW_JSON:
    case SHOW_BAR:
        t = clock_now_ns();
        if (t < progress.next_ns)
            break;
        progress.next_ns = t + (progress.style == SHOW_BAR ? TICK_BAR_NS : TICK_JSON_NS);
        if (progress.style == SHOW_BAR)
            bar_draw();
        else
            json_tick();
        break;
    }
}

bool progress_begin(const char *how, bool quiet, const char *phase, double step)
{
    memset(&progress, 0, sizeof(progress));
    progress.phase = phase;
    progress.step = step;
    progress.total = 1;
    if (how && *how && !json_open(how))
        return false;
    progress.active = true;
    progress.began_ns = clock_now_ns();
    watch_signal();
    if (progress.out) {
        progress.style = SHOW_JSON;
    } else if (how && !quiet) {
        progress.style = SHOW_PLAIN;
        plain_print(0);
    } else if (!how && !quiet && isatty(STDERR_FILENO)) {
        progress.style = SHOW_BAR;
        complain_after(progress_hide);
        /* Quick jobs never show a bar. */
        progress.next_ns = progress.began_ns + TICK_JSON_NS;
    }
    return true;
}

void progress_update(uint64_t done, uint64_t total)
{
    progress.done = MIN(done, total);
    progress.total = total;
    show();
    if (asked)
        answer_signal();
}

void progress_update_phase(uint64_t done, uint64_t total)
{
    if (progress.style != SHOW_PLAIN)
        progress_update(done, total);
}

void progress_phase(const char *phase)
{
    progress.phase = phase;
    progress.began_ns = clock_now_ns();
    progress.done = 0;
    progress.total = 1;
}

void progress_done(void)
{
    progress.done = progress.total;
    if (progress.style == SHOW_PLAIN)
        plain_print(100);
}

void progress_hide(void)
{
    if (progress.bar_drawn)
        fputs("\r\033[K", stderr);
    progress.bar_drawn = false;
}

static ssize_t lines_write(void *unused, const char *text, size_t len)
{
    progress_hide();
    return (ssize_t)fwrite(text, 1, len, stderr);
}

FILE *progress_stderr(void)
{
    if (progress.style != SHOW_BAR)
        return stderr;
    if (!progress.lines) {
        progress.lines = fopencookie(NULL, "w", (cookie_io_functions_t){ .write = lines_write });
        setvbuf(progress.lines, NULL, _IOLBF, 0);
    }
    return progress.lines;
}

void progress_end(void)
{
    if (!progress.active)
        return;
    if (progress.style == SHOW_PLAIN)
        putchar('\n');
    if (progress.out) {
        json_tick();
        fclose(progress.out);
    }
    if (progress.lines)
        fclose(progress.lines);
    progress.lines = NULL;
    progress_hide();
    complain_after(NULL);
    progress.active = false;
    progress.style = SHOW_NOTHING;
    progress.out = NULL;
}

bool progress_is_shown(void)
{
    return progress.style != SHOW_NOTHING;
}
