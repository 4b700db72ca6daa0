/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests to formats that .extent describes. */
#include "block/formats/mapped.h"
#include <sys/random.h>

CO int mapped_pread_backing(Node *n, uint64_t off, Span buf)
{
    Edge *backing = node_edge(n, ROLE_BACKING);
    uint64_t end = backing ? edge_size(backing) : 0;
    uint64_t there = off < end ? MIN(buf.len, end - off) : 0;

    span_zero(span_slice(buf, there, buf.len - there));
    return there ? edge_pread(backing, off, span_slice(buf, 0, there), 0) : 0;
}

CO int mapped_pread_by(MappedExtent *extent, Node *n, uint64_t off, Span buf)
{
    while (buf.len) {
        Extent e = {};
        Span part;
        int r = extent(n, off, buf.len, false, &e);

        if (r < 0)
            return r;
        part = span_slice(buf, 0, MIN(e.len, buf.len));
        if (e.flags & EXTENT_HOST)
            r = edge_pread(node_edge(n, ROLE_STORAGE), e.host_off, part, 0);
        else if (e.flags & EXTENT_ZERO)
            span_zero(part);
        else
            r = mapped_pread_backing(n, off, part);
        if (r < 0)
            return r;
        off += part.len;
        buf = span_slice(buf, part.len, buf.len - part.len);
    }
    return 0;
}

CO int mapped_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    return mapped_pread_by(node_driver(n)->extent, n, off, buf);
}

CO int mapped_reads_through(Node *n, uint64_t off, uint64_t len, Node **below)
{
    Edge *backing = node_edge(n, ROLE_BACKING);
    Extent e = {};
    int r;

    if (!backing || off + len > edge_size(backing))
        return 0;
    r = node_driver(n)->extent(n, off, len, false, &e);
    if (r >= 0 && e.len >= len && !(e.flags & (EXTENT_HOST | EXTENT_ZERO)))
        *below = edge_node(backing);
    return r;
}

CO int mapped_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags, MappedAllocate *allocate)
{
    while (buf.len) {
        Extent e = {};
        Span part;
        int r = node_driver(n)->extent(n, off, buf.len, false, &e);

        if (r < 0)
            return r;
        part = span_slice(buf, 0, MIN(e.len, buf.len));
        if (!(e.flags & EXTENT_HOST)) {
            r = allocate(n, off, part.len);
            if (r < 0)
                return r;
            continue;
        }
        r = edge_pwrite(node_edge(n, ROLE_STORAGE), e.host_off, part, 0);
        if (r < 0)
            return r;
        off += part.len;
        buf = span_slice(buf, part.len, buf.len - part.len);
    }
    return 0;
}

CO int mapped_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags, MappedAllocate *allocate)
{
    while (len) {
        Extent e = {};
        uint64_t part;
        int r = node_driver(n)->extent(n, off, len, false, &e);

        if (r < 0)
            return r;
        part = MIN(e.len, len);
        if (e.flags & EXTENT_HOST) {
            r = edge_zero(node_edge(n, ROLE_STORAGE), e.host_off, part, flags);
        } else if (!(e.flags & EXTENT_ZERO) && node_backing(n)) {
            r = flags & REQ_NO_FALLBACK ? -ENOTSUP : allocate(n, off, part);
            part = 0;
        }
        if (r < 0)
            return r;
        off += part;
        len -= part;
    }
    return 0;
}

enum { UUID_LEN = 16, UUID_VERSION_LE = 7, UUID_VERSION_BE = 6, UUID_VARIANT = 8 };

static void uuid_make(uint8_t *uuid, int version_at)
{
    if (getrandom(uuid, UUID_LEN, 0) != UUID_LEN)
        for (int i = 0; i < UUID_LEN; i++)
            uuid[i] = (uint8_t)g_random_int();
    uuid[version_at] = (uuid[version_at] & 0x0f) | 0x40;
    uuid[UUID_VARIANT] = (uuid[UUID_VARIANT] & 0x3f) | 0x80;
}

void uuid_make_le(uint8_t uuid[16])
{
    uuid_make(uuid, UUID_VERSION_LE);
}

void uuid_make_be(uint8_t uuid[16])
{
    uuid_make(uuid, UUID_VERSION_BE);
}

char *uuid_text(const uint8_t uuid[16])
{
    GString *text = g_string_new(NULL);

    for (int i = 0; i < UUID_LEN; i++)
        g_string_append_printf(text, "%s%02x", i >= 4 && i <= 10 && i % 2 == 0 ? "-" : "", uuid[i]);
    return g_string_free(text, FALSE);
}
