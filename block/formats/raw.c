/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Raw images: the bytes of the file, or of a window on it (options offset and size).
 *
 * An image that is raw only because its first block looked like nothing else must not be made to
 * look like something else by whoever writes into it: the next time it would be opened as that.
 */
#include "block/pipe.h"
#include "block/range.h"
#include "gen/schema.h"
#include <inttypes.h>
#include <string.h>

typedef struct {
    uint64_t offset; /* bytes, where the window starts in the file */
    bool has_size;   /* the window's size was given and is fixed */
    RangeLock head;  /* changes of a guarded first block: one at a time. Home loop only. */
} Raw;

static int raw_probe(const uint8_t *head, size_t len, const char *filename)
{
    return 1;
}

/* Reads the window that @o asks for on @file into *@w, and its size. */
static bool raw_window(const json_t *o, Edge *file, Raw *w, uint64_t *size, GError **err)
{
    uint64_t have = edge_size(file), end;

    w->offset = json_get_int(o, "offset", 0);
    w->has_size = json_has(o, "size");
    if (w->offset > have)
        return err_set(err, EINVAL,
                       "Offset %" PRIu64 " is past the end of '%s' (%" PRIu64 " bytes)", w->offset,
                       node_filename(edge_node(file)), have);
    *size = w->has_size ? (uint64_t)json_get_int(o, "size", 0) : have - w->offset;
    if (w->has_size && *size % 512)
        return err_set(err, EINVAL,
                       "The size of a window, %" PRIu64 " bytes, is not a multiple of 512", *size);
    if (!size_add(w->offset, *size, &end) || end > have)
        return err_set(err, EINVAL, "The window of %" PRIu64 " bytes at %" PRIu64
                       " reaches past the end of '%s' (%" PRIu64 " bytes)",
                       *size, w->offset, node_filename(edge_node(file)), have);
    return true;
}

static CO bool raw_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    Edge *file = node_open_child(n, "file", NULL, o, ROLE_STORAGE, false, err);
    uint64_t size;

    if (!file || !raw_window(o, file, node_state(n), &size, err))
        return false;
    node_set_size(n, size);
    return true;
}

static CO bool raw_activate(Node *n, GError **err)
{
    uint64_t size;

    if (!raw_window(node_options(n), node_edge(n, ROLE_STORAGE), node_state(n), &size, err))
        return false;
    node_set_size(n, size);
    return true;
}

/* A window that comes into force with raw_reconfigure_commit. */
typedef struct {
    Raw window;
    uint64_t size;
} RawChange;

static CO bool raw_reconfigure_prepare(Node *n, const json_t *o, OpenFlags flags, void **change,
                                       GError **err)
{
    g_autofree RawChange *c = g_new0(RawChange, 1);

    if (!raw_window(o, node_edge(n, ROLE_STORAGE), &c->window, &c->size, err))
        return false;
    *change = g_steal_pointer(&c);
    return true;
}

static CO void raw_reconfigure_commit(Node *n, void *change)
{
    g_autofree RawChange *c = change;
    Raw *s = node_state(n);

    s->offset = c->window.offset;
    s->has_size = c->window.has_size;
    node_set_size(n, c->size);
}

static CO void raw_reconfigure_abort(Node *n, void *change)
{
    g_free(change);
}

static CO int raw_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    Raw *s = node_state(n);

    edge_event(node_edge(n, ROLE_STORAGE), EV_READ_AIO);
    return edge_pread(node_edge(n, ROLE_STORAGE), s->offset + off, buf, flags);
}

/*
 * -EPERM if @n was probed and would look like another format with @buf (NULL: zeroes) written at
 * @off. Until @hold is released nobody else changes the first block, so two writes that are
 * harmless each by itself cannot both pass.
 */
static CO int raw_check_head(Node *n, RangeHold *hold, uint64_t off, uint64_t len, const Span *buf)
{
    Raw *s = node_state(n);
    uint8_t head[PROBE_LEN] = { 0 };
    uint64_t have, part;
    int r;

    if (!node_is_probed_raw(n) || off >= PROBE_LEN || !len)
        return 0;
    range_take(&s->head, hold, 0, PROBE_LEN);
    have = MIN(MAX(node_size(n), off + len), PROBE_LEN);
    r = raw_pread(n, 0, span_of(head, have), 0);
    if (r < 0)
        return r;
    part = MIN(len, have - off);
    if (buf)
        span_read(span_slice(*buf, 0, part), head + off);
    else
        memset(head + off, 0, part);
    return probe_head(head, have, NULL) == node_driver(n) ? 0 : -EPERM;
}

static CO int raw_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    RANGE_GUARD hold = {};
    Raw *s = node_state(n);
    int r = raw_check_head(n, &hold, off, buf.len, &buf);

    if (r < 0)
        return r;
    if (s->has_size && off + buf.len > node_size(n))
        return -ENOSPC;
    edge_event(node_edge(n, ROLE_STORAGE), EV_WRITE_AIO);
    return edge_pwrite(node_edge(n, ROLE_STORAGE), s->offset + off, buf, flags);
}

static CO int raw_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    RANGE_GUARD hold = {};
    Raw *s = node_state(n);
    int r = raw_check_head(n, &hold, off, len, NULL);

    if (r < 0)
        return r;
    if (s->has_size && off + len > node_size(n))
        return -ENOSPC;
    return edge_zero(node_edge(n, ROLE_STORAGE), s->offset + off, len, flags);
}

static CO int raw_discard(Node *n, uint64_t off, uint64_t len)
{
    RANGE_GUARD hold = {};
    Raw *s = node_state(n);
    int r = raw_check_head(n, &hold, off, len, NULL);

    if (r < 0)
        return r;
    return edge_discard(node_edge(n, ROLE_STORAGE), s->offset + off, len);
}

static CO int raw_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    Raw *s = node_state(n);

    *e = (Extent){
        .len = len,
        .flags = EXTENT_RECURSE,
        .host = edge_node(node_edge(n, ROLE_STORAGE)),
        .host_off = s->offset + off,
    };
    return 0;
}

static CO int raw_copy(Node *n, uint64_t off, Node *src, uint64_t src_off, uint64_t len,
                       ReqFlags flags)
{
    Raw *s = node_state(n);

    if (node_is_probed_raw(n) || (s->has_size && off + len > node_size(n)))
        return -ENOTSUP;
    return edge_copy(node_edge(n, ROLE_STORAGE), s->offset + off, src, src_off, len, flags);
}

static CO bool raw_resize(Node *n, uint64_t size, bool exact, Prealloc prealloc, ReqFlags flags,
                          GError **err)
{
    Raw *s = node_state(n);
    uint64_t end;

    if (s->has_size)
        return err_set(err, ENOTSUP, "The window on '%s' has a fixed size", node_filename(n));
    if (!size_add(s->offset, size, &end))
        return err_set(err, EFBIG, "Size %" PRIu64 " is too large", size);
    if (!edge_resize(node_edge(n, ROLE_STORAGE), end, exact, prealloc, flags, err))
        return false;
    node_set_size(n, size);
    return true;
}

static CO int raw_info(Node *n, NodeInfo *info)
{
    return node_info(edge_node(node_edge(n, ROLE_STORAGE)), info);
}

static CO bool raw_measure(json_t *opts, Handle *source, MeasureResult *result, GError **err)
{
    uint64_t size = source ? handle_size(source) : (uint64_t)json_get_int(opts, "size", 0);

    result->required = round_up(size, 512);
    result->fully_allocated = result->required;
    return true;
}

/*
 * Like a filter: what is asked of the window is asked of the file. A window needs its file whole.
 */
static void raw_child_access(Node *n, Role role, unsigned parent_needs, unsigned parent_shares,
                             unsigned *needs, unsigned *shares)
{
    const Raw *s = node_state(n);

    *needs = parent_needs;
    *shares = parent_shares;
    if (s->has_size || s->offset)
        *shares &= ~ACCESS_RESIZE;
}

static bool raw_has_zero_init(Node *n)
{
    return node_has_zero_init(edge_node(node_edge(n, ROLE_STORAGE)));
}

static CO bool raw_create(const char *filename, json_t *opts, GError **err)
{
    uint64_t size = round_up((uint64_t)json_get_int(opts, "size", 0), 512);
    g_autoptr(Handle) h = file_create(filename, opts, size, err);

    return h != NULL;
}

static const char *const raw_strong_options[] = { "offset", "size", NULL };

/* All of the file is content. */
static CO bool raw_create_ahead(Handle *pipe, json_t *opts, const PipeSource *s, uint64_t *end,
                                GError **err)
{
    *end = s->size;
    return true;
}

const BlockDriver block_raw = {
    .name = "raw",
    .kind = BLK_FORMAT,
    .any_loop = true,
    .state_size = sizeof(Raw),
    .write_grows = true,
    .write_flags = REQ_FUA | REQ_UNCHANGED | REQ_SERIALISE,
    .zero_flags = REQ_FUA | REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    .strong_options = raw_strong_options,
    .probe = raw_probe,
    .open = raw_open,
    .activate = raw_activate,
    .reconfigure_prepare = raw_reconfigure_prepare,
    .reconfigure_commit = raw_reconfigure_commit,
    .reconfigure_abort = raw_reconfigure_abort,
    .create_opts = create_opts_raw,
    .create = raw_create,
    .create_ahead = raw_create_ahead,
    .pread = raw_pread,
    .pwrite = raw_pwrite,
    .zero = raw_zero,
    .discard = raw_discard,
    .extent = raw_extent,
    .copy = raw_copy,
    .resize = raw_resize,
    .info = raw_info,
    .measure = raw_measure,
    .has_zero_init = raw_has_zero_init,
    .child_access = raw_child_access,
    .snapshots_of_file = true,
};
