/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entering the sandbox, and limits on what may be used up inside. */
#include "qemu-img/untrusted.h"
#include "io/sandbox.h"
#include "qemu-img/tool.h"
#include "util/module.h"
#include "util/size.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* Beyond what is in use when the sandbox is entered. */
#define MEMORY_MAX GiB

/*
 * Enough for the slowest honest image: compressed threefold, to be compressed anew by one thread.
 */
enum { CPU_SECONDS = 60, CPU_SECONDS_PER_GIB = 100 };

/* ---- what happens at the limits ------------------------------------------------------------- */

static char too_long[160];

static void on_cpu_limit(int sig)
{
    if (write(STDERR_FILENO, too_long, strlen(too_long)) < 0)
        _exit(2);
    _exit(1);
}

/* GLib tells of memory that it did not get before it would abort. */
static void on_glib_message(const char *domain, GLogLevelFlags level, const char *text, void *arg)
{
    complain("%s%s", level & G_LOG_FLAG_FATAL ? "--untrusted refuses more memory: " : "", text);
    if (level & G_LOG_FLAG_FATAL)
        _exit(1);
}

/* ---- limits --------------------------------------------------------------------------------- */

/*
 * Sets the soft limit @what to *@value, or to what held before this program began if that is less;
 * *@value becomes what holds from now on. False: complained.
 */
static bool limit_set(int what, uint64_t *value)
{
    static uint64_t first[RLIM_NLIMITS];
    struct rlimit limit;

    if (getrlimit(what, &limit) < 0)
        return complain_errno(errno, "Limits of this process cannot be read");
    if (!first[what])
        first[what] = MAX(limit.rlim_cur, 1);
    *value = limit.rlim_cur = MIN(first[what], *value);
    return setrlimit(what, &limit) == 0 ||
           complain_errno(errno, "Limits of this process cannot be set");
}

/* Bytes of memory of our own that this process has now; 0 where that cannot be told. */
static uint64_t memory_used(void)
{
    g_autofree char *text = NULL;
    unsigned long long pages = 0;

    if (g_file_get_contents("/proc/self/statm", &text, NULL, NULL))
        sscanf(text, "%*s %*s %*s %*s %*s %llu", &pages);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static bool limit_memory(void)
{
    uint64_t bytes = memory_used() + MEMORY_MAX;

    g_log_set_default_handler(on_glib_message, NULL);
    return limit_set(RLIMIT_DATA, &bytes);
}

/* Leaves the time that opening takes, and then what the @count open @images may take. */
static bool limit_cpu(Handle *const *images, unsigned count)
{
    struct sigaction sa = { .sa_handler = on_cpu_limit };
    struct rusage used;
    uint64_t bytes = 0, seconds;

    for (unsigned i = 0; i < count; i++) {
        bool known;

        bytes += node_allocated(handle_node(images[i]), &known);
    }
    getrusage(RUSAGE_SELF, &used);
    seconds = CPU_SECONDS + bytes / GiB * CPU_SECONDS_PER_GIB + (uint64_t)used.ru_utime.tv_sec;
    if (!limit_set(RLIMIT_CPU, &seconds))
        return false;
    snprintf(too_long, sizeof(too_long), "%s: --untrusted refuses more than %u seconds of CPU time "
             "for %s\n", tool_name(), (unsigned)seconds,
             count ? "images of this size" : "opening images");
    return sigaction(SIGXCPU, &sa, NULL) == 0;
}

/* ---- the sandbox ---------------------------------------------------------------------------- */

bool untrusted_prepare(const char *how, OpenFlags *flags)
{
    g_autoptr(GError) err = NULL;
    const char *missing;

    if (!how)
        return true;
    if (*how && strcmp(how, "strict"))
        return complain("Images are --untrusted or --untrusted=strict, not '%s'", how);
    *flags |= OPEN_UNTRUSTED;
    if (!limit_memory() || !limit_cpu(NULL, 0))
        return false;
    if (!sandbox_prepare(&err))
        return complain_err(err);
    missing = sandbox_missing();
    if (missing && *how)
        return complain("--untrusted=strict: this kernel lacks %s", missing);
    if (missing)
        complain("warning: --untrusted makes do without %s, which this kernel lacks", missing);
    /* What may be needed inside. Without "deflate" zlib does its work. */
    module_load("deflate", NULL);
    tzset();
    return module_load("crypto", &err) || complain_err(err);
}

bool untrusted_enter(const char *how, Handle *const *images, unsigned count)
{
    g_autoptr(GError) err = NULL;

    if (!how)
        return true;
    return limit_memory() && limit_cpu(images, count) && (sandbox_enter(&err) || complain_err(err));
}
