/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/jobs/resume-bitmap.h"
#include "block/internal.h"
#include <inttypes.h>
#include <string.h>

#define MARK ".x-resume-"
enum { TARGET_DIGITS = 32 };

/*
 * What @n is, beside what its children are. A file of this machine may get another name, and after
 * a restart its file system another number; inode and birth stay. A new file has others, where
 * births are kept; where they are not the name counts, too.
 */
static void node_tell(const Node *n, GString *all)
{
    g_autofree char *given = json_dumps(n->given, JSON_SORT_KEYS | JSON_COMPACT);

    if (n->drv->kind == BLK_FORMAT)
        g_string_append_printf(all, "%s %s\n", n->drv->name, given);
    else if (n->drv->kind == BLK_PROTOCOL && n->identity.born_ns)
        g_string_append_printf(all, "inode %" PRIu64 " %" PRId64 "\n", n->identity.inode,
                               n->identity.born_ns);
    else if (n->drv->kind == BLK_PROTOCOL)
        g_string_append_printf(all, "%s %s %" PRIu64 "\n", n->drv->name, node_filename(n),
                               n->identity.inode);
}

/* The name of bitmap @name for @target, of the size that it has; the caller frees. */
static char *name_for(const char *name, const Node *target)
{
    g_autoptr(GString) all = g_string_new(NULL);
    g_autoptr(GPtrArray) nodes = nodes_and_below((Node *const[]){ (Node *)target }, 1);
    g_autofree char *hash = NULL;

    g_string_append_printf(all, "size %" PRIu64 "\n", node_size(target));
    for (guint i = 0; i < nodes->len; i++)
        node_tell(nodes->pdata[i], all);
    hash = g_compute_checksum_for_string(G_CHECKSUM_SHA256, all->str, all->len);
    return g_strdup_printf("%s" MARK "%.*s", name, TARGET_DIGITS, hash);
}

/* Did a mirror make @b under the name @name, for whatever target? */
static bool is_of_a_mirror(const DirtyBitmap *b, const char *name)
{
    size_t len = strlen(name), full = len + strlen(MARK) + TARGET_DIGITS;

    return b->name && strlen(b->name) == full && !strncmp(b->name, name, len) &&
           g_str_has_prefix(b->name + len, MARK);
}

/* True if no bitmap of @source is called @name but those for other mirrors. */
static bool name_is_free(Node *source, const Node *target, const char *name, GError **err)
{
    if (dirty_find(source, name))
        return err_set(err, EEXIST, "Bitmap '%s' was not made by 'x-resume', which needs a name of "
                       "its own", name);
    for (const DirtyBitmap *b = dirty_first(source); b; b = b->next) {
        if (!is_of_a_mirror(b, name))
            continue;
        return err_set(err, EINVAL, "Bitmap '%s' is for another target than '%s', or for one that "
                       "was made anew or resized since: mirror to that target, or remove the "
                       "bitmap to copy the whole image", b->name, node_filename(target));
    }
    return true;
}

static CO DirtyBitmap *bitmap_make(Node *source, const char *full, uint32_t granularity,
                                   GError **err)
{
    DirtyBitmap *b = dirty_add_persistent(source, full, granularity, err);

    if (b)
        hbitmap_set(b->bits, 0, hbitmap_bits(b->bits));
    return b;
}

static bool bitmap_check(const DirtyBitmap *b, GError **err)
{
    if (b->busy)
        return err_set(err, EBUSY, "Bitmap '%s' is currently in use by another operation and "
                       "cannot be used", b->name);
    if (!dirty_check_known(b, err))
        return err_hint(err, "Then the next mirror copies the whole image");
    return (b->persistent && b->enabled) ||
           err_set(err, EINVAL, "Bitmap '%s' is not persistent or does not record, so it does not "
                   "tell what is to be copied", b->name);
}

CO DirtyBitmap *resume_bitmap_take(Node *source, const Node *target, const char *name,
                                   uint32_t granularity, bool *is_new, GError **err)
{
    g_autofree char *full = name_for(name, target);
    DirtyBitmap *b = dirty_find(source, full);

    if (node_is_read_only(source)) {
        err_set(err, EROFS, "'%s' is read-only and cannot keep bitmap '%s'", node_filename(source),
                name);
        return NULL;
    }
    *is_new = !b;
    if (b ? !bitmap_check(b, err) : !name_is_free(source, target, name, err))
        return NULL;
    if (!b)
        b = bitmap_make(source, full, granularity, err);
    if (b)
        b->busy = true;
    return b;
}
