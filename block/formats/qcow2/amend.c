/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changing options of an image that exists. What cannot be done is refused before anything is
 * changed; what is done is done in an order in which each step leaves a valid image: first to the
 * newer version, last to the older.
 */
#include "block/formats/qcow2/crypt.h"
#include "block/formats/qcow2/snapshot-table.h"
#include "block/formats/qcow2/tree.h"
#include <string.h>

typedef struct {
    unsigned version;
    bool lazy, raw;
    unsigned order;          /* of refcounts */
    uint64_t size;
    const char *data_name;   /* NULL: stays */
    bool slots;              /* key slots are to be changed */
} Wanted;

/* ---- what is asked for ---------------------------------------------------------------------- */

static bool check_names(const Qcow2 *q, const json_t *o, GError **err)
{
    const char *file = json_get_str(o, "backing_file", NULL);
    const char *format = json_get_str(o, "backing_fmt", NULL);

    if ((file || format) &&
        (g_strcmp0(file, q->backing_name) || g_strcmp0(format, q->backing_format))) {
        err_set(err, EINVAL, "The backing file is not changed by amending");
        return err_line(err, "You can use 'qemu-img rebase' instead.");
    }
    if (json_has(o, "data_file") && !qcow2_has_data_file(q))
        return err_set(err, EINVAL, "Option 'data_file' is for images that have a data file");
    if (json_get_bool(o, "data_file_raw", false) && !qcow2_is_data_raw(q))
        return err_set(err, EINVAL, "The data file of an existing image cannot become raw");
    return true;
}

static bool read_wanted(const Qcow2 *q, const json_t *o, Wanted *w, GError **err)
{
    uint64_t bits = json_get_int(o, "refcount_bits", qcow2_refcount_bits(q));
    const char *key;
    json_t *v;

    *w = (Wanted){ .version = q->version };
    if (json_has(o, "compat") &&
        !qcow2_version_parse(json_get_str(o, "compat", ""), &w->version, err))
        return false;
    if (!is_power_of_2(bits) || bits > 64)
        return err_set(err, EINVAL, "Option 'refcount_bits' is %" PRIu64 ", not a power of two up "
                       "to 64", bits);
    w->order = __builtin_ctzll(bits);
    w->lazy = json_get_bool(o, "lazy_refcounts",
                            q->compatible & COMPAT_LAZY_REFCOUNTS && w->version > 2);
    w->raw = json_get_bool(o, "data_file_raw", qcow2_is_data_raw(q));
    w->size = round_up(json_get_int(o, "size", q->size), 512);
    w->data_name = json_get_str(o, "data_file", NULL);
    json_object_foreach((json_t *)o, key, v)
        w->slots |= g_str_has_prefix(key, "encrypt.");
    if (w->version < 3 && w->lazy)
        return err_set(err, EINVAL, "Lazy refcounts need compat=1.1");
    if (w->version < 3 && bits != 16)
        return err_set(err, EINVAL, "Refcounts of %" PRIu64 " bits need compat=1.1; give "
                       "refcount_bits=16 too", bits);
    return check_names(q, o, err);
}

/* The incompatible features that version 2 lacks, by their bits. */
static const char *const feature_names[] = { NULL, "a mark that it is corrupt",
                                             "an external data file", "a choice of compression",
                                             "extended L2 entries" };

static bool refuse_features(uint64_t features, GError **err)
{
    g_autoptr(GString) names = g_string_new(NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(feature_names); i++)
        if (features >> i & 1 && feature_names[i])
            g_string_append_printf(names, "%s%s", names->len ? ", " : "", feature_names[i]);
    return err_set(err, ENOTSUP, "The image has what version 2 does not have: %s", names->str);
}

static bool check_downgrade(const Qcow2 *q, const Wanted *w, GError **err)
{
    if (w->version > 2 || q->version < 3)
        return true;
    if (q->incompatible & ~(uint64_t)INCOMPAT_DIRTY)
        return refuse_features(q->incompatible, err);
    if (q->bitmap_count)
        return err_set(err, ENOTSUP, "The image has bitmaps, which version 2 does not have");
    for (uint32_t i = 0; i < q->snapshot_count; i++)
        if (q->snapshots[i].disk_size != w->size)
            return err_set(err, ENOTSUP, "Snapshot '%s' has another size, which version 2 does not "
                           "know", q->snapshots[i].name);
    return true;
}

/* ---- zero clusters, which version 2 does not have ------------------------------------------- */

typedef struct {
    Counts *freed;           /* references that go */
    uint64_t backing_end;    /* below it zeroes must be data, else not mapped is enough */
    uint64_t span;           /* guest bytes after which the L1 table of the next snapshot begins */
} Unzero;

/* Takes up to *@n clusters of zeroes that are referred to @times. */
static CO int zeroes_alloc(Qcow2 *q, uint64_t *n, uint64_t times, uint64_t *host)
{
    int r = qcow2_cluster_alloc(q, n, host);

    if (r < 0)
        return r;
    q->unflushed = true;
    r = qcow2_overlap_check(q, 0, *host, *n << q->cluster_bits);
    if (r >= 0)
        r = edge_zero(q->storage, *host, *n << q->cluster_bits, 0);
    if (r >= 0 && times > 1)
        r = qcow2_refcount_add(q, *host >> q->cluster_bits, *n, (int64_t)times - 1);
    if (r < 0)
        qcow2_cluster_unalloc(q, *host, *n << q->cluster_bits);
    return r;
}

static bool is_zero_entry(const uint8_t *at)
{
    uint64_t desc = be64_at(at);

    return !(desc & ENTRY_COMPRESSED) && desc & ENTRY_ZERO;
}

/* The zero clusters that follow entry @i, itself included. */
static uint64_t zero_run(const Qcow2 *q, const uint8_t *entries, uint64_t i)
{
    uint64_t end = i;

    while (end < UINT64_C(1) << q->l2_bits && is_zero_entry(entries + 8 * end))
        end++;
    return end - i;
}

/* What entry @at maps loses @times references. */
static int entry_release(Qcow2 *q, const Unzero *u, const uint8_t *at, uint64_t times)
{
    uint64_t host = be64_at(at) & ENTRY_OFFSET;

    if (qcow2_within(q, host) || host >> q->cluster_bits >= u->freed->n)
        return -EIO;
    if (host)
        counts_add(u->freed, host >> q->cluster_bits, times);
    return u->freed->failed ? -ENOMEM : 0;
}

/*
 * Takes the flags from the zero clusters of a table, which snapshots may share. What it then refers
 * to is durable before it is written.
 */
static CO int unzero_table(Qcow2 *q, const TreeTable *t, uint8_t *entries, bool *changed, void *arg)
{
    Unzero *u = arg;
    uint64_t times, guest = t->guest % u->span, i = 0;
    bool allocated = false;
    int r = qcow2_refcount_get(q, t->off >> q->cluster_bits, &times);

    while (i < UINT64_C(1) << q->l2_bits && r >= 0) {
        uint64_t n = zero_run(q, entries, i), host = 0;
        uint64_t at = guest + (i << q->cluster_bits);

        if (n && at < u->backing_end) {
            n = MIN(n, div_round_up(u->backing_end - at, q->cluster));
            r = zeroes_alloc(q, &n, times, &host);
            allocated = true;
        }
        for (uint64_t k = 0; k < n && r >= 0; k++) {
            uint64_t to = host ? (host + (k << q->cluster_bits)) | (times == 1 ? ENTRY_COPIED : 0)
                               : 0;

            r = entry_release(q, u, entries + 8 * (i + k), times);
            be64_put(entries + 8 * (i + k), to);
            *changed = true;
        }
        i += MAX(n, 1);
    }
    if (r >= 0 && allocated)
        r = qcow2_commit(q);
    return r >= 0 && allocated ? qcow2_barrier(q) : r;
}

/* The L1 entries of the disk and of all snapshots, each padded to @len. */
static CO GArray *all_l1(Qcow2 *q, uint32_t len, int *r)
{
    g_autoptr(GArray) all = g_array_new(FALSE, TRUE, sizeof(uint64_t));

    *r = 0;
    g_array_append_vals(all, q->l1, q->l1_len);
    for (uint32_t i = 0; i < q->snapshot_count && *r >= 0; i++) {
        g_autofree uint64_t *l1 = tree_l1_read(q, q->snapshots[i].l1_off, q->snapshots[i].l1_len,
                                               r);

        g_array_set_size(all, len * (i + 1));
        if (l1)
            g_array_append_vals(all, l1, q->snapshots[i].l1_len);
    }
    return g_steal_pointer(&all);
}

static CO int unzero_all(Qcow2 *q)
{
    g_auto(Counts) freed = {};
    g_autoptr(GArray) l1 = NULL, tables = NULL;
    Edge *backing = node_edge(q->node, ROLE_BACKING);
    Unzero u = { .freed = &freed, .backing_end = backing ? edge_size(backing) : 0 };
    uint32_t len = MAX(q->l1_len, 1);
    int r;

    if (!counts_init(&freed, div_round_up(edge_size(q->storage), q->cluster)))
        return -ENOMEM;
    for (uint32_t i = 0; i < q->snapshot_count; i++)
        len = MAX(len, q->snapshots[i].l1_len);
    u.span = (uint64_t)len << (q->l2_bits + q->cluster_bits);
    l1 = all_l1(q, len, &r);
    tables = tree_tables(q, (const uint64_t *)l1->data, l1->len);
    if (r >= 0)
        r = tree_walk(q, tables, unzero_table, &u);
    cache_drop_all(&q->l2);
    if (r >= 0)
        r = qcow2_barrier(q);
    return r < 0 ? r : tree_uncount(q, &freed, FREE_OTHER);
}

static CO bool expand_zeroes(Qcow2 *q, GError **err)
{
    int r = qcow2_commit_all(q);

    if (r >= 0)
        r = unzero_all(q);
    return r < 0 ? err_set_errno(err, r, "Could not expand zero clusters") : true;
}

/* ---- steps ---------------------------------------------------------------------------------- */

static CO bool write_head(Qcow2 *q, GError **err)
{
    int r = qcow2_header_write_sync(q);

    return r < 0 ? err_set_errno(err, r, "Could not write the header") : true;
}

static CO bool upgrade(Qcow2 *q, GError **err)
{
    int r = 0;

    /* Version 3 wants more in each entry, which does no harm in version 2. */
    for (uint32_t i = 0; i < q->snapshot_count && r >= 0; i++)
        if (q->snapshots[i].extra_len < 16) {
            r = snapshot_table_write(q);
            break;
        }
    if (r < 0)
        return err_set_errno(err, r, "Could not write the snapshot table");
    q->version = 3;
    q->head_stale = true;
    if (write_head(q, err))
        return true;
    q->version = 2;
    return false;
}

static CO bool downgrade(Qcow2 *q, GError **err)
{
    uint64_t compatible = q->compatible, autoclear = q->autoclear;

    if (!expand_zeroes(q, err))
        return false;
    if (q->incompatible & INCOMPAT_DIRTY) {
        int r = qcow2_write_all(q);

        if (r < 0)
            return err_set_errno(err, r, "Could not write all metadata");
    }
    q->lazy_refcounts = false;
    q->version = 2;
    q->compatible = q->autoclear = 0;
    g_byte_array_set_size(q->unknown_fields, 0);
    q->head_stale = true;
    if (write_head(q, err))
        return true;
    q->version = 3;
    q->compatible = compatible;
    q->autoclear = autoclear;
    return false;
}

static CO bool change_fields(Qcow2 *q, const Wanted *w, GError **err)
{
    /* Counts that are not written yet were made under the other rule. */
    if (w->lazy != q->lazy_refcounts) {
        int r = qcow2_write_all(q);

        if (r < 0)
            return err_set_errno(err, r, "Could not write all refcounts");
    }
    if (w->lazy)
        q->compatible |= COMPAT_LAZY_REFCOUNTS;
    else
        q->compatible &= ~(uint64_t)COMPAT_LAZY_REFCOUNTS;
    q->lazy_refcounts = w->lazy;
    if (!w->raw)
        q->autoclear &= ~(uint64_t)AUTOCLEAR_DATA_RAW;
    if (w->data_name) {
        g_free(q->data_name);
        q->data_name = *w->data_name ? g_strdup(w->data_name) : NULL;
        q->head_stale = true;
    }
    return q->version < 3 || write_head(q, err);
}

static CO bool amend_layout(Qcow2 *q, const Wanted *w, GError **err)
{
    if (w->order != q->refcount_order && !qcow2_refcount_width_change(q, w->order, err))
        return false;
    return change_fields(q, w, err) && (w->version >= q->version || downgrade(q, err));
}

CO bool qcow2_amend(Node *n, json_t *opts, bool force, GError **err)
{
    Qcow2 *q = qcow2_of(n);
    Wanted w;
    bool ok;

    if (!read_wanted(q, opts, &w, err) || !check_downgrade(q, &w, err))
        return false;
    if (w.slots && !qcow2_crypt_amend(q, opts, force, err))
        return false;
    if (w.version > q->version) {    /* first: version 2 cannot do all that follows */
        qcow2_exclusive_begin(q);
        ok = upgrade(q, err);
        qcow2_exclusive_end(q);
        if (!ok)
            return false;
    }
    if (w.size != q->size && !qcow2_resize(n, w.size, false, PREALLOC_OFF, 0, err))
        return false;
    qcow2_exclusive_begin(q);
    ok = amend_layout(q, &w, err);
    qcow2_exclusive_end(q);
    return ok;
}

CO int qcow2_change_backing(Node *n, const char *name, const char *format)
{
    Qcow2 *q = qcow2_of(n);
    char *old_name = q->backing_name, *old_format = q->backing_format;
    bool done = false;
    int r;

    if (name && (strlen(name) > QCOW2_NAME_MAX || qcow2_is_data_raw(q)))
        return -EINVAL;
    q->backing_name = name && *name ? g_strdup(name) : NULL;
    q->backing_format = q->backing_name && format ? g_strdup(format) : NULL;
    q->head_stale = true;
    qcow2_exclusive_begin(q);
    r = qcow2_commit_all(q);
    if (r >= 0)
        r = qcow2_header_switch(q, &done);
    qcow2_exclusive_end(q);
    if (!done) {
        g_free(q->backing_name);
        g_free(q->backing_format);
        q->backing_name = old_name;
        q->backing_format = old_format;
        return r;
    }
    g_free(old_name);
    g_free(old_format);
    node_set_backing_stored(n, q->backing_name, q->backing_format);
    return r;
}
