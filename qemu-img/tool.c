/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the subcommands share. */
#include "qemu-img/tool.h"
#include "block/driver.h"
#include "util/size.h"
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void usage_hint(void)
{
    fprintf(stderr, "Try '%s --help' for more information\n", tool_name());
}

bool complain_usage(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    complain_va(fmt, ap);
    va_end(ap);
    usage_hint();
    return false;
}

/* ---- values of options ---------------------------------------------------------------------- */

bool tool_size(const char *what, const char *text, uint64_t max, uint64_t *out)
{
    int r = size_parse(text + strspn(text, " \t\n\v\f\r+"), 1, out, NULL);

    if (r == -EINVAL) {
        complain("'%s' is not a valid %s; it is a number of bytes, or one followed by k, M, G, T,",
                 text, what);
        return complain(
            "P or E for kilobytes, megabytes, gigabytes, terabytes, petabytes, exabytes");
    }
    if (r < 0 || *out > max)
        return complain("The %s '%s' is not between 0 and %" PRIu64, what, text, max);
    return true;
}

bool tool_number(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    if (!g_ascii_string_to_unsigned(text, 10, min, max, out, NULL))
        return complain("The %s must be a number from %" PRIu64 " to %" PRIu64 ", not '%s'", what,
                        min, max, text);
    return true;
}

bool tool_output(const char *text, bool *json)
{
    *json = text && !strcmp(text, "json");
    if (text && !*json && strcmp(text, "human"))
        return complain("Output format '%s' is neither 'human' nor 'json'", text);
    return true;
}

const BlockDriver *tool_format(const char *what, const char *name)
{
    const BlockDriver *d = driver_find(name);

    if (!d) {
        g_autofree char *perhaps = driver_suggestion(name);

        complain("Unknown %s '%s'%s", what, name, perhaps);
    }
    return d;
}

/* ---- images --------------------------------------------------------------------------------- */

bool tool_check_image_opts(bool image_opts, const char *format)
{
    if (image_opts && format)
        return complain(
            "A format cannot be given beside --image-opts: driver= in the options is it");
    return true;
}

Handle *tool_open_err(const char *name, const char *format, bool image_opts, OpenFlags flags,
                      GError **err)
{
    json_t *options;

    if (!image_opts) {
        options = format ? json_pack("{s:s}", "driver", format) : NULL;
        return handle_open(name, options, flags, err);
    }
    options = image_opts_parse(name, "file", err);
    if (!options) {
        err_prefix(err, "Could not open '%s': ", name);
        return NULL;
    }
    return handle_open(NULL, options, flags, err);
}

Handle *tool_open(const char *name, const char *format, bool image_opts, OpenFlags flags)
{
    g_autoptr(GError) err = NULL;
    Handle *h = tool_open_err(name, format, image_opts, flags, &err);

    if (!h)
        complain_err(err);
    return h;
}

bool tool_close(Handle **h)
{
    Handle *gone = g_steal_pointer(h);
    g_autoptr(GError) err = NULL;
    bool ok = true;
    int r;

    if (!gone)
        return true;
    r = handle_is_writable(gone) ? handle_flush(gone) : 0;
    if (r < 0)
        ok = complain_errno(r, "Last data of '%s' could not be written",
                            node_filename(handle_node(gone)));
    if (!handle_close_err(gone, &err) && ok)
        ok = complain_err(err);
    return ok;
}

/* ---- being stopped -------------------------------------------------------------------------- */

/* For work that was told to end, which may be waiting for a server that never answers. */
enum { GRACE_SECONDS = 10 };

static volatile sig_atomic_t interrupted; /* by this signal, or 0 */

/* Says what is left behind, if that is known, and dies of @sig, whose handler is gone. */
static void die_of(int sig)
{
    const char *words = complain_last_words();

    if (words && write(STDERR_FILENO, words, strlen(words)) < 0)
        _exit(1);
    raise(sig);
}

static void on_grace_over(int sig)
{
    die_of(interrupted);
}

static void on_interrupt(int sig)
{
    interrupted = sig;
    signal(SIGALRM, on_grace_over);
    alarm(GRACE_SECONDS);
}

/*
 * @handler is called once; the next signal kills. What nohup(1) and the like ignore stays ignored.
 */
static void handle_interrupts(void (*handler)(int))
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESTART | SA_RESETHAND }, old;

    for (size_t i = 0; i < G_N_ELEMENTS(signals); i++)
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(signals[i], &sa, NULL);
}

void tool_watch_interrupts(void)
{
    handle_interrupts(on_interrupt);
}

void tool_say_when_killed(bool on)
{
    handle_interrupts(on ? die_of : SIG_DFL);
}

void tool_say_interrupted(const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    complain_last_words_set("Interrupted: %s", text);
    tool_say_when_killed(true);
}

bool tool_interrupted(void)
{
    return interrupted;
}

void tool_die_if_interrupted(void)
{
    if (interrupted)
        raise(interrupted);
}

/* ---- results -------------------------------------------------------------------------------- */

void tool_print_json(const json_t *v)
{
    json_write_pretty(stdout, v, NULL);
}
