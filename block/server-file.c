/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files on servers, see the header. */
#include "block/server-file.h"

enum { TRANSFER_MAX = 4 << 20 };

CO void server_file_end(ServerFile *f)
{
    f->ops->close(f->file);
    g_clear_pointer(&f->name, g_free);
}

CO bool server_file_fill(ServerFile *f, uint64_t size, GError **err)
{
    int r = size ? f->ops->resize(f->file, size) : 0;

    if (r < 0)
        err_set_errno(err, r, "Cannot set the size of '%s'", f->name);
    server_file_end(f);
    return r == 0;
}

CO bool server_file_node_open(Node *n, uint64_t best, GError **err)
{
    ServerFile *f = node_state(n);

    if (f->size > NODE_SIZE_MAX) {
        err_set(err, EFBIG, "'%s' is too large", f->name);
        server_file_end(f);
        return false;
    }
    node_set_size(n, f->size);
    node_limits(n)->max_transfer = TRANSFER_MAX;
    node_limits(n)->opt_transfer = best;
    return true;
}

CO void server_file_node_close(Node *n)
{
    server_file_end(node_state(n));
}

CO int server_file_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    const ServerFile *f = node_state(n);
    uint64_t have = off < f->size ? MIN(buf.len, f->size - off) : 0;

    span_zero(span_slice(buf, have, buf.len - have));
    return have ? f->ops->read(f->file, off, span_slice(buf, 0, have)) : 0;
}

CO int server_file_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    ServerFile *f = node_state(n);
    int r = f->ops->write(f->file, off, buf);

    if (r == 0)
        f->size = MAX(f->size, off + buf.len);
    return r;
}

CO bool server_file_resize(Node *n, uint64_t size, bool exact, Prealloc prealloc, ReqFlags flags,
                           GError **err)
{
    ServerFile *f = node_state(n);
    int r;

    if (prealloc != PREALLOC_OFF)
        return err_set(err, ENOTSUP, "Files of protocol '%s' cannot be preallocated by '%s'",
                       node_driver(n)->name, prealloc_name(prealloc));
    r = f->ops->resize(f->file, size);
    if (r == 0) {
        f->size = size;
        node_set_size(n, size);
    }
    return r == 0 || err_set_errno(err, r, "Cannot resize '%s'", f->name);
}

/* What is past the end of a file that grows is zero. */
bool server_file_has_zero_init(Node *n)
{
    return true;
}

char *server_file_plain_filename(Node *n)
{
    return g_strdup(((ServerFile *)node_state(n))->name);
}
