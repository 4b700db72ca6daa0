/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stream: brings into an image what it has in layers below, and then goes on without them.
 *
 * A copy-on-read filter on top of the image does the copying. First all data, durably; then the
 * edit that changes the chain and what the image says of it.
 */
#include "block/jobs/copy.h"
#include "block/jobs/filter.h"
#include "block/jobs/kinds.h"
#include "block/monitor-nodes.h"

enum { GRANULARITY = 64 << 10 };

typedef struct {
    Node *node, *base, *filter; /* the filter's reference is ours */
    char *backing_file;     /* to be stored for @base; NULL: its own name */
    bool was_read_only;
    Handle *through;        /* on the filter */
    HBitmap *todo;
    Copy copy;
} Stream;

/* ---- the work -------------------------------------------------------------------------------- */

/* What the image has itself stays, and so does what only the base and those below it have. */
static CO int stream_look(Copy *c, uint64_t off, uint64_t *len, CopyKind *kind)
{
    const Stream *s = job_state(c->job);
    Extent e = {};
    int r;

    handle_begin(c->from);
    r = node_extent(s->node, off, *len, false, &e);
    *len = MIN(*len, MAX(e.len, 1));
    *kind = COPY_NOTHING;
    if (r == 0 && !(e.flags & EXTENT_ALLOCATED)) {
        r = node_is_allocated_above(node_backing_chain_next(s->node), s->base, false, off, len);
        *kind = r > 0 ? COPY_DATA : COPY_NOTHING;
        *len = MAX(*len, 1);
    }
    handle_end(c->from);
    return MIN(r, 0);
}

static CO int stream_copy(Copy *c, CopyKind kind, uint64_t off, uint64_t len, bool *is_read)
{
    *is_read = true;
    return handle_pread(c->from, off, span_of(NULL, len), REQ_COPY_ON_READ | REQ_PREFETCH);
}

static const CopyOps stream_ops = { .look = stream_look, .copy = stream_copy };

static CO bool stream_run(Job *j, GError **err)
{
    Stream *s = job_state(j);
    int r;

    if (!s->filter)
        return true;
    co_yield();
    j->total = s->copy.len;
    r = copy_all(&s->copy);
    if (r == 0)
        r = s->copy.ignored;
    if (r == 0)
        r = handle_flush(s->through);
    return r == 0 || r == -ECANCELED || err_set(err, -r, "%s", g_strerror(-r));
}

/* ---- the end --------------------------------------------------------------------------------- */

static CO bool stream_prepare(Job *j, GError **err)
{
    Stream *s = job_state(j);
    g_autoptr(Edit) edit = NULL;
    Edge *backing;
    const char *name = NULL, *format = NULL;

    if (!s->filter)
        return true;
    edit = edit_begin();
    backing = node_edge(s->node, ROLE_BACKING);
    if (s->base) {
        name = s->backing_file ? s->backing_file : node_filename(s->base);
        format = node_format(node_skip_filters(s->base));
        edit_repoint(edit, backing, s->base);
    } else {
        edit_detach(edit, backing);
    }
    edit_store_backing(edit, s->node, name, format);
    return edit_commit(edit, err);
}

static CO void stream_clean(Job *j)
{
    Stream *s = job_state(j);

    if (s->filter) {
        filter_remove(s->filter);
        s->filter = NULL;
        job_release_nodes(j);
    }
    if (s->was_read_only)
        node_set_read_only(s->node, true, NULL);
    hbitmap_free(s->todo);
    g_free(s->backing_file);
}

static const JobDriver job_stream = {
    .type = JOB_TYPE_STREAM,
    .state_size = sizeof(Stream),
    .is_block = true,
    .starts_at_once = true,
    .any_loop = true,
    .run = stream_run,
    .prepare = stream_prepare,
    .clean = stream_clean,
};

/* ---- starting -------------------------------------------------------------------------------- */

static CO Node *stream_filter(const StreamArgs *args, GError **err)
{
    json_t *o = json_object();

    json_put_str(o, "driver", "copy-on-read");
    json_put_str(o, "file", args->node->name);
    if (args->filter_name)
        json_put_str(o, "node-name", args->filter_name);
    if (args->base)
        json_put_str(o, "bottom", args->bottom->name);
    return node_open(NULL, o, OPEN_RDWR, 0, err);
}

/* The graph that the job works in: @filter on top. */
static CO bool stream_set_up(Job *j, Node *filter, GError **err)
{
    Stream *s = job_state(j);
    g_autoptr(Edit) edit = edit_begin();
    Node *n;

    edit_replace(edit, s->node, filter);
    s->through = job_attach(j, edit, filter, ACCESS_READ, ACCESS_ALL & ~(unsigned)ACCESS_RESIZE);
    job_use_node(j, s->node);
    for (n = node_backing(s->node); n && n != s->base; n = node_filtered(n) ? node_filtered(n)
                                                                           : node_backing(n))
        job_attach(j, edit, n, 0, ACCESS_READ | ACCESS_UNCHANGED);
    if (n)
        job_use_node(j, n);
    return edit_commit(edit, err);
}

static CO bool stream_begin(Job *j, const StreamArgs *args, GError **err)
{
    Stream *s = job_state(j);
    Node *filter;

    s->node = args->node;
    s->base = args->base;
    s->backing_file = g_strdup(args->backing_file);
    s->was_read_only = node_is_read_only(args->node);
    s->todo = hbitmap_try_new(div_round_up(node_size(args->node), GRANULARITY));
    if (!s->todo)
        return err_set(err, ENOMEM, "No memory for a bitmap of '%s'", node_filename(args->node));
    hbitmap_set(s->todo, 0, hbitmap_bits(s->todo));
    if (!node_set_read_only(args->node, false, err))
        return false;
    filter = stream_filter(args, err);
    if (!filter)
        return false;
    filter->is_implicit = !args->filter_name;
    if (!stream_set_up(j, filter, err)) {
        node_unref(filter);
        return false;
    }
    s->filter = filter;
    filter_inserted(filter);
    s->copy = (Copy){
        .job = j,
        .ops = &stream_ops,
        .from = s->through,
        .todo = s->todo,
        .granularity = GRANULARITY,
        .len = node_size(args->node),
        .chunk = copy_chunk(args->node, args->node, GRANULARITY),
        .memory = COPY_MEMORY,
        .workers = COPY_WORKERS,
        .gives_up = true,
        .on_read = args->on_error,
        .on_write = args->on_error,
    };
    return true;
}

CO bool stream_start(const StreamArgs *args, GError **err)
{
    Node *backing = node_backing_chain_next(args->node);
    Job *j = job_new(&job_stream, &args->job, err);

    if (!j)
        return false;
    /* Without layers in between there is nothing to do. */
    if (backing && backing != node_skip_filters(args->base ? args->base : args->node) &&
        !stream_begin(j, args, err)) {
        job_drop(j, false);
        return false;
    }
    job_start(j);
    return true;
}
