/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files of bzip2, read only: one stream after the other, each of blocks that begin at any bit.
 * Nothing tells the size, so all is decoded once when the file is opened, unless option "size" says
 * it. See docs/spec/compressed.md.
 */
#include "block/compressed.h"
#include "block/container.h"
#include "block/inflate.h"
#include "util/module.h"
#include <string.h>

typedef struct {
    Compressed *content;
} Bzip2;

static int bzip2_probe(const uint8_t *head, size_t len, const char *filename)
{
    static const uint8_t block[] = { 0x31, 0x41, 0x59, 0x26, 0x53, 0x59 };

    return len >= 10 && !memcmp(head, "BZh", 3) && head[3] >= '1' && head[3] <= '9' &&
                   !memcmp(head + 4, block, sizeof(block)) ? 100 : 0;
}

static CO bool bzip2_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    const InflateModule *m = module_load("bzip2", err);
    Edge *file = m ? container_open_file(n, o, err) : NULL;

    return file && compressed_node_open(n, compressed_new(m->codec, NULL, file), o, flags, err);
}

const BlockDriver block_bzip2 = {
    .name = "bzip2",
    .kind = BLK_FORMAT,
    .prefix = "bzip2",
    .is_container = true,
    .state_size = sizeof(Bzip2),
    .strong_options = compressed_strong_options,
    .probe = bzip2_probe,
    .parse_filename = container_parse_filename,
    .plain_filename = container_plain_filename,
    .open = bzip2_open,
    .close = compressed_node_close,
    .drain = compressed_node_drain,
    .learn_size = compressed_node_learn_size,
    .pread = compressed_node_pread,
    .extent = compressed_node_extent,
};
