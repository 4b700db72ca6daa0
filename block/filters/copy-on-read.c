/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * copy-on-read: what is read from backing files is stored in the image on the way; with a bottom
 * layer named, only what that layer and those above it hold.
 */
#include "block/driver.h"

typedef struct {
    Node *below; /* the first layer from which nothing is copied, with bottom; else NULL */
    bool has_bottom;
} CopyOnRead;

/* Finds what lies below the layer named @name, which must be in the chain under @n. */
static bool cor_find_bottom(Node *n, const char *name, GError **err)
{
    CopyOnRead *s = node_state(n);
    Node *bottom = node_find(name);
    Node *layer = node_skip_filters(node_filtered(n));

    if (!bottom)
        return err_set(err, ENOENT, "There is no node '%s' for 'bottom'", name);
    if (node_driver(bottom)->kind == BLK_FILTER)
        return err_set(err, EINVAL, "'bottom' is to be a layer, but '%s' is a filter", name);
    while (layer && layer != bottom)
        layer = node_backing_chain_next(layer);
    if (!layer)
        return err_set(err, EINVAL, "Node '%s', the 'bottom', is not below '%s'", name,
                       node_filename(node_filtered(n)));
    s->has_bottom = true;
    s->below = node_skip_filters(node_backing_chain_next(layer));
    return true;
}

static CO bool cor_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    Edge *file = node_open_child(n, "file", NULL, o, ROLE_FILTERED, false, err);
    const char *bottom = json_get_str(o, "bottom", NULL);

    if (!file)
        return false;
    node_set_size(n, edge_size(file));
    return !bottom || cor_find_bottom(n, bottom, err);
}

/* How to read the run of *@len bytes at @off, which is cut to what is alike. */
static CO int cor_flags(Node *n, uint64_t off, uint64_t *len, ReqFlags *flags)
{
    const CopyOnRead *s = node_state(n);
    Node *image = node_skip_filters(node_filtered(n));
    uint64_t run = *len;
    int r;

    if (!s->has_bottom) {
        *flags |= REQ_COPY_ON_READ;
        return 0;
    }
    r = node_is_allocated_above(image, s->below, false, off, &run);
    if (r > 0)
        *flags |= REQ_COPY_ON_READ;
    *len = MIN(MAX(run, 1), *len);
    return MIN(r, 0);
}

static CO int cor_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    while (buf.len) {
        uint64_t len = buf.len;
        ReqFlags now = flags;
        int r = cor_flags(n, off, &len, &now);

        if (r == 0 && (now & REQ_COPY_ON_READ || !(now & REQ_PREFETCH)))
            r = edge_pread(node_edge(n, ROLE_FILTERED), off, span_slice(buf, 0, len), now);
        if (r < 0)
            return r;
        off += len;
        buf = span_slice(buf, len, buf.len - len);
    }
    return 0;
}

static void cor_child_access(Node *n, Role role, unsigned parent_needs, unsigned parent_shares,
                             unsigned *needs, unsigned *shares)
{
    *needs = parent_needs | ACCESS_READ | ACCESS_UNCHANGED;
    *shares = parent_shares & ~ACCESS_RESIZE;
}

static const char *const cor_strong_options[] = { "bottom", NULL };

const BlockDriver block_copy_on_read = {
    .name = "copy-on-read",
    .kind = BLK_FILTER,
    .any_loop = true,
    .state_size = sizeof(CopyOnRead),
    .strong_options = cor_strong_options,
    .open = cor_open,
    .pread = cor_pread,
    .child_access = cor_child_access,
};
