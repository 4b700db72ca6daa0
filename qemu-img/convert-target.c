/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The target of qemu-img convert: made or opened, and what of the sources it need not be given. */
#include "qemu-img/convert.h"
#include "block/driver.h"
#include "qemu-img/createopts.h"
#include "qemu-img/progress.h"
#include "qemu-img/to-pipe.h"
#include "qemu-img/tool.h"
#include <string.h>

/* Create options: -o, -B, -F, and the size, which is that of the sources. */
static bool convert_create_opts(Convert *c, const BlockDriver *format, const BlockDriver *protocol)
{
    const ConvertArgs *a = c->args;
    g_autoptr(GError) err = NULL;

    if (a->backing)
        json_put_str(c->opts, BACKING_FILE, a->backing);
    if (a->backing_format)
        json_put_str(c->opts, BACKING_FMT, a->backing_format);
    if ((a->backing || a->backing_format) && !createopts_knows(format->create_opts, BACKING_FILE))
        return complain("Images of format '%s' have no backing files", format->name);
    json_put_int(c->opts, "size", (int64_t)c->job.len);
    if (!create_opts_check(format, protocol, c->opts, &err))
        return complain_err(err);
    c->has_backing = json_has(c->opts, BACKING_FILE);
    if (c->has_backing && c->args->untrusted)
        return complain("With --untrusted the backing file '%s' is not opened",
                        json_get_str(c->opts, BACKING_FILE, ""));
    if (c->has_backing && c->job.nsources > 1)
        return complain("Several sources put together cannot share one backing file");
    if (c->has_backing && !json_has(c->opts, BACKING_FMT))
        return complain("The format of the backing file is missing (-F)");
    return true;
}

/* Options to open a just created image with: its format, and the secrets it was made with. */
static json_t *created_options(const char *fmt, const json_t *opts)
{
    json_t *o = json_object(), *v;
    const char *key;

    json_put_str(o, "driver", fmt);
    json_object_foreach((json_t *)opts, key, v) {
        if (!strcmp(key, "key-secret") || g_str_has_suffix(key, ".key-secret"))
            json_object_set(o, key, v);
    }
    return o;
}

static bool convert_preallocates(const Convert *c)
{
    return strcmp(json_get_str(c->opts, "preallocation", "off"), "off");
}

static CO bool convert_create(Convert *c, const char *name)
{
    const BlockDriver *format = createopts_format(c->format), *protocol;
    g_autoptr(Handle) backing = NULL;
    g_autoptr(GError) err = NULL;
    g_autoptr(json_t) opts = NULL;
    bool created;

    if (!format || !(protocol = createopts_protocol(name)) ||
        !convert_create_opts(c, format, protocol))
        return false;
    if (c->args->compress && convert_preallocates(c))
        return complain("Space cannot be taken beforehand for what gets compressed: -c and "
                        "preallocation exclude each other");
    if (c->args->compress && !format->is_compressing)
        return complain("Images of format '%s' cannot be compressed", format->name);
    if (c->has_backing && (!createopts_check_backing(name, c->opts, &err) ||
                           !createopts_open_backing(name, c->opts, &backing, &err))) {
        err_prefix_name(&err, name, name);
        return complain_err(err);
    }
    opts = json_deep_copy(c->opts);
    tool_say_when_killed(true);
    progress_phase("preallocate");
    work_listen(progress_update_phase);
    created = image_create(name, c->format, opts, &err);
    work_listen(NULL);
    progress_phase("convert");
    if (!created) {
        err_prefix_name(&err, name, name);
        return complain_err(err);
    }
    if (!c->has_backing)
        c->target_flags |= OPEN_NO_BACKING;
    c->job.target = handle_open(name, created_options(c->format, c->opts), c->target_flags, &err);
    return c->job.target || complain_err(err);
}

static CO bool convert_open_existing(Convert *c, const char *name)
{
    const ConvertArgs *a = c->args;
    Handle *h = tool_open(name, a->target_image_opts ? NULL : c->format, a->target_image_opts,
                          c->target_flags | (c->source_flags & OPEN_UNTRUSTED));
    g_autoptr(GError) err = NULL;

    c->job.target = h;
    if (!h)
        return false;
    if (!node_check_alone(handle_node(h), &err))
        return complain_err(err);
    if (handle_size(h) < c->job.len)
        return complain("'%s' is smaller than what is to be copied into it", name);
    if (a->compress && !node_driver(handle_node(h))->is_compressing)
        return complain("Images of format '%s' cannot be compressed",
                        node_format(handle_node(h)));
    c->has_backing = node_backing_chain_next(handle_node(h));
    if (a->target_is_zero && c->has_backing)
        return complain("--target-is-zero cannot be true of an image with a backing file");
    return true;
}

static CO bool convert_open_pipe(Convert *c)
{
    const BlockDriver *format = to_pipe_format(c->format, c->opts);

    if (!format)
        return false;
    json_put_int(c->opts, "size", (int64_t)c->job.len);
    return to_pipe_open(&c->job, format, c->opts, &c->pipe_end);
}

CO bool convert_open_target(Convert *c, const char *name)
{
    if (c->to_pipe)
        return convert_open_pipe(c);
    return c->args->no_create ? convert_open_existing(c, name) : convert_create(c, name);
}

/* ---- what need not be copied ---------------------------------------------------------------- */

/*
 * With -B: the node of the source's chain that the target's backing file stands for. That is the
 * same file when it is part of the chain, else the source's own backing file.
 */
static Node *convert_base(Node *source, Node *target_backing)
{
    for (Node *n = node_backing_chain_next(source); n; n = node_backing_chain_next(n))
        if (node_is_file_named(n, node_filename(target_backing)))
            return n;
    return node_backing_chain_next(source);
}

/* Makes what will be written to zero beforehand, where it is not, if that is cheap. */
static CO bool convert_zero_target(Convert *c)
{
    Handle *h = c->job.target;
    uint64_t zeroed = 0;
    Extent e;

    for (uint64_t off = 0; off < c->job.len; off += e.len) {
        uint64_t len = MIN(c->job.len - off, EXTENT_LEN_MAX);

        if (handle_extent(h, off, len, true, &e) < 0 || !e.len)
            return false;
        if (e.flags & EXTENT_ZERO)
            continue;
        zeroed += e.len;
        if (zeroed > REQ_LEN_MAX ||
            handle_zero(h, off, e.len, REQ_MAY_UNMAP | REQ_NO_FALLBACK) < 0)
            return false;
    }
    return true;
}

/* True if the new target has its space already, so that more data than needed would take more. */
static bool convert_has_space(const Convert *c)
{
    return convert_preallocates(c) || json_get_bool(c->opts, "data_file_raw", false);
}

CO void convert_plan(Convert *c)
{
    CopyJob *j = &c->job;
    Node *target = handle_node(j->target), *backing = node_backing_chain_next(target);
    NodeInfo info = { 0 };

    if (node_info(target, &info) >= 0 && info.wants_compressed) {
        j->compress = true;
        j->any_order = false;
    }
    j->target_is_zero = c->args->target_is_zero;
    if (backing) {
        j->backing_len = node_size(backing);
        if (c->args->backing || !c->args->no_create)
            j->base = convert_base(node_skip_filters(handle_node(j->sources[0].h)), backing);
    } else if (!c->args->no_create && !j->target_is_zero) {
        j->target_is_zero = node_has_zero_init(target);
    }
    j->fine = convert_has_space(c);
    /* Space of its own is what these ask for. */
    j->share = !j->fine && !j->compress && !j->salvage && !j->write_all;
    if (!j->target_is_zero && !backing && j->min_sparse && j->len)
        j->target_is_zero = convert_zero_target(c);
}
