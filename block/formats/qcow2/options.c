/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options of an open image: sizes of the caches, what is passed down of discards, overlap checks,
 * lazy refcounts.
 */
#include "block/formats/qcow2/crypt.h"
#include "block/formats/qcow2/qcow2.h"
#include "io/loop.h"
#include <string.h>

enum {
    L2_BYTES_DEFAULT = 32 << 20,
    L2_PART_DEFAULT = 4 << 10,      /* when the cache cannot hold all tables */
    L2_PART_WHOLE_MAX = 64 << 10,   /* when it can */
    L2_PARTS_MIN = 2,
    REFBLOCKS_MIN = 4,
    TRIM_SECONDS_DEFAULT = 600,
};

/* ---- overlap checks ------------------------------------------------------------------------- */

static bool overlap_template(const char *name, unsigned *mask, GError **err)
{
    static const struct {
        const char *name;
        unsigned mask;
    } templates[] = {
        { "none", 0 },
        { "constant", OVERLAP_CONSTANT },
        { "cached", OVERLAP_CACHED },
        { "all", OVERLAP_ALL },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(templates); i++)
        if (!strcmp(name, templates[i].name)) {
            *mask = templates[i].mask;
            return true;
        }
    return err_set(err, EINVAL, "Option 'overlap-check' is 'none', 'constant', 'cached' or 'all', "
                   "not '%s'", name);
}

static bool overlap_read(Qcow2 *q, const json_t *v, GError **err)
{
    static const struct {
        const char *name;
        OverlapKind kind;
    } kinds[] = {
        { "main-header", OVERLAP_HEADER },   { "active-l1", OVERLAP_L1 },
        { "active-l2", OVERLAP_L2 },         { "refcount-table", OVERLAP_REFTABLE },
        { "refcount-block", OVERLAP_REFBLOCK }, { "snapshot-table", OVERLAP_SNAPSHOTS },
        { "inactive-l1", OVERLAP_INACTIVE_L1 }, { "inactive-l2", OVERLAP_INACTIVE_L2 },
        { "bitmap-directory", OVERLAP_BITMAPS },
    };
    const char *template = json_is_string(v) ? json_string_value(v)
                                             : json_get_str(v, "template", "cached");

    if (!overlap_template(template, &q->overlap_mask, err))
        return false;
    if (!json_is_object(v))
        return true;
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        bool on = json_get_bool(v, kinds[i].name, q->overlap_mask & kinds[i].kind);

        q->overlap_mask = on ? q->overlap_mask | kinds[i].kind : q->overlap_mask & ~kinds[i].kind;
    }
    return true;
}

/* ---- caches --------------------------------------------------------------------------------- */

/* Bytes of all L2 tables of the disk. */
static uint64_t l2_bytes_all(const Qcow2 *q)
{
    return qcow2_l1_needed(q, MAX(q->size, 1)) * q->cluster;
}

static bool cache_sizes_split(Qcow2 *q, const json_t *o, GError **err)
{
    bool both = json_has(o, "cache-size"), l2 = json_has(o, "l2-cache-size"),
         ref = json_has(o, "refcount-cache-size");
    uint64_t total = json_get_int(o, "cache-size", 0), ref_min = REFBLOCKS_MIN * q->cluster;
    uint64_t needed = l2_bytes_all(q);

    q->l2_cache_bytes = json_get_int(o, "l2-cache-size", L2_BYTES_DEFAULT);
    q->refcount_cache_bytes = json_get_int(o, "refcount-cache-size", ref_min);
    if (both && l2 && ref)
        return err_set(err, EINVAL, "Only two of the options 'cache-size', 'l2-cache-size' and "
                       "'refcount-cache-size' can be given");
    if (both && l2 && q->l2_cache_bytes > total)
        return err_set(err, EINVAL, "Option 'l2-cache-size' is %" PRIu64 ", more than 'cache-size'",
                       q->l2_cache_bytes);
    if (both && ref && q->refcount_cache_bytes > total)
        return err_set(err, EINVAL, "Option 'refcount-cache-size' is %" PRIu64
                       ", more than 'cache-size'", q->refcount_cache_bytes);
    if (both && l2)
        q->refcount_cache_bytes = total - q->l2_cache_bytes;
    else if (both && ref)
        q->l2_cache_bytes = total - q->refcount_cache_bytes;
    else if (both)
        q->l2_cache_bytes = MIN(needed, total > ref_min ? total - ref_min : total);
    if (both && !l2 && !ref)
        q->refcount_cache_bytes = total - q->l2_cache_bytes;
    q->l2_cache_bytes = MIN(q->l2_cache_bytes, needed);
    return true;
}

static bool cache_options_read(Qcow2 *q, const json_t *o, GError **err)
{
    uint64_t part, seconds;

    if (!cache_sizes_split(q, o, err))
        return false;
    part = q->l2_cache_bytes >= l2_bytes_all(q) ? L2_PART_WHOLE_MAX : L2_PART_DEFAULT;
    part = json_get_int(o, "l2-cache-entry-size", MIN(part, q->cluster));
    if (part < 512 || part > q->cluster || !is_power_of_2(part))
        return err_set(err, EINVAL, "Option 'l2-cache-entry-size' is %" PRIu64
                       ", not a power of two from 512 to the size of a cluster, %" PRIu64, part,
                       q->cluster);
    q->l2_part = part;
    if (q->l2_cache_bytes / part > INT32_MAX || q->refcount_cache_bytes / q->cluster > INT32_MAX)
        return err_set(err, EINVAL, "The sizes of the caches, %" PRIu64 " and %" PRIu64
                       ", are too large", q->l2_cache_bytes, q->refcount_cache_bytes);
    seconds = (uint64_t)json_get_int(o, "cache-clean-interval", TRIM_SECONDS_DEFAULT);
    if (seconds > UINT32_MAX)
        return err_set(err, EINVAL,
                       "Option 'cache-clean-interval' is %" PRIu64 " seconds, more than %u",
                       seconds, UINT32_MAX);
    q->trim_interval_ns = seconds * UINT64_C(1000000000);
    return true;
}

bool qcow2_caches_make(Qcow2 *q, GError **err)
{
    uint32_t parts = MAX(q->l2_cache_bytes / q->l2_part, L2_PARTS_MIN);
    uint32_t blocks = MAX(q->refcount_cache_bytes / q->cluster, REFBLOCKS_MIN);

    if (!cache_init(&q->l2, q->storage, q->l2_part, parts) ||
        !cache_init(&q->refblocks, q->storage, q->cluster, blocks))
        return err_set(err, ENOMEM, "No memory for caches of %" PRIu64 " and %" PRIu64 " bytes",
                       q->l2_cache_bytes, q->refcount_cache_bytes);
    q->slice_bits = __builtin_ctz(q->l2_part) - q->entry_bits;
    q->l2.load_event = EV_L2_LOAD;
    q->l2.clean = qcow2_clean_l2;
    q->l2.owner = q;
    q->refblocks.load_event = EV_REFBLOCK_LOAD;
    q->refblocks.clean = qcow2_clean_refblocks;
    q->refblocks.owner = q;
    return true;
}

bool qcow2_options_read(Qcow2 *q, const json_t *o, OpenFlags flags, GError **err)
{
    q->lazy_refcounts = json_get_bool(o, "lazy-refcounts", q->compatible & COMPAT_LAZY_REFCOUNTS);
    if (q->lazy_refcounts && q->version < 3)
        return err_set(err, EINVAL, "Lazy refcounts need an image of version 3");
    q->pass_discard[FREE_REQUEST] = json_get_bool(o, "pass-discard-request", flags & OPEN_UNMAP);
    q->pass_discard[FREE_SNAPSHOT] = json_get_bool(o, "pass-discard-snapshot", true);
    q->pass_discard[FREE_OTHER] = json_get_bool(o, "pass-discard-other", false);
    q->pass_discard[FREE_ALWAYS] = true;
    q->discard_no_unref = json_get_bool(o, "discard-no-unref", false);
    if (q->discard_no_unref && q->version < 3)
        return err_set(err, EINVAL, "Option 'discard-no-unref' needs an image of version 3");
    if (!qcow2_crypt_check_options(q, o, err))
        return false;
    return overlap_read(q, json_get(o, "overlap-check"), err) && cache_options_read(q, o, err);
}
