/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as a qcow2 image that is only looked at: header and extensions, snapshot table, bitmap
 * directory, L1 and L2, refcounts; the fuzzer qcow2 writes to them too.
 */
#include "block/driver.h"
#include "io/loop.h"
#include "tests/lib/memdisk.h"
#include "util/endian.h"
#include <string.h>

enum { L1_MAX = 512, SNAPSHOTS_MAX = 32, READ_LEN = 16 << 10, EXTENTS = 64, DISK_MAX = 1 << 20 };

typedef struct {
    const uint8_t *data;
    size_t len;
} Bytes;

static uint8_t buf[READ_LEN];
static FILE *nowhere;

static CO Handle *image_open(OpenFlags flags)
{
    json_t *o = json_object();
    g_autoptr(GError) err = NULL;
    Handle *h;

    json_put_str(o, "driver", "qcow2");
    json_put_str(o, "file", "disk");
    json_put(o, "backing", json_null());
    h = handle_open(NULL, o, flags | OPEN_UNTRUSTED, &err);
    g_assert_true(h || err);
    return h;
}

static CO void look(Node *n)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(json_t) specific = node_info_specific(n, &err);
    NodeInfo info = { 0 };
    g_autofree Snapshot *list = NULL;
    size_t count = 0;

    g_assert_true(specific || err);
    (void)node_info(n, &info);
    (void)node_driver(n)->snapshots->list(n, &list, &count);
}

static CO void walk(Handle *h)
{
    Node *n = handle_node(h);
    uint64_t size = handle_size(h), off = 0;

    for (int i = 0; i < EXTENTS && off < size; i++) {
        Extent e;

        if (node_extent_above(n, NULL, off, size - off, false, &e, NULL) < 0 || !e.len)
            break;
        g_assert_cmpuint(e.len, <=, size - off);
        off += e.len;
    }
    (void)handle_pread(h, 0, span_of(buf, MIN(size, READ_LEN)), 0);
    (void)handle_pread(h, size - MIN(size, READ_LEN), span_of(buf, MIN(size, READ_LEN)), 0);
}

static CO void fuzz_run(void *arg)
{
    const Bytes *b = arg;
    Node *disk = memdisk_new_scratch("disk", b->data, b->len, DISK_MAX);
    Handle *h = image_open(OPEN_NO_IO);

    if (h) {
        look(handle_node(h));
        handle_close(h);
    }
    h = image_open(b->len & 1 ? OPEN_CHECK : 0);
    if (h) {
        g_autoptr(GError) err = NULL;
        CheckResult r = { 0 };

        walk(h);
        (void)node_check(handle_node(h), &r, 0, nowhere, &err);
        handle_close(h);
    }
    memdisk_free(disk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    nowhere = fopen("/dev/null", "w");
    g_assert_nonnull(nowhere);
    setvbuf(nowhere, NULL, _IOFBF, 1 << 20);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    Bytes b = { data, len };

    /* Large tables only take time; tests/block/hostile-images has them. */
    if (len < 112 || be32_at(data + 36) > L1_MAX || be32_at(data + 60) > SNAPSHOTS_MAX)
        return -1;
    loop_run(fuzz_run, &b);
    return 0;
}
