/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blkdebug: fails or holds chosen requests on their way to its image, and asks for odd alignments
 * and sizes, so that what stands above can be tested.
 */
#include "block/filters/blkdebug-rules.h"
#include <inttypes.h>
#include <string.h>

typedef struct {
    DebugRules *rules;
    /* 0: not given */
    uint64_t align, max_transfer, opt_write_zero, max_write_zero, opt_discard, max_discard;
    unsigned take, unshare; /* Access bits for the image on top of what is asked of us */
} Blkdebug;

/* ---- opening -------------------------------------------------------------------------------- */

/* blkdebug:[CONFIG]:IMAGE; without the prefix, the name of the image. */
static bool blkdebug_parse_filename(const char *filename, json_t *o, GError **err)
{
    const char *config = filename + strlen("blkdebug:");
    g_autofree char *name = NULL;
    size_t len;

    if (!g_str_has_prefix(filename, "blkdebug:"))
        return node_describe_child(o, "image", filename, err);
    len = strcspn(config, ":");
    name = g_strndup(config, len);
    if (config[len] != ':')
        return err_set(err, EINVAL, "'%s' should be blkdebug:[CONFIG]:IMAGE", filename);
    if (len && !json_has(o, "config"))
        json_put_str(o, "config", name);
    return node_describe_child(o, "image", config + len + 1, err);
}

static bool blkdebug_add_rules(Blkdebug *s, const json_t *o, GError **err)
{
    static const char *const lists[] = { "set-state", "inject-error" };
    const char *config = json_get_str(o, "config", NULL);

    s->rules = debug_rules_new();
    if (config && !debug_rules_read(s->rules, config, err))
        return false;
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++) {
        const json_t *rule;
        size_t j;

        json_array_foreach(json_get(o, lists[i]), j, rule)
            if (!debug_rules_add(s->rules, i == 1, rule, err))
                return false;
    }
    return true;
}

static unsigned access_parse(const json_t *list)
{
    static const char *const names[] = { "consistent-read", "write", "write-unchanged", "resize" };
    const json_t *v;
    unsigned bits = 0;
    size_t i;

    json_array_foreach(list, i, v)
        for (size_t j = 0; j < G_N_ELEMENTS(names); j++)
            if (!strcmp(json_string_value(v), names[j]))
                bits |= 1u << j;
    return bits;
}

/* Reads size option @name, a multiple of @unit, into *@out. */
static bool blkdebug_size(const json_t *o, const char *name, uint64_t unit, uint64_t *out,
                          GError **err)
{
    int64_t v = json_get_int(o, name, 0);

    if (v < 0 || v >= INT_MAX || v % (int64_t)unit)
        return err_set(err, EINVAL, "Option '%s' of blkdebug is a multiple of %" PRIu64
                       " below 2 GiB, not %" PRId64, name, unit, v);
    *out = v;
    return true;
}

static bool blkdebug_read_limits(Blkdebug *s, const json_t *o, GError **err)
{
    uint64_t align;

    if (!blkdebug_size(o, "align", 1, &s->align, err))
        return false;
    if (s->align && !is_power_of_2(s->align))
        return err_set(err, EINVAL, "Option 'align' of blkdebug is a power of two, not %" PRIu64,
                       s->align);
    align = MAX(s->align, 1);
    return blkdebug_size(o, "max-transfer", align, &s->max_transfer, err) &&
           blkdebug_size(o, "opt-write-zero", align, &s->opt_write_zero, err) &&
           blkdebug_size(o, "max-write-zero", MAX(s->opt_write_zero, align), &s->max_write_zero,
                         err) &&
           blkdebug_size(o, "opt-discard", align, &s->opt_discard, err) &&
           blkdebug_size(o, "max-discard", MAX(s->opt_discard, align), &s->max_discard, err);
}

static CO void blkdebug_close(Node *n)
{
    Blkdebug *s = node_state(n);

    debug_rules_free(s->rules);
}

static CO bool blkdebug_open_image(Node *n, const json_t *o, GError **err)
{
    Blkdebug *s = node_state(n);
    Edge *image;

    if (!blkdebug_read_limits(s, o, err) || !blkdebug_add_rules(s, o, err))
        return false;
    s->take = access_parse(json_get(o, "take-child-perms"));
    s->unshare = access_parse(json_get(o, "unshare-child-perms"));
    image = node_open_child(n, "image", NULL, o, ROLE_FILTERED, false, err);
    if (!image)
        return false;
    node_set_size(n, edge_size(image));
    debug_rules_event(s->rules, EV_NONE);
    return true;
}

static CO bool blkdebug_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    if (blkdebug_open_image(n, o, err))
        return true;
    blkdebug_close(n);
    return false;
}

static void blkdebug_refresh_limits(Node *n)
{
    const Blkdebug *s = node_state(n);
    Limits *l = node_limits(n);

    if (s->align)
        l->request_alignment = s->align;
    l->max_transfer = s->max_transfer;
    l->zero_alignment = s->opt_write_zero;
    l->max_zero = s->max_write_zero;
    l->max_discard = s->max_discard;
}

static void blkdebug_child_access(Node *n, Role role, unsigned parent_needs,
                                  unsigned parent_shares, unsigned *needs, unsigned *shares)
{
    const Blkdebug *s = node_state(n);

    *needs = parent_needs | s->take;
    *shares = parent_shares & ~s->unshare;
}

/* ---- requests ------------------------------------------------------------------------------- */

static Edge *blkdebug_image(const Node *n)
{
    return node_edge(n, ROLE_FILTERED);
}

static CO int blkdebug_check(Node *n, DebugIo io, uint64_t off, uint64_t len)
{
    const Blkdebug *s = node_state(n);

    return debug_rules_check(s->rules, io, off, len);
}

static CO int blkdebug_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    int r = blkdebug_check(n, DEBUG_READ, off, buf.len);

    return r < 0 ? r : edge_pread(blkdebug_image(n), off, buf, flags);
}

static CO int blkdebug_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    int r = blkdebug_check(n, DEBUG_WRITE, off, buf.len);

    return r < 0 ? r : edge_pwrite(blkdebug_image(n), off, buf, flags);
}

static CO int blkdebug_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    const Blkdebug *s = node_state(n);
    int r;

    /* As a device that zeroes whole units only. */
    if (len < s->opt_write_zero)
        return -ENOTSUP;
    r = blkdebug_check(n, DEBUG_WRITE_ZEROES, off, len);
    return r < 0 ? r : edge_zero(blkdebug_image(n), off, len, flags);
}

/* Units of opt-discard and what lies before and after them are requests of their own. */
static CO int blkdebug_discard(Node *n, uint64_t off, uint64_t len)
{
    const Blkdebug *s = node_state(n);
    uint64_t unit = MAX(s->opt_discard, 1);

    while (len) {
        uint64_t within = off % unit, now = len;
        int r;

        if (within)
            now = MIN(len, unit - within);
        else if (len > unit)
            now = len - len % unit;
        r = blkdebug_check(n, DEBUG_DISCARD, off, now);
        if (r == 0)
            r = edge_discard(blkdebug_image(n), off, now);
        if (r < 0)
            return r;
        off += now;
        len -= now;
    }
    return 0;
}

static CO int blkdebug_sync(Node *n)
{
    return blkdebug_check(n, DEBUG_FLUSH, 0, 0);
}

static CO int blkdebug_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    int r = blkdebug_check(n, DEBUG_BLOCK_STATUS, off, len);

    return r < 0 ? r : edge_extent(blkdebug_image(n), off, len, precise, e);
}

static CO void blkdebug_event(Node *n, BlockEvent event)
{
    Blkdebug *s = node_state(n);

    debug_rules_event(s->rules, event);
}

static uint64_t blkdebug_allocated(Node *n, bool *known)
{
    *known = false;
    return 0;
}

/* ---- breakpoints ---------------------------------------------------------------------------- */

static bool blkdebug_break(Node *n, const char *event, const char *tag, GError **err)
{
    Blkdebug *s = node_state(n);

    return debug_rules_break(s->rules, event, tag, err);
}

static bool blkdebug_unbreak(Node *n, const char *tag, GError **err)
{
    Blkdebug *s = node_state(n);

    return debug_rules_unbreak(s->rules, tag, err);
}

static bool blkdebug_resume(Node *n, const char *tag, GError **err)
{
    Blkdebug *s = node_state(n);

    return debug_rules_resume(s->rules, tag, err);
}

static bool blkdebug_is_suspended(Node *n, const char *tag)
{
    const Blkdebug *s = node_state(n);

    return debug_rules_is_suspended(s->rules, tag);
}

/* A node with a held request cannot move, and the command that lets it go would wait for that. */
static bool blkdebug_needs_main_loop(const Node *n)
{
    const Blkdebug *s = node_state(n);

    return debug_rules_has_breaks(s->rules);
}

static const DebugOps blkdebug_debug = {
    .add_break = blkdebug_break,
    .remove_break = blkdebug_unbreak,
    .resume = blkdebug_resume,
    .is_suspended = blkdebug_is_suspended,
};

/* ---- names ---------------------------------------------------------------------------------- */

static char *blkdebug_plain_filename(Node *n)
{
    const char *image = node_filename(edge_node(blkdebug_image(n)));

    if (!node_is_plain_but(n, "config") || g_str_has_prefix(image, "json:"))
        return NULL;
    return g_strdup_printf("blkdebug:%s:%s", json_get_str(node_options(n), "config", ""), image);
}

static const char *const blkdebug_strong_options[] = {
    "align", "max-transfer", "opt-write-zero", "max-write-zero", "opt-discard", "max-discard",
    "config", "inject-error", "set-state", NULL,
};

const BlockDriver block_blkdebug = {
    .name = "blkdebug",
    .kind = BLK_FILTER,
    .prefix = "blkdebug",
    .state_size = sizeof(Blkdebug),
    .any_loop = true,
    .needs_main_loop = blkdebug_needs_main_loop,
    .write_flags = REQ_UNCHANGED | REQ_SERIALISE,
    .zero_flags = REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    .strong_options = blkdebug_strong_options,
    .parse_filename = blkdebug_parse_filename,
    .open = blkdebug_open,
    .close = blkdebug_close,
    .pread = blkdebug_pread,
    .pwrite = blkdebug_pwrite,
    .zero = blkdebug_zero,
    .discard = blkdebug_discard,
    .sync = blkdebug_sync,
    .extent = blkdebug_extent,
    .allocated = blkdebug_allocated,
    .plain_filename = blkdebug_plain_filename,
    .child_access = blkdebug_child_access,
    .refresh_limits = blkdebug_refresh_limits,
    .event = blkdebug_event,
    .debug = &blkdebug_debug,
};
