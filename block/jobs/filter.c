/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What several jobs do to the graph: filters on top of images, backing files that change. */
#include "block/jobs/filter.h"
#include "block/monitor-nodes.h"

Node *filter_insert(Edit *edit, const BlockDriver *drv, const char *name, Node *below, GError **err)
{
    Node *f;

    if (name && node_find(name)) {
        err_set(err, EEXIST, "Duplicate nodes with node-name='%s'", name);
        return NULL;
    }
    f = node_new(drv, name, err);
    if (!f)
        return NULL;
    f->options = json_object();
    json_put_str(f->options, "driver", drv->name);
    f->given = json_object();
    f->flags = below->flags;
    f->is_open = true;
    f->is_implicit = !name;
    f->state = NODE_ACTIVE;
    node_set_size(f, node_size(below));
    edit_attach(edit, f, "file", ROLE_FILTERED, below);
    edit_replace(edit, below, f);
    return f;
}

void filter_inserted(Node *filter)
{
    monitor_node_show(filter, true);
}

CO void filter_remove(Node *filter)
{
    g_autoptr(GError) err = NULL;
    Edit *edit = edit_begin();

    monitor_node_show(filter, false);
    if (filter->parents->len) {
        edit_replace(edit, filter, node_filtered(filter));
        if (!edit_commit(edit, &err))
            block_warn("Node '%s' of a job that has ended stays on top of '%s': %s", filter->name,
                       node_filename(node_filtered(filter)), err->message);
    }
    edit_free(edit);
    node_unref(filter);
}

static CO int commit_filter_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    return edge_pread(node_edge(n, ROLE_FILTERED), off, buf, flags);
}

static char *commit_filter_name(Node *n)
{
    return g_strdup(node_filename(node_filtered(n)));
}

const BlockDriver commit_filter = {
    .name = "commit_top",
    .kind = BLK_FILTER,
    .any_loop = true,
    .pread = commit_filter_pread,
    .plain_filename = commit_filter_name,
};

/* ---- modes of nodes -------------------------------------------------------------------------- */

void edit_set_read_only(Edit *edit, Node *n, bool read_only)
{
    g_autoptr(json_t) options = json_object();
    OpenFlags flags = node_flags(n) & ~OPEN_RDWR;

    json_put_bool(options, "read-only", read_only);
    edit_reopen(edit, n, options, read_only ? flags : flags | OPEN_RDWR);
}

CO bool node_set_read_only(Node *n, bool read_only, GError **err)
{
    g_autoptr(Edit) edit = NULL;

    if (node_is_read_only(n) == read_only)
        return true;
    edit = edit_begin();
    edit_set_read_only(edit, n, read_only);
    return edit_commit(edit, err);
}

/* ---- stored names of backing files ----------------------------------------------------------- */

typedef struct {
    Node *n;
    char *name, *format;    /* to be stored; after that those that were */
} StoreBacking;

static CO int backing_swap(StoreBacking *s)
{
    char *name = g_strdup(node_backing_stored(s->n));
    char *format = g_strdup(node_backing_format_stored(s->n));
    int r = s->n->drv->change_backing ? s->n->drv->change_backing(s->n, s->name, s->format)
                                      : -ENOTSUP;

    if (r == 0)
        r = node_flush(s->n);
    g_free(s->name);
    g_free(s->format);
    s->name = name;
    s->format = format;
    return r;
}

static CO bool store_prepare(void *step, GError **err)
{
    StoreBacking *s = step;
    int r = backing_swap(s);

    if (r == 0)
        return true;
    backing_swap(s);
    return err_set_errno(err, r, "The backing file of '%s' could not be changed",
                         node_filename(s->n));
}

static CO void store_abort(void *step)
{
    backing_swap(step);
}

static CO void store_free(void *step)
{
    StoreBacking *s = step;

    g_free(s->name);
    g_free(s->format);
    g_free(s);
}

static const EditOps store_ops = {
    .prepare = store_prepare,
    .abort = store_abort,
    .free = store_free,
};

void edit_store_backing(Edit *edit, Node *n, const char *name, const char *format)
{
    StoreBacking *s = g_new0(StoreBacking, 1);

    *s = (StoreBacking){ .n = n, .name = g_strdup(name), .format = g_strdup(format) };
    edit_still(edit, n);
    edit_add(edit, &store_ops, s);
}
