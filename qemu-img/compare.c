/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img compare: do two images read the same?
 *
 * A walk over both, in pieces within which each image is made of one kind of extent, and whose
 * content is looked at where that is needed.
 */
#include "qemu-img/command.h"
#include "qemu-img/progress.h"
#include "qemu-img/plausible.h"
#include "qemu-img/tool.h"
#include "qemu-img/untrusted.h"
#include "qemu-img/walk.h"
#include "util/size.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Exit codes, part of the contract. */
enum {
    COMPARE_SAME,
    COMPARE_DIFFER,
    COMPARE_CANNOT_OPEN,
    COMPARE_CANNOT_LOOK,
    COMPARE_CANNOT_READ,
};

enum { WORKERS = 8, PIECE = 256 << 10, SECTOR = 512 };

typedef struct {
    const char *format[2], *cache, *progress, *untrusted;
    bool image_opts, strict, force_share, quiet;
} CompareArgs;

static const Option compare_options[] = {
    { 'f', "a-format", "FMT", "format of FILE1", OPT_TEXT, offsetof(CompareArgs, format[0]) },
    { 'F', "b-format", "FMT", "format of FILE2", OPT_TEXT, offsetof(CompareArgs, format[1]) },
    { 0, "image-opts", NULL, "both files are lists of options", OPT_FLAG,
      offsetof(CompareArgs, image_opts) },
    { 's', "strict", NULL, "sizes and allocation must be equal too", OPT_FLAG,
      offsetof(CompareArgs, strict) },
    { 'T', "cache", "MODE", "cache mode for both", OPT_TEXT, offsetof(CompareArgs, cache) },
    { 'U', "force-share", NULL, "open even if another program writes to the images", OPT_FLAG,
      offsetof(CompareArgs, force_share) },
    OPTION_PROGRESS(CompareArgs),
    { 'q', "quiet", NULL, "print errors only", OPT_FLAG, offsetof(CompareArgs, quiet) },
    OPTION_UNTRUSTED(CompareArgs),
    OPTION_OBJECT,
    OPTION_END
};

/* Why a walk stopped. */
enum { FOUND_CONTENT = WALK_OWN, FOUND_STATUS, FOUND_NO_STATUS, FOUND_NO_READ };

/* Kinds of pieces: which sides have content that may not be zero; 0: none. */
enum { READ_FIRST = 1, READ_SECOND = 2, READ_BOTH = READ_FIRST | READ_SECOND };

typedef struct {
    const char *name;
    Handle *h;
    uint64_t size;
    Extent extent;        /* what lies before @known; from where it was asked on */
    uint64_t known;       /* the end of @extent */
    Plausible plausible;
} Side;

typedef struct {
    Side side[2];
    bool strict;
    uint64_t total;       /* bytes, for the progress */
} Compare;

/* Makes the extent of @s cover @off, if the side reaches that far. */
static CO int side_look(Side *s, uint64_t off)
{
    int r;

    if (off >= s->size || off < s->known)
        return 0;
    r = node_extent_above(handle_node(s->h), NULL, off, MIN(s->size - off, EXTENT_LEN_MAX), true,
                          &s->extent, NULL);
    if (r >= 0)
        r = plausible_add(&s->plausible, handle_node(s->h), &s->extent);
    s->known = r < 0 ? off : off + s->extent.len;
    return r;
}

/* Whatever is not known to be zero: formats may leave open what lies below. */
static bool side_needs_read(const Side *s, uint64_t off)
{
    return off < s->size && !(s->extent.flags & EXTENT_ZERO);
}

static CO bool compare_look(Walk *w, WalkPiece *p)
{
    const unsigned same = ~(unsigned)(EXTENT_COMPRESSED | EXTENT_RECURSE);
    Compare *c = w->opaque;

    p->kind = 0;
    p->len = w->end - p->off;
    for (unsigned i = 0; i < 2; i++) {
        Side *s = &c->side[i];
        int r = side_look(s, p->off);

        if (r < 0) {
            walk_stop(w, FOUND_NO_STATUS, p->off, r, i);
            return false;
        }
        if (p->off < s->size)
            p->len = MIN(p->len, s->known - p->off);
        if (side_needs_read(s, p->off))
            p->kind |= READ_FIRST << i;
    }
    if (c->strict && (c->side[0].extent.flags ^ c->side[1].extent.flags) & same) {
        walk_stop(w, FOUND_STATUS, p->off, 0, 0);
        return false;
    }
    if (p->kind)
        p->len = MIN(p->len, PIECE);
    return true;
}

/* The first sector of @len bytes at which @a and @b differ; @b NULL: at which @a is not zero. */
static size_t first_difference(const char *a, const char *b, size_t len)
{
    size_t at = 0;

    while (at < len) {
        size_t n = MIN(len - at, SECTOR);

        if (b ? memcmp(a + at, b + at, n) : !buffer_is_zero(a + at, n))
            break;
        at += n;
    }
    return at;
}

static CO bool side_read(Walk *w, unsigned i, const WalkPiece *p, void *buf)
{
    Compare *c = w->opaque;
    int r = buf ? handle_pread(c->side[i].h, p->off, span_of(buf, p->len), 0) : -ENOMEM;

    if (r < 0)
        walk_stop(w, FOUND_NO_READ, p->off, r, i);
    return r >= 0;
}

static CO void compare_both(Walk *w, const WalkPiece *p, char *buf)
{
    char *a = buf, *b = buf ? buf + PIECE : NULL;

    if (side_read(w, 0, p, a) && side_read(w, 1, p, b) && memcmp(a, b, p->len))
        walk_stop(w, FOUND_CONTENT, p->off + first_difference(a, b, p->len), 0, 0);
}

/* What only one side has must be zero. */
static CO void compare_one(Walk *w, const WalkPiece *p, char *buf)
{
    if (side_read(w, p->kind == READ_FIRST ? 0 : 1, p, buf) && !buffer_is_zero(buf, p->len))
        walk_stop(w, FOUND_CONTENT, p->off + first_difference(buf, NULL, p->len), 0, 0);
}

static CO void compare_work(Walk *w, WalkPiece *p)
{
    if (p->kind == READ_BOTH)
        compare_both(w, p, walk_buffer(w, p));
    else if (p->kind)
        compare_one(w, p, walk_buffer(w, p));
}

static void compare_show(const Walk *w)
{
    const Compare *c = w->opaque;

    progress_update(w->done, c->total);
}

static const WalkOps compare_ops = {
    .look = compare_look,
    .work = compare_work,
    .show = compare_show,
};

/* Compares [@off, @end). */
static CO WalkStop compare_range(Compare *c, uint64_t off, uint64_t end)
{
    Walk w = { .ops = &compare_ops, .opaque = c, .next = off, .end = end, .done = off,
               .workers = WORKERS, .room = 2 * PIECE, .memory = 2 * PIECE };

    walk_run(&w);
    return w.stop;
}

static int compare_verdict(const Compare *c, WalkStop found, bool quiet)
{
    progress_hide();
    switch (found.what) {
    case WALK_NOT_STOPPED:
        return COMPARE_SAME;
    case FOUND_CONTENT:
        if (!quiet)
            printf("Content mismatch at offset %" PRIu64 "!\n", found.at);
        return COMPARE_DIFFER;
    case FOUND_STATUS:
        if (!quiet)
            printf("Strict mode: Offset %" PRIu64 " block status mismatch!\n", found.at);
        return COMPARE_DIFFER;
    case FOUND_NO_STATUS:
        complain_errno(found.error, "Allocation of '%s' cannot be read at offset %" PRIu64,
                       c->side[found.side].name, found.at);
        return COMPARE_CANNOT_LOOK;
    case FOUND_NO_READ:
    default:   /* interrupted */
        complain_errno(found.error, "'%s' cannot be read at offset %" PRIu64,
                       c->side[found.side].name, found.at);
        return COMPARE_CANNOT_READ;
    }
}

static CO int compare_images(Compare *c, bool quiet)
{
    uint64_t both = MIN(c->side[0].size, c->side[1].size);
    bool sizes_differ = c->side[0].size != c->side[1].size;
    int code;

    c->total = MAX(c->side[0].size, c->side[1].size);
    if (c->strict && sizes_differ) {
        if (!quiet)
            puts("Strict mode: Image size mismatch!");
        return COMPARE_DIFFER;
    }
    code = compare_verdict(c, compare_range(c, 0, both), quiet);
    if (code || !sizes_differ)
        return code;
    /* What only the larger image has must be zero. */
    if (!quiet)
        puts("Warning: Image size mismatch!");
    return compare_verdict(c, compare_range(c, both, c->total), quiet);
}

static CO int compare_open(const CompareArgs *a, Compare *c, char **words, OpenFlags flags)
{
    int code;

    for (int i = 0; i < 2; i++) {
        Side *s = &c->side[i];

        s->name = words[i];
        s->h = tool_open(words[i], a->format[i], a->image_opts, flags);
        if (!s->h)
            return COMPARE_CANNOT_OPEN;
        s->size = handle_size(s->h);
    }
    if (!untrusted_enter(a->untrusted, (Handle *[]){ c->side[0].h, c->side[1].h }, 2))
        return COMPARE_CANNOT_OPEN;
    code = compare_images(c, a->quiet);
    if (code == COMPARE_SAME && !a->quiet)
        puts("Images are identical.");
    return code;
}

static CO int compare_run(const void *args, char **words, int count)
{
    const CompareArgs *a = args;
    Compare c = { .strict = a->strict };
    OpenFlags flags = a->force_share ? OPEN_FORCE_SHARE : 0;
    int code;

    if (count != 2) {
        complain_usage("Two images are needed");
        return COMPARE_DIFFER;
    }
    if (!tool_check_image_opts(a->image_opts, a->format[0] ? a->format[0] : a->format[1]) ||
        !open_cache_mode("source cache", a->cache, &flags) ||
        !untrusted_prepare(a->untrusted, &flags) ||
        !progress_begin(a->progress, a->quiet, "compare", 2))
        return COMPARE_CANNOT_OPEN;
    code = compare_open(a, &c, words, flags);
    handle_close(c.side[0].h);
    handle_close(c.side[1].h);
    progress_end();
    return code;
}

const Command cmd_compare = {
    .name = "compare",
    .synopsis = "[OPTION]... FILE1 FILE2",
    .words = "filename1 filename2",
    .summary = "Compares the content of two images.",
    .notes = "Exit code: 0 the images are the same, 1 they differ, 2 one could not be opened,\n"
             "3 its allocation could not be read, 4 its content could not be read.\n",
    .options = compare_options,
    .args_size = sizeof(CompareArgs),
    .run = compare_run,
    .failure = COMPARE_CANNOT_OPEN,
};
