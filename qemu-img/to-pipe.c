/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Standard output as a target, see the header. */
#include "qemu-img/to-pipe.h"
#include "block/pipe.h"
#include "qemu-img/copy-input.h"
#include "qemu-img/tool.h"
#include <unistd.h>

const BlockDriver *to_pipe_format(const char *fmt, json_t *opts)
{
    const BlockDriver *d = driver_find(fmt);
    g_autoptr(GError) err = NULL;

    if (!d || !d->create_ahead) {
        complain("Format '%s' cannot be written to standard output; raw, qcow2, vmdk "
                 "(streamOptimized) and vpc (fixed) can", fmt);
        return NULL;
    }
    if (isatty(STDOUT_FILENO)) {
        complain("Standard output is a terminal: redirect it to a pipe or a file");
        return NULL;
    }
    if (!create_opts_check(d, NULL, opts, &err)) {
        complain_err(err);
        return NULL;
    }
    return d;
}

/* Is [@off, @off + *@len) of what @arg, a CopyJob, copies zero? */
static CO bool source_is_zero(void *arg, uint64_t off, uint64_t *len)
{
    const CopySource *s = input_source(arg, off);
    uint64_t at = off - s->start;
    Extent e;
    int r;

    *len = MIN(*len, s->len - at);
    *len = MIN(*len, EXTENT_LEN_MAX);
    r = handle_extent_above(s->h, s->from + at, *len, true, &e, NULL);
    if (r < 0 || !e.len) {
        *len = MIN(*len, 64 * KiB);
        return false;
    }
    *len = e.len;
    return e.flags & EXTENT_ZERO;
}

CO bool to_pipe_open(CopyJob *job, const BlockDriver *format, json_t *opts, uint64_t *end)
{
    PipeSource s = { .size = job->len, .is_zero = source_is_zero, .arg = job };
    g_autoptr(GError) err = NULL;

    job->target = pipe_open(STDOUT_FILENO, &err);
    return (job->target && format->create_ahead(job->target, opts, &s, end, &err)) ||
           complain_err(err);
}

void to_pipe_end(CopyJob *job, uint64_t end)
{
    pipe_set_end(job->target, end);
}
