/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Trace points: finding them, turning them on, writing their lines. */
#include "util/trace.h"
#include "util/err.h"
#include "util/keyval.h"
#include "util/printable.h"
#include <errno.h>
#include <fnmatch.h>
#include <string.h>
#include <unistd.h>

/* Bounds of the section, made by the linker; absent in a program without points. */
extern TracePoint *const __start_trace_points[] __attribute__((weak, visibility("hidden")));
extern TracePoint *const __stop_trace_points[] __attribute__((weak, visibility("hidden")));

static FILE *trace_out; /* NULL: standard error */
static bool trace_lost; /* a line could not be written to trace_out, under its lock */

/* Says once that the trace is not whole: what is traced goes on all the same. */
static void trace_tell_lost(int code)
{
    if (!trace_lost)
        g_printerr("%s: warning: The trace file cannot be written: %s\n",
                   program_invocation_short_name, g_strerror(code));
    trace_lost = true;
}

void trace_write(const TracePoint *p, const char *fmt, ...)
{
    FILE *out = trace_out ? trace_out : stderr;
    g_autofree char *text = NULL, *shown = NULL;
    gint64 now;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    shown = printable(text);
    /* The clock is read under the lock, so that lines are in the order of their times. */
    flockfile(out);
    now = g_get_real_time();
    fprintf(out, "%d@%" G_GINT64_FORMAT ".%06d:%s %s\n", (int)getpid(), now / G_USEC_PER_SEC,
            (int)(now % G_USEC_PER_SEC), p->name, shown);
    if (trace_out && fflush(out) == EOF)
        trace_tell_lost(errno);
    funlockfile(out);
}

/*
 * Turns on or off what @pattern matches; how many that are. Sanitizers may pad the section by NULL.
 */
static unsigned trace_switch(const char *pattern, bool on)
{
    unsigned hits = 0;

    for (TracePoint *const *p = __start_trace_points; p < __stop_trace_points; p++)
        if (*p && !fnmatch(pattern, (*p)->name, 0)) {
            (*p)->on = on;
            hits++;
        }
    return hits;
}

static bool trace_select(const char *pattern, GError **err)
{
    bool off = *pattern == '-';

    if (!trace_switch(pattern + off, !off))
        return err_set(err, ENOENT, "No trace point matches '%s'", pattern);
    return true;
}

static bool trace_enable_file(const char *file, GError **err)
{
    g_autoptr(GError) why = NULL;
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    if (!g_file_get_contents(file, &text, NULL, &why))
        return err_set(err, EIO, "List of trace points: %s", why->message);
    lines = g_strsplit(text, "\n", -1);
    for (char **l = lines; *l; l++) {
        char *line = g_strstrip(*l);

        if (*line && *line != '#' && !trace_select(line, err))
            return err_prefix(err, "%s:%d: ", file, (int)(l - lines) + 1);
    }
    return true;
}

bool trace_configure(const char *spec, GError **err)
{
    g_autoptr(json_t) o = json_object();
    const char *pattern, *events, *file;

    if (!keyval_parse_flat(spec, "enable", o, err))
        return false;
    pattern = json_get_str(o, "enable", NULL);
    events = json_get_str(o, "events", NULL);
    file = json_get_str(o, "file", NULL);
    if (json_object_size(o) != (size_t)(!!pattern + !!events + !!file))
        return err_set(err, EINVAL,
                       "Trace options are PATTERN, events=FILE and file=FILE, not '%s'", spec);
    if (file) {
        FILE *f = fopen(file, "we");

        if (!f)
            return err_set_errno(err, errno, "Trace file '%s' cannot be written", file);
        if (trace_out)
            fclose(trace_out);
        trace_out = f;
    }
    return (!pattern || trace_select(pattern, err)) &&
           (!events || trace_enable_file(events, err));
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void trace_list(FILE *out)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    const char *last = "";

    for (TracePoint *const *p = __start_trace_points; p < __stop_trace_points; p++)
        if (*p)
            g_ptr_array_add(names, (char *)(*p)->name);
    g_ptr_array_sort(names, compare_names);
    for (guint i = 0; i < names->len; i++) {
        if (strcmp(last, names->pdata[i]))
            fprintf(out, "%s\n", (char *)names->pdata[i]);
        last = names->pdata[i];
    }
}
