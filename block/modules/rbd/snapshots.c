/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What of an image is allocated, and its snapshots: calls of librbd that wait, so in workers. */
#include "block/modules/rbd/internal.h"
#include <errno.h>

/* ---- what is allocated ----------------------------------------------------------------------- */

enum { FOUND_ENOUGH = -10000 };     /* no errno */

typedef struct {
    RbdImage *f;
    uint64_t off, len;
    uint64_t end;       /* of what is alike */
    bool known, data;   /* known: @end and @data are */
} Look;

/* An object, or several, with something in them. librbd tells them in their order. */
static int on_data(uint64_t off, size_t len, int exists, void *opaque)
{
    Look *l = opaque;

    if (!exists)
        return 0;
    if (!l->known) {
        l->known = true;
        l->data = off <= l->off;
        l->end = l->data ? off + len : off;
        return l->data ? 0 : FOUND_ENOUGH;
    }
    if (off > l->end)
        return FOUND_ENOUGH;
    l->end = MAX(l->end, off + len);
    return 0;
}

static int look_run(void *arg)
{
    Look *l = arg;
    uint64_t flags;
    int r = rbd_get_flags(l->f->image, &flags);

    /* Without the map of its objects librbd would have to ask for each. */
    if (r >= 0 && flags & (RBD_FLAG_FAST_DIFF_INVALID | RBD_FLAG_OBJECT_MAP_INVALID)) {
        l->known = l->data = true;
        l->end = l->off + l->len;
        return 0;
    }
    if (r >= 0)
        r = rbd_diff_iterate2(l->f->image, NULL, l->off, l->len, true, true, on_data, l);
    return r == FOUND_ENOUGH ? 0 : r;
}

CO int ceph_extent(RbdImage *f, uint64_t off, uint64_t len, uint64_t *run, bool *data)
{
    Look l = { .f = f, .off = off, .len = len };
    int r = pool_run(look_run, &l);

    *data = l.data;
    *run = l.known ? MIN(l.end - off, len) : len;
    return r;
}

/* ---- snapshots ------------------------------------------------------------------------------- */

typedef struct {
    RbdImage *f;
    RbdSnapshot *list;
    size_t count;
    RbdSnapshotAction action;
    const char *name;
    uint64_t size;
} SnapshotCall;

static int list_run(void *arg)
{
    SnapshotCall *c = arg;
    g_autofree rbd_snap_info_t *found = NULL;
    int room = 0, r;

    /* librbd says how many there are when there is no room for them. */
    do {
        found = g_renew(rbd_snap_info_t, found, room + 1);
        r = rbd_snap_list(c->f->image, found, &room);
    } while (r == -ERANGE);
    if (r < 0)
        return r;
    c->count = (size_t)r;
    c->list = g_new0(RbdSnapshot, c->count + 1);
    for (size_t i = 0; i < c->count; i++)
        c->list[i] = (RbdSnapshot){ g_strdup(found[i].name), found[i].size };
    rbd_snap_list_end(found);
    return 0;
}

CO int ceph_snapshots(RbdImage *f, RbdSnapshot **list, size_t *count)
{
    SnapshotCall c = { .f = f };
    int r = pool_run(list_run, &c);

    *list = c.list;
    *count = c.count;
    return r;
}

void ceph_free_snapshots(RbdSnapshot *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        g_free(list[i].name);
    g_free(list);
}

static int act_run(void *arg)
{
    SnapshotCall *c = arg;
    int r = -EINVAL;

    switch (c->action) {
    case RBD_SNAPSHOT_CREATE:
        r = rbd_snap_create(c->f->image, c->name);
        break;
    case RBD_SNAPSHOT_REMOVE:
        r = rbd_snap_remove(c->f->image, c->name);
        break;
    case RBD_SNAPSHOT_ROLLBACK:
        r = rbd_snap_rollback(c->f->image, c->name);
        break;
    }
    return r < 0 ? r : rbd_get_size(c->f->image, &c->size);
}

CO int ceph_act(RbdImage *f, RbdSnapshotAction action, const char *name, uint64_t *size)
{
    SnapshotCall c = { .f = f, .action = action, .name = name };
    int r = pool_run(act_run, &c);

    *size = c.size;
    return r;
}
