/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Snapshots as steps of edits: overlays, and those inside an image. Messages are the reference's.
 */
#include "block/actions.h"
#include "block/internal.h"
#include "block/monitor-nodes.h"
#include <string.h>

/* ---- overlays -------------------------------------------------------------------------------- */

/* True if @n is nobody's backing file. */
static bool is_no_backing(const Node *n, GError **err)
{
    for (guint i = 0; i < n->parents->len; i++) {
        const Edge *e = n->parents->pdata[i];

        if (e->parent && e->role == ROLE_BACKING)
            return err_set(err, EBUSY, "Node '%s' is busy: node is used as backing hd of '%s'",
                           n->name, e->parent->name);
    }
    return true;
}

static bool may_be_overlay(const Node *overlay, const Node *n, GError **err)
{
    if (!overlay->drv->takes_backing)
        return err_set(err, ENOTSUP, "The overlay does not support backing images");
    for (guint i = 0; i < overlay->parents->len; i++)
        if (((const Edge *)overlay->parents->pdata[i])->handle)
            return err_set(err, EBUSY, "The overlay is already in use");
    if (node_backing(overlay))
        return err_set(err, EBUSY, "The overlay already has a backing image");
    if (node_reaches(n, overlay))
        return err_set(err, ELOOP, "Making '%s' a backing child of '%s' would create a cycle",
                       n->name, overlay->name);
    return !overlay->parents->len || err_set(err, EBUSY, "The overlay is already in use");
}

static bool overlay_add(Edit *edit, Node *n, Node *overlay, GError **err)
{
    g_autoptr(json_t) read_only = json_object();

    if (!may_be_overlay(overlay, n, err))
        return false;
    json_put_bool(read_only, "read-only", true);
    edit_attach(edit, overlay, "backing", ROLE_BACKING, n);
    edit_replace(edit, n, overlay);
    edit_reopen(edit, n, read_only, node_flags(n));
    return true;
}

bool action_snapshot(Edit *edit, const BlockdevSnapshot *args, GError **err)
{
    Node *n = monitor_node_or_device(args->node, args->node, err), *overlay;

    if (!n || !node_check_idle(n, err) || !is_no_backing(n, err))
        return false;
    overlay = monitor_node_or_device(args->overlay, args->overlay, err);
    return overlay && overlay_add(edit, n, overlay, err);
}

/* The node that an overlay is for. NULL with @err. */
static Node *overlay_below(const BlockdevSnapshotSync *args, GError **err)
{
    Node *n = monitor_node_or_device(args->device, args->node_name, err);

    return n && node_check_idle(n, err) && is_no_backing(n, err) ? n : NULL;
}

/* Makes the file of an overlay of @n. */
static CO bool overlay_create(const BlockdevSnapshotSync *args, Node *n, const char *format,
                              GError **err)
{
    g_autoptr(json_t) opts = json_object();

    json_put_int(opts, "size", (int64_t)node_size(n));
    json_put_str(opts, "backing_file", node_filename(n));
    json_put_str(opts, "backing_fmt", node_format(n));
    return image_create(args->snapshot_file, format, opts, err);
}

/* Opens it in the modes that @n has. */
static CO Node *overlay_open(const BlockdevSnapshotSync *args, const Node *n, const char *format,
                             GError **err)
{
    OpenFlags kept = OPEN_RDWR | OPEN_DIRECT | OPEN_NO_FLUSH | OPEN_WRITETHROUGH | OPEN_UNMAP |
                     OPEN_AIO_THREADS | OPEN_AIO_NATIVE | OPEN_AIO_URING;
    json_t *o = json_object();

    json_put_str(o, "driver", format);
    json_put(o, "backing", json_null());
    if (args->snapshot_node_name)
        json_put_str(o, "node-name", args->snapshot_node_name);
    return node_open(args->snapshot_file, o, node_flags(n) & kept, 0, err);
}

CO Node *action_overlay_new(const BlockdevSnapshotSync *args, GError **err)
{
    const char *format = args->format ? args->format : "qcow2";
    const BlockDriver *drv = driver_find(format);
    Node *n = overlay_below(args, err);

    if (!n)
        return NULL;
    if (!drv)
        err_set(err, EINVAL, "Unknown file format '%s'", format);
    else if (args->node_name && !args->snapshot_node_name)
        err_set(err, EINVAL, "New overlay node-name missing");
    else if (args->snapshot_node_name && node_find(args->snapshot_node_name))
        err_set(err, EEXIST, "New overlay node-name already in use");
    else if (!drv->takes_backing)
        err_set(err, ENOTSUP, "Backing file not supported for file format '%s'", format);
    else if ((args->has_mode && args->mode == NEW_IMAGE_MODE_EXISTING) ||
             overlay_create(args, n, format, err))
        return overlay_open(args, n, format, err);
    return NULL;
}

bool action_overlay_add(Edit *edit, const BlockdevSnapshotSync *args, Node *overlay, GError **err)
{
    Node *n = overlay_below(args, err);

    return n && overlay_add(edit, n, overlay, err);
}

/* ---- inside ---------------------------------------------------------------------------------- */

typedef struct {
    Node *n;
    Snapshot snapshot;      /* owns its texts; the id is set once it is made */
} InternalStep;

static CO bool internal_prepare(void *step, GError **err)
{
    InternalStep *s = step;
    int r = node_flush(s->n);

    if (r < 0)
        return err_set_errno(err, r, "Could not write back what is cached of '%s'",
                             node_filename(s->n));
    if (s->n->drv->snapshots->create(s->n, &s->snapshot, err) < 0)
        return err_prefix(err, "Failed to create snapshot '%s' on device '%s': ", s->snapshot.name,
                          node_shown_name(s->n));
    return true;
}

static CO void internal_abort(void *step)
{
    InternalStep *s = step;
    g_autoptr(GError) err = NULL;

    if (s->n->drv->snapshots->remove(s->n, s->snapshot.id, &err) < 0)
        block_warn("Snapshot '%s' of '%s' is left behind: %s", s->snapshot.name,
                   node_filename(s->n), err->message);
}

static CO void internal_free(void *step)
{
    InternalStep *s = step;

    g_free(s->snapshot.name);
    g_free(s->snapshot.id);
    g_free(s);
}

/* Somebody else may be writing an image that is inactive. */
static bool internal_apply(void *step, GError **err)
{
    const InternalStep *s = step;

    return node_is_active(s->n) ||
           err_set(err, EBUSY, "Node '%s' is inactive", node_shown_name(s->n));
}

static const EditOps internal_ops = {
    .apply = internal_apply,
    .prepare = internal_prepare,
    .abort = internal_abort,
    .free = internal_free,
};

void action_internal_add(Edit *edit, Node *n, const Snapshot *snapshot)
{
    InternalStep *s = g_new0(InternalStep, 1);

    s->n = n;
    s->snapshot = *snapshot;
    s->snapshot.name = g_strdup(snapshot->name);
    s->snapshot.id = NULL;
    edit_still(edit, n);
    edit_add(edit, &internal_ops, s);
}

static CO bool remove_prepare(void *step, GError **err)
{
    const InternalStep *s = step;

    return s->n->drv->snapshots->remove(s->n, s->snapshot.id, err) >= 0;
}

static const EditOps remove_ops = {
    .apply = internal_apply,
    .prepare = remove_prepare,
    .free = internal_free,
};

void action_internal_remove(Edit *edit, Node *n, const char *id)
{
    InternalStep *s = g_new0(InternalStep, 1);

    s->n = n;
    s->snapshot.id = g_strdup(id);
    edit_still(edit, n);
    edit_add(edit, &remove_ops, s);
}

/* ---- going back to one ----------------------------------------------------------------------- */

typedef struct {
    Node *n;
    char *id;
    void *state;            /* of the driver, while it is under way */
    bool done;              /* it shows the snapshot */
} AppliedImage;

typedef struct {
    GArray *images;         /* of AppliedImage */
    bool *changed;          /* any shows its snapshot */
} ApplyStep;

static AppliedImage *applied_image(const ApplyStep *s, guint i)
{
    return &g_array_index(s->images, AppliedImage, i);
}

static bool apply_check(void *step, GError **err)
{
    const ApplyStep *s = step;

    for (guint i = 0; i < s->images->len; i++)
        if (!node_is_active(applied_image(s, i)->n))
            return err_set(err, EBUSY, "Node '%s' is inactive",
                           node_shown_name(applied_image(s, i)->n));
    return true;
}

/* A later image has failed to switch: which show what. */
static void tell_states(const ApplyStep *s, guint failed, GError **err)
{
    g_autoptr(GString) done = g_string_new(NULL), same = g_string_new(NULL);

    for (guint i = 0; i < s->images->len; i++) {
        const AppliedImage *image = applied_image(s, i);
        GString *list = image->done ? done : same;

        g_string_append_printf(list, "%s'%s'", list->len ? ", " : "", node_filename(image->n));
    }
    err_prefix(err, "'%s': ", node_filename(applied_image(s, failed)->n));
    if (s->images->len > 1 && done->len)
        err_suffix(err, "; the snapshot is shown by %s%s%s", done->str,
                   same->len ? ", unchanged: " : "", same->str);
}

static CO bool switch_images(const ApplyStep *s, GError **err)
{
    for (guint i = 0; i < s->images->len; i++) {
        AppliedImage *image = applied_image(s, i);

        if (!image->n->drv->snapshots->apply(image->n, image->state, &image->done, err)) {
            tell_states(s, i, err);
            return false;
        }
    }
    return true;
}

/* All that needs space comes before the first image is switched by one write of its header. */
static CO bool apply_prepare(void *step, GError **err)
{
    const ApplyStep *s = step;
    bool ok = true;

    for (guint i = 0; i < s->images->len && ok; i++) {
        AppliedImage *image = applied_image(s, i);

        image->state = image->n->drv->snapshots->apply_begin(image->n, image->id, err);
        ok = image->state || err_prefix(err, "'%s': ", node_filename(image->n));
    }
    ok = ok && switch_images(s, err);
    for (guint i = 0; i < s->images->len; i++) {
        AppliedImage *image = applied_image(s, i);

        if (image->state)
            image->n->drv->snapshots->apply_end(image->n, image->state);
        /* The disk may have had another size. There are no bitmaps, so this cannot fail. */
        if (image->done)
            node_size_changed(image->n, NULL);
        *s->changed |= image->done;
    }
    return ok;
}

static CO void apply_free(void *step)
{
    ApplyStep *s = step;

    for (guint i = 0; i < s->images->len; i++) {
        AppliedImage *image = applied_image(s, i);

        node_unref(image->n);
        g_free(image->id);
    }
    g_array_unref(s->images);
    g_free(s);
}

void action_internal_apply(Edit *edit, const NodeSnapshot *images, unsigned count, bool *changed)
{
    static const EditOps ops = {
        .apply = apply_check, .prepare = apply_prepare, .free = apply_free,
    };
    ApplyStep *s = g_new0(ApplyStep, 1);

    s->images = g_array_new(FALSE, FALSE, sizeof(AppliedImage));
    s->changed = changed;
    for (unsigned i = 0; i < count; i++) {
        AppliedImage image = { .n = node_ref(images[i].n), .id = g_strdup(images[i].id) };

        g_array_append_val(s->images, image);
        edit_still(edit, image.n);
    }
    edit_add(edit, &ops, s);
}

CO bool action_internal_snapshot(Edit *edit, const BlockdevSnapshotInternal *args, GError **err)
{
    Node *n = monitor_node_or_device(args->device, args->device, err);
    gint64 now = g_get_real_time();
    Snapshot new = {
        .name = args->name,
        .date_sec = now / G_USEC_PER_SEC,
        .date_nsec = (uint32_t)(now % G_USEC_PER_SEC) * 1000,
        .icount = UINT64_MAX,
    };
    g_autofree Snapshot *list = NULL;
    size_t count;

    if (!n)
        return false;
    for (guint i = 0; i < n->parents->len; i++)
        if (((const Edge *)n->parents->pdata[i])->parent)
            return err_set(err, EBUSY, "Need a root block node");
    if (!node_check_idle(n, err))
        return false;
    if (node_is_read_only(n))
        return err_set(err, EACCES, "Device '%s' is read only", args->device);
    if (!n->drv->snapshots)
        return err_set(err, ENOTSUP, "Block format '%s' used by device '%s' does not support "
                       "internal snapshots", n->drv->name, args->device);
    if (!*args->name)
        return err_set(err, EINVAL, "Name is empty");
    if (n->drv->snapshots->list(n, &list, &count) == 0 &&
        snapshot_find(list, count, NULL, args->name))
        return err_set(err, EEXIST, "Snapshot with name '%s' already exists on device '%s'",
                       args->name, args->device);
    action_internal_add(edit, n, &new);
    return true;
}
