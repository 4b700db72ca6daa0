/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img rebase: puts another backing file below an image, which keeps its content.
 *
 * What the image does not hold itself is compared between the old and the new backing file; where
 * they differ, the old content goes into the image first.
 */
#include "block/driver.h"
#include "qemu-img/command.h"
#include "qemu-img/progress.h"
#include "qemu-img/tool.h"
#include "qemu-img/walk.h"
#include "util/size.h"
#include "util/trace.h"
#include <inttypes.h>
#include <string.h>

enum { WORKERS = 8, BUFFER = 512 << 10, GAP = 65536 };

typedef struct {
    const char *format, *backing, *backing_format, *cache, *source_cache, *progress;
    bool image_opts, unsafe, compress, force_share, quiet;
} RebaseArgs;

static const Option rebase_options[] = {
    { 'b', "backing", "BACKING", "the new backing file; empty: none", OPT_TEXT,
      offsetof(RebaseArgs, backing) },
    { 'F', "backing-format", "FMT", "format of BACKING", OPT_TEXT,
      offsetof(RebaseArgs, backing_format) },
    { 'B', NULL, "FMT", "the same as -F", OPT_TEXT, offsetof(RebaseArgs, backing_format) },
    { 'u', "backing-unsafe", NULL, "change only the name stored in FILE, which reads wrong "
      "unless the new backing file has the old one's content", OPT_FLAG,
      offsetof(RebaseArgs, unsafe) },
    { 'c', "compress", NULL, "compress what has to be put into FILE", OPT_FLAG,
      offsetof(RebaseArgs, compress) },
    { 'f', "format", "FMT", "format of FILE", OPT_TEXT, offsetof(RebaseArgs, format) },
    { 0, "image-opts", NULL, "FILE is a list of options", OPT_FLAG,
      offsetof(RebaseArgs, image_opts) },
    { 't', "cache", "MODE", "cache mode for FILE", OPT_TEXT, offsetof(RebaseArgs, cache) },
    { 'T', "backing-cache", "MODE", "cache mode for the backing files", OPT_TEXT,
      offsetof(RebaseArgs, source_cache) },
    { 'U', "force-share", NULL, "open the backing file even if another program writes to it",
      OPT_FLAG, offsetof(RebaseArgs, force_share) },
    OPTION_PROGRESS(RebaseArgs),
    { 'q', "quiet", NULL, "print errors only", OPT_FLAG, offsetof(RebaseArgs, quiet) },
    OPTION_OBJECT,
    OPTION_END
};

/* A backing chain that is read. */
typedef struct {
    Handle *h;              /* NULL: there is none, everything reads as zeroes */
    uint64_t size;
    Extent extent;          /* up to @known */
    uint64_t known;
} Below;

typedef struct {
    const RebaseArgs *args;
    const char *name;
    Handle *top;
    Below old, new;
    bool shared;            /* @new is a part of the chain of @old */
    uint64_t unit;          /* bytes that differ, or not, as one */
} Rebase;

/* Why the walk stops. */
enum { REBASE_FAILED = WALK_OWN };

enum { PIECE_KEPT, PIECE_COMPARED };

/* ---- what is to be compared ----------------------------------------------------------------- */

/* Does @b certainly read as zeroes at @off? *@end is cut to where that may change. */
static CO int below_is_zero(Below *b, uint64_t off, uint64_t *end)
{
    int r;

    if (!b->h || off >= b->size)
        return 1;
    if (off >= b->known) {
        r = node_extent_above(handle_node(b->h), NULL, off, MIN(b->size - off, EXTENT_LEN_MAX),
                              true, &b->extent, NULL);
        if (r < 0)
            return r;
        b->known = off + b->extent.len;
    }
    *end = MIN(*end, b->known);
    return !!(b->extent.flags & EXTENT_ZERO);
}

/* Does something above the new backing file decide what the old chain has at @off? */
static CO int old_decides(Rebase *rb, uint64_t off, uint64_t *end)
{
    uint64_t len = *end - off;
    int r;

    if (!rb->shared || off >= rb->old.size)
        return 1;
    len = MIN(len, rb->old.size - off);
    r = node_is_allocated_above(handle_node(rb->old.h), handle_node(rb->new.h), false, off, &len);
    *end = off + len;
    return r;
}

/* Is there anything to compare at @off? *@end is cut to where that may change. */
static CO int rebase_needed(Rebase *rb, uint64_t off, uint64_t *end)
{
    Extent e;
    int r = handle_extent(rb->top, off, MIN(*end - off, EXTENT_LEN_MAX), false, &e);

    if (r < 0)
        return r;
    *end = MIN(*end, off + e.len);
    if (e.flags & EXTENT_ALLOCATED)
        return 0;
    r = old_decides(rb, off, end);
    if (r <= 0)
        return r;
    r = below_is_zero(&rb->old, off, end);
    if (r <= 0)
        return r < 0 ? r : 1;
    r = below_is_zero(&rb->new, off, end);
    return r < 0 ? r : !r;
}

/* In whole units. */
static CO bool rebase_look(Walk *w, WalkPiece *p)
{
    Rebase *rb = w->opaque;
    uint64_t off = p->off, end = w->end;
    int r = rebase_needed(rb, off, &end);

    if (r < 0)
        walk_stop(w, REBASE_FAILED, off, r, 0);
    /* A unit of which a part may differ is looked at as a whole. */
    if (r > 0)
        end = MIN(MIN(round_up(end, rb->unit), off + MAX(BUFFER, rb->unit)), w->end);
    else if (end < w->end && round_down(end, rb->unit) > off)
        end = round_down(end, rb->unit);
    p->kind = r > 0 ? PIECE_COMPARED : PIECE_KEPT;
    p->len = end - off;
    return true;
}

/* ---- comparing and copying ------------------------------------------------------------------ */

/* Reads [@off, @off + @len) of @b, zeroes beyond its end. */
static CO int below_read(Below *b, uint64_t off, void *buf, uint64_t len)
{
    uint64_t have = b->h && off < b->size ? MIN(len, b->size - off) : 0;

    memset((char *)buf + have, 0, len - have);
    return have ? handle_pread(b->h, off, span_of(buf, have), 0) : 0;
}

static bool bytes_differ(const char *a, const char *b, uint64_t len)
{
    return b ? memcmp(a, b, len) : !buffer_is_zero(a, len);
}

/* How long @a and @b (NULL: zeroes) differ, or not, in units. */
static uint64_t run_length(const Rebase *rb, const char *a, const char *b, uint64_t len,
                           bool *differ)
{
    uint64_t at = MIN(rb->unit, len);

    *differ = bytes_differ(a, b, at);
    while (at < len) {
        uint64_t n = MIN(rb->unit, len - at);

        if (bytes_differ(a + at, b ? b + at : NULL, n) != *differ)
            break;
        at += n;
    }
    return at;
}

static CO int rebase_write(Rebase *rb, uint64_t off, char *buf, uint64_t len)
{
    TRACE(rebase_copy, "off=%" PRIu64 " len=%" PRIu64, off, len);
    if (buffer_is_zero(buf, len))
        return handle_zero(rb->top, off, len, 0);
    return handle_pwrite(rb->top, off, span_of(buf, len),
                         rb->args->compress ? REQ_COMPRESSED : 0);
}

static CO int rebase_piece(Rebase *rb, const WalkPiece *p, char *old, char *new)
{
    int r = below_read(&rb->old, p->off, old, p->len);

    if (!rb->new.h || p->off >= rb->new.size)
        new = NULL;
    else if (r == 0)
        r = below_read(&rb->new, p->off, new, p->len);
    for (uint64_t at = 0; at < p->len && r == 0;) {
        bool differ;
        uint64_t len = run_length(rb, old + at, new ? new + at : NULL, p->len - at, &differ);

        if (differ)
            r = rebase_write(rb, p->off + at, old + at, len);
        at += len;
    }
    return r;
}

static CO void rebase_work(Walk *w, WalkPiece *p)
{
    char *buf;
    int r;

    if (p->kind == PIECE_KEPT)
        return;
    buf = walk_buffer(w, p);
    r = buf ? rebase_piece(w->opaque, p, buf, buf + w->room / 2) : -ENOMEM;
    if (r < 0)
        walk_stop(w, REBASE_FAILED, p->off, r, 0);
}

static void rebase_show(const Walk *w)
{
    progress_update(w->done, w->end);
}

static const WalkOps rebase_ops = {
    .look = rebase_look,
    .work = rebase_work,
    .show = rebase_show,
};

/* Puts into the image what the backing files differ in. */
static CO bool rebase_copy(Rebase *rb)
{
    NodeInfo info = { 0 };
    Walk w = { .ops = &rebase_ops, .opaque = rb, .end = handle_size(rb->top), .workers = WORKERS };

    rb->unit = node_info(handle_node(rb->top), &info) >= 0 && info.cluster_size
               ? info.cluster_size : GAP;
    w.room = w.memory = 2 * MAX(BUFFER, rb->unit);
    walk_run(&w);
    if (w.stop.what == WALK_INTERRUPTED)
        return complain("Interrupted: '%s' has its old backing file and its content", rb->name);
    return !w.stop.what ||
           complain_errno(w.stop.error, "'%s' keeps its old backing file, because copying failed "
                          "at offset %" PRIu64, rb->name, w.stop.at);
}

/* ---- opening -------------------------------------------------------------------------------- */

/* Options for the image: -T is for what lies below it. NULL: complained. */
static json_t *rebase_top_options(const RebaseArgs *a, const char *name, GError **err)
{
    json_t *o = a->image_opts ? image_opts_parse(name, "file", err) : json_object();
    OpenFlags flags = 0;

    if (!o)
        return NULL;
    if (a->format)
        json_put_str(o, "driver", a->format);
    if (a->source_cache && !a->unsafe && cache_mode_parse(a->source_cache, &flags) &&
        !json_has(o, "backing"))
        json_put(o, "backing", json_pack("{s:{s:b, s:b}}", "cache",
                                         "direct", !!(flags & OPEN_DIRECT),
                                         "no-flush", !!(flags & OPEN_NO_FLUSH)));
    return o;
}

static CO bool rebase_open_top(Rebase *rb, OpenFlags flags, GError **err)
{
    const RebaseArgs *a = rb->args;
    json_t *options = rebase_top_options(a, rb->name, err);

    if (!options)
        return false;
    rb->top = handle_open(a->image_opts ? NULL : rb->name, options,
                          flags | (a->unsafe ? OPEN_NO_BACKING : 0), err);
    return rb->top;
}

static CO bool below_take(Below *b, Node *n, GError **err)
{
    b->h = handle_new(n, HANDLE_USER, ACCESS_READ, ACCESS_ALL, err);
    if (b->h)
        b->size = handle_size(b->h);
    return b->h;
}

/* The new backing file: a part of the old chain, or opened. */
static CO bool rebase_open_new(Rebase *rb, OpenFlags flags, GError **err)
{
    const RebaseArgs *a = rb->args;
    Node *top = node_skip_filters(handle_node(rb->top));
    g_autofree char *full = NULL;

    if (!*a->backing)
        return true;
    full = filename_combine(node_filename(node_storage(top) ? node_storage(top) : top), a->backing,
                            err);
    if (!full)
        return false;
    for (Node *n = node_backing_chain_next(top); n; n = node_backing_chain_next(n))
        if (node_is_file_named(n, full) &&
            (!a->backing_format || !strcmp(node_format(n), a->backing_format))) {
            rb->shared = true;
            return below_take(&rb->new, n, err);
        }
    rb->new.h = tool_open_err(full, a->backing_format, false, flags, err);
    if (!rb->new.h || !node_check_alone(top, err))
        return err_prefix(err, "New backing file: ");
    rb->new.size = handle_size(rb->new.h);
    return true;
}

static CO bool rebase_open_below(Rebase *rb, OpenFlags flags)
{
    Node *backing = node_backing_chain_next(node_skip_filters(handle_node(rb->top)));
    g_autoptr(GError) err = NULL;

    if ((backing && !below_take(&rb->old, backing, &err)) || !rebase_open_new(rb, flags, &err))
        return complain_err(err);
    return true;
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* False: complained that the new backing file, which is not opened, is the image itself. */
static bool rebase_check_name(const Rebase *rb)
{
    const char *backing = rb->args->backing;
    Node *top = node_skip_filters(handle_node(rb->top));
    g_autofree char *full = NULL;

    if (rb->args->unsafe && backing && *backing)
        full = filename_combine(node_filename(node_storage(top) ? node_storage(top) : top), backing,
                                NULL);
    return !full || !node_is_file_named(top, full) ||
           complain("'%s' cannot be its own backing file", rb->name);
}

static CO bool rebase_change_name(Rebase *rb)
{
    const RebaseArgs *a = rb->args;
    Node *n = node_skip_filters(handle_node(rb->top));
    bool none = !a->backing || !*a->backing;
    int r = handle_flush(rb->top);

    if (r >= 0)
        r = node_driver(n)->change_backing(n, none ? NULL : a->backing,
                                           none ? NULL : a->backing_format);
    return r >= 0 || complain_errno(r, "The backing file of '%s' could not be changed to '%s'",
                                    rb->name, none ? "" : a->backing);
}

static CO bool rebase_image(Rebase *rb, OpenFlags flags, OpenFlags source_flags)
{
    const RebaseArgs *a = rb->args;
    const BlockDriver *d;
    g_autoptr(GError) err = NULL;

    if (!rebase_open_top(rb, flags, &err))
        return complain_err(err);
    d = node_driver(node_skip_filters(handle_node(rb->top)));
    if (a->backing_format && !driver_find(a->backing_format) &&
        !tool_format("format", a->backing_format))
        return false;
    if (!d->change_backing)
        return complain("Images of format '%s' have no backing file that could be changed",
                        d->name);
    if (a->compress && !d->is_compressing)
        return complain("Images of format '%s' cannot be compressed", d->name);
    if (a->backing && *a->backing && !a->backing_format)
        return complain("The format of the new backing file is missing (-F)");
    if (!rebase_check_name(rb))
        return false;
    if (!a->unsafe && (!rebase_open_below(rb, source_flags) || !rebase_copy(rb)))
        return false;
    return rebase_change_name(rb) && tool_close(&rb->top);
}

static CO int rebase_run(const void *args, char **words, int count)
{
    const RebaseArgs *a = args;
    OpenFlags flags = OPEN_RDWR | OPEN_UNMAP;
    OpenFlags source_flags = a->force_share ? OPEN_FORCE_SHARE : 0;
    Rebase rb = { .args = a };
    bool ok;

    if (count != 1) {
        complain_usage("Exactly one image is needed");
        return 1;
    }
    if (!a->unsafe && !a->backing) {
        complain_usage("The new backing file is missing (-b)");
        return 1;
    }
    if (!tool_check_image_opts(a->image_opts, a->format) ||
        !open_cache_mode("cache", a->cache, &flags) ||
        !open_cache_mode("source cache", a->source_cache, &source_flags) ||
        !progress_begin(a->progress, a->quiet, "rebase", 1))
        return 1;
    rb.name = words[0];
    tool_watch_interrupts();
    ok = rebase_image(&rb, flags, source_flags);
    if (ok)
        progress_done();
    handle_close(rb.new.h);
    handle_close(rb.old.h);
    handle_close(rb.top);
    progress_end();
    return ok ? 0 : 1;
}

const Command cmd_rebase = {
    .name = "rebase",
    .synopsis = "[OPTION]... -b BACKING FILE",
    .words = "filename",
    .summary = "Changes the backing file of an image, whose content stays the same.",
    .options = rebase_options,
    .args_size = sizeof(RebaseArgs),
    .run = rebase_run,
};
