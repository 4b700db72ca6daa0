/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is copied: the sources, one after the other. */
#include "qemu-img/copy-input.h"
#include "block/driver.h"
#include "qemu-img/tool.h"
#include "util/size.h"
#include <inttypes.h>

enum { SECTOR = 512 };

CopySource *input_source(const CopyJob *j, uint64_t off)
{
    CopySource *s = j->sources;

    while (s + 1 < j->sources + j->nsources && off >= s->start + s->len)
        s++;
    return s;
}

/* What no layer of the source above the base holds: is it what the target's backing file has? */
static RunKind unallocated_kind(const CopyJob *j, uint64_t off)
{
    bool in_base = off < node_size(j->base), in_backing = off < j->backing_len;

    if (in_base)
        return in_backing ? RUN_SKIP : RUN_DATA;
    return in_backing ? RUN_ZERO : RUN_SKIP;
}

/* The end of a run that must not reach over the end of the base or of the backing file. */
static uint64_t unallocated_end(const CopyJob *j, uint64_t off, uint64_t end)
{
    if (off < node_size(j->base))
        end = MIN(end, node_size(j->base));
    return off < j->backing_len ? MIN(end, j->backing_len) : end;
}

/*
 * The extent at @at of @s. With salvage one that cannot be read is asked for again, half as long
 * each time, down to a sector: the fault may lie further on.
 */
static CO int source_extent(const CopyJob *j, CopySource *s, uint64_t at)
{
    uint64_t len = MIN(s->len - at, s->asked ? MIN(2 * s->asked, EXTENT_LEN_MAX) : EXTENT_LEN_MAX);
    int r;

    for (;;) {
        r = node_extent_above(handle_node(s->h), j->base, s->from + at, len, true, &s->extent,
                              NULL);
        if (s->asked)
            s->asked = len;
        if (r >= 0 || !j->salvage || len <= SECTOR)
            return r;
        len = MAX(round_down(len / 2, SECTOR), (uint64_t)SECTOR);
        s->asked = len;
    }
}

CO int input_look(const CopyJob *j, uint64_t off, Run *run)
{
    CopySource *s = input_source(j, off);
    uint64_t at = off - s->start;

    if (off >= s->known) {
        int r = source_extent(j, s, at);

        if (r >= 0 && plausible_add(&s->plausible, handle_node(s->h), &s->extent) < 0)
            return -EUCLEAN;
        if (r < 0 && !j->salvage)
            return r;
        if (r < 0) {
            s->extent = (Extent){ .len = MIN(SECTOR, s->len - at), .flags = EXTENT_DATA };
            if (!j->quiet)
                complain_errno(r, "warning: The allocation of '%s' cannot be read at offset %"
                               PRIu64, s->name, at);
        }
        s->known = off + s->extent.len;
    }
    *run = (Run){ .kind = RUN_DATA, .end = s->known };
    if (j->base && !(s->extent.flags & EXTENT_ALLOCATED)) {
        run->kind = unallocated_kind(j, off);
        run->end = unallocated_end(j, off, run->end);
    } else if (s->extent.flags & EXTENT_ZERO && !j->write_all) {
        run->kind = RUN_ZERO;
    }
    return 0;
}

/* Reads what can be read of [@at, @at + @buf.len) of @s sector by sector, zeroes for the rest. */
static CO void salvage_read(const CopyJob *j, CopySource *s, uint64_t at, Span buf)
{
    for (uint64_t done = 0; done < buf.len;) {
        uint64_t len = MIN(buf.len - done, SECTOR);
        Span part = span_slice(buf, done, len);
        int r = handle_pread(s->h, s->from + at + done, part, 0);

        if (r < 0) {
            span_zero(part);
            if (!j->quiet)
                complain_errno(r, "warning: '%s' cannot be read at offset %" PRIu64, s->name,
                               at + done);
        }
        done += len;
    }
}

CO int input_read(const CopyJob *j, uint64_t off, Span buf)
{
    for (uint64_t done = 0; done < buf.len;) {
        CopySource *s = input_source(j, off + done);
        uint64_t at = off + done - s->start, len = MIN(buf.len - done, s->len - at);
        Span part = span_slice(buf, done, len);
        int r = handle_pread(s->h, s->from + at, part, 0);

        if (r < 0 && !j->salvage)
            return r;
        if (r < 0)
            salvage_read(j, s, at, part);
        done += len;
    }
    return 0;
}
