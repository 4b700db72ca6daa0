/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Standard options and the end of a program. */
#include "tools/program.h"
#include "block/driver.h"
#include "tools/complain.h"
#include "tools/password.h"
#include "qapi/object.h"
#include "util/trace.h"
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A file opened later must not become standard input, output or error because those are closed. */
static void keep_standard_fds(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

/*
 * What GLib or a loop cannot go on without, memory or a file descriptor, ends the program like any
 * failure and not as if it had crashed. What was not flushed is lost, as in a power cut.
 */
static void on_log(const char *domain, GLogLevelFlags level, const char *text, gpointer unused)
{
    if (!(level & G_LOG_LEVEL_ERROR)) {
        g_log_default_handler(domain, level, text, unused);
        return;
    }
    complain("%s", text);
    if (complain_last_words())
        fputs(complain_last_words(), stderr);
    _exit(1);
}

void tool_begin(const char *argv0)
{
    keep_standard_fds();
    g_log_set_default_handler(on_log, NULL);
    /*
     * Characters as the user has them; messages of the system stay English: callers look for them.
     */
    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_IGN);
    /* A file over its limit is an error to tell of, not to die of. */
    signal(SIGXFSZ, SIG_IGN);
    tool_set_name(argv0);
    secret_ask_set(password_ask);
}

void tool_print_version(const char *name)
{
    printf("%s 7.2.22 (Ferry " FERRY_VERSION ")\n"
           "Copyright (c) 2026 the Ferry authors, licensed under GPL-2.0-or-later\n", name);
}

static int compare_driver_names(const void *a, const void *b)
{
    return strcmp((*(const BlockDriver *const *)a)->name, (*(const BlockDriver *const *)b)->name);
}

void tool_print_formats(void)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new();

    for (const BlockDriver *const *d = block_drivers; *d; d++)
        g_ptr_array_add(all, (void *)*d);
    g_ptr_array_sort(all, compare_driver_names);
    fputs("Supported formats:", stdout);
    for (guint i = 0; i < all->len; i++)
        printf(" %s", ((const BlockDriver *)all->pdata[i])->name);
    putchar('\n');
}

bool tool_is_help(const char *text)
{
    return !strcmp(text, "help") || !strcmp(text, "?");
}

OptionResult tool_trace(void *args, const char *spec)
{
    g_autoptr(GError) err = NULL;

    if (tool_is_help(g_str_has_prefix(spec, "enable=") ? spec + strlen("enable=") : spec)) {
        trace_list(stdout);
        return OPTION_EXIT;
    }
    if (!trace_configure(spec, &err)) {
        complain_err(err);
        return OPTION_BAD;
    }
    return OPTION_DONE;
}

OptionResult tool_object(void *args, const char *text)
{
    g_autoptr(GError) err = NULL;

    if (object_print_help(text))
        return OPTION_EXIT;
    if (!object_add_text(text, &err)) {
        complain_err(err);
        return OPTION_BAD;
    }
    return OPTION_DONE;
}

/* True if whoever read our standard output, such as head(1), has left: it wants no more of it. */
static bool reader_has_left(void)
{
    struct pollfd out = { .fd = STDOUT_FILENO, .events = POLLOUT };

    return poll(&out, 1, 0) == 1 && out.revents & (POLLERR | POLLHUP);
}

int tool_finish(int code, int failure)
{
    bool bad = ferror(stdout);

    object_delete_all();
    if ((fflush(stdout) || bad) && !reader_has_left()) {
        complain("Standard output could not be written");
        return MAX(code, failure);
    }
    return code;
}
