/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Nodes and edges: who exists, who points at whom.
 *
 * A node lives as long as edges point at it (or somebody holds a reference while building the
 * graph). All nodes stand in one table by name. Main loop only.
 */
#include "block/account.h"
#include "block/internal.h"
#include "util/trace.h"
#include <inttypes.h>
#include <string.h>

enum { SECTOR = 512 };

static GHashTable *nodes_by_name;   /* name -> Node, neither owned */

Node *node_named(const char *name)
{
    return nodes_by_name ? g_hash_table_lookup(nodes_by_name, name) : NULL;
}

Node *node_find(const char *name)
{
    Node *n = node_named(name);

    return n && (n->state == NODE_ACTIVE || n->state == NODE_INACTIVE) ? n : NULL;
}

const Node *node_find_file(const char *filename)
{
    GHashTableIter all;
    gpointer each;

    if (!nodes_by_name)
        return NULL;
    g_hash_table_iter_init(&all, nodes_by_name);
    while (g_hash_table_iter_next(&all, NULL, &each)) {
        const Node *n = each;

        if (n->drv->kind == BLK_PROTOCOL &&
            (node_is_file_named(n, filename) || node_reads_file_named(n, filename)))
            return n;
    }
    return NULL;
}

static bool node_reads_file_of(const Node *n, const Node *written)
{
    return n->drv->reads_file && written->has_identity &&
           n->drv->reads_file(n, written->identity);
}

/* A node beside @written that reads the same bytes; NULL if there is none. */
static const Node *node_find_twin(const Node *written)
{
    GHashTableIter all;
    gpointer each;

    g_hash_table_iter_init(&all, nodes_by_name);
    while (g_hash_table_iter_next(&all, NULL, &each)) {
        const Node *n = each;

        if (n != written && n->drv->kind == BLK_PROTOCOL &&
            (node_is_same_bytes(n, written) || node_reads_file_of(n, written)))
            return n;
    }
    return NULL;
}

bool node_check_alone(const Node *n, GError **err)
{
    if (n->drv->kind == BLK_PROTOCOL && !node_is_read_only(n) && node_find_twin(n))
        return err_set(err, EBUSY, "'%s' would be read and written at once, and lose its content",
                       node_filename(n));
    for (guint i = 0; i < n->children->len; i++)
        if (!node_check_alone(((const Edge *)n->children->pdata[i])->node, err))
            return false;
    return true;
}

/* A letter, then letters, digits, '-', '.', '_'; at most 31 characters. */
static bool node_name_is_valid(const char *name)
{
    return strlen(name) <= 31 && g_ascii_isalpha(name[0]) &&
           strspn(name, G_CSET_a_2_z G_CSET_A_2_Z G_CSET_DIGITS "-._") == strlen(name);
}

static char *node_name_generate(void)
{
    static unsigned count;

    return g_strdup_printf("#block%03u", count++);
}

Node *node_new(const BlockDriver *drv, const char *name, GError **err)
{
    Node *n;

    if (!nodes_by_name)
        nodes_by_name = g_hash_table_new(g_str_hash, g_str_equal);
    if (name && !node_name_is_valid(name)) {
        err_set(err, EINVAL, "'%s' is no valid node-name", name);
        return NULL;
    }
    if (name && account_find_drive(name)) {
        err_set(err, EEXIST, "node-name=%s is conflicting with a device id", name);
        return NULL;
    }
    if (name && node_named(name)) {
        err_set(err, EEXIST, "There is a node named '%s' already", name);
        return NULL;
    }
    n = g_new0(Node, 1);
    n->drv = drv;
    n->home = loop_self();
    n->refs = 1;
    n->name = name ? g_strdup(name) : node_name_generate();
    n->state_data = g_malloc0(MAX(drv->state_size, 1));
    n->children = g_ptr_array_new();
    n->parents = g_ptr_array_new();
    n->limits = (Limits){ .request_alignment = 1, .memory_alignment = 1 };
    n->locked_shares = ACCESS_ALL;
    g_hash_table_insert(nodes_by_name, n->name, n);
    return n;
}

Node *node_ref(Node *n)
{
    n->refs++;
    return n;
}

static CO bool finish_one(Node *n, GError **err)
{
    bool was_inactive = n->state == NODE_INACTIVE, ok = true;

    n->state = NODE_CLOSING;
    if (n->is_open && n->flags & OPEN_RDWR && n->drv->inactivate && !was_inactive)
        ok = n->drv->inactivate(n, err);
    for (guint i = 0; i < n->children->len; i++) {
        Edge *e = n->children->pdata[i];

        if (e->role != ROLE_BACKING && !node_finish(e->node, ok ? err : NULL))
            ok = false;
    }
    return ok;
}

CO bool node_finish(Node *n, GError **err)
{
    bool ok = true;

    /* A backing chain may be long. Whoever else uses a node finishes it later. */
    for (; n && n->refs == 1 && n->state != NODE_CLOSING; n = node_backing(n))
        ok = finish_one(n, ok ? err : NULL) && ok;
    return ok;
}

/*
 * Brings the file of @n up to date, closes its driver, and removes its children, which close too if
 * nobody else uses them. Where there are children this is an edit: no other one changes what is
 * below while that is written to.
 */
static CO void node_shut(Node *n)
{
    g_autoptr(Edit) edit = n->children->len ? edit_begin() : NULL;
    g_autoptr(GError) err = NULL;

    if (!node_finish(n, &err))
        block_warn("%s", err->message);
    if (n->is_open && n->drv->close)
        n->drv->close(n);
    for (guint i = 0; i < n->children->len; i++)
        edit_detach(edit, n->children->pdata[i]);
    if (edit)
        edit_commit(edit, NULL);
}

/* Frees @n. Returns its backing node, whose reference goes to the caller, so that a chain of any
 * length closes in a loop. */
static CO Node *node_close(Node *n)
{
    Node *backing = node_backing(n);

    TRACE(node_close, "%s '%s'", n->name, node_filename(n));
    if (backing)
        node_ref(backing);
    node_shut(n);
    home_forget(n);
    while (n->bitmaps)
        dirty_remove(n, n->bitmaps);
    g_clear_pointer(&n->bitmap_names, g_hash_table_unref);
    g_hash_table_remove(nodes_by_name, n->name);
    g_ptr_array_free(n->children, true);
    g_ptr_array_free(n->parents, true);
    json_decref(n->options);
    json_decref(n->given);
    g_free(n->read_only_why);
    g_free(n->backing_stored);
    g_free(n->backing_format_stored);
    g_free(n->filename);
    hold_release(n->stays);
    g_free(n->name);
    g_free(n->state_data);
    g_free(n);
    return backing;
}

CO void node_unref(Node *n)
{
    while (n) {
        g_assert(n->refs > 0);
        if (n->refs > 1) {
            n->refs--;
            return;
        }
        /* The reference is held during close, in which requests to children still run. */
        n = node_close(n);
    }
}

Edge *edge_new(Node *parent, Handle *handle, const char *key, Role role, Node *node)
{
    Edge *e = g_new0(Edge, 1);

    *e = (Edge){
        .node = node,
        .parent = parent,
        .handle = handle,
        .key = g_strdup(key),
        .role = role,
        .shares = ACCESS_ALL,
    };
    g_ptr_array_add(node->parents, e);
    if (parent)
        g_ptr_array_add(parent->children, e);
    return e;
}

guint edge_unlink(Edge *e)
{
    guint at = 0;

    g_ptr_array_remove(e->node->parents, e);
    if (e->parent) {
        g_ptr_array_find(e->parent->children, e, &at);
        g_ptr_array_remove_index(e->parent->children, at);
    }
    return at;
}

void edge_link(Edge *e, guint at)
{
    g_ptr_array_add(e->node->parents, e);
    if (e->parent)
        g_ptr_array_insert(e->parent->children, (gint)at, e);
}

void edge_delete(Edge *e)
{
    g_free(e->key);
    g_free(e);
}

GPtrArray *nodes_and_below(Node *const *nodes, guint n)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    GPtrArray *all = g_ptr_array_new();

    for (guint i = 0; i < n; i++)
        if (g_hash_table_add(seen, nodes[i]))
            g_ptr_array_add(all, nodes[i]);
    for (guint i = 0; i < all->len; i++) {
        const Node *above = all->pdata[i];

        for (guint j = 0; j < above->children->len; j++) {
            Node *child = ((const Edge *)above->children->pdata[j])->node;

            if (g_hash_table_add(seen, child))
                g_ptr_array_add(all, child);
        }
    }
    return all;
}

/* How many edges lead to each of @nodes from another one of them: Node -> number. */
static GHashTable *count_parents(const GPtrArray *nodes)
{
    GHashTable *counts = g_hash_table_new(NULL, NULL);

    for (guint i = 0; i < nodes->len; i++) {
        const Node *n = nodes->pdata[i];

        for (guint j = 0; j < n->children->len; j++) {
            const Edge *e = n->children->pdata[j];
            guint count = GPOINTER_TO_UINT(g_hash_table_lookup(counts, e->node));

            g_hash_table_insert(counts, e->node, GUINT_TO_POINTER(count + 1));
        }
    }
    return counts;
}

GPtrArray *nodes_from_the_top(Node *const *nodes, guint n)
{
    g_autoptr(GPtrArray) all = nodes_and_below(nodes, n);
    g_autoptr(GHashTable) missing = count_parents(all);
    GPtrArray *sorted = g_ptr_array_new();

    for (guint i = 0; i < all->len; i++)
        if (!g_hash_table_lookup(missing, all->pdata[i]))
            g_ptr_array_add(sorted, all->pdata[i]);
    for (guint i = 0; i < sorted->len; i++) {
        const Node *above = sorted->pdata[i];

        for (guint j = 0; j < above->children->len; j++) {
            Node *child = ((const Edge *)above->children->pdata[j])->node;
            guint left = GPOINTER_TO_UINT(g_hash_table_lookup(missing, child)) - 1;

            g_hash_table_insert(missing, child, GUINT_TO_POINTER(left));
            if (!left)
                g_ptr_array_add(sorted, child);
        }
    }
    g_assert(sorted->len == all->len); /* no circles */
    return sorted;
}

bool node_reaches(const Node *n, const Node *below)
{
    g_autoptr(GPtrArray) all = NULL;

    if (n == below)
        return true;
    if (!n->children->len || !below->parents->len)
        return false;
    all = nodes_and_below((Node *const[]){ (Node *)n }, 1);
    return g_ptr_array_find(all, below, NULL);
}

/* ---- looking -------------------------------------------------------------------------------- */

const BlockDriver *node_driver(const Node *n)
{
    return n->drv;
}

const char *node_format(const Node *n)
{
    return n->drv->name;
}

const char *node_name(const Node *n)
{
    return n->name[0] == '#' ? "" : n->name;
}

const char *node_filename(const Node *n)
{
    return n->filename ? n->filename : "";
}

uint64_t node_size(const Node *n)
{
    return n->size;
}

bool node_is_read_only(const Node *n)
{
    return !(n->flags & OPEN_RDWR);
}

Edge *node_edge(const Node *n, Role role)
{
    for (guint i = 0; i < n->children->len; i++) {
        Edge *e = n->children->pdata[i];

        if (e->role == role)
            return e;
    }
    return NULL;
}

Edge *node_edge_at(const Node *n, unsigned i)
{
    return i < n->children->len ? n->children->pdata[i] : NULL;
}

unsigned node_child_count(const Node *n)
{
    return n->children->len;
}

static Node *node_child(const Node *n, Role role)
{
    Edge *e = node_edge(n, role);

    return e ? e->node : NULL;
}

Node *node_storage(const Node *n)
{
    return node_child(n, ROLE_STORAGE);
}

Node *node_data(const Node *n)
{
    Node *data = node_child(n, ROLE_DATA);

    return data ? data : node_storage(n);
}

Node *node_backing(const Node *n)
{
    return node_child(n, ROLE_BACKING);
}

Node *node_filtered(const Node *n)
{
    return node_child(n, ROLE_FILTERED);
}

Node *node_skip_filters(Node *n)
{
    Node *below;

    while (n && n->drv->kind == BLK_FILTER && (below = node_filtered(n)))
        n = below;
    return n;
}

Node *node_backing_chain_next(Node *n)
{
    n = node_skip_filters(n);
    return n ? node_backing(n) : NULL;
}

const char *node_backing_stored(const Node *n)
{
    return n->backing_stored;
}

const char *node_backing_format_stored(const Node *n)
{
    return n->backing_format_stored;
}

void node_set_backing_stored(Node *n, const char *filename, const char *format)
{
    char *new_name = g_strdup(filename), *new_format = g_strdup(format);

    /* The arguments may be what is replaced. */
    g_free(n->backing_stored);
    g_free(n->backing_format_stored);
    n->backing_stored = new_name;
    n->backing_format_stored = new_format;
}

void *node_state(const Node *n)
{
    return n->state_data;
}

Limits *node_limits(Node *n)
{
    return &n->limits;
}

void node_set_size(Node *n, uint64_t size)
{
    n->size = size > INT64_MAX ? round_down(size, SECTOR) : round_up(size, SECTOR);
    for (guint i = 0; i < n->parents->len; i++) {
        const Edge *e = n->parents->pdata[i];

        if (e->handle)
            handle_refresh_size(e->handle);
    }
}

/* True if the size of @n is always that of the child that @e leads to. */
static bool shows_size_of(const Node *n, const Edge *e)
{
    return n && n->is_open && n->drv->kind == BLK_FILTER && !n->drv->resize &&
           e->role == ROLE_FILTERED;
}

bool node_may_shrink(const Node *n, uint64_t size, GError **err)
{
    for (guint i = 0; i < n->parents->len; i++) {
        const Edge *e = n->parents->pdata[i];
        uint64_t least = e->handle ? e->handle->least_size : 0;

        if (size < least)
            return err_set(err, EBUSY, "Node '%s' cannot become smaller than %" PRIu64 " bytes: "
                           "clients of %s were told that size", n->name, least,
                           e->handle->keeper);
        /* A format keeps the size of its file to itself: what it shows is another one. */
        if (e->parent && e->shares & ACCESS_RESIZE && !node_may_shrink(e->parent, size, err))
            return false;
    }
    return true;
}

bool node_size_changed(Node *n, GError **err)
{
    bool ok = dirty_resize(n, err);

    node_tell_size(n);
    for (guint i = 0; i < n->parents->len; i++) {
        const Edge *e = n->parents->pdata[i];

        if (!shows_size_of(e->parent, e) || e->parent->size == n->size)
            continue;
        node_set_size(e->parent, n->size);
        ok = node_size_changed(e->parent, ok ? err : NULL) && ok;
    }
    return ok;
}

void node_set_identity(Node *n, FileIdentity id)
{
    n->has_identity = true;
    n->identity = id;
}

bool node_is_probed_raw(const Node *n)
{
    return n->probed_raw;
}

const json_t *node_options(const Node *n)
{
    return n->options;
}

OpenFlags node_flags(const Node *n)
{
    return n->flags;
}

Node *edge_node(const Edge *e)
{
    return e->node;
}

const char *edge_key(const Edge *e)
{
    return e->key;
}

uint64_t edge_size(const Edge *e)
{
    return e->node->size;
}

uint64_t node_allocated(Node *n, bool *known)
{
    uint64_t sum = 0;

    if (n->drv->allocated)
        return n->drv->allocated(n, known);
    *known = n->children->len > 0;
    for (guint i = 0; i < n->children->len; i++) {
        const Edge *e = n->children->pdata[i];
        bool child_known;

        if (e->role == ROLE_BACKING)
            continue;
        sum += node_allocated(e->node, &child_known);
        *known = *known && child_known;
    }
    return *known ? sum : 0;
}

bool node_has_zero_init(const Node *n)
{
    if (n->drv->has_zero_init)
        return n->drv->has_zero_init((Node *)n);
    if (n->drv->kind == BLK_FILTER && node_filtered(n))
        return node_has_zero_init(node_filtered(n));
    return false;
}

/*
 * Requests of any alignment pass through a node, unless its driver knows better: the child that is
 * choosy straightens them out. Memory is another matter: it is copied once, at the top.
 */
void node_refresh_limits(Node *n)
{
    Edge *e = node_edge(n, n->drv->kind == BLK_FILTER ? ROLE_FILTERED : ROLE_STORAGE);

    if (n->drv->kind != BLK_PROTOCOL) {
        Limits *l = &n->limits;

        *l = (Limits){ .request_alignment = 1, .memory_alignment = 1 };
        if (e) {
            const Limits *below = &e->node->limits;

            l->memory_alignment = below->memory_alignment;
            l->opt_transfer = below->opt_transfer;
            l->max_iov = below->max_iov;
        }
    }
    if (n->drv->refresh_limits)
        n->drv->refresh_limits(n);
    if (n->is_open)
        for (guint i = 0; i < n->parents->len; i++) {
            Edge *p = n->parents->pdata[i];

            if (p->parent && p->parent->is_open)
                node_refresh_limits(p->parent);
        }
}

/* Names are made from those of the nodes below, so from @n upward. */
static void names_refresh_above(Node *n)
{
    node_refresh_filename(n);
    for (guint i = 0; i < n->parents->len; i++) {
        const Edge *p = n->parents->pdata[i];

        if (p->parent && p->parent->is_open)
            names_refresh_above(p->parent);
    }
}

void node_children_changed(Node *n)
{
    node_refresh_limits(n);
    names_refresh_above(n);
}
