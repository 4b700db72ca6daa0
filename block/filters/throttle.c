/* SPDX-License-Identifier: GPL-2.0-or-later */
/* throttle: requests wait until the limits of a throttle-group let them pass. */
#include "block/driver.h"
#include "block/throttle.h"

static CO bool throttle_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    ThrottleGroup *group = throttle_group_find(json_get_str(o, "throttle-group", ""), err);
    Edge *file = group ? node_open_child(n, "file", NULL, o, ROLE_FILTERED, false, err) : NULL;

    if (!file)
        return false;
    throttle_join(node_state(n), group);
    node_set_size(n, edge_size(file));
    return true;
}

static CO void throttle_close(Node *n)
{
    throttle_leave(node_state(n));
}

static CO bool throttle_reconfigure_prepare(Node *n, const json_t *o, OpenFlags flags,
                                            void **change, GError **err)
{
    *change = throttle_group_find(json_get_str(o, "throttle-group", ""), err);
    return *change != NULL;
}

static CO void throttle_reconfigure_commit(Node *n, void *change)
{
    throttle_leave(node_state(n));
    throttle_join(node_state(n), change);
}

static void throttle_node_rush(Node *n, bool on)
{
    throttle_rush(node_state(n), on);
}

/* A move lets those go that wait, so with many of them the limits would not hold. */
static bool throttle_needs_main_loop(const Node *n)
{
    return throttle_is_over(node_state(n));
}

static CO int throttle_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    throttle_wait(node_state(n), false, buf.len);
    return edge_pread(node_edge(n, ROLE_FILTERED), off, buf, flags);
}

static CO int throttle_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    throttle_wait(node_state(n), true, buf.len);
    return edge_pwrite(node_edge(n, ROLE_FILTERED), off, buf, flags);
}

static CO int throttle_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    throttle_wait(node_state(n), true, len);
    return edge_zero(node_edge(n, ROLE_FILTERED), off, len, flags);
}

static CO int throttle_discard(Node *n, uint64_t off, uint64_t len)
{
    throttle_wait(node_state(n), true, len);
    return edge_discard(node_edge(n, ROLE_FILTERED), off, len);
}

static CO int throttle_flush_all(Node *n)
{
    return edge_flush(node_edge(n, ROLE_FILTERED));
}

static const char *const throttle_strong_options[] = { "throttle-group", NULL };

const BlockDriver block_throttle = {
    .name = "throttle",
    .kind = BLK_FILTER,
    .state_size = sizeof(ThrottleMember),
    .is_compressing = true,
    .any_loop = true,
    .needs_main_loop = throttle_needs_main_loop,
    .write_flags = REQ_FUA | REQ_UNCHANGED | REQ_SERIALISE,
    .zero_flags = REQ_FUA | REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    .strong_options = throttle_strong_options,
    .open = throttle_open,
    .close = throttle_close,
    .reconfigure_prepare = throttle_reconfigure_prepare,
    .reconfigure_commit = throttle_reconfigure_commit,
    .rush = throttle_node_rush,
    .pread = throttle_pread,
    .pwrite = throttle_pwrite,
    .zero = throttle_zero,
    .discard = throttle_discard,
    .flush_all = throttle_flush_all,
};
