/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits of memory. Facts: getrlimit(2), cgroups(7), and the kernel's documents of the memory
 * controllers of cgroup v1 and v2.
 */
#include "io/memory.h"
#include <glib.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>

#define CGROUPS "/sys/fs/cgroup"

static uint64_t own = UINT64_MAX, groups = UINT64_MAX;

/* Takes the number in @file of @folder, if it has one: "max" is none. */
static void limit_take_file(const char *folder, const char *file)
{
    g_autofree char *path = g_build_filename(folder, file, NULL), *text = NULL;
    uint64_t v;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return;
    if (g_ascii_string_to_unsigned(g_strstrip(text), 10, 1, UINT64_MAX, &v, NULL))
        groups = MIN(groups, v);
}

/* The group at @path of the hierarchy mounted at @top, and all those that it is in. */
static void limit_take_groups(const char *top, const char *path)
{
    g_autofree char *group = g_strdup(path);

    for (;;) {
        g_autofree char *folder = g_build_filename(top, group, NULL);
        char *end = strrchr(group, '/');

        limit_take_file(folder, "memory.max");
        limit_take_file(folder, "memory.high");
        limit_take_file(folder, "memory.limit_in_bytes");
        if (!end)
            return;
        *end = 0;
    }
}

/* @line is "NUMBER:CONTROLLERS:PATH", without controllers for cgroup v2. */
static void limit_take_line(const char *line)
{
    g_auto(GStrv) words = g_strsplit(line, ":", 3), controllers = NULL;

    if (g_strv_length(words) < 3)
        return;
    controllers = g_strsplit(words[1], ",", -1);
    if (!*words[1])
        limit_take_groups(CGROUPS, words[2]);
    else if (g_strv_contains((const char *const *)controllers, "memory"))
        limit_take_groups(CGROUPS "/memory", words[2]);
}

static void limit_take_own(int what)
{
    struct rlimit r;

    if (getrlimit(what, &r) == 0 && r.rlim_cur != RLIM_INFINITY)
        own = MIN(own, MAX(r.rlim_cur, 1));
}

static void limit_find(void)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    limit_take_own(RLIMIT_AS);
    limit_take_own(RLIMIT_DATA);
    if (!g_file_get_contents("/proc/self/cgroup", &text, NULL, NULL))
        return;
    lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++)
        limit_take_line(*line);
}

uint64_t memory_limit_with_cache(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, limit_find);
    return groups;
}

uint64_t memory_limit(void)
{
    uint64_t cache = memory_limit_with_cache();

    return MIN(own, cache);
}

unsigned memory_shares(unsigned wanted, uint64_t each)
{
    uint64_t room = memory_limit() / 4 / each;

    return MAX((unsigned)MIN(wanted, room), 1);
}
