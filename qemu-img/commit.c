/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-img commit: puts what an image holds into an image below it. */
#include "block/driver.h"
#include "qemu-img/command.h"
#include "qemu-img/copy.h"
#include "qemu-img/progress.h"
#include "qemu-img/tool.h"
#include <stdio.h>
#include <string.h>

enum { WORKERS = 8 };

typedef struct {
    const char *format, *base, *cache, *rate, *progress;
    bool image_opts, keep, quiet;
} CommitArgs;

static const Option commit_options[] = {
    { 'f', "format", "FMT", "format of FILE", OPT_TEXT, offsetof(CommitArgs, format) },
    { 0, "image-opts", NULL, "FILE is a list of options", OPT_FLAG,
      offsetof(CommitArgs, image_opts) },
    { 'b', "base", "BASE", "put it into BASE, further down the chain; implies -d", OPT_TEXT,
      offsetof(CommitArgs, base) },
    { 'd', "drop", NULL, "leave FILE's content in place afterwards; without it FILE is emptied",
      OPT_FLAG, offsetof(CommitArgs, keep) },
    { 't', "cache", "MODE", "cache mode", OPT_TEXT, offsetof(CommitArgs, cache) },
    { 'r', "rate-limit", "RATE", "bytes a second to write at most", OPT_TEXT,
      offsetof(CommitArgs, rate) },
    OPTION_PROGRESS(CommitArgs),
    { 'q', "quiet", NULL, "print errors only", OPT_FLAG, offsetof(CommitArgs, quiet) },
    OPTION_OBJECT,
    OPTION_END
};

/* The node below @top that -b names; the backing file without -b. NULL: complained. */
static Node *commit_base(const CommitArgs *a, Node *top)
{
    g_autofree char *full = NULL;
    Node *n = node_backing_chain_next(top);

    if (!n) {
        complain("'%s' has no backing file", node_filename(top));
        return NULL;
    }
    if (!a->base)
        return n;
    full = filename_combine(node_filename(node_storage(top) ? node_storage(top) : top), a->base,
                            NULL);
    for (; n; n = node_backing_chain_next(n))
        if (node_is_file_named(n, a->base) || (full && node_is_file_named(n, full)))
            return n;
    complain("'%s' is not in the backing chain of '%s'", a->base, node_filename(top));
    return NULL;
}

/* A handle that may write to @base, which others above go on reading. NULL: complained. */
static CO Handle *commit_open_base(Node *base, OpenFlags flags, uint64_t size)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Handle) h = handle_new(base, HANDLE_USER, ACCESS_READ, ACCESS_ALL, &err);

    if (!h || !handle_reopen(h, NULL, flags | OPEN_RDWR | OPEN_UNCHANGED, &err) ||
        (handle_size(h) < size && !handle_resize(h, size, false, PREALLOC_OFF, &err))) {
        complain_err(err);
        return NULL;
    }
    return g_steal_pointer(&h);
}

static CO bool commit_copy(Handle *top, const char *name, Handle *base, uint64_t rate)
{
    CopySource source = { .h = top, .name = name, .len = handle_size(top) };
    CopyJob job = {
        .sources = &source,
        .nsources = 1,
        .len = source.len,
        .target = base,
        .target_name = node_filename(handle_node(base)),
        .base = handle_node(base),
        .backing_len = UINT64_MAX,
        .workers = WORKERS,
        .rate = rate,
    };

    return copy_run(&job);
}

/* Where the format cannot forget what it has, it stays, and is the same as what lies below. */
static CO bool commit_empty(Handle *top, const char *name)
{
    Node *n = node_skip_filters(handle_node(top));
    const BlockDriver *d = node_driver(n);
    int r = d->make_empty ? d->make_empty(n) : 0;

    return r >= 0 || complain_errno(r, "'%s' could not be emptied", name);
}

/*
 * Writing to @base changes what images between it and @top show: from now on no other program may
 * read those. NULL: complained.
 */
static CO GPtrArray *commit_guard(Node *top, Node *base)
{
    g_autoptr(GPtrArray) guards = g_ptr_array_new_with_free_func((GDestroyNotify)handle_close);
    g_autoptr(GError) err = NULL;

    for (Node *n = node_backing_chain_next(top); n != base; n = node_backing_chain_next(n)) {
        Handle *h = handle_new(n, HANDLE_GUARD, 0, ACCESS_ALL & ~ACCESS_READ, &err);

        if (!h) {
            complain_err(err);
            return NULL;
        }
        g_ptr_array_add(guards, h);
    }
    return g_steal_pointer(&guards);
}

static CO bool commit_image(const CommitArgs *a, const char *name, OpenFlags flags, uint64_t rate)
{
    g_autoptr(Handle) top = tool_open(name, a->format, a->image_opts, flags | OPEN_RDWR);
    g_autoptr(GPtrArray) guards = NULL;
    g_autoptr(Handle) h = NULL;
    Node *base;

    if (!top || !progress_begin(a->progress, a->quiet, "commit", 1))
        return false;
    base = commit_base(a, node_skip_filters(handle_node(top)));
    if (!base || !(guards = commit_guard(node_skip_filters(handle_node(top)), base)))
        return false;
    h = commit_open_base(base, flags, handle_size(top));
    if (!h || !commit_copy(top, name, h, rate) || !tool_close(&h))
        return false;
    if (!a->keep && !a->base && !commit_empty(top, name))
        return false;
    return tool_close(&top);
}

static CO int commit_run(const void *args, char **words, int count)
{
    const CommitArgs *a = args;
    OpenFlags flags = OPEN_UNMAP;
    uint64_t rate = 0;
    bool ok;

    if (a->rate && !tool_size("rate limit", a->rate, INT64_MAX, &rate))
        return 1;
    if (count != 1) {
        complain_usage("Exactly one image is needed");
        return 1;
    }
    if (!tool_check_image_opts(a->image_opts, a->format) ||
        !open_cache_mode("cache", a->cache, &flags))
        return 1;
    tool_watch_interrupts();
    ok = commit_image(a, words[0], flags, rate);
    if (ok)
        progress_done();
    progress_end();
    if (ok && !a->quiet)
        puts("Image committed.");
    return ok ? 0 : 1;
}

const Command cmd_commit = {
    .name = "commit",
    .synopsis = "[OPTION]... FILE",
    .words = "filename",
    .summary = "Puts what an image holds into its backing file.",
    .notes = "The images between FILE and BASE are of no use afterwards.\n",
    .options = commit_options,
    .args_size = sizeof(CommitArgs),
    .run = commit_run,
};
