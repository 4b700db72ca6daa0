/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * quorum: several images with the same content. Writes go to all; a read asks all and returns what
 * enough of them agree on (or, with read-pattern=fifo, what the first one that answers says).
 */
#include "block/fan.h"
#include "gen/qmp.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHILDREN_MAX = 256, READ_MAX = 2 << 20 };

typedef struct {
    unsigned next;      /* the number of a child that is added */
    unsigned threshold; /* votes that decide */
    bool blkverify;     /* any difference between the two children ends the program */
    bool rewrite;       /* who is outvoted gets the winner's content written */
    bool fifo;
} Quorum;

/* ---- opening -------------------------------------------------------------------------------- */

static bool quorum_read_options(Quorum *s, const json_t *o, GError **err)
{
    int64_t threshold = json_get_int(o, "vote-threshold", 0);
    size_t count = json_array_size(json_get(o, "children"));

    s->blkverify = json_get_bool(o, "blkverify", false);
    s->rewrite = json_get_bool(o, "rewrite-corrupted", false);
    s->fifo = !strcmp(json_get_str(o, "read-pattern", "quorum"), "fifo");
    if (count < 1 || count > CHILDREN_MAX)
        return err_set(err, EINVAL, "quorum has 1 to %d children, not %zu", CHILDREN_MAX, count);
    if (threshold < 1 || threshold > (int64_t)count)
        return err_set(err, ERANGE, "'vote-threshold' lies between 1 and the number of children, "
                       "%zu; it is %" PRId64, count, threshold);
    if (!s->fifo && s->blkverify && (count != 2 || threshold != 2))
        return err_set(err, EINVAL, "blkverify=on of quorum is for two children and a "
                       "'vote-threshold' of 2");
    if (!s->fifo && s->blkverify && s->rewrite)
        return err_set(err, EINVAL, "blkverify=on and rewrite-corrupted=on of quorum exclude each "
                       "other");
    s->threshold = threshold;
    s->next = count;
    return true;
}

/* All children are of one size, which is that of the node. */
static CO bool quorum_activate(Node *n, GError **err)
{
    uint64_t size = edge_size(node_edge_at(n, 0));

    for (unsigned i = 1; node_edge_at(n, i); i++) {
        const Edge *e = node_edge_at(n, i);

        if (edge_size(e) != size)
            return err_set(err, EINVAL, "'%s' has %" PRIu64 " bytes, but the children of quorum "
                           "before it have %" PRIu64, node_filename(edge_node(e)), edge_size(e),
                           size);
    }
    node_set_size(n, size);
    return true;
}

static CO bool quorum_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    Quorum *s = node_state(n);

    if (!quorum_read_options(s, o, err))
        return false;
    for (unsigned i = 0; i < s->next; i++) {
        g_autofree char *key = g_strdup_printf("children.%u", i);

        if (!node_open_child(n, key, NULL, o, ROLE_IMAGE, false, err))
            return false;
    }
    return quorum_activate(n, err);
}

static void quorum_child_access(Node *n, Role role, unsigned parent_needs, unsigned parent_shares,
                                unsigned *needs, unsigned *shares)
{
    const Quorum *s = node_state(n);

    *needs = parent_needs & ~ACCESS_RESIZE;
    if (s->rewrite && !s->fifo)
        *needs |= ACCESS_WRITE;
    *shares = parent_shares & (ACCESS_READ | ACCESS_UNCHANGED);
}

static char *quorum_child_add(Node *n, const Node *child, GError **err)
{
    Quorum *s = node_state(n);

    if (!s->fifo && s->blkverify)
        err_set(err, EINVAL, "A quorum with blkverify=on has two children");
    else if (node_child_count(n) == CHILDREN_MAX || s->next == UINT_MAX)
        err_set(err, ENOSPC, "A quorum has at most %d children", CHILDREN_MAX);
    else if (node_size(child) != node_size(n))
        err_set(err, EINVAL, "'%s' has %" PRIu64 " bytes, but the children of quorum have %" PRIu64,
                node_filename(child), node_size(child), node_size(n));
    else
        return g_strdup_printf("children.%u", s->next++);
    return NULL;
}

static bool quorum_child_remove(Node *n, const Edge *e, GError **err)
{
    const Quorum *s = node_state(n);

    /* The words are the reference's. */
    return node_child_count(n) > s->threshold ||
           err_set(err, EINVAL, "The number of children cannot be lower than the vote threshold %u",
                   s->threshold);
}

/* Every child's answer is kept until all have been compared. */
static void quorum_refresh_limits(Node *n)
{
    node_limits(n)->max_transfer = READ_MAX;
}

/* ---- votes ---------------------------------------------------------------------------------- */

static bool span_equal(Span a, Span b, size_t *differ_at)
{
    size_t done = 0;

    while (a.len) {
        size_t len, other;
        const uint8_t *p = span_head(a, &len), *q = span_head(b, &other);

        len = MIN(len, other);
        if (memcmp(p, q, len)) {
            for (*differ_at = done; *p == *q; p++, q++)
                ++*differ_at;
            return false;
        }
        done += len;
        a = span_slice(a, len, a.len - len);
        b = span_slice(b, len, b.len - len);
    }
    return true;
}

/* True if the answers @a and @b are the same: both failed alike, or both read the same. */
static bool answers_agree(const FanRequest *a, const FanRequest *b)
{
    size_t at;

    if (a->r != b->r)
        return false;
    return a->r < 0 || a->op != FAN_PREAD || span_equal(a->buf, b->buf, &at);
}

/* ---- what is told of ------------------------------------------------------------------------- */

enum { SECTOR = 512 };

/* The sectors that [@off, @off + @len) touches. */
static int64_t first_sector(uint64_t off)
{
    return off / SECTOR;
}

static int64_t sector_count(uint64_t off, uint64_t len)
{
    return div_round_up(off + len, SECTOR) - off / SECTOR;
}

/* Of a flush: none in particular. */
static uint64_t request_len(const FanRequest *f)
{
    return f->op == FAN_FLUSH ? 0 : f->op == FAN_ZERO ? f->len : f->buf.len;
}

/*
 * Tells that the child that @f went to failed or, with @r 0, said something else than the others.
 */
static void report_bad(Node *n, const FanRequest *f, int r)
{
    static const QuorumOpType types[] = {
        [FAN_PREAD] = QUORUM_OP_TYPE_READ, [FAN_PWRITE] = QUORUM_OP_TYPE_WRITE,
        [FAN_ZERO] = QUORUM_OP_TYPE_WRITE, [FAN_FLUSH] = QUORUM_OP_TYPE_FLUSH,
    };

    event_quorum_report_bad(types[f->op], r < 0 ? g_strerror(-r) : NULL,
                            node_shown_name(edge_node(f->to)), first_sector(f->off),
                            sector_count(f->off, request_len(f)));
}

/* Tells of each child that failed. */
static void report_failed(Node *n, const FanRequest *f)
{
    for (unsigned i = 0; i < node_child_count(n); i++)
        if (f[i].r < 0)
            report_bad(n, &f[i], f[i].r);
}

static void report_failure(Node *n, uint64_t off, uint64_t len)
{
    event_quorum_failure(node_shown_name(n), first_sector(off), sector_count(off, len));
}

/* ---- answers --------------------------------------------------------------------------------- */

/*
 * The answer that most of those with (or without) success gave; of several such, the last child's.
 */
static const FanRequest *vote(const FanRequest *f, unsigned count, bool success, unsigned *votes)
{
    const FanRequest *winner = NULL;

    *votes = 0;
    for (unsigned i = count; i-- > 0;) {
        unsigned same = 0;

        if ((f[i].r == 0) != success)
            continue;
        for (unsigned j = 0; j < count; j++)
            same += answers_agree(&f[i], &f[j]);
        if (same > *votes) {
            *votes = same;
            winner = &f[i];
        }
    }
    return winner;
}

/* The result of requests that carry no data: success if enough succeeded. */
static int quorum_result(const Node *n, const FanRequest *f)
{
    const Quorum *s = node_state(n);
    unsigned good = 0, votes;
    const FanRequest *failure;

    for (unsigned i = 0; i < node_child_count(n); i++)
        good += f[i].r == 0;
    if (good >= s->threshold)
        return 0;
    failure = vote(f, node_child_count(n), false, &votes);
    return failure->r;
}

/* ---- reading -------------------------------------------------------------------------------- */

static CO int quorum_read_first(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    int r = -EIO;

    for (unsigned i = 0; i < node_child_count(n) && r < 0; i++)
        r = edge_pread(node_edge_at(n, i), off, buf, flags);
    return r;
}

/* Gives every child whose answer is not @winner's the winner's content. */
static CO void quorum_rewrite(Node *n, FanRequest *f, const FanRequest *winner)
{
    for (unsigned i = 0; i < node_child_count(n); i++)
        if (f[i].r == 0 && !answers_agree(&f[i], winner))
            edge_pwrite(f[i].to, f[i].off, winner->buf, 0);
}

/* Ends the program if the two answers differ. */
static void quorum_verify(const FanRequest *f)
{
    size_t at;

    if (f[0].r < 0 || f[1].r < 0 || span_equal(f[0].buf, f[1].buf, &at))
        return;
    fflush(stdout);
    fprintf(stderr, "quorum: offset=%" PRIu64 " bytes=%zu contents mismatch at offset %" PRIu64
            "\n", f[0].off, f[0].buf.len, f[0].off + at);
    exit(1);
}

/* Tells of each child that has read something else than @winner. */
static void report_outvoted(Node *n, const FanRequest *f, const FanRequest *winner)
{
    for (unsigned i = 0; i < node_child_count(n); i++)
        if (f[i].r == 0 && !answers_agree(&f[i], winner))
            report_bad(n, &f[i], 0);
}

static CO int quorum_decide(Node *n, FanRequest *f, Span buf)
{
    const Quorum *s = node_state(n);
    unsigned votes;
    const FanRequest *winner;
    int r = quorum_result(n, f);

    report_failed(n, f);
    if (r < 0) {
        report_failure(n, f->off, buf.len);
        return r;
    }
    if (s->blkverify)
        quorum_verify(f);
    winner = vote(f, node_child_count(n), true, &votes);
    if (votes < s->threshold) {
        report_failure(n, f->off, buf.len);
        return -EIO;
    }
    report_outvoted(n, f, winner);
    if (s->rewrite)
        quorum_rewrite(n, f, winner);
    span_copy(buf, winner->buf);
    return 0;
}

static CO int quorum_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    const Quorum *s = node_state(n);
    g_autoptr(Aligned) memory = NULL;
    g_autofree FanRequest *f = NULL;

    if (s->fifo)
        return quorum_read_first(n, off, buf, flags);
    memory = aligned_try_alloc(round_up(buf.len, 4096) * node_child_count(n));
    if (!memory)
        return -ENOMEM;
    f = g_new0(FanRequest, node_child_count(n));
    for (unsigned i = 0; i < node_child_count(n); i++)
        f[i] = (FanRequest){
            .to = node_edge_at(n, i),
            .op = FAN_PREAD,
            .off = off,
            .buf = span_of((uint8_t *)memory + round_up(buf.len, 4096) * i, buf.len),
            .flags = flags,
        };
    fan_run(f, node_child_count(n));
    return quorum_decide(n, f, buf);
}

/* ---- the rest ------------------------------------------------------------------------------- */

/* Sends @one to every child. */
static CO int quorum_run(Node *n, const FanRequest *one)
{
    g_autofree FanRequest *f = g_new(FanRequest, node_child_count(n));
    int r;

    for (unsigned i = 0; i < node_child_count(n); i++) {
        f[i] = *one;
        f[i].to = node_edge_at(n, i);
    }
    fan_run(f, node_child_count(n));
    report_failed(n, f);
    r = quorum_result(n, f);
    if (r < 0 && one->op != FAN_FLUSH)
        report_failure(n, one->off, request_len(one));
    return r;
}

static CO int quorum_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    FanRequest one = { .op = FAN_PWRITE, .off = off, .buf = buf, .flags = flags };

    return quorum_run(n, &one);
}

static CO int quorum_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    FanRequest one = { .op = FAN_ZERO, .off = off, .len = len, .flags = flags };

    return quorum_run(n, &one);
}

static CO int quorum_flush_all(Node *n)
{
    FanRequest one = { .op = FAN_FLUSH };

    return quorum_run(n, &one);
}

/* Zeroes where all children have zeroes, data wherever one of them has data or does not tell. */
static CO int quorum_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    uint64_t zeroes = len, data = 0;

    for (unsigned i = 0; i < node_child_count(n); i++) {
        Node *child = edge_node(node_edge_at(n, i));
        Extent part;
        int r = node_extent_above(child, NULL, off, len, precise, &part, NULL);

        if (r < 0 || !part.len)
            data = len;                /* the others may still agree on the content */
        else if (part.flags & EXTENT_ZERO)
            zeroes = MIN(zeroes, part.len);
        else
            data = MAX(data, part.len);
    }
    *e = (Extent){
        .len = data ? data : zeroes,
        .flags = EXTENT_ALLOCATED | (data ? EXTENT_DATA : EXTENT_ZERO),
    };
    return 0;
}

static bool quorum_has_zero_init(Node *n)
{
    for (unsigned i = 0; i < node_child_count(n); i++)
        if (!node_has_zero_init(edge_node(node_edge_at(n, i))))
            return false;
    return true;
}

static char *quorum_plain_filename(Node *n)
{
    return NULL;
}

static const char *const quorum_strong_options[] = {
    "vote-threshold", "blkverify", "rewrite-corrupted", "read-pattern", NULL,
};

const BlockDriver block_quorum = {
    .name = "quorum",
    .kind = BLK_FORMAT,
    .state_size = sizeof(Quorum),
    .zero_flags = REQ_MAY_UNMAP,
    .strong_options = quorum_strong_options,
    .open = quorum_open,
    .activate = quorum_activate,
    .child_access = quorum_child_access,
    .child_add = quorum_child_add,
    .child_remove = quorum_child_remove,
    .refresh_limits = quorum_refresh_limits,
    .pread = quorum_pread,
    .pwrite = quorum_pwrite,
    .zero = quorum_zero,
    .flush_all = quorum_flush_all,
    .extent = quorum_extent,
    .has_zero_init = quorum_has_zero_init,
    .plain_filename = quorum_plain_filename,
};
