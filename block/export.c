/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The exports of this process. */
#include "block/export.h"
#include "block/home.h"
#include "block/internal.h"
#include "gen/qmp.h"
#include "qapi/object.h"
#include "util/err.h"
#include <string.h>

static GPtrArray *exports;     /* of Export, in the order they were made */
static CoQueue gone;           /* woken when one is */

/* ---- finding --------------------------------------------------------------------------------- */

Export *export_at(unsigned i)
{
    return exports && i < exports->len ? exports->pdata[i] : NULL;
}

Export *export_find(const char *id)
{
    Export *e;

    for (unsigned i = 0; (e = export_at(i)); i++)
        if (!strcmp(e->id, id))
            return e;
    return NULL;
}

bool export_missing(const char *id, GError **err)
{
    return err_set(err, ENOENT, "Export '%s' is not found", id);
}

static const ExportDriver *driver_of(const json_t *options)
{
    const char *type = json_get_str(options, "type", "");

    for (const ExportDriver *const *d = export_drivers; *d; d++)
        if (!strcmp((*d)->type, type))
            return *d;
    return NULL;
}

/* ---- adding ---------------------------------------------------------------------------------- */

static bool check_iothread(const json_t *options, GError **err)
{
    const char *id = json_get_str(options, "iothread", NULL);

    return !id || iothread_find(id) || err_set(err, ENOENT, "iothread \"%s\" not found", id);
}

/*
 * Assigns the nodes of @h to @thread. If a driver or another user forbids that, it is an error only
 * with fixed-iothread: otherwise requests are passed on to the loop where the nodes are.
 */
static CO bool set_iothread(Handle *h, IoThread *thread, bool is_fixed, GError **err)
{
    g_autoptr(Edit) edit = edit_begin();

    if (thread) {
        edit_set_iothread(edit, handle_node(h), thread);
        if (!edit_commit(edit, is_fixed ? err : NULL) && is_fixed)
            return false;
    }
    h->fixed_home = is_fixed;
    return true;
}

/* A user of @n as @options want it, which lets others do all, but resize it only if the driver can
 * follow. NULL with @err. */
static CO Handle *export_handle(const ExportDriver *drv, Node *n, const json_t *options,
                                GError **err)
{
    bool writable = json_get_bool(options, "writable", false);
    unsigned needs = ACCESS_READ | (writable ? ACCESS_WRITE : 0);
    unsigned shares = drv->follows_size ? ACCESS_ALL : ACCESS_ALL & ~(unsigned)ACCESS_RESIZE;
    Handle *h = handle_new(n, HANDLE_USER, needs, shares, err);

    if (h && json_get_bool(options, "writethrough", false))
        h->flags |= OPEN_WRITETHROUGH;
    return h;
}

static bool may_add(const ExportDriver *drv, const json_t *options, Node *n, GError **err)
{
    const char *id = json_get_str(options, "id", "");

    if (!id_is_valid(id))
        return err_set(err, EINVAL, "Invalid block export id");
    if (export_find(id))
        return err_set(err, EEXIST, "Block export id '%s' is already in use", id);
    if (!n)
        return err_set(err, ENOENT, "Cannot find device='' nor node-name='%s'",
                       json_get_str(options, "node-name", ""));
    if (json_get_bool(options, "writable", false) && node_is_read_only(n))
        return err_set(err, EACCES, "Cannot export read-only node as writable");
    return check_iothread(options, err) && (!drv->may_add || drv->may_add(options, err));
}

static void export_free(Export *e)
{
    g_free(e->id);
    g_free(e->node_name);
    if (e->iothread)
        iothread_drop(e->iothread);
    g_free(e);
}

/* Its nodes are on the main loop meanwhile. */
static CO Export *add_here(const json_t *options, GError **err)
{
    const ExportDriver *drv = driver_of(options);
    const char *id = json_get_str(options, "id", "");
    const char *name = json_get_str(options, "node-name", "");
    const char *thread = json_get_str(options, "iothread", NULL);
    Node *n = node_find(name);
    Export *e;
    Handle *h;

    if (!may_add(drv, options, n, err))
        return NULL;
    h = export_handle(drv, n, options, err);
    if (!h)
        return NULL;
    if (!set_iothread(h, thread ? iothread_find(thread) : NULL,
                      json_get_bool(options, "fixed-iothread", false), err)) {
        handle_close(h);
        return NULL;
    }
    e = g_new0(Export, 1);
    *e = (Export){ .drv = drv, .id = g_strdup(id), .handle = h, .node_name = g_strdup(name) };
    if (!exports)
        exports = g_ptr_array_new();
    if (thread) {
        e->iothread = iothread_find(thread);
        iothread_use(e->iothread);
    }
    /* From here on the id is taken, whatever the driver has to wait for. */
    g_ptr_array_add(exports, e);
    e->state = drv->add(e, options, h, err);
    if (e->state)
        return e;
    g_ptr_array_remove(exports, e);
    export_free(e);
    return NULL;
}

CO Export *export_add(const json_t *options, GError **err)
{
    Export *e;

    /* So that the driver hears of it when they go to their iothread. */
    home_hold();
    e = add_here(options, err);
    home_release();
    return e;
}

const char *export_node_name(Export *e)
{
    if (!e->removed) {
        g_free(e->node_name);
        e->node_name = g_strdup(node_shown_name(handle_node(e->handle)));
    }
    return e->node_name;
}

/* ---- removing -------------------------------------------------------------------------------- */

CO bool export_remove(Export *e, bool hard, GError **err)
{
    bool used = e->drv->is_used(e);

    if (used && !hard)
        return err_set(err, EBUSY, "export '%s' still in use", e->id);
    if (!e->removed) {
        export_node_name(e);
        e->removed = true;
        e->drv->remove(e, hard);
    }
    while (!used && g_ptr_array_find(exports, e, NULL))
        co_queue_wait(&gone);
    return true;
}

CO void export_remove_all(void)
{
    Export *e;

    while ((e = export_at(0)))
        if (e->removed)
            co_queue_wait(&gone);
        else
            export_remove(e, true, NULL);
}

void export_gone(Export *e)
{
    g_ptr_array_remove(exports, e);
    event_block_export_deleted(e->id);
    export_free(e);
    co_queue_wake_all(&gone);
}

CO void export_wait_gone(const ExportDriver *drv)
{
    for (unsigned i = 0; export_at(i);) {
        if (drv && export_at(i)->drv != drv) {
            i++;
            continue;
        }
        co_queue_wait(&gone);
        i = 0;
    }
}
