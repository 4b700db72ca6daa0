/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How large a new image would be. The numbers are those of a file in which everything is allocated:
 * header, L1, all L2 tables, refcounts of it all, encryption header, and the clusters with data.
 */
#include "block/formats/qcow2/crypt.h"
#include "block/formats/qcow2/qcow2.h"
#include <inttypes.h>
#include <string.h>


typedef struct {
    Qcow2 q;                 /* only the geometry */
    Prealloc prealloc;
    CryptCreate crypt;
} Measure;

static void measure_clear(Measure *m)
{
    qcow2_crypt_create_clear(&m->crypt);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Measure, measure_clear)

static bool read_options(Measure *m, const json_t *o, Handle *source, GError **err)
{
    Qcow2 *q = &m->q;

    if (!qcow2_version_parse(json_get_str(o, "compat", "1.1"), &q->version, err) ||
        !qcow2_prealloc_parse(json_get_str(o, "preallocation", "off"), &m->prealloc, err) ||
        !qcow2_geometry_parse(q, o, err) || !qcow2_crypt_create_options(&m->crypt, o, err))
        return false;
    q->size = source ? handle_size(source) : (uint64_t)json_get_int(o, "size", 0);
    if (q->size > INT64_MAX - q->cluster ||
        qcow2_l1_needed(q, q->size) * 8 > QCOW2_L1_BYTES_MAX)
        return err_set(err, EFBIG, "A disk of %" PRIu64 " bytes is too large for clusters of %"
                       PRIu64 " bytes", q->size, q->cluster);
    return true;
}

/* Clusters of refcount blocks and their table, for @others and themselves. */
static uint64_t refcount_clusters(const Qcow2 *q, uint64_t others)
{
    uint64_t blocks = 0, table = 0;

    for (;;) {
        uint64_t need = div_round_up(others + blocks + table, UINT64_C(1) << q->refblock_bits);
        uint64_t need_table = div_round_up(need * 8, q->cluster);

        if (need == blocks && need_table == table)
            return blocks + table;
        blocks = need;
        table = need_table;
    }
}

/* Bytes of a file in which every cluster is allocated. */
static uint64_t full_size(const Qcow2 *q)
{
    uint64_t guest = div_round_up(q->size, q->cluster);
    uint64_t l2 = div_round_up(guest, UINT64_C(1) << q->l2_bits);
    uint64_t others = 1 + div_round_up(l2 * 8, q->cluster) + l2 + guest;

    return (others + refcount_clusters(q, others)) << q->cluster_bits;
}

/* Bytes of clusters that @source has data for, its backing files included. */
static CO bool data_size(const Qcow2 *q, Handle *source, uint64_t *sum, GError **err)
{
    uint64_t size = handle_size(source), off = 0;

    *sum = 0;
    while (off < size) {
        uint64_t start = round_down(off, q->cluster), end;
        Extent e;
        int r = node_extent_above(handle_node(source), NULL, off, MIN(size - off, EXTENT_LEN_MAX),
                                  true, &e, NULL);

        if (r < 0)
            return err_set_errno(err, r, "Could not find out what is at offset %" PRIu64 " of '%s'",
                                 off, node_filename(handle_node(source)));
        end = off + MAX(e.len, 1);
        if (e.flags & EXTENT_DATA && !(e.flags & EXTENT_ZERO)) {
            end = round_up(end, q->cluster);
            *sum += end - start;
        }
        off = end;
    }
    return true;
}

CO bool qcow2_measure(json_t *opts, Handle *source, MeasureResult *result, GError **err)
{
    g_auto(Measure) m = {};
    Qcow2 *q = &m.q;
    uint64_t full, data = 0, guest, luks;
    bool all;

    if (!read_options(&m, opts, source, err))
        return false;
    guest = round_up(q->size, q->cluster);
    full = full_size(q);
    luks = round_up(qcow2_crypt_header_len(&m.crypt), q->cluster);
    all = m.prealloc == PREALLOC_FULL || m.prealloc == PREALLOC_FALLOC ||
          (source && json_has(opts, "backing_file"));
    if (all)
        data = guest;
    else if (source && !data_size(q, source, &data, err))
        return false;
    result->fully_allocated = full + luks;
    result->required = full - guest + data + luks;
    if (source && q->version > 2) {
        Node *n = node_skip_filters(handle_node(source));
        const BitmapOps *ops = node_driver(n)->bitmaps;

        result->bitmaps_known = ops && ops->measure(n, q->cluster, &result->bitmaps);
    }
    return true;
}
