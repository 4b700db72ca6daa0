/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Exports: an image, the name it is offered by, and what clients may do with it. */
#include "block/driver.h"
#include "nbd/internal.h"
#include "util/err.h"
#include <string.h>

/* ---- counting references --------------------------------------------------------------------- */

NbdExport *nbd_export_ref(NbdExport *e)
{
    e->refs++;
    return e;
}

static void export_free(NbdExport *e)
{
    g_ptr_array_unref(e->bitmaps);
    g_ptr_array_unref(e->holders);
    nbd_loop_unref(e->at);
    g_free(e->who);
    g_free(e->name);
    g_free(e->description);
    g_free(e);
}

/* Closes the image, which owns the bitmaps, and frees @e. */
static CO void export_close(NbdExport *e)
{
    g_autoptr(GError) err = NULL;

    handle_listen(e->handle, NULL, NULL);
    for (guint i = 0; i < e->bitmaps->len; i++)
        ((DirtyBitmap *)e->bitmaps->pdata[i])->busy = false;
    for (guint i = 0; i < e->holders->len; i++)
        handle_close(e->holders->pdata[i]);
    if (!handle_close_err(e->handle, &err)) {
        e->server->flush_failed = true;
        block_warn("%s", err->message);
    }
    export_free(e);
}

/* Ends an export that nobody refers to any more. */
static CO void export_end(void *arg)
{
    NbdExport *e = arg;

    void (*gone)(void *opaque) = e->gone;
    void *opaque = e->opaque;

    if (handle_is_writable(e->handle) && handle_flush(e->handle) < 0)
        e->server->flush_failed = true;
    export_close(e);
    if (gone)
        gone(opaque);
}

void nbd_export_unref(NbdExport *e)
{
    if (!e || --e->refs)
        return;
    co_group_start(&e->server->closing, export_end, e);
}

/* ---- finding --------------------------------------------------------------------------------- */

NbdExport *nbd_export_lookup(NbdServer *s, const char *name, size_t len)
{
    for (guint i = 0; i < s->exports->len; i++) {
        NbdExport *e = s->exports->pdata[i];

        if (strlen(e->name) == len && !memcmp(e->name, name, len))
            return e;
    }
    return NULL;
}

NbdExport *nbd_export_find(NbdServer *s, const char *name)
{
    return nbd_export_lookup(s, name, strlen(name));
}

/* ---- its size -------------------------------------------------------------------------------- */

/*
 * The image may grow, and later clients see that, but nobody takes away what a client was told of.
 */
static void export_keep_size(NbdExport *e)
{
    uint64_t least = 0;

    for (const NbdClient *c = e->server->clients; c; c = c->next)
        if (c->told == e)
            least = MAX(least, c->size);
    handle_keep_size(e->handle, least, e->who);
}

void nbd_client_tell_size(NbdClient *c, NbdExport *e)
{
    c->told = e;
    c->size = handle_size(e->handle);
    export_keep_size(e);
}

void nbd_client_forget_size(NbdClient *c)
{
    NbdExport *e = g_steal_pointer(&c->told);

    if (e)
        export_keep_size(e);
}

/* ---- where its clients are served ------------------------------------------------------------ */

static void export_home_changed(void *owner, IoThread *thread)
{
    NbdExport *e = owner;
    NbdServer *s = e->server;
    NbdLoop *before = e->at;

    e->at = nbd_loop_of(s, thread);
    for (NbdClient *c = s->clients; c && e->at != before; c = c->next)
        if (c->export == e)
            nbd_client_follow(c);
    nbd_loop_unref(before);
}

static const HandleOps export_handle_ops = {
    .home_changed = export_home_changed,
};

/* ---- adding and removing --------------------------------------------------------------------- */

/* The bitmap called @name of @n or of a backing file below it. */
static DirtyBitmap *bitmap_in_chain(Node *n, const char *name)
{
    for (; n; n = node_backing_chain_next(n)) {
        DirtyBitmap *b = dirty_find(n, name);

        if (!b)
            b = dirty_find(node_skip_filters(n), name);
        if (b)
            return b;
    }
    return NULL;
}

/*
 * Keeps @n, a node with an exported bitmap, on the main loop, where clients are answered: so no
 * write changes the bitmap while it is read. @n may be in another tree than the export's. False
 * with @err.
 */
static CO bool export_hold_node(NbdExport *e, Node *n, GError **err)
{
    Handle *h = handle_new(n, HANDLE_USER, 0, ACCESS_ALL, err);

    if (!h)
        return false;
    handle_look_at_nodes(h);
    g_ptr_array_add(e->holders, h);
    return true;
}

/* @node: the name of the one that has it; NULL: it is in the chain. */
static CO bool export_add_bitmap(NbdExport *e, const char *node, const char *name, GError **err)
{
    Node *n = node ? node_find(node) : handle_node(e->handle);
    DirtyBitmap *b;

    if (!n)
        return err_set(err, ENOENT, "There is no node '%s'", node);
    b = node ? dirty_find(n, name) : bitmap_in_chain(n, name);
    if (!b)
        return err_set(err, ENOENT, "'%s' has no bitmap '%s'", node_filename(n), name);
    if (b->inconsistent)
        return err_set(err, EINVAL, "Bitmap '%s' of '%s' is inconsistent: it can only be removed",
                       name, node_filename(n));
    if (b->busy)
        return err_set(err, EBUSY, "Bitmap '%s' of '%s' is in use", name, node_filename(n));
    if (e->read_only && b->enabled && !node_is_read_only(n))
        return err_set(err, EINVAL, "Bitmap '%s' of '%s' records writes, which a read-only export "
                       "must not show", name, node_filename(n));
    b->busy = true;
    g_ptr_array_add(e->bitmaps, b);
    return !node || export_hold_node(e, n, err);
}

static CO bool export_add_bitmaps(NbdExport *e, const NbdExportConfig *config, GError **err)
{
    const char *const *names = config->bitmaps, *const *nodes = config->bitmap_nodes;

    for (unsigned i = 0; names && names[i]; i++) {
        if (i == NBD_BITMAPS_MAX)
            return err_set(err, EINVAL, "Export '%s' has more than %d bitmaps", e->name,
                           NBD_BITMAPS_MAX);
        if (!export_add_bitmap(e, nodes ? nodes[i] : NULL, names[i], err))
            return false;
    }
    return true;
}

static bool text_fits(const char *what, const char *text, GError **err)
{
    if (text && strlen(text) > NBD_STRING_MAX)
        return err_set(err, EINVAL, "The %s of an export has at most %d bytes, not %zu", what,
                       NBD_STRING_MAX, strlen(text));
    return true;
}

CO NbdExport *nbd_export_add(NbdServer *s, const NbdExportConfig *config, Handle *h, GError **err)
{
    NbdExport *e = g_new0(NbdExport, 1);

    *e = (NbdExport){
        .refs = 1,
        .server = s,
        .name = g_strdup(config->name),
        .description = g_strdup(config->description),
        .handle = h,
        .who = g_strdup_printf("NBD export '%s'", config->name),
        .at = nbd_loop_ref(s->own),
        .read_only = config->read_only || !handle_is_writable(h),
        .depth = config->allocation_depth,
        .bitmaps = g_ptr_array_new(),
        .holders = g_ptr_array_new(),
    };
    if (nbd_export_find(s, config->name))
        err_set(err, EEXIST, "There is an export '%s' already", config->name);
    else if (text_fits("name", config->name, err) &&
             text_fits("description", config->description, err) &&
             export_add_bitmaps(e, config, err)) {
        /* Bitmaps are read between requests, and keep the node here. */
        if (e->bitmaps->len)
            handle_look_at_nodes(h);
        else
            handle_listen(h, &export_handle_ops, e);
        e->gone = config->gone;
        e->opaque = config->opaque;
        g_ptr_array_add(s->exports, e);
        return e;
    }
    export_close(e);
    return NULL;
}

bool nbd_export_is_used(const NbdExport *e)
{
    return e->refs > (e->removed ? 0 : 1);
}

CO bool nbd_export_remove(NbdExport *e, NbdRemoveMode mode, GError **err)
{
    NbdServer *s = e->server;

    if (mode == NBD_REMOVE_SAFE && e->refs > 1)
        return err_set(err, EBUSY, "Export '%s' is in use by %u clients", e->name, e->refs - 1);
    g_ptr_array_remove(s->exports, e);
    e->removed = true;
    for (NbdClient *c = s->clients; mode == NBD_REMOVE_HARD && c; c = c->next)
        if (c->export == e || c->context_export == e)
            nbd_client_cut(c);
    nbd_export_unref(e);
    return true;
}

/* ---- what it can do -------------------------------------------------------------------------- */

uint16_t nbd_export_flags(const NbdExport *e, NbdReplyStyle style)
{
    uint16_t flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA |
                     NBD_FLAG_SEND_CACHE;

    if (e->read_only)
        flags |= NBD_FLAG_READ_ONLY;
    else
        flags |= NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO;
    if (style >= NBD_STRUCTURED)
        flags |= NBD_FLAG_SEND_DF;
    if (style == NBD_EXTENDED)
        flags |= NBD_FLAG_BLOCK_STAT_PAYLOAD;
    /*
     * All clients share one handle, so a flush by one covers the writes of all, and all see the
     * same. Only where there can be no second client it would be a false promise.
     */
    if (e->server->config.max_clients != 1)
        flags |= NBD_FLAG_CAN_MULTI_CONN;
    return flags;
}

uint32_t nbd_export_preferred_block(const NbdExport *e)
{
    uint64_t opt = node_limits(handle_node(e->handle))->opt_transfer;

    return is_power_of_2(opt) && opt > 4096 && opt <= NBD_PAYLOAD_MAX ? opt : 4096;
}
