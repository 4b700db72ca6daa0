/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counting references.
 *
 * All L1 tables are read first. The L2 tables they name, each once however many L1 entries share
 * it, are sorted by their place in the file and read from front to back; a table that is used n
 * times counts n times. So the work is bounded by the size of the file and not by what it claims.
 *
 * Every walk over findings is made twice: silently, to count, and, if anything was found, again in
 * the order of the disk, to tell.
 */
#include "block/formats/qcow2/bitmap-directory.h"
#include "block/formats/qcow2/check.h"
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

enum {
    READ_MAX = 2 << 20,
    UNALIGNED_TABLES_MAX = 64,   /* that are looked into; what they hold is noise anyway */
};

/* One walk. */
typedef struct {
    Check *c;
    bool tell;               /* print, do not count */
    bool old;                /* refcounts themselves, which a rebuild leaves behind */
    Counts *into;             /* count references here, say nothing; NULL: to c->refs */
    uint32_t times;          /* what is found counts so often */
} Walk;

static void finding(const Walk *w, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
static void finding(const Walk *w, const char *fmt, ...)
{
    va_list ap;

    if (w->into)
        return;
    if (!w->tell) {
        w->c->result->corruptions += w->times;
        return;
    }
    va_start(ap, fmt);
    check_tell_va(w->c, fmt, ap);
    va_end(ap);
}

/* Notes which clusters behind the end of the file [@off, @end) refers to. */
static void far_region(const Walk *w, uint64_t off, uint64_t end)
{
    Check *c = w->c;
    uint64_t first = c->clusters, bits = c->q->cluster_bits;
    uint64_t stop = MIN(div_round_up(end, c->q->cluster), first + c->far.n);

    for (uint64_t i = MAX(off >> bits, first); i < stop && !w->tell && !w->old && !w->into; i++)
        counts_add(&c->far, i - first, w->times);
}

/* A reference to [@off, @off + @len) of the file. False: it reaches too far. */
static bool region(const Walk *w, uint64_t off, uint64_t len)
{
    Check *c = w->c;
    uint64_t end, bits = c->q->cluster_bits;

    if (!len)
        return true;
    if (!size_add(off, len, &end) || (end > c->file_len && end - c->file_len >= c->q->cluster)) {
        if (end > off)
            far_region(w, off, end);
        finding(w, "ERROR: counting reference for region exceeding the end of the file by one "
                "cluster or more: offset 0x%" PRIx64 " size 0x%" PRIx64 "\n", off, len);
        return false;
    }
    for (uint64_t i = off >> bits; i <= (end - 1) >> bits && !w->tell; i++)
        counts_add(w->into ? w->into : &c->refs, i, w->times);
    return true;
}

bool check_region(Check *c, uint64_t off, uint64_t len)
{
    Walk count = { .c = c, .times = 1, .old = true };
    Walk tell = { .c = c, .times = 1, .tell = true };

    return region(&count, off, len) || region(&tell, off, len);
}

/* ---- L2 tables ------------------------------------------------------------------------------ */

/* Gathers how guest clusters lie in the file. */
typedef struct {
    uint64_t next;           /* where the next one would have to be; 0: anywhere */
    uint64_t allocated, fragmented, compressed;
} Layout;

static void layout_add(Layout *l, uint64_t off, uint64_t cluster)
{
    l->allocated++;
    if (l->next && l->next != off)
        l->fragmented++;
    l->next = off + cluster;
}

static void compressed_entry(const Walk *w, unsigned i, uint64_t desc, uint64_t bits, Layout *l)
{
    Qcow2 *q = w->c->q;
    unsigned shift = 62 - (q->cluster_bits - 8);
    uint64_t off = desc & ((UINT64_C(1) << shift) - 1);
    uint64_t sectors = (desc >> shift & ((UINT64_C(1) << (62 - shift)) - 1)) + 1;

    if (desc & ENTRY_COPIED)
        finding(w, "ERROR: coffset=0x%" PRIx64 ": copied flag must never be set for compressed "
                "clusters\n", off);
    if (qcow2_has_data_file(q)) {
        finding(w, "ERROR compressed cluster %u with data file, entry=0x%" PRIx64 "\n", i, desc);
        return;
    }
    if (bits) {
        finding(w, "ERROR compressed cluster %u with non-zero subcluster allocation bitmap, "
                "entry=0x%" PRIx64 "\n", i, desc);
        return;
    }
    l->allocated++;
    l->compressed++;
    l->fragmented++;
    region(w, off, sectors * 512 - (off & 511));
}

/* True if the entry of a zero cluster with a host cluster is to be written without one. */
static bool standard_entry(const Walk *w, uint64_t desc, uint64_t bits, Layout *l)
{
    Qcow2 *q = w->c->q;
    uint64_t off = desc & ENTRY_OFFSET;
    bool is_zero = q->subs > 1 ? !(uint32_t)bits : desc & ENTRY_ZERO;
    bool drop = false;

    if (desc & L2_RESERVED)
        finding(w, "ERROR found l2 entry with reserved bits set: %" PRIx64 "\n", desc);
    if (!off && !(qcow2_has_data_file(q) && desc & ENTRY_COPIED)) {
        if (q->subs > 1 && (uint32_t)bits)
            finding(w, "ERROR: Unallocated cluster has non-zero subcluster allocation map\n");
        return false;
    }
    if (q->subs > 1 && (uint32_t)bits & bits >> 32)
        finding(w, "ERROR offset=%" PRIx64 ": Allocated cluster has corrupted subcluster "
                "allocation bitmap\n", off);
    if (qcow2_within(q, off)) {
        drop = is_zero && w->c->fix & CHECK_FIX_ERRORS;
        if (!drop || w->tell)
            finding(w, "%s offset=%" PRIx64 ": %s cluster is not properly aligned; L2 entry "
                    "corrupted.\n", check_verb(drop), off, is_zero ? "Preallocated" : "Data");
        if (drop)
            return true;
    }
    layout_add(l, off, q->cluster);
    if (!qcow2_has_data_file(q))
        region(w, off, q->cluster);
    return false;
}

/* An entry that scan_table does not deal with itself; the same result as standard_entry. */
static bool odd_entry(const Walk *w, unsigned i, uint64_t desc, uint64_t bits, Layout *l)
{
    if (!(desc & ENTRY_COMPRESSED))
        return standard_entry(w, desc, bits, l);
    compressed_entry(w, i, desc, bits, l);
    return false;
}

/* Does a flag in an active table disagree with the refcount, or may it? */
static bool flag_is_wrong(const Check *c, uint64_t desc)
{
    uint64_t i = (desc & ENTRY_OFFSET) >> c->q->cluster_bits;

    if (desc & ENTRY_COMPRESSED || !i || qcow2_has_data_file(c->q))
        return false;
    return i >= c->clusters || check_flag_is_wrong(desc, counts_get(&c->counts, i));
}

static void layout_put(Check *c, const CheckTable *t, const Layout *l)
{
    c->result->clusters.allocated += l->allocated * t->active;
    c->result->clusters.fragmented += l->fragmented * t->active;
    c->result->clusters.compressed += l->compressed * t->active;
}

/* The counts around the last cluster, at hand: neighbours in a table are often neighbours there. */
typedef struct {
    uint64_t chunk;
    uint8_t *refs;           /* NULL: not narrow */
    const uint8_t *counts;
} Near;

static void near_move(Near *n, const Check *c, uint64_t chunk)
{
    *n = (Near){ chunk, counts_narrow(&c->refs, chunk), counts_narrow(&c->counts, chunk) };
}

/* Counts what a table refers to. */
static void scan_table(Check *c, CheckTable *t, const uint8_t *entries)
{
    Qcow2 *q = c->q;
    Walk w = { .c = c, .times = t->active + t->snaps };
    const uint64_t odd = ENTRY_COMPRESSED | L2_RESERVED | (q->cluster - 1) >> 9 << 9;
    const unsigned count = 1u << q->l2_bits, entry_bits = q->entry_bits;
    const unsigned cluster_bits = q->cluster_bits;
    const bool extended = q->subs > 1, data_file = qcow2_has_data_file(q);
    int64_t found = c->result->corruptions;
    bool dropped = false, bad_flags = false;
    Near near = { .chunk = UINT64_MAX };
    Layout l = {};

    for (unsigned i = 0; i < count; i++) {
        uint64_t desc = be64_at(entries + ((size_t)i << entry_bits));
        uint64_t bits = extended ? be64_at(entries + ((size_t)i << entry_bits) + 8) : 0;
        uint64_t cluster = (desc & ENTRY_OFFSET) >> cluster_bits, at;

        if (!(desc | bits))
            continue;
        if (desc & odd || !cluster || cluster >= c->clusters || data_file ||
            (uint32_t)bits & bits >> 32) {
            dropped |= odd_entry(&w, i, desc, bits, &l);
            bad_flags |= t->active && flag_is_wrong(c, desc);
            near.chunk = UINT64_MAX;    /* it may have moved the counts */
            continue;
        }
        layout_add(&l, cluster << cluster_bits, q->cluster);
        if (cluster >> COUNTS_BITS != near.chunk)
            near_move(&near, c, cluster >> COUNTS_BITS);
        at = cluster & (COUNTS_CHUNK - 1);
        if (near.refs && near.counts && near.refs[at] + (uint64_t)w.times <= COUNTS_NARROW_MAX) {
            near.refs[at] = (uint8_t)(near.refs[at] + w.times);
            bad_flags |= t->active && check_flag_is_wrong(desc, near.counts[at]);
        } else {
            counts_add(&c->refs, cluster, w.times);
            near.chunk = UINT64_MAX;
            bad_flags |= t->active && flag_is_wrong(c, desc);
        }
    }
    t->bad_flags = bad_flags;
    layout_put(c, t, &l);
    t->bad_entries = dropped || c->result->corruptions != found;
    c->any_bad |= t->bad_entries;
}

/* ---- telling of entries, and the one repair in place ---------------------------------------- */

CheckTable *check_table_find(Check *c, uint64_t off)
{
    guint low = 0, high = c->tables->len;

    while (low < high) {
        guint mid = low + (high - low) / 2;
        CheckTable *t = &g_array_index(c->tables, CheckTable, mid);

        if (t->off == off)
            return t;
        if (t->off < off)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

static CO int tell_table(const Walk *w, CheckTable *t, GError **err)
{
    Check *c = w->c;
    Qcow2 *q = c->q;
    g_autofree uint8_t *entries = g_try_malloc(q->cluster);
    bool safe = check_may_write(c, t->off, q->cluster, (uint64_t)t->active + t->snaps);
    bool changed = false;
    Walk plain = { .c = c, .times = w->times, .tell = true };
    Layout l = {};
    int r = entries ? qcow2_file_read(q, t->off, entries, q->cluster) : -ENOMEM;

    for (unsigned i = 0; i < 1u << q->l2_bits && r >= 0; i++) {
        uint8_t *at = entries + ((size_t)i << q->entry_bits);
        uint64_t desc = be64_at(at), bits = q->subs > 1 ? be64_at(at + 8) : 0;

        if (!(desc | bits) || !odd_entry(&plain, i, desc, bits, &l))
            continue;
        if (!safe) {
            c->result->corruptions++;
            continue;
        }
        be64_put(at, q->subs > 1 ? 0 : ENTRY_ZERO);
        c->result->corruptions_fixed++;
        changed = true;
    }
    if (r >= 0 && changed) {
        r = edge_pwrite_buf(q->storage, t->off, entries, q->cluster);
        c->unflushed = true;
    }
    if (r < 0)
        err_set_errno(err, r, "L2 table at 0x%" PRIx64, t->off);
    return r;
}

/* ---- L1 tables ------------------------------------------------------------------------------ */

/* The part of an L1 table that lies in the file, host byte order; *@len becomes its entries. */
static CO uint64_t *root_read(Check *c, uint64_t off, uint32_t *len, GError **err)
{
    uint64_t there = off < c->file_len ? (c->file_len - off) / 8 : 0;
    uint64_t *l1;
    int r;

    *len = (uint32_t)MIN(*len, there);
    l1 = g_try_new(uint64_t, MAX(*len, 1));
    r = !l1 ? -ENOMEM : *len ? qcow2_file_read(c->q, off, l1, *len * 8) : 0;
    if (r < 0) {
        g_free(l1);
        err_set_errno(err, r, "Could not read the L1 table at 0x%" PRIx64, off);
        return NULL;
    }
    for (uint32_t i = 0; i < *len; i++)
        l1[i] = be64_at(&l1[i]);
    return l1;
}

static CO int walk_l1_entries(const Walk *w, const uint64_t *l1, uint32_t len, GError **err)
{
    Check *c = w->c;

    for (uint32_t i = 0; i < len; i++) {
        uint64_t off = l1[i] & ENTRY_OFFSET;
        CheckTable *t;
        int r;

        if (!l1[i])
            continue;
        if (l1[i] & L1_RESERVED)
            finding(w, "ERROR found L1 entry with reserved bits set: %" PRIx64 "\n", l1[i]);
        if (!off)
            continue;
        region(w, off, c->q->cluster);
        if (qcow2_within(c->q, off))
            finding(w, "ERROR l2_offset=%" PRIx64 ": Table is not cluster aligned; L1 entry "
                    "corrupted\n", off);
        t = w->tell && c->any_bad ? check_table_find(c, off) : NULL;
        r = t && t->bad_entries && t->visits++ < CHECK_VISITS_MAX ? tell_table(w, t, err) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

static CO int walk_l1(const Walk *w, uint64_t off, uint32_t len, GError **err)
{
    uint32_t claimed = len;
    g_autofree uint64_t *l1 = root_read(w->c, off, &len, err);

    if (!l1)
        return -EIO;
    region(w, off, claimed * UINT64_C(8));
    return walk_l1_entries(w, l1, len, err);
}

static CO int walk_snapshots(const Walk *all, GError **err)
{
    Check *c = all->c;
    Qcow2 *q = c->q;

    for (uint32_t i = 0; i < q->snapshot_count; i++) {
        const Qcow2Snapshot *s = &q->snapshots[i];
        const CheckRoot *root = &g_array_index(c->roots, CheckRoot, i);
        Walk w = *all;
        int r = 0;

        w.times = MAX(root->times, 1);
        if (qcow2_within(q, s->l1_off)) {
            w.times = 1;
            finding(&w, "ERROR snapshot %s (%s) l1_offset=0x%" PRIx64 ": L1 table is not cluster "
                    "aligned; snapshot table entry corrupted\n", s->id, s->name, s->l1_off);
        } else if (s->l1_len > QCOW2_L1_BYTES_MAX / 8) {
            w.times = 1;
            finding(&w, "ERROR snapshot %s (%s) l1_size=0x%" PRIx32 ": L1 table is too large; "
                    "snapshot table entry corrupted\n", s->id, s->name, s->l1_len);
        } else if (root->times) {
            r = walk_l1(&w, s->l1_off, s->l1_len, err);
        }
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- bitmaps -------------------------------------------------------------------------------- */

/* The clusters that the table of a bitmap refers to. */
static CO int walk_bitmap_table(const Walk *w, const BitmapEntry *e, GError **err)
{
    Check *c = w->c;
    uint64_t len = e->table_len * UINT64_C(8), at = 0;
    g_autofree uint8_t *buf = g_try_malloc(READ_MAX);

    if (!region(w, e->table_off, len))
        return 0;
    while (at < len) {
        uint64_t part = MIN(len - at, READ_MAX);
        int r = buf ? qcow2_file_read(c->q, e->table_off + at, buf, part) : -ENOMEM;

        if (r < 0) {
            err_set_errno(err, r, "Could not read the table of bitmap '%s'", e->name);
            return r;
        }
        for (uint64_t i = 0; i < part; i += 8) {
            uint64_t desc = be64_at(buf + i), off = desc & BITMAP_TABLE_OFFSET;
            uint64_t reserved = ~(BITMAP_TABLE_OFFSET | (off ? 0 : BITMAP_TABLE_ONES));

            if (desc & reserved || qcow2_within(c->q, off))
                finding(w, "ERROR: bitmap '%s' has the table entry 0x%" PRIx64 "\n", e->name,
                        desc);
            else if (off)
                region(w, off, c->q->cluster);
        }
        at += part;
    }
    return 0;
}

static CO int walk_bitmaps(const Walk *w, GError **err)
{
    Check *c = w->c;
    g_autoptr(GArray) list = NULL;
    uint64_t bytes = 0;

    if (!c->q->bitmap_count)
        return 0;
    list = bitmap_directory_read(c->q, err);
    if (!list)
        return -EINVAL;
    region(w, c->q->bitmap_directory_off, c->q->bitmap_directory_len);
    for (guint i = 0; i < list->len; i++) {
        const BitmapEntry *e = &g_array_index(list, BitmapEntry, i);
        int r;

        bytes += e->table_len * UINT64_C(8);
        if (bytes > c->file_len + c->q->cluster && e->table_off < c->file_len) {
            err_set(err, EINVAL, "The tables of the bitmaps take more room than the file has");
            return -EINVAL;
        }
        r = walk_bitmap_table(w, e, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- all of it ------------------------------------------------------------------------------ */

/* The references of everything but refcounts, in the order in which findings are told. */
static CO int walk_all(const Walk *w, GError **err)
{
    Qcow2 *q = w->c->q;
    int r;

    region(w, 0, q->cluster);
    region(w, q->l1_off, q->l1_len * UINT64_C(8));
    r = walk_l1_entries(w, q->l1, q->l1_len, err);
    if (r >= 0)
        r = walk_snapshots(w, err);
    region(w, q->snapshots_off, q->snapshots_len);
    if (q->crypt_off)
        region(w, q->crypt_off, q->crypt_len);
    return r < 0 ? r : walk_bitmaps(w, err);
}

static void tables_collect(Check *c, const uint64_t *l1, uint32_t len, bool active, uint32_t times)
{
    unsigned unaligned = 0;

    for (uint32_t i = 0; i < len; i++) {
        CheckTable t = { .off = l1[i] & ENTRY_OFFSET, .active = active ? times : 0,
                         .snaps = active ? 0 : times };

        if (!t.off || t.off >= c->file_len)
            continue;
        if (qcow2_within(c->q, t.off) && unaligned++ >= UNALIGNED_TABLES_MAX)
            continue;
        g_array_append_val(c->tables, t);
    }
}

static int table_order(const void *a, const void *b)
{
    const CheckTable *x = a, *y = b;

    return x->off < y->off ? -1 : x->off > y->off;
}

/* Sorts, and makes those with the same offset one. */
static void tables_merge(GArray *a)
{
    guint kept = 0;

    g_array_sort(a, table_order);
    for (guint i = 0; i < a->len; i++) {
        CheckTable *t = &g_array_index(a, CheckTable, i);
        CheckTable *last = kept ? &g_array_index(a, CheckTable, kept - 1) : NULL;

        if (last && last->off == t->off) {
            last->active += t->active;
            last->snaps += t->snaps;
        } else {
            g_array_index(a, CheckTable, kept++) = *t;
        }
    }
    g_array_set_size(a, kept);
}

/* One root a snapshot; those that share a table are counted with the first. */
static void roots_make(Check *c)
{
    g_autoptr(GHashTable) by_off = g_hash_table_new(g_int64_hash, g_int64_equal);
    Qcow2 *q = c->q;

    g_array_set_size(c->roots, q->snapshot_count);
    for (uint32_t i = 0; i < q->snapshot_count; i++) {
        CheckRoot *root = &g_array_index(c->roots, CheckRoot, i), *first;

        *root = (CheckRoot){ q->snapshots[i].l1_off, q->snapshots[i].l1_len, 0 };
        if (qcow2_within(q, root->off) || root->len > QCOW2_L1_BYTES_MAX / 8)
            continue;
        first = g_hash_table_lookup(by_off, &root->off);
        if (first && first->len == root->len) {
            first->times++;
            continue;
        }
        root->times = 1;
        g_hash_table_insert(by_off, &root->off, root);
    }
}

static CO int tables_find(Check *c, GError **err)
{
    uint64_t bytes = 0;

    roots_make(c);
    tables_collect(c, c->q->l1, c->q->l1_len, true, 1);
    for (guint i = 0; i < c->roots->len; i++) {
        const CheckRoot *root = &g_array_index(c->roots, CheckRoot, i);
        uint32_t len = root->len;
        g_autofree uint64_t *l1 = NULL;

        if (!root->times)
            continue;
        l1 = root_read(c, root->off, &len, err);
        if (!l1)
            return -EIO;
        bytes += len * UINT64_C(8);
        if (bytes > c->file_len) {
            err_set(err, EINVAL, "The L1 tables of the snapshots take more room than the file has");
            return -EINVAL;
        }
        tables_collect(c, l1, len, false, root->times);
    }
    tables_merge(c->tables);
    return 0;
}

CO int check_tables_read(Check *c, CheckVisit *visit, GError **err)
{
    uint64_t cluster = c->q->cluster;
    guint max = (guint)MAX(READ_MAX / cluster, 1);
    g_autoptr(Aligned) buf = aligned_try_alloc(MIN(max, MAX(c->tables->len, 1)) * cluster);

    if (!buf) {
        err_set(err, ENOMEM, "No memory to read L2 tables");
        return -ENOMEM;
    }
    for (guint i = 0, n; i < c->tables->len; i += n) {
        CheckTable *t = &g_array_index(c->tables, CheckTable, i);
        int r;

        for (n = 1; n < max && i + n < c->tables->len && t[n].off == t->off + n * cluster; n++)
            ;
        r = qcow2_file_read(c->q, t->off, buf, n * cluster);
        if (r < 0) {
            err_set_errno(err, r, "Could not read the L2 table at 0x%" PRIx64, t->off);
            return r;
        }
        for (guint k = 0; k < n; k++)
            visit(c, &t[k], (uint8_t *)buf + k * cluster);
        work_tell((i + n) * cluster, c->tables->len * cluster);
    }
    return 0;
}

/* ---- what may be written -------------------------------------------------------------------- */

/* Counts the references but those of guest data. */
static CO bool metadata_count(Check *c)
{
    Walk w = { .c = c, .times = 1, .into = &c->metadata };

    if (!counts_init(&c->metadata, c->refs.n))
        return false;
    region(&w, c->q->reftable_off, c->q->reftable_clusters * c->q->cluster);
    for (uint32_t i = 0; i < c->reftable_len; i++)
        if (c->reftable[i])
            region(&w, c->reftable[i] & REFTABLE_OFFSET, c->q->cluster);
    return walk_all(&w, NULL) >= 0 && !c->metadata.failed;
}

CO bool check_may_write(Check *c, uint64_t off, uint64_t len, uint64_t uses)
{
    uint64_t first = off >> c->q->cluster_bits, last = (off + len - 1) >> c->q->cluster_bits;

    if (qcow2_within(c->q, off) || last >= c->refs.n)
        return false;
    if (!c->metadata.n)
        c->metadata_unknown = !metadata_count(c);
    for (uint64_t i = first; i <= last; i++)
        if (c->metadata_unknown || counts_get(&c->metadata, i) != uses)
            return false;
    return true;
}

CO int check_refs(Check *c, GError **err)
{
    Walk count = { .c = c, .times = 1 }, tell = { .c = c, .times = 1, .tell = true };
    int64_t found = c->result->corruptions;
    int r = tables_find(c, err);

    if (r >= 0)
        r = check_tables_read(c, scan_table, err);
    if (r >= 0)
        r = walk_all(&count, err);
    if (r >= 0 && (c->any_bad || c->result->corruptions != found))
        r = walk_all(&tell, err);
    return r;
}
