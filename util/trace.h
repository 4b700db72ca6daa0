/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Trace points: TRACE(name, "format", ...) writes a line when its name is enabled, and costs one
 * test of a byte when not. The name is the point's only declaration: all points of a program are
 * found in a section of its file. The same name may stand in several places.
 */
#ifndef UTIL_TRACE_H
#define UTIL_TRACE_H

#include <glib.h>
#include <stdbool.h>
#include <stdio.h>

typedef struct {
    const char *name;
    bool on;
} TracePoint;

/* One line: "PID@SECONDS.MICROSECONDS:NAME TEXT". Any thread. */
void trace_write(const TracePoint *p, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

#define TRACE(id, ...)                                                                             \
    do {                                                                                           \
        static TracePoint trace_point_##id = { #id, false };                                       \
        static TracePoint *const trace_entry_##id                                                  \
            __attribute__((section("trace_points"), used)) = &trace_point_##id;                    \
        if (G_UNLIKELY(trace_point_##id.on))                                                       \
            trace_write(trace_entry_##id, __VA_ARGS__);                                            \
    } while (0)

/*
 * Acts on the value of -T: [[enable=]PATTERN][,events=FILE][,file=FILE]. PATTERN is a name or a
 * shell pattern of names, and turns them off again with a '-' in front; FILE of events= holds one a
 * line (# starts a comment); file= is where the lines go instead of standard error. A pattern that
 * matches nothing is an error. Later values act after earlier ones.
 */
bool trace_configure(const char *spec, GError **err);

/* The names of all points, sorted, a line each. */
void trace_list(FILE *out);

#endif
