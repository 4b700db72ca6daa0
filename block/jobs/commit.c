/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * commit, of layers that nobody writes to: puts what they hold into an image below them. First all
 * data, durably; then what is above them goes on with that image.
 */
#include "block/jobs/copy.h"
#include "block/jobs/filter.h"
#include "block/jobs/kinds.h"

enum { GRANULARITY = 64 << 10 };

typedef struct {
    Node *top, *base, *filter;  /* the filter's reference is ours */
    char *backing_file;     /* to be stored for @base; NULL: its own name */
    bool was_read_only;     /* the base */
    Handle *to;
    HBitmap *todo;
    Copy copy;
} Commit;

static CO bool commit_run(Job *j, GError **err)
{
    Commit *s = job_state(j);
    int r;

    co_yield();
    j->total = s->copy.len;
    if (node_size(s->base) < node_size(s->top) &&
        !handle_resize(s->to, node_size(s->top), false, PREALLOC_OFF, err))
        return false;
    r = copy_all(&s->copy);
    if (r == 0)
        r = handle_flush(s->to);
    return r == 0 || r == -ECANCELED || err_set(err, -r, "%s", g_strerror(-r));
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Of the layers above the filter, those that are read-only; their headers are to be changed. */
static CO GPtrArray *overlays_unlock(Node *filter, GError **err)
{
    GPtrArray *made = g_ptr_array_new();

    for (guint i = 0; i < filter->parents->len; i++) {
        Node *n = ((const Edge *)filter->parents->pdata[i])->parent;

        if (!n || !node_is_read_only(n))
            continue;
        if (!node_set_read_only(n, false, err)) {
            g_ptr_array_free(made, true);
            return NULL;
        }
        g_ptr_array_add(made, node_ref(n));
    }
    return made;
}

static CO void overlays_lock(GPtrArray *made)
{
    for (guint i = 0; i < made->len; i++) {
        node_set_read_only(made->pdata[i], true, NULL);
        node_unref(made->pdata[i]);
    }
    g_ptr_array_free(made, true);
}

static CO bool commit_prepare(Job *j, GError **err)
{
    Commit *s = job_state(j);
    const char *name = s->backing_file ? s->backing_file : node_filename(s->base);
    GPtrArray *unlocked = overlays_unlock(s->filter, err);
    Edit *edit;
    bool ok;

    if (!unlocked)
        return false;
    edit = edit_begin();
    edit_replace(edit, s->filter, s->base);
    for (guint i = 0; i < s->filter->parents->len; i++) {
        const Edge *e = s->filter->parents->pdata[i];

        if (e->parent && e->role == ROLE_BACKING)
            edit_store_backing(edit, e->parent, name, node_format(node_skip_filters(s->base)));
    }
    ok = edit_commit(edit, err);
    edit_free(edit);
    overlays_lock(unlocked);
    return ok;
}

static CO void commit_clean(Job *j)
{
    Commit *s = job_state(j);
    bool is_set_up = s->filter;

    if (is_set_up) {
        node_ref(s->base);
        filter_remove(s->filter);
        job_release_nodes(j);
        if (s->was_read_only)
            node_set_read_only(s->base, true, NULL);
        node_unref(s->base);
    }
    hbitmap_free(s->todo);
    g_free(s->backing_file);
}

static const JobDriver job_commit = {
    .type = JOB_TYPE_COMMIT,
    .state_size = sizeof(Commit),
    .is_block = true,
    .starts_at_once = true,
    .any_loop = true,
    .run = commit_run,
    .prepare = commit_prepare,
    .clean = commit_clean,
};

/* ---- starting -------------------------------------------------------------------------------- */

static CO bool commit_set_up(Job *j, const CommitArgs *args, GError **err)
{
    Commit *s = job_state(j);
    Edit *edit = edit_begin();
    unsigned needs = ACCESS_READ | ACCESS_WRITE;
    Node *filter = filter_insert(edit, &commit_filter, args->filter_name, s->top, err);
    bool ok = filter;

    if (ok) {
        if (s->was_read_only)
            edit_set_read_only(edit, s->base, false);
        if (node_size(s->base) < node_size(s->top))
            needs |= ACCESS_RESIZE;
        job_use_node(j, args->active);
        job_use_node(j, filter);
        for (const Edge *e = node_edge(args->active, ROLE_BACKING); e && e->node != s->top;
             e = node_edge(node_skip_filters(e->node), ROLE_BACKING))
            job_use_node(j, e->node);
        /* From the base's first write on they show what never was. */
        s->copy.from = job_attach(j, edit, s->top, ACCESS_READ, ACCESS_UNCHANGED | ACCESS_WRITE);
        for (Node *n = node_backing_chain_next(s->top); n != s->base;
             n = node_backing_chain_next(n))
            job_attach(j, edit, n, 0, ACCESS_UNCHANGED | ACCESS_WRITE);
        s->copy.to = s->to = job_attach(j, edit, s->base, needs, ACCESS_READ | ACCESS_UNCHANGED);
        ok = edit_commit(edit, err);
    }
    edit_free(edit);
    if (ok) {
        s->filter = filter;
        filter_inserted(filter);
    } else if (filter) {
        node_unref(filter);
    }
    return ok;
}

static CO bool commit_begin(Job *j, const CommitArgs *args, GError **err)
{
    Commit *s = job_state(j);

    s->top = args->top;
    s->base = args->base;
    s->backing_file = g_strdup(args->backing_file);
    s->was_read_only = node_is_read_only(args->base);
    s->todo = hbitmap_try_new(div_round_up(node_size(args->top), GRANULARITY));
    if (!s->todo)
        return err_set(err, ENOMEM, "No memory for a bitmap of '%s'", node_filename(args->top));
    hbitmap_set(s->todo, 0, hbitmap_bits(s->todo));
    s->copy = (Copy){
        .job = j,
        .base = args->base,
        .skips_base = true,
        .todo = s->todo,
        .granularity = GRANULARITY,
        .len = node_size(args->top),
        .chunk = copy_chunk(args->top, args->base, GRANULARITY),
        .memory = COPY_MEMORY,
        .workers = COPY_WORKERS,
        .on_read = args->on_error,
        .on_write = args->on_error,
    };
    return commit_set_up(j, args, err);
}

/*
 * True if nobody but layers above reads @n: what it shows by itself is worthless from the first
 * write on.
 */
static bool is_only_a_layer(const Node *n, GError **err)
{
    for (guint i = 0; i < n->parents->len; i++) {
        const Edge *e = n->parents->pdata[i];

        if (e->handle && e->needs & ACCESS_READ)
            return err_set(err, EBUSY,
                           "Node '%s' is in use by another user, for whom its content would "
                           "change",
                           node_shown_name(n));
    }
    return true;
}

CO bool commit_start(const CommitArgs *args, GError **err)
{
    Job *j;

    if (!is_only_a_layer(args->top, err))
        return false;
    j = job_new(&job_commit, &args->job, err);
    if (!j)
        return false;
    if (!commit_begin(j, args, err)) {
        job_drop(j, false);
        return false;
    }
    job_start(j);
    return true;
}
