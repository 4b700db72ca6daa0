/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks that forget what is written to them, for measuring what stands above: null-co and null-aio.
 */
#include "block/driver.h"
#include <string.h>

typedef struct {
    int64_t latency_ns;
    bool read_zeroes;
} Null;

static bool null_parse_filename(const char *filename, json_t *o, GError **err)
{
    const char *colon = strchr(filename, ':');

    /* "null-co://" is the whole of such a name. */
    if (strcmp(colon, "://"))
        return err_set(err, EINVAL, "'%s' should be just '%.*s://'", filename,
                       (int)(colon - filename), filename);
    return true;
}

static CO bool null_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    Null *s = node_state(n);

    s->latency_ns = json_get_int(o, "latency-ns", 0);
    s->read_zeroes = json_get_bool(o, "read-zeroes", false);
    node_set_size(n, json_get_int(o, "size", GiB));
    return true;
}

static CO int null_wait(Node *n)
{
    Null *s = node_state(n);

    if (s->latency_ns)
        co_sleep(s->latency_ns);
    return 0;
}

static CO int null_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    Null *s = node_state(n);

    if (s->read_zeroes)
        span_zero(buf);
    return null_wait(n);
}

static CO int null_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    return null_wait(n);
}

static CO int null_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    return null_wait(n);
}

static CO int null_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    Null *s = node_state(n);

    *e = (Extent){
        .len = len,
        .flags = s->read_zeroes ? EXTENT_ZERO | EXTENT_ALLOCATED | EXTENT_HOST : 0,
        .host = n,
        .host_off = off,
    };
    return 0;
}

static uint64_t null_allocated(Node *n, bool *known)
{
    *known = true;
    return 0;
}

static char *null_plain_filename(Node *n)
{
    return node_is_plain(n) ? g_strconcat(node_format(n), "://", NULL) : NULL;
}

static const char *const null_strong_options[] = { "size", "read-zeroes", NULL };

/* The two differ in their names only. */
#define NULL_OPERATIONS                                                                            \
    .kind = BLK_PROTOCOL,                                                                          \
    .any_loop = true,                                                                              \
    .state_size = sizeof(Null),                                                                    \
    .write_flags = REQ_FUA,                                                                        \
    .zero_flags = REQ_FUA | REQ_MAY_UNMAP,                                                         \
    .strong_options = null_strong_options,                                                         \
    .parse_filename = null_parse_filename,                                                         \
    .open = null_open,                                                                             \
    .pread = null_pread,                                                                           \
    .pwrite = null_pwrite,                                                                         \
    .zero = null_zero,                                                                             \
    .sync = null_wait,                                                                             \
    .extent = null_extent,                                                                         \
    .allocated = null_allocated,                                                                   \
    .plain_filename = null_plain_filename

const BlockDriver block_null_co = {
    NULL_OPERATIONS,
    .name = "null-co",
    .prefix = "null-co",
};

const BlockDriver block_null_aio = {
    NULL_OPERATIONS,
    .name = "null-aio",
    .prefix = "null-aio",
};
