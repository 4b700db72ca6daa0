/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sources that are decoded once, see the header. */
#include "qemu-img/unsized.h"
#include "block/driver.h"
#include "qemu-img/tool.h"
#include "util/size.h"
#include <string.h>

/*
 * As much as is learned at a time: no more than the source keeps of it, and whole clusters of any
 * target.
 */
enum { STEP = 2 << 20 };

bool unsized_target(const char *target, const char *format, const json_t *opts)
{
    const BlockDriver *protocol = driver_for_filename(target, true, NULL);

    return protocol && !strcmp(protocol->name, "file") &&
           (!strcmp(format, "raw") || !strcmp(format, "qcow2")) &&
           !strcmp(json_get_str(opts, "preallocation", "off"), "off") &&
           !json_has(opts, "backing_file") && !json_has(opts, "data_file");
}

/* A driver by whose prefix files are unpacked. */
static bool is_unpacking(const char *name)
{
    const BlockDriver *d = driver_for_filename(name, true, NULL);

    return d && (d->is_container || !strcmp(d->name, "unpack"));
}

/* Does @h begin as no format does? */
static CO bool is_raw(Handle *h)
{
    uint8_t head[PROBE_LEN] = { 0 };
    size_t len = MIN(handle_size(h), sizeof(head));

    return handle_pread(h, 0, span_of(head, len), 0) >= 0 &&
           !strcmp(probe_head(head, len, NULL)->name, "raw");
}

CO Handle *unsized_open(const char *name, const char *format, OpenFlags flags)
{
    SizeLearned l;
    Handle *h = NULL;

    if (is_unpacking(name) && (!format || !strcmp(format, "raw")))
        h = handle_open(name, NULL, flags | OPEN_PROTOCOL | OPEN_SIZE_LATER, NULL);
    if (h && (!handle_learn_size(h, STEP, &l, NULL) || (!format && !is_raw(h))))
        handle_close(g_steal_pointer(&h));
    return h;
}

/*
 * Makes the target at least as long as the source, or exactly at its end. 0, or a negative errno.
 */
static CO int target_grow(CopyJob *job, bool is_final)
{
    uint64_t have = handle_size(job->target), want = job->len;
    g_autoptr(GError) err = NULL;

    /* Not for each step, since that costs the target's metadata. */
    if (!is_final && want > have)
        want = round_up(want + want / 8, (uint64_t)STEP);
    if (want == have || (!is_final && want < have))
        return 0;
    return handle_resize(job->target, want, false, PREALLOC_OFF, &err) ? 0 : err_errno(err);
}

CO int unsized_grow(CopyJob *job, CopyFailure *what)
{
    CopySource *s = &job->sources[0];
    g_autoptr(GError) err = NULL;
    SizeLearned l;

    *what = COPY_READ_FAILED;
    if (!handle_learn_size(s->h, s->len + STEP, &l, &err))
        return err_errno(err);
    job->len = s->len = handle_size(s->h);
    job->read = l.at;
    job->to_read = l.of;
    if (l.is_final)
        job->grow = NULL;
    *what = COPY_WRITE_FAILED;
    return target_grow(job, l.is_final);
}
