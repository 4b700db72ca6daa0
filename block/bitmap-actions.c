/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changes of dirty bitmaps as steps of edits. Messages are those of the reference, which clients
 * see.
 */
#include "block/actions.h"
#include "block/internal.h"
#include <inttypes.h>
#include <string.h>

enum { BITMAP_NAME_MAX = 1023, GRANULARITY_MIN = 512 };

/* The node that a bitmap's command names, still during @edit. NULL with @err. */
static Node *bitmap_node(Edit *edit, const char *name, GError **err)
{
    Node *n = node_find(name);

    if (n)
        edit_still(edit, n);
    else
        err_set(err, ENOENT, "Node '%s' not found", name);
    return n;
}

/* A bitmap of @n that nobody else uses. NULL with @err. */
static DirtyBitmap *bitmap_find(Node *n, const char *name, GError **err)
{
    DirtyBitmap *b = dirty_find(n, name);

    if (!b)
        err_set(err, ENOENT, "Dirty bitmap '%s' not found", name);
    else if (b->busy)
        err_set(err, EBUSY, "Bitmap '%s' is currently in use by another operation and cannot be "
                "used", name);
    else
        return b;
    return NULL;
}

/* The same for one whose bits are known. */
static DirtyBitmap *bitmap_known(Node *n, const char *name, GError **err)
{
    DirtyBitmap *b = bitmap_find(n, name, err);

    return b && dirty_check_known(b, err) ? b : NULL;
}

/* The same for one whose bits may be changed. */
static DirtyBitmap *bitmap_to_change(Node *n, const char *name, GError **err)
{
    DirtyBitmap *b = bitmap_known(n, name, err);

    if (!b || !b->persistent || !node_is_read_only(n))
        return b;
    err_set(err, EACCES, "Bitmap '%s' is readonly and cannot be modified", name);
    return NULL;
}

/* A bitmap that a step is about. */
typedef struct {
    Node *n;
    char *name;
    uint32_t granularity;
    bool persistent, on;    /* on: records, of one to be added or switched */
    bool was_on;
    json_t *sources;        /* of a merge */
    DirtyBitmap *b;         /* while applied */
    HBitmap *bits;          /* while applied: what it had */
} BitmapStep;

static CO void bitmap_step_free(void *step)
{
    BitmapStep *s = step;

    json_decref(s->sources);
    hbitmap_free(s->bits);
    g_free(s->name);
    g_free(s);
}

static BitmapStep *bitmap_step(Edit *edit, const EditOps *ops, const char *node, const char *name,
                               GError **err)
{
    Node *n = bitmap_node(edit, node, err);
    BitmapStep *s;

    if (!n)
        return NULL;
    s = g_new0(BitmapStep, 1);
    s->n = n;
    s->name = g_strdup(name);
    edit_add(edit, ops, s);
    return s;
}

/* ---- adding ---------------------------------------------------------------------------------- */

static bool add_apply(void *step, GError **err)
{
    BitmapStep *s = step;

    if (dirty_find(s->n, s->name))
        return err_set(err, EEXIST, "Bitmap already exists: %s", s->name);
    s->b = dirty_add(s->n, s->name, s->granularity, err);
    if (!s->b)
        return false;
    s->b->persistent = s->persistent;
    s->b->enabled = s->on;
    return true;
}

static CO void add_undo(void *step)
{
    BitmapStep *s = step;

    dirty_remove(s->n, s->b);
}

static const EditOps add_ops = { .apply = add_apply, .undo = add_undo, .free = bitmap_step_free };

CO bool action_bitmap_add(Edit *edit, const BlockDirtyBitmapAdd *args, GError **err)
{
    Node *n = node_find(args->node);
    uint32_t granularity = args->granularity;
    BitmapStep *s;

    if (!n)
        return err_set(err, ENOENT, "Cannot find device='%s' nor node-name='%s'", args->node,
                       args->node);
    if (args->has_granularity && (granularity < GRANULARITY_MIN || !is_power_of_2(granularity)))
        return err_set(err, EINVAL, "Granularity must be power of 2 and at least 512");
    if (!*args->name)
        return err_set(err, EINVAL, "Bitmap name cannot be empty");
    if (strlen(args->name) > BITMAP_NAME_MAX)
        return err_set(err, EINVAL, "Bitmap name too long: %s", args->name);
    if (dirty_find(n, args->name))
        return err_set(err, EEXIST, "Bitmap already exists: %s", args->name);
    if (!args->has_granularity)
        granularity = dirty_default_granularity(n);
    if (args->persistent && !dirty_can_store(n, args->name, granularity, err))
        return err_prefix(err, "Can't store persistent bitmaps to %s: ", args->node);
    s = bitmap_step(edit, &add_ops, args->node, args->name, err);
    s->granularity = granularity;
    s->persistent = args->persistent;
    s->on = !args->disabled;
    return true;
}

/* ---- removing -------------------------------------------------------------------------------- */

static bool remove_apply(void *step, GError **err)
{
    BitmapStep *s = step;

    s->b = bitmap_find(s->n, s->name, err);
    if (s->b)
        s->b->busy = true;  /* nothing else is done to it in this edit */
    return s->b;
}

static CO void remove_undo(void *step)
{
    ((BitmapStep *)step)->b->busy = false;
}

static CO bool remove_prepare(void *step, GError **err)
{
    BitmapStep *s = step;

    return !s->b->persistent || !node_is_read_only(s->n) ||
           err_set(err, EACCES, "Bitmap '%s' is readonly and cannot be modified", s->name);
}

/* One that is left behind in the file is marked as in use there, which nobody takes for right. */
static CO void remove_settle(void *step)
{
    BitmapStep *s = step;
    g_autoptr(GError) err = NULL;

    if (dirty_delete(s->n, s->b, &err))
        return;
    block_warn("%s", err->message);
    dirty_remove(s->n, s->b);
}

static const EditOps remove_ops = {
    .apply = remove_apply,
    .undo = remove_undo,
    .prepare = remove_prepare,
    .settle = remove_settle,
    .free = bitmap_step_free,
};

bool action_bitmap_remove(Edit *edit, const BlockDirtyBitmap *args, GError **err)
{
    return bitmap_step(edit, &remove_ops, args->node, args->name, err);
}

/* ---- clearing and merging -------------------------------------------------------------------- */

static CO void bits_undo(void *step)
{
    BitmapStep *s = step;
    HBitmap *bits = s->b->bits;

    s->b->bits = s->bits;
    s->bits = bits;
}

/* Gives the bitmap other bits: none for now. */
static bool bits_exchange(BitmapStep *s, GError **err)
{
    HBitmap *bits;

    s->b = bitmap_to_change(s->n, s->name, err);
    if (!s->b)
        return false;
    bits = hbitmap_try_new(hbitmap_bits(s->b->bits));
    if (!bits)
        return err_set(err, ENOMEM, "No memory for bitmap '%s'", s->name);
    s->bits = s->b->bits;
    s->b->bits = bits;
    return true;
}

static bool clear_apply(void *step, GError **err)
{
    return bits_exchange(step, err);
}

static const EditOps clear_ops = { .apply = clear_apply,
                                   .undo = bits_undo,
                                   .free = bitmap_step_free };

bool action_bitmap_clear(Edit *edit, const BlockDirtyBitmap *args, GError **err)
{
    return bitmap_step(edit, &clear_ops, args->node, args->name, err);
}

/* One source of a merge: a name, or a node and a name. */
static bool merge_one(BitmapStep *s, const json_t *v, GError **err)
{
    Node *n = s->n;
    const char *name = json_string_value(v), *node = json_get_str(v, "node", "");
    const DirtyBitmap *from;

    if (!name) {
        name = json_get_str(v, "name", "");
        n = node_find(node);
        if (!n)
            return err_set(err, ENOENT, "Node '%s' not found", node);
    }
    from = dirty_find(n, name);
    if (!from)
        return err_set(err, ENOENT, "Dirty bitmap '%s' not found", name);
    /* In its place there are other bits for now. */
    if (from == s->b)
        return true;
    if (!dirty_check_known(from, err))
        return false;
    if (from->size != s->b->size)
        return err_set(err, EINVAL, "Bitmaps are of different sizes (destination size is %" PRIu64
                       ", source size is %" PRIu64 ") and can't be merged", s->b->size, from->size);
    dirty_bits_merge(s->b->bits, s->b->granularity, from->bits, from->granularity, from->size);
    return true;
}

static bool merge_apply(void *step, GError **err)
{
    BitmapStep *s = step;
    json_t *v;
    size_t i;

    if (!bits_exchange(s, err))
        return false;
    hbitmap_merge(s->b->bits, s->bits);
    json_array_foreach(s->sources, i, v)
        if (!merge_one(s, v, err)) {
            bits_undo(s);
            return false;
        }
    return true;
}

static const EditOps merge_ops = { .apply = merge_apply,
                                   .undo = bits_undo,
                                   .free = bitmap_step_free };

bool action_bitmap_merge(Edit *edit, const BlockDirtyBitmapMerge *args, GError **err)
{
    BitmapStep *s = bitmap_step(edit, &merge_ops, args->node, args->target, err);

    if (s)
        s->sources = json_incref(args->bitmaps);
    return s;
}

/* ---- switching ------------------------------------------------------------------------------- */

static bool switch_apply(void *step, GError **err)
{
    BitmapStep *s = step;

    s->b = bitmap_known(s->n, s->name, err);
    if (!s->b)
        return false;
    s->was_on = s->b->enabled;
    s->b->enabled = s->on;
    return true;
}

static CO void switch_undo(void *step)
{
    const BitmapStep *s = step;

    s->b->enabled = s->was_on;
}

static const EditOps switch_ops = {
    .apply = switch_apply,
    .undo = switch_undo,
    .free = bitmap_step_free,
};

bool action_bitmap_set_enabled(Edit *edit, const BlockDirtyBitmap *args, bool on, GError **err)
{
    BitmapStep *s = bitmap_step(edit, &switch_ops, args->node, args->name, err);

    if (s)
        s->on = on;
    return s;
}
