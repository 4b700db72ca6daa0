/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands alloc, map and info: what the image is made of. */
#include "block/driver.h"
#include "qemu-io/command.h"
#include "qemu-io/number.h"
#include "tools/complain.h"
#include "tools/print.h"
#include <inttypes.h>
#include <stdio.h>

/* Of a range without a length. */
enum { SECTOR = 512 };

/*
 * How many bytes from @off on, at most @len and inside the image, are alike: all allocated in the
 * image itself (*@allocated) or none.
 */
static CO int layout_run(Handle *h, uint64_t off, uint64_t len, uint64_t *run, bool *allocated)
{
    *run = 0;
    while (*run < len) {
        Extent e;
        int r = handle_extent(h, off + *run, len - *run, false, &e);
        bool is = e.flags & EXTENT_ALLOCATED;

        if (r < 0)
            return r;
        if (*run && is != *allocated)
            break;
        if (!e.len)
            break;
        *allocated = is;
        *run += e.len;
    }
    return 0;
}

static CO CommandResult alloc_run(Session *s, int argc, char **argv)
{
    uint64_t off, len = SECTOR, size = handle_size(s->file), found = 0;
    g_autofree char *where = NULL;

    if (!arg_size(argv[1], &off) || (argc > 2 && !arg_size(argv[2], &len)))
        return CMD_FAILED;
    len = MIN(len, size - MIN(off, size));
    for (uint64_t done = 0, run; done < len; done += run) {
        bool allocated = false;
        int r = layout_run(s->file, off + done, len - done, &run, &allocated);

        if (r < 0) {
            complain_errno(r, "What the image holds at %" PRIu64 " cannot be told", off + done);
            return CMD_FAILED;
        }
        if (!run)
            break;
        found += allocated ? run : 0;
    }
    where = bytes_text((double)off);
    printf("%" PRIu64 "/%" PRIu64 " bytes allocated at offset %s\n", found, len, where);
    return CMD_OK;
}

static CO CommandResult map_run(Session *s, int argc, char **argv)
{
    uint64_t size = handle_size(s->file);

    for (uint64_t off = 0, run; off < size; off += run) {
        g_autofree char *len_text = NULL, *off_text = NULL;
        bool allocated = false;
        int r = layout_run(s->file, off, size - off, &run, &allocated);

        if (r < 0) {
            complain_errno(r, "What the image holds at %" PRIu64 " cannot be told", off);
            return CMD_FAILED;
        }
        if (!run) {
            complain("The image ends at %" PRIu64 " bytes, before its size", off);
            return CMD_FAILED;
        }
        len_text = bytes_text((double)run);
        off_text = bytes_text((double)off);
        printf("%s (0x%" PRIx64 ") bytes %s allocated at offset %s (0x%" PRIx64 ")\n", len_text,
               run, allocated ? "   " : "not", off_text, off);
    }
    return CMD_OK;
}

static CO bool print_specific(Node *n)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(json_t) specific = node_info_specific(n, &err);

    if (err)
        return complain_err(err);
    print_section(json_get(specific, "data"), "Format specific information", 0);
    return true;
}

static CO CommandResult info_run(Session *s, int argc, char **argv)
{
    Node *n = handle_node(s->file);
    const BlockDriver *d = node_driver(n);
    g_autofree char *cluster = NULL, *vmstate = NULL;
    NodeInfo info;

    printf("format name: %s\n", d->name);
    /* Drivers that names can begin with are told twice: as format and as protocol. */
    if (d->kind == BLK_PROTOCOL || d->prefix)
        printf("format name: %s\n", d->name);
    if (node_info(n, &info) < 0)
        return CMD_FAILED;
    cluster = bytes_text((double)info.cluster_size);
    vmstate = bytes_text((double)info.vm_state_offset);
    printf("cluster size: %s\nvm state offset: %s\n", cluster, vmstate);
    return print_specific(n) ? CMD_OK : CMD_FAILED;
}

const Command cmd_alloc = {
    .name = "alloc",
    .alias = "a",
    .min_args = 1,
    .max_args = 2,
    .synopsis = "offset [count]",
    .summary = "tells how many bytes the image itself holds there",
    .run = alloc_run,
};

const Command cmd_map = {
    .name = "map",
    .synopsis = "",
    .summary = "lists what the image itself holds and what it does not",
    .run = map_run,
};

const Command cmd_info = {
    .name = "info",
    .alias = "i",
    .synopsis = "",
    .summary = "tells about the image and its format",
    .run = info_run,
};
