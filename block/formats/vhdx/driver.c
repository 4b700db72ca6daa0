/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The vhdx driver: opening, closing, information, and the table of operations. */
#include "block/formats/vhdx/vhdx.h"
#include "block/formats/mapped.h"
#include "gen/schema.h"
#include <string.h>

static int vhdx_probe(const uint8_t *head, size_t len, const char *filename)
{
    return len >= 8 && !memcmp(head, "vhdxfile", 8) ? 100 : 0;
}

/* ---- opening -------------------------------------------------------------------------------- */

static bool has_log(const Vhdx *v)
{
    return !vhdx_guid_is_zero(&v->header.log);
}

/*
 * What was not finished when the image was in use last is done now, which takes permission to
 * write.
 */
static CO bool log_open(Vhdx *v, OpenFlags flags, GError **err)
{
    if (!has_log(v) || flags & OPEN_NO_IO)
        return true;
    if (flags & OPEN_RDWR) {
        v->was_replayed = vhdx_log_replay(v, err);
        return v->was_replayed;
    }
    err_set(err, EPERM,
            "The image was not closed cleanly: its log has to be replayed, which cannot be "
            "done read-only");
    return err_line(err, "To replay the log, run:\nqemu-img check -r all '%s'",
                    node_filename(edge_node(v->file)));
}

static CO bool open_image(Vhdx *v, OpenFlags flags, GError **err)
{
    uint8_t magic[8] = { 0 };
    int r = edge_pread_buf(v->file, 0, magic, MIN(sizeof(magic), edge_size(v->file)));

    if (r < 0)
        return err_set_errno(err, r, "Could not read the first bytes");
    if (memcmp(magic, "vhdxfile", sizeof(magic)))
        return err_set(err, EINVAL, "This is no VHDX image");
    if (!vhdx_header_load(v, err) || !log_open(v, flags, err) || !vhdx_regions_load(v, err) ||
        !vhdx_metadata_load(v, err))
        return false;
    /* A check writes no more than what the log has. */
    if (v->has_parent && !(flags & OPEN_CHECK) &&
        !node_fall_back_read_only(v->node, "Differencing VHDX images can only be read", err))
        return false;
    node_set_size(v->node, v->size);
    return flags & OPEN_NO_IO || vhdx_bat_load(v, err);
}

static void free_all(Vhdx *v)
{
    g_free(v->bat);
    g_free(v->bat_dirty);
    g_free(v->sectors);
    *v = (Vhdx){ .node = v->node, .file = v->file };
}

static CO bool vhdx_open(Node *n, const json_t *options, OpenFlags flags, GError **err)
{
    Vhdx *v = vhdx_of(n);

    v->node = n;
    v->file = node_open_child(n, "file", NULL, options, ROLE_STORAGE, false, err);
    if (!v->file)
        return false;
    if (open_image(v, node_flags(n), err))
        return true;
    free_all(v);
    return false;
}

static CO void vhdx_close(Node *n)
{
    free_all(vhdx_of(n));
}

static CO int vhdx_flush(Node *n)
{
    Vhdx *v = vhdx_of(n);

    return v->is_dirty ? vhdx_bat_write(v) : 0;
}

static CO bool vhdx_inactivate(Node *n, GError **err)
{
    Vhdx *v = vhdx_of(n);
    int r = vhdx_flush(n);

    if (r == 0)
        r = vhdx_log_close(v);
    return r >= 0 ||
           err_set_errno(err, r, "Not all of the table of '%s' could be written", node_filename(n));
}

static CO bool vhdx_activate(Node *n, GError **err)
{
    Vhdx *v = vhdx_of(n);

    free_all(v);
    if (open_image(v, node_flags(n), err))
        return true;
    free_all(v);
    return false;
}

/* ---- information ---------------------------------------------------------------------------- */

static CO int vhdx_info(Node *n, NodeInfo *info)
{
    Vhdx *v = vhdx_of(n);

    info->cluster_size = v->block;
    info->subcluster_size = VHDX_SECTOR;    /* the file may have holes in blocks */
    info->is_dirty = has_log(v) && !v->log_in_use;
    return 0;
}

/* Opening has checked all there is, and for a repair it has replayed the log. */
static CO int vhdx_check(Node *n, CheckResult *result, CheckFix fix, FILE *out, GError **err)
{
    Vhdx *v = vhdx_of(n);

    result->corruptions_fixed = v->was_replayed;
    v->was_replayed = false;
    return 0;
}

static bool vhdx_has_zero_init(Node *n)
{
    Vhdx *v = vhdx_of(n);

    return !v->keeps_blocks || node_has_zero_init(edge_node(v->file));
}

const BlockDriver block_vhdx = {
    .name = "vhdx",
    .stays = "vhdx",
    .kind = BLK_FORMAT,
    .any_loop = true,
    .state_size = sizeof(Vhdx),
    .reads_backing = true,
    .zero_flags = REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    .probe = vhdx_probe,
    .open = vhdx_open,
    .backing_check = vhdx_backing_check,
    .inactivate = vhdx_inactivate,
    .activate = vhdx_activate,
    .close = vhdx_close,
    .create_opts = create_opts_vhdx,
    .create = vhdx_create,
    .pread = vhdx_pread,
    .reads_through = mapped_reads_through,
    .pwrite = vhdx_pwrite,
    .zero = vhdx_zero,
    .flush = vhdx_flush,
    .extent = vhdx_extent,
    .check = vhdx_check,
    .info = vhdx_info,
    .has_zero_init = vhdx_has_zero_init,
};
