/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * preallocate: a file that grows does so in large steps, in advance, and is cut to what was written
 * when it is closed. Who uses the node sees only what was written.
 *
 *     0          seen size        end of the file
 *     |--- data ---|--- prepared ---|
 */
#include "block/driver.h"

enum { SECTOR = 512 };
#define ALIGN_DEFAULT (1 * MiB)
#define SIZE_DEFAULT (128 * MiB)

typedef struct {
    uint64_t align, size; /* the file ends at a multiple of align, size bytes after the data */
    uint64_t file_end;    /* bytes, where the file ends */
    CoMutex growing;
} Preallocate;

static Edge *preallocate_file(const Node *n)
{
    return node_edge(n, ROLE_FILTERED);
}

/* ---- opening and closing -------------------------------------------------------------------- */

static bool preallocate_read_options(Preallocate *s, const json_t *o, GError **err)
{
    int64_t align = json_get_int(o, "prealloc-align", ALIGN_DEFAULT);
    int64_t size = json_get_int(o, "prealloc-size", SIZE_DEFAULT);

    if (align < 0 || align % SECTOR)
        return err_set(err, EINVAL, "'prealloc-align' is a multiple of %d", SECTOR);
    if (size < 0)
        return err_set(err, EINVAL, "'prealloc-size' is negative");
    s->align = MAX(align, 1);
    s->size = size;
    return true;
}

static CO bool preallocate_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    Preallocate *s = node_state(n);
    Edge *file;

    if (!preallocate_read_options(s, o, err))
        return false;
    file = node_open_child(n, "file", NULL, o, ROLE_FILTERED, false, err);
    if (!file)
        return false;
    s->file_end = edge_size(file);
    node_set_size(n, s->file_end);
    return true;
}

/* While the file may be longer than it seems, nobody else can know what to make of it. */
static void preallocate_child_access(Node *n, Role role, unsigned parent_needs,
                                     unsigned parent_shares, unsigned *needs, unsigned *shares)
{
    *needs = parent_needs;
    *shares = parent_shares;
    if (parent_needs & ACCESS_RESIZE)
        *shares &= ~(ACCESS_WRITE | ACCESS_RESIZE);
}

/* Cuts the file to what is seen of it. */
static CO bool preallocate_cut(Node *n, GError **err)
{
    Preallocate *s = node_state(n);

    if (s->file_end <= node_size(n))
        return true;
    if (!edge_resize(preallocate_file(n), node_size(n), true, PREALLOC_OFF, 0, err))
        return err_prefix(err, "Could not cut off what was prepared for growth: ");
    s->file_end = node_size(n);
    return true;
}

static CO bool preallocate_activate(Node *n, GError **err)
{
    Preallocate *s = node_state(n);

    s->file_end = edge_size(preallocate_file(n));
    node_set_size(n, s->file_end);
    return true;
}

static CO bool preallocate_inactivate(Node *n, GError **err)
{
    return preallocate_cut(n, err);
}

/*
 * Other options hold from the next growth on; a node that turns read-only gives up what it
 * prepared.
 */
static CO bool preallocate_reconfigure_prepare(Node *n, const json_t *o, OpenFlags flags,
                                               void **change, GError **err)
{
    Preallocate *next = g_new0(Preallocate, 1);

    *change = next;
    if (preallocate_read_options(next, o, err) &&
        (flags & OPEN_RDWR || preallocate_cut(n, err)))
        return true;
    g_free(next);
    return false;
}

static CO void preallocate_reconfigure_commit(Node *n, void *change)
{
    Preallocate *s = node_state(n);
    g_autofree Preallocate *next = change;

    s->align = next->align;
    s->size = next->size;
}

static CO void preallocate_reconfigure_abort(Node *n, void *change)
{
    g_free(change);
}

/* ---- requests ------------------------------------------------------------------------------- */

/*
 * Prepares the file for a write up to @end. If that cannot be done the write itself grows the file,
 * as without us. True if all from @off on is prepared zeroes.
 */
static CO bool preallocate_grow(Node *n, uint64_t off, uint64_t end)
{
    Preallocate *s = node_state(n);
    CO_LOCKED(&s->growing);
    bool was_unused = off >= node_size(n);
    uint64_t want;

    if (end > s->file_end) {
        if (!size_add(end, s->size, &want) || !size_add(want, s->align - 1, &want) ||
            want > INT64_MAX)
            return false;
        want -= want % s->align;
        if (edge_zero(preallocate_file(n), s->file_end, want - s->file_end, REQ_NO_FALLBACK) < 0)
            return false;
        s->file_end = want;
    }
    return was_unused;
}

static CO int preallocate_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    return edge_pread(preallocate_file(n), off, buf, flags);
}

static CO int preallocate_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    Preallocate *s = node_state(n);
    int r;

    if (off + buf.len > node_size(n))
        preallocate_grow(n, off, off + buf.len);
    r = edge_pwrite(preallocate_file(n), off, buf, flags);
    s->file_end = MAX(s->file_end, edge_size(preallocate_file(n)));
    return r;
}

static CO int preallocate_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    Preallocate *s = node_state(n);
    int r;

    if (off + len > node_size(n) && preallocate_grow(n, off, off + len) && !(flags & REQ_FUA))
        return 0;
    r = edge_zero(preallocate_file(n), off, len, flags);
    s->file_end = MAX(s->file_end, edge_size(preallocate_file(n)));
    return r;
}

static CO int preallocate_discard(Node *n, uint64_t off, uint64_t len)
{
    return edge_discard(preallocate_file(n), off, len);
}

static CO int preallocate_flush_all(Node *n)
{
    return edge_flush(preallocate_file(n));
}

static CO bool preallocate_resize(Node *n, uint64_t size, bool exact, Prealloc prealloc,
                                  ReqFlags flags, GError **err)
{
    Preallocate *s = node_state(n);
    CO_LOCKED(&s->growing);

    /* Space that is asked for goes after the data, not after what was prepared. */
    if (size < s->file_end && (prealloc != PREALLOC_OFF || size < node_size(n))) {
        if (!preallocate_cut(n, err))
            return false;
    }
    if (size > s->file_end || size < node_size(n) || exact) {
        if (!edge_resize(preallocate_file(n), size, exact, prealloc, flags, err))
            return false;
        s->file_end = edge_size(preallocate_file(n));
    }
    node_set_size(n, size);
    return true;
}

const BlockDriver block_preallocate = {
    .name = "preallocate",
    .kind = BLK_FILTER,
    .any_loop = true,
    .state_size = sizeof(Preallocate),
    .write_flags = REQ_FUA | REQ_UNCHANGED | REQ_SERIALISE,
    .zero_flags = REQ_FUA | REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    .open = preallocate_open,
    .inactivate = preallocate_inactivate,
    .activate = preallocate_activate,
    .child_access = preallocate_child_access,
    .reconfigure_prepare = preallocate_reconfigure_prepare,
    .reconfigure_commit = preallocate_reconfigure_commit,
    .reconfigure_abort = preallocate_reconfigure_abort,
    .pread = preallocate_pread,
    .pwrite = preallocate_pwrite,
    .zero = preallocate_zero,
    .discard = preallocate_discard,
    .flush_all = preallocate_flush_all,
    .resize = preallocate_resize,
};
