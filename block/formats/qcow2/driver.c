/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The qcow2 driver: opening, closing, reopening, information, and the table of operations. */
#include "block/formats/qcow2/compress.h"
#include "block/formats/qcow2/crypt.h"
#include "block/formats/qcow2/qcow2.h"
#include "gen/schema.h"
#include <string.h>

static int qcow2_probe(const uint8_t *head, size_t len, const char *filename)
{
    return len >= 8 && be32_at(head) == QCOW2_MAGIC && be32_at(head + 4) >= 2 ? 100 : 0;
}

/* ---- opening -------------------------------------------------------------------------------- */

/*
 * The stored name of a data file as options that can only mean a file: whatever it looks like, it
 * is no protocol and no description. Unlike that of a backing file it is relative to the current
 * folder, where it was made.
 */
static json_t *data_file_options(const Qcow2 *q, GError **err)
{
    const BlockDriver *d = driver_for_filename(q->data_name, false, err);
    json_t *child, *o;

    if (!d)
        return NULL;
    child = json_object();
    json_put_str(child, "driver", d->name);
    json_put_str(child, "filename", q->data_name);
    o = json_object();
    json_put(o, "data-file", child);
    return o;
}

/* @again: the image is being activated. */
static CO bool open_data_file(Qcow2 *q, const json_t *options, OpenFlags flags, bool again,
                              GError **err)
{
    g_autoptr(json_t) stored = NULL;
    bool given = json_has(options, "data-file");
    Edge *open = node_edge(q->node, ROLE_DATA);

    if (flags & OPEN_NO_IO)
        return true;
    if (!qcow2_has_data_file(q))
        return !given ||
               err_set(err, EINVAL, "Option 'data-file' is given, but the image has none");
    if (open) {
        q->data = open;    /* activated again */
        return true;
    }
    if (again)
        return err_set(err, EINVAL, "The image has got a data file while it was inactive");
    if (!given && !q->data_name)
        return err_set(err, EINVAL, "The image needs the option 'data-file'");
    if (!given && flags & OPEN_UNTRUSTED)
        return err_set(err, EPERM, "The image wants the data file '%s', which was not named",
                       q->data_name);
    if (!given) {
        stored = data_file_options(q, err);
        if (!stored)
            return false;
    }
    q->data = node_open_child(q->node, "data-file", NULL, given ? options : stored, ROLE_DATA,
                              false, err);
    return q->data;
}

/* Everything but the file itself, which is open. */
static CO bool open_image(Qcow2 *q, const json_t *options, OpenFlags flags, bool again,
                          GError **err)
{
    if (!qcow2_header_read(q, flags, err))
        return false;
    node_set_size(q->node, q->size);
    node_set_backing_stored(q->node, q->backing_name, q->backing_format);
    if (!qcow2_options_read(q, options, flags, err) || !qcow2_caches_make(q, err) ||
        !open_data_file(q, options, flags, again, err) || !qcow2_crypt_open(q, options, flags, err))
        return false;
    if (!qcow2_snapshots_open(q, flags, err))
        return false;
    if (!(flags & OPEN_NO_IO) && !qcow2_map_open(q, flags, err))
        return false;
    q->was_writable = qcow2_is_writable(q);
    return qcow2_bitmaps_open(q, flags, err) &&
           (!q->was_writable || qcow2_open_for_writing(q, flags, err));
}

static CO void free_all(Qcow2 *q)
{
    qcow2_trim_stop(q);
    qcow2_bitmaps_free(q);
    qcow2_snapshots_free(q);
    qcow2_crypt_close(q);
    qcow2_compress_close(q);
    qcow2_overlap_free(q);
    qcow2_refcount_close(q);
    qcow2_map_close(q);
    qcow2_frees_free(q);
    qcow2_header_free(q);
}

static CO bool qcow2_open(Node *n, const json_t *options, OpenFlags flags, GError **err)
{
    Qcow2 *q = qcow2_of(n);

    q->node = n;
    q->storage = q->data = node_open_child(n, "file", NULL, options, ROLE_STORAGE, false, err);
    if (!q->storage)
        return false;
    if (open_image(q, options, flags, false, err))
        return true;
    free_all(q);
    return false;
}

/* Nothing of what is in memory counts any more: the image is opened anew on the same files. */
static CO bool qcow2_activate(Node *n, GError **err)
{
    Qcow2 *q = qcow2_of(n);
    Edge *storage = q->storage;

    free_all(q);
    *q = (Qcow2){ .node = n, .storage = storage, .data = storage };
    if (open_image(q, node_options(n), node_flags(n), true, err))
        return true;
    free_all(q);
    *q = (Qcow2){ .node = n, .storage = storage, .data = storage, .is_corrupt = true };
    return false;
}

static CO bool qcow2_inactivate(Node *n, GError **err)
{
    Qcow2 *q = qcow2_of(n);
    bool ok = true;
    int r;

    if (q->is_corrupt)
        return true;    /* that was told */
    q->lazy_refcounts = false;
    ok = qcow2_bitmaps_store(q, err);
    if (!ok)
        err_prefix(err, "The bitmaps of '%s' could not be stored: ", node_filename(n));
    r = qcow2_write_all(q);
    if (r < 0 && ok)
        ok = err_set_errno(err, r, "Not all metadata of '%s' could be written", node_filename(n));
    return ok;
}

/*
 * An image whose bitmaps say that they are up to date must not be written, or the next incremental
 * backup would miss what was.
 */
static CO void qcow2_resume(Node *n)
{
    Qcow2 *q = qcow2_of(n);
    g_autoptr(GError) err = NULL;

    q->lazy_refcounts = json_get_bool(node_options(n), "lazy-refcounts",
                                      q->compatible & COMPAT_LAZY_REFCOUNTS);
    if (q->is_corrupt || qcow2_bitmaps_open_for_writing(q, &err))
        return;
    block_warn("Image '%s' takes no more writes: %s", node_filename(n), err->message);
    q->is_corrupt = true;
}

static CO void qcow2_close(Node *n)
{
    free_all(qcow2_of(n));
}

static void qcow2_refresh_limits(Node *n)
{
    Qcow2 *q = qcow2_of(n);
    Limits *l = node_limits(n);

    if (q->crypt_method)
        l->request_alignment = 512;
    l->zero_alignment = 1u << q->sub_bits;
    l->discard_alignment = q->cluster;
}

/* ---- writing -------------------------------------------------------------------------------- */

static CO int qcow2_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    Qcow2 *q = qcow2_of(n);
    unsigned pin;
    int r;

    r = qcow2_enter(q, &pin);
    if (r < 0)
        return r;
    if (flags & REQ_COMPRESSED)
        r = qcow2_compressed_write(q, off, buf);
    else
        r = qcow2_write(q, off, buf);
    qcow2_leave(q, pin);
    qcow2_reclaim_some(q);
    return r;
}

/* ---- information ---------------------------------------------------------------------------- */

static CO int qcow2_info(Node *n, NodeInfo *info)
{
    Qcow2 *q = qcow2_of(n);

    info->cluster_size = q->cluster;
    info->subcluster_size = UINT64_C(1) << q->sub_bits;
    info->vm_state_offset = qcow2_vmstate_offset(q);
    info->expansion = qcow2_expansion(q);
    info->is_dirty = q->incompatible & INCOMPAT_DIRTY;
    return 0;
}

static CO json_t *qcow2_info_specific(Node *n, GError **err)
{
    Qcow2 *q = qcow2_of(n);
    json_t *data = json_object(), *all = json_object();
    json_t *encrypt = qcow2_crypt_info(q);

    json_put_str(data, "compat", q->version < 3 ? "0.10" : "1.1");
    json_put_str(data, "compression-type", q->compression == QCOW2_ZSTD ? "zstd" : "zlib");
    if (q->version > 2)
        json_put_bool(data, "lazy-refcounts", q->compatible & COMPAT_LAZY_REFCOUNTS);
    json_put_int(data, "refcount-bits", qcow2_refcount_bits(q));
    if (q->version > 2) {
        json_put_bool(data, "corrupt", q->incompatible & INCOMPAT_CORRUPT);
        json_put_bool(data, "extended-l2", q->subs > 1);
        if (q->data_name)
            json_put_str(data, "data-file", q->data_name);
        if (qcow2_has_data_file(q))
            json_put_bool(data, "data-file-raw", qcow2_is_data_raw(q));
        if (!qcow2_bitmaps_info(q, data, err)) {
            json_decref(data);
            json_decref(all);
            json_decref(encrypt);
            return NULL;
        }
    }
    if (encrypt)
        json_put(data, "encrypt", encrypt);
    json_put_str(all, "type", "qcow2");
    json_put(all, "data", data);
    return all;
}

static bool qcow2_has_zero_init(Node *n)
{
    Qcow2 *q = qcow2_of(n);
    bool is_mapped = false;

    if (!q->l1 && q->l1_len)
        return false;   /* opened without I/O: the table was not read */
    for (uint32_t i = 0; i < q->l1_len && !is_mapped; i++)
        is_mapped = q->l1[i] & ENTRY_OFFSET;
    /* A raw data file shows what it has without the map. */
    if (!is_mapped && !qcow2_is_data_raw(q))
        return true;
    /* Preallocated clusters show what is below: with encryption, garbage. */
    return !q->crypt_method && node_has_zero_init(edge_node(q->data));
}

static const char *const strong_options[] = {
    "encrypt.key-secret", NULL
};

/* Two of the sizes make up the third. */
static const char *const qcow2_superseded_options[][2] = {
    { "cache-size", "l2-cache-size" },
    { "cache-size", "refcount-cache-size" },
    { "l2-cache-size", "cache-size" },
    { "refcount-cache-size", "cache-size" },
    {},
};

const BlockDriver block_qcow2 = {
    .name = "qcow2",
    .kind = BLK_FORMAT,
    .any_loop = true,
    .state_size = sizeof(Qcow2),
    .takes_backing = true,
    .is_compressing = true,
    .zero_flags = REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    .strong_options = strong_options,
    .probe = qcow2_probe,
    .open = qcow2_open,
    .inactivate = qcow2_inactivate,
    .resume = qcow2_resume,
    .activate = qcow2_activate,
    .close = qcow2_close,
    .leave_loop = qcow2_leave_loop,
    .superseded_options = qcow2_superseded_options,
    .reconfigure_prepare = qcow2_reconfigure_prepare,
    .reconfigure_commit = qcow2_reconfigure_commit,
    .reconfigure_abort = qcow2_reconfigure_abort,
    .create_opts = create_opts_qcow2,
    .create = qcow2_create,
    .create_ahead = qcow2_create_ahead,
    .amend_opts = amend_opts_qcow2,
    .amend = qcow2_amend,
    .pread = qcow2_pread,
    .reads_through = qcow2_reads_through,
    .pwrite = qcow2_pwrite,
    .zero = qcow2_zero,
    .discard = qcow2_discard,
    .flush = qcow2_flush,
    .extent = qcow2_extent,
    .resize = qcow2_resize,
    .change_backing = qcow2_change_backing,
    .make_empty = qcow2_make_empty,
    .compact = qcow2_compact,
    .info = qcow2_info,
    .info_specific = qcow2_info_specific,
    .missing_end = qcow2_missing_end,
    .check = qcow2_check,
    .measure = qcow2_measure,
    .has_zero_init = qcow2_has_zero_init,
    .refresh_limits = qcow2_refresh_limits,
    .bitmaps = &qcow2_bitmap_ops,
    .snapshots = &qcow2_snapshot_ops,
    .vmstate_pread = qcow2_vmstate_pread,
    .vmstate_pwrite = qcow2_vmstate_pwrite,
};
