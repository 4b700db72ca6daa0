/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img compare: do two images read the same?
 *
 * Workers share a cursor. Each takes the next piece, within which both images are made of one kind
 * of extent, and looks at its content where that is needed. Pieces are handed out in order, so the
 * finding with the lowest offset is the one a single reader would have come to first.
 */
#include "io/co-lock.h"
#include "qemu-img/command.h"
#include "qemu-img/progress.h"
#include "qemu-img/plausible.h"
#include "qemu-img/tool.h"
#include "qemu-img/untrusted.h"
#include "util/size.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Exit codes, part of the contract. */
enum { COMPARE_SAME, COMPARE_DIFFER, COMPARE_CANNOT_OPEN, COMPARE_CANNOT_LOOK, COMPARE_CANNOT_READ };

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

typedef enum { FOUND_NOTHING, FOUND_CONTENT, FOUND_STATUS, FOUND_NO_STATUS, FOUND_NO_READ } Found;

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
    CoMutex taking;       /* the fields up to and including those of @side that change */
    uint64_t next, end;   /* what is still to hand out */
    uint64_t total;       /* for the progress */
    Found found;
    uint64_t found_at;
    int error, error_side;
} Compare;

/* What one worker looks at next. */
typedef struct {
    uint64_t off, len;
    bool read[2];         /* this side has content that may not be zero */
} Piece;

/* Notes a finding, if it lies before what was found so far. */
static void compare_report(Compare *c, Found what, uint64_t at, int error, int side)
{
    if (c->found && c->found_at <= at)
        return;
    c->found = what;
    c->found_at = at;
    c->error = error;
    c->error_side = side;
}

/* Makes the extent of side @i cover @off, if the side reaches that far. */
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

/* Whatever is not known to be zero: a format in a format may leave open what its backing file has. */
static bool side_needs_read(const Side *s, uint64_t off)
{
    return off < s->size && !(s->extent.flags & EXTENT_ZERO);
}

/* Takes the next piece; false when there is none. */
static CO bool compare_take(Compare *c, Piece *p)
{
    const unsigned same = ~(unsigned)(EXTENT_COMPRESSED | EXTENT_RECURSE);
    CO_LOCKED(&c->taking);

    if (c->next >= c->end || c->found)
        return false;
    *p = (Piece){ .off = c->next, .len = c->end - c->next };
    for (int i = 0; i < 2; i++) {
        Side *s = &c->side[i];
        int r = side_look(s, p->off);

        if (r < 0) {
            compare_report(c, FOUND_NO_STATUS, p->off, r, i);
            return false;
        }
        if (p->off < s->size)
            p->len = MIN(p->len, s->known - p->off);
        p->read[i] = side_needs_read(s, p->off);
    }
    if (c->strict && (c->side[0].extent.flags ^ c->side[1].extent.flags) & same) {
        compare_report(c, FOUND_STATUS, p->off, 0, 0);
        return false;
    }
    if (p->read[0] || p->read[1])
        p->len = MIN(p->len, PIECE);
    c->next += p->len;
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

static CO bool side_read(Compare *c, int i, const Piece *p, void *buf)
{
    int r = handle_pread(c->side[i].h, p->off, span_of(buf, p->len), 0);

    if (r < 0)
        compare_report(c, FOUND_NO_READ, p->off, r, i);
    return r >= 0;
}

/* Looks at the content of @p with room for two pieces at @buf. */
static CO void compare_piece(Compare *c, const Piece *p, char *buf)
{
    bool both = p->read[0] && p->read[1];
    char *a = buf, *b = both ? buf + PIECE : NULL;

    if ((p->read[0] && !side_read(c, 0, p, a)) ||
        (p->read[1] && !side_read(c, 1, p, both ? b : a)))
        return;
    if (both ? memcmp(a, b, p->len) : !buffer_is_zero(a, p->len))
        compare_report(c, FOUND_CONTENT, p->off + first_difference(a, b, p->len), 0, 0);
}

static CO void compare_worker(void *arg)
{
    Compare *c = arg;
    g_autoptr(Aligned) buf = NULL;
    Piece p;

    while (compare_take(c, &p)) {
        if (p.read[0] || p.read[1]) {
            if (!buf)
                buf = aligned_try_alloc(2 * PIECE);
            if (!buf) {
                compare_report(c, FOUND_NO_READ, p.off, -ENOMEM, 0);
                return;
            }
            compare_piece(c, &p, buf);
        }
        progress_update(p.off + p.len, c->total);
    }
}

/* Compares [@off, @end). */
static CO void compare_range(Compare *c, uint64_t off, uint64_t end)
{
    CoGroup group = { 0 };

    c->next = off;
    c->end = end;
    for (int i = 0; i < WORKERS; i++)
        co_group_start(&group, compare_worker, c);
    co_group_wait(&group);
}

static int compare_verdict(const Compare *c, bool quiet)
{
    progress_hide();
    switch (c->found) {
    case FOUND_NOTHING:
        break;
    case FOUND_CONTENT:
        if (!quiet)
            printf("Content mismatch at offset %" PRIu64 "!\n", c->found_at);
        return COMPARE_DIFFER;
    case FOUND_STATUS:
        if (!quiet)
            printf("Strict mode: Offset %" PRIu64 " block status mismatch!\n", c->found_at);
        return COMPARE_DIFFER;
    case FOUND_NO_STATUS:
        complain_errno(c->error, "Allocation of '%s' cannot be read at offset %" PRIu64,
                       c->side[c->error_side].name, c->found_at);
        return COMPARE_CANNOT_LOOK;
    case FOUND_NO_READ:
        complain_errno(c->error, "'%s' cannot be read at offset %" PRIu64,
                       c->side[c->error_side].name, c->found_at);
        return COMPARE_CANNOT_READ;
    }
    return COMPARE_SAME;
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
    compare_range(c, 0, both);
    code = compare_verdict(c, quiet);
    if (code || !sizes_differ)
        return code;
    /* What only the larger image has must be zero. */
    if (!quiet)
        puts("Warning: Image size mismatch!");
    compare_range(c, both, c->total);
    return compare_verdict(c, quiet);
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
