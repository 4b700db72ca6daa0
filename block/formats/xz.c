/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files of xz, read only: streams of blocks, with an index that tells the size and where blocks
 * begin. See docs/spec/compressed.md.
 */
#include "block/compressed.h"
#include "block/container.h"
#include "block/inflate.h"
#include "util/module.h"
#include <inttypes.h>
#include <string.h>

enum { READ_LEN = 64 << 10 };

typedef struct {
    Compressed *content;
    const InflateModule *module;
    void *index;
} Xz;

static int xz_probe(const uint8_t *head, size_t len, const char *filename)
{
    static const uint8_t magic[] = { 0xfd, '7', 'z', 'X', 'Z', 0 };

    return len >= sizeof(magic) && !memcmp(head, magic, sizeof(magic)) ? 100 : 0;
}

/* Gives the reader of indexes what it asks for. */
static CO bool index_read(const IndexReader *reader, void *index, Edge *file, GError **err)
{
    g_autofree uint8_t *buf = g_malloc(READ_LEN);
    uint64_t at = 0, len;
    int r = 0;

    while (r == 0) {
        if (at >= edge_size(file))
            return err_set(err, EINVAL, "The file ends before its index");
        len = MIN(READ_LEN, edge_size(file) - at);
        r = edge_pread_buf(file, at, buf, len);
        if (r == 0)
            r = reader->feed(index, buf, len, &at);
    }
    return r > 0 || err_set_errno(err, r, "Could not read the index at byte %" PRIu64, at);
}

static CO void free_all(Xz *x)
{
    compressed_free(x->content);
    if (x->index)
        x->module->index->end(x->index);
    *x = (Xz){ 0 };
}

static CO bool xz_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    Xz *x = node_state(n);
    Edge *file = container_open_file(n, o, err);

    if (!file || !(x->module = module_load("lzma", err)))
        return false;
    x->index = x->module->index->begin(edge_size(file));
    if (!x->index)
        return err_set(err, ENOMEM, "There is no memory for the index of the file");
    if (!index_read(x->module->index, x->index, file, err)) {
        free_all(x);
        return false;
    }
    x->content = compressed_new(x->module->codec, x->index, file);
    compressed_set_size(x->content, x->module->index->size(x->index));
    node_set_size(n, x->module->index->size(x->index));
    return true;
}

static CO void xz_close(Node *n)
{
    free_all(node_state(n));
}

const BlockDriver block_xz = {
    .name = "xz",
    .kind = BLK_FORMAT,
    .prefix = "xz",
    .is_container = true,
    .state_size = sizeof(Xz),
    .probe = xz_probe,
    .parse_filename = container_parse_filename,
    .plain_filename = container_plain_filename,
    .open = xz_open,
    .close = xz_close,
    .drain = compressed_node_drain,
    .pread = compressed_node_pread,
    .extent = compressed_node_extent,
};
