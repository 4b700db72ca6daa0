/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hw/virtio/drives.h"
#include "block/account.h"
#include "util/err.h"
#include <string.h>

typedef struct {
    char *id;
    Handle *handle;
    bool is_used;
} Drive;

static GArray *drives; /* of Drive */

static Drive *find(const char *id)
{
    for (guint i = 0; drives && i < drives->len; i++) {
        Drive *d = &g_array_index(drives, Drive, i);

        if (!strcmp(d->id, id))
            return d;
    }
    return NULL;
}

Handle *drive_find(const char *id)
{
    Drive *d = find(id);

    return d ? d->handle : NULL;
}

void drive_put(const char *id, Handle *h)
{
    Drive d = { .id = g_strdup(id), .handle = h };

    account_open(h, id, NULL);
    if (!drives)
        drives = g_array_new(FALSE, FALSE, sizeof(Drive));
    g_array_append_val(drives, d);
}

void drives_add_nodes(GPtrArray *list)
{
    for (guint i = 0; drives && i < drives->len; i++)
        if (handle_node(g_array_index(drives, Drive, i).handle))
            g_ptr_array_add(list, handle_node(g_array_index(drives, Drive, i).handle));
}

Handle *drive_take_last(void)
{
    Drive d;

    if (!drives || !drives->len)
        return NULL;
    d = g_array_index(drives, Drive, drives->len - 1);
    g_array_set_size(drives, drives->len - 1);
    g_free(d.id);
    return d.handle;
}

Handle *drive_take(const char *id, GError **err)
{
    Drive *d = find(id);
    Handle *h = d->handle;

    if (d->is_used) {
        err_set(err, EBUSY, "Drive '%s' is in use by a device", id);
        return NULL;
    }
    g_free(d->id);
    g_array_remove_index(drives, d - (Drive *)drives->data);
    return h;
}

/* A user of a node: nobody else may write meanwhile, but resize it, which the guest is told of. */
static CO Handle *claim_node(Node *n, GError **err)
{
    unsigned needs = ACCESS_READ | (node_is_read_only(n) ? 0 : ACCESS_WRITE);

    return handle_new(n, HANDLE_USER, needs, ACCESS_READ | ACCESS_UNCHANGED | ACCESS_RESIZE, err);
}

CO Handle *drive_claim(const char *name, bool *owned, GError **err)
{
    Drive *d = find(name);
    Node *n = d ? NULL : node_find(name);

    *owned = !d;
    if (!d && !n) {
        err_set(err, ENOENT, "Property 'virtio-blk-device.drive' can't find value '%s'", name);
        return NULL;
    }
    if (!d)
        return claim_node(n, err);
    if (d->is_used) {
        err_set(err, EBUSY, "Drive '%s' is already in use by another device", name);
        return NULL;
    }
    d->is_used = true;
    return d->handle;
}

CO void drive_release(const char *name, Handle *h, bool owned)
{
    Drive *d = h && !owned ? find(name) : NULL;

    if (h && owned)
        handle_close(h);
    if (!d)
        return;
    handle_listen(d->handle, NULL, NULL);
    account_give_back(d->handle);
    d->is_used = false;
}
