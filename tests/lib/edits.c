/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random edits; see edits.h. */
#include "tests/lib/edits.h"
#include "block/internal.h"
#include "io/co-lock.h"
#include "tests/lib/disk.h"
#include "tests/lib/harness.h"
#include "qapi/object.h"
#include <string.h>
#include <unistd.h>

enum { SIZE = 128 << 10, WORKERS = 4, LAYERS_MAX = 4, FILTERS_MAX = 3 };

#define MS INT64_C(1000000)

typedef struct {
    Disk *disk;
    GRand *rand;        /* of the editor */
    unsigned images;    /* made so far */
    GPtrArray *paths;   /* of those that are there */
    unsigned filters;   /* on top of the newest layer */
    unsigned layers;
    bool is_over;
    CoGroup workers;
    int64_t longest_ns; /* of the requests */
} Graph;

typedef struct {
    Graph *graph;
    unsigned index;
} Worker;

/* ---- requests ------------------------------------------------------------------------------- */

static CO void worker_run(void *arg)
{
    const Worker *w = arg;
    Graph *g = w->graph;
    uint64_t part = SIZE / WORKERS;

    while (!g->is_over) {
        int64_t start = clock_now_ns();

        disk_random_op(g->disk, w->index * part, (w->index + 1) * part);
        g->longest_ns = MAX(g->longest_ns, clock_now_ns() - start);
        co_yield();
    }
}

/* ---- steps that fail ------------------------------------------------------------------------ */

static CO bool failing_prepare(void *step, GError **err)
{
    co_yield();
    return err_set(err, ECANCELED, "This step always fails");
}

static bool failing_apply(void *step, GError **err)
{
    return err_set(err, ECANCELED, "This step always fails");
}

static const EditOps failing[] = { { .prepare = failing_prepare }, { .apply = failing_apply } };

/* Commits @edit, sometimes with a step more that fails it. True if it came about. */
static CO bool commit(Graph *g, Edit *edit)
{
    bool fails = !g_rand_int_range(g->rand, 0, 4);
    Node *top = handle_node(g->disk->h);
    g_autofree char *name = g_strdup(node_filename(top));
    g_autoptr(GError) err = NULL;
    bool ok;

    if (fails)
        edit_add(edit, &failing[g_rand_int_range(g->rand, 0, 2)], NULL);
    ok = edit_commit(edit, &err);
    if (!fails) {
        g_assert_no_error(err);
        return ok;
    }
    g_assert_error(err, FERRY_ERROR, ECANCELED);
    g_assert_false(ok);
    g_assert_true(handle_node(g->disk->h) == top);
    g_assert_cmpstr(node_filename(top), ==, name);
    return false;
}

/* ---- edits ---------------------------------------------------------------------------------- */

static Node *newest_layer(Graph *g)
{
    return node_skip_filters(handle_node(g->disk->h));
}

/* Removes the images that are not part of the disk any more. */
static void remove_unused(Graph *g)
{
    for (guint i = g->paths->len; i-- > 0;) {
        bool used = false;

        for (Node *n = newest_layer(g); n; n = node_backing_chain_next(n))
            used |= !strcmp(node_filename(node_storage(n)), g->paths->pdata[i]);
        if (!used) {
            unlink(g->paths->pdata[i]);
            g_ptr_array_remove_index_fast(g->paths, i);
        }
    }
}

static CO Node *open_node(json_t *o, OpenFlags flags)
{
    g_autoptr(GError) err = NULL;
    Node *n = node_open(NULL, o, flags, 0, &err);

    g_assert_no_error(err);
    return n;
}

/* A fresh image with no backing file, or rather one it gets later. */
static CO Node *open_overlay(Graph *g)
{
    g_autofree char *name = g_strdup_printf("layer-%u", g->images++), *path = test_path(name);
    g_autoptr(json_t) opts = json_object();
    g_autoptr(GError) err = NULL;
    json_t *o = json_object(), *child = json_object();

    json_put_int(opts, "size", SIZE);
    json_put_int(opts, "cluster_size", 4096);
    image_create(path, "qcow2", opts, &err);
    g_assert_no_error(err);
    g_ptr_array_add(g->paths, g_strdup(path));
    json_put_str(child, "driver", "file");
    json_put_str(child, "filename", path);
    json_put_str(o, "driver", "qcow2");
    json_put_str(o, "node-name", name);
    json_put(o, "file", child);
    json_put(o, "backing", json_null());
    return open_node(o, node_flags(newest_layer(g)) & ~OPEN_NO_BACKING);
}

/* What the newest layer holds stays as it is; from now on a new layer takes the writes. */
static CO void snapshot(Graph *g)
{
    g_autoptr(Node) overlay = g->layers < LAYERS_MAX ? open_overlay(g) : NULL;
    g_autoptr(json_t) nothing = json_object();
    g_autoptr(Edit) edit = NULL;
    Node *old;

    if (!overlay)
        return;
    edit = edit_begin();
    old = newest_layer(g);
    edit_attach(edit, overlay, "backing", ROLE_BACKING, old);
    edit_replace(edit, old, overlay);
    edit_reopen(edit, old, nothing, node_flags(old) & ~OPEN_RDWR);
    g->layers += commit(g, edit);
}

/* Copies into the newest layer what it has of those below, then does without them. */
static CO void stream(Graph *g)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Edit) edit = NULL;
    Node *n = newest_layer(g);
    Handle *job;

    if (!node_backing(n))
        return;
    job = handle_new(n, HANDLE_JOB, ACCESS_READ | ACCESS_UNCHANGED, ACCESS_ALL, &err);
    g_assert_no_error(err);
    for (uint64_t off = 0; off < SIZE; off += 16384) {
        uint8_t buf[16384];

        g_assert_cmpint(handle_pread(job, off, span_of(buf, sizeof(buf)),
                                     REQ_COPY_ON_READ | REQ_PREFETCH), ==, 0);
    }
    edit = edit_begin();
    edit_detach(edit, node_edge(n, ROLE_BACKING));
    if (commit(g, edit))
        g->layers = 1;
    handle_close(job);
}

static CO void filter_add(Graph *g)
{
    static const char *const drivers[] = { "throttle", "copy-on-read", "blkdebug" };
    const char *driver = drivers[g_rand_int_range(g->rand, 0, G_N_ELEMENTS(drivers))];
    Node *top = handle_node(g->disk->h);
    g_autoptr(Node) filter = NULL;
    g_autoptr(Edit) edit = NULL;
    json_t *o = json_object();

    if (g->filters == FILTERS_MAX) {
        json_decref(o);
        return;
    }
    json_put_str(o, "driver", driver);
    json_put_str(o, strcmp(driver, "blkdebug") ? "file" : "image", top->name);
    if (!strcmp(driver, "throttle"))
        json_put_str(o, "throttle-group", "slow");
    filter = open_node(o, node_flags(top));
    edit = edit_begin();
    edit_replace(edit, top, filter);
    g->filters += commit(g, edit);
}

static CO void filter_remove(Graph *g)
{
    g_autoptr(Edit) edit = edit_begin();
    Node *n = handle_node(g->disk->h);

    if (!node_filtered(n))
        return;
    for (int down = g_rand_int_range(g->rand, 0, FILTERS_MAX);
         down && node_filtered(node_filtered(n)); down--)
        n = node_filtered(n);
    edit_replace(edit, n, node_filtered(n));
    g->filters -= commit(g, edit);
}

static CO void reopen(Graph *g)
{
    g_autoptr(Edit) edit = edit_begin();
    g_autoptr(json_t) changes = json_object();
    Node *top = handle_node(g->disk->h);
    OpenFlags toggle = g_rand_int(g->rand) & (OPEN_DIRECT | OPEN_NO_FLUSH);

    json_put_str(changes, "detect-zeroes", g_rand_boolean(g->rand) ? "on" : "off");
    edit_reopen(edit, top, changes, node_flags(top) ^ toggle);
    commit(g, edit);
}

/* Moves the tree to another loop, unless it has a filter that knows only this one. */
static CO void move(Graph *g)
{
    static const char *const threads[] = { "none", "one", "two" };
    g_autoptr(Edit) edit = edit_begin();
    g_autoptr(GError) err = NULL;

    edit_set_iothread(edit, handle_node(g->disk->h),
                      iothread_find(threads[g_rand_int_range(g->rand, 0, G_N_ELEMENTS(threads))]));
    if (g_rand_boolean(g->rand))
        edit_add(edit, &failing[g_rand_int_range(g->rand, 0, 2)], NULL);
    if (!edit_commit(edit, &err) && !g_error_matches(err, FERRY_ERROR, ENOTSUP))
        g_assert_error(err, FERRY_ERROR, ECANCELED);
}

/* A reader that comes and goes, and a reopening that it does not allow. */
static CO void visit(Graph *g)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(json_t) nothing = json_object();
    g_autoptr(Edit) edit = NULL;
    Node *top = handle_node(g->disk->h);
    Handle *h = handle_new(top, HANDLE_USER, ACCESS_READ, ACCESS_ALL, &err);
    uint8_t buf[512];

    g_assert_no_error(err);
    g_assert_cmpint(handle_pread(h, 0, span_of(buf, sizeof(buf)), 0), ==, 0);
    edit = edit_begin();
    edit_reopen(edit, top, nothing, node_flags(top) & ~OPEN_RDWR);
    g_assert_false(edit_commit(edit, &err));
    g_assert_error(err, FERRY_ERROR, EACCES);
    handle_close(h);
}

/* ---- all of it ------------------------------------------------------------------------------ */

static void objects_add(void)
{
    g_autoptr(GError) err = NULL;

    /* Requests have to wait for their turn now and then. */
    object_add_text("throttle-group,id=slow,x-iops-total=100000", &err);
    g_assert_no_error(err);
    object_add_text("iothread,id=one", &err);
    g_assert_no_error(err);
    object_add_text("iothread,id=two", &err);
    g_assert_no_error(err);
}

static CO void edit_once(Graph *g)
{
    static CO void (*const edits[])(Graph * g) = { snapshot,      stream, filter_add,
                                                   filter_remove, reopen, filter_add,
                                                   filter_remove, visit,  move };

    edits[g_rand_int_range(g->rand, 0, G_N_ELEMENTS(edits))](g);
    remove_unused(g);
}

/* Everything into the newest layer, which is then compared, also by the reference. */
static CO void graph_end(Graph *g)
{
    Disk *d = g->disk;

    while (node_backing(newest_layer(g)))
        stream(g);
    g_free(d->path);
    d->path = g_strdup(node_filename(node_storage(newest_layer(g))));
    disk_verify(d);
    disk_free(d);
    g_rand_free(g->rand);
    g_ptr_array_free(g->paths, true);
    object_delete_all();
}

CO void random_edits(unsigned count, unsigned seed)
{
    Graph g = { .rand = g_rand_new_with_seed(seed), .layers = 1 };
    Worker workers[WORKERS];

    objects_add();
    g.paths = g_ptr_array_new_with_free_func(g_free);
    g.disk = disk_new("first", "qcow2", "cluster_size=4k", NULL, SIZE);
    g_ptr_array_add(g.paths, g_strdup(g.disk->path));
    disk_reopen(g.disk, OPEN_RDWR | OPEN_UNMAP);
    g_rand_set_seed(g.disk->rand, seed);
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (Worker){ .graph = &g, .index = i };
        co_group_start(&g.workers, worker_run, &workers[i]);
    }
    for (unsigned i = 0; i < count; i++) {
        edit_once(&g);
        co_yield();
    }
    g.is_over = true;
    co_group_wait(&g.workers);
    g_print("# %u edits, longest request %.1f ms\n", count, (double)g.longest_ns / MS);
    graph_end(&g);
}
