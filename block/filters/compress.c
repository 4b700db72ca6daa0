/* SPDX-License-Identifier: GPL-2.0-or-later */
/* compress: everything written is stored compressed, a whole cluster at a time. */
#include "block/driver.h"

typedef struct {
    uint32_t cluster; /* bytes */
} Compress;

static CO bool compress_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    Compress *s = node_state(n);
    Edge *file = node_open_child(n, "file", NULL, o, ROLE_FILTERED, false, err);
    NodeInfo info;

    if (!file)
        return false;
    if (!node_driver(edge_node(file))->is_compressing)
        return err_set(err, ENOTSUP, "Format '%s' of '%s' knows no compression",
                       node_format(edge_node(file)), node_filename(edge_node(file)));
    if (node_info(edge_node(file), &info) == 0 && info.cluster_size <= UINT32_MAX)
        s->cluster = info.cluster_size;
    node_set_size(n, edge_size(file));
    return true;
}

static void compress_refresh_limits(Node *n)
{
    const Compress *s = node_state(n);

    if (s->cluster)
        node_limits(n)->request_alignment = s->cluster;
}

static CO int compress_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    return edge_pread(node_edge(n, ROLE_FILTERED), off, buf, flags);
}

/* The last cluster may reach past the end of the image: the rest of it is not stored. */
static CO int compress_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    if (off + buf.len > node_size(n))
        buf = span_slice(buf, 0, node_size(n) - off);
    return edge_pwrite(node_edge(n, ROLE_FILTERED), off, buf, flags | REQ_COMPRESSED);
}

static CO int compress_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    return edge_zero(node_edge(n, ROLE_FILTERED), off, MIN(len, node_size(n) - off), flags);
}

static CO int compress_discard(Node *n, uint64_t off, uint64_t len)
{
    return edge_discard(node_edge(n, ROLE_FILTERED), off, len);
}

const BlockDriver block_compress = {
    .name = "compress",
    .kind = BLK_FILTER,
    .any_loop = true,
    .state_size = sizeof(Compress),
    .is_compressing = true,
    .write_flags = REQ_UNCHANGED | REQ_SERIALISE,
    .zero_flags = REQ_FUA | REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    .open = compress_open,
    .refresh_limits = compress_refresh_limits,
    .pread = compress_pread,
    .pwrite = compress_pwrite,
    .zero = compress_zero,
    .discard = compress_discard,
};
