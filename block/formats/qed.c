/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QED images: a header, tables of two levels, and clusters, in any order but for the header.
 *
 *     L1 table:  offset of an L2 table, or 0
 *     L2 table:  offset of a cluster, 0 where the backing file decides, 1 for zeroes
 *
 * Clusters are only ever added at the end of the file. L2 tables are in memory once they are used,
 * and what changes of them is written by flushes: when the data is durable the L2 tables, when
 * these are the L1 table. So a crash leaves clusters that nobody refers to, and the bit that asks
 * for a check need not be set. See docs/spec/qed.md.
 */
#include "block/formats/mapped.h"
#include "gen/schema.h"
#include "io/co-lock.h"
#include "util/endian.h"
#include <inttypes.h>
#include <string.h>

enum {
    SECTOR = 512,
    QED_CLUSTER_MIN = 4096,
    QED_CLUSTER_MAX = 64 << 20,
    QED_TABLE_MAX = 16, /* clusters of a table */
    QED_NAME_MAX = 1023,
    QED_CACHE_MAX = 32 << 20, /* bytes of L2 tables in memory, but at least QED_CACHE_MIN tables */
    QED_CACHE_MIN = 4,
};

#define QED_MAGIC 0x00444551u       /* "QED\0" */
#define QED_BACKING UINT64_C(1)     /* features */
#define QED_NEED_CHECK UINT64_C(2)
#define QED_BACKING_RAW UINT64_C(4)
#define QED_ZERO UINT64_C(1)        /* in L2 tables */

typedef struct {
    le32 magic, cluster, table, header; /* the last two in clusters */
    le64 features, compat_features, autoclear_features;
    le64 l1_off, size;
    le32 backing_off, backing_len;
} QedHeader;
G_STATIC_ASSERT(sizeof(QedHeader) == 64);

typedef struct {
    le64 *entries;
    bool dirty;
    bool is_new;        /* the file's L1 table does not have it yet */
} QedTable;

typedef struct {
    QedHeader header;
    uint32_t cluster;
    uint32_t table_len;     /* bytes of a table */
    uint64_t per_table;     /* entries of a table */
    uint64_t first;         /* bytes; clusters begin there */
    uint64_t end;           /* bytes; the next cluster */
    uint64_t fresh;         /* bytes; the file has nothing from here on but what we wrote */
    le64 *l1;               /* NULL without I/O */
    QedTable *l2;           /* by index into @l1; @entries NULL: not in memory */
    unsigned cached;        /* how many are */
    bool dirty;             /* something has to be written */
    CoMutex lock;           /* loading tables, allocation, flushes */
} Qed;

static int qed_probe(const uint8_t *head, size_t len, const char *filename)
{
    return len >= 4 && le32_at(head) == QED_MAGIC ? 100 : 0;
}

/* ---- opening -------------------------------------------------------------------------------- */

static uint64_t features(const Qed *s)
{
    return le64_get(s->header.features);
}

/*
 * The largest disk; tables are at most 1 GiB long, so that the product may be too large for a
 * number.
 */
static uint64_t qed_size_max(uint64_t cluster, uint64_t table)
{
    uint64_t entries = cluster * table / 8, max;

    if (!size_mul(entries * entries, cluster, &max))
        max = INT64_MAX;
    return MIN(max, (uint64_t)INT64_MAX);
}

static bool qed_check_cluster(uint64_t cluster, uint64_t table, GError **err)
{
    if (!is_power_of_2(cluster) || cluster < QED_CLUSTER_MIN || cluster > QED_CLUSTER_MAX)
        return err_set(err, EINVAL,
                       "QED clusters of %" PRIu64 " bytes: not a power of two from %d to %d",
                       cluster, QED_CLUSTER_MIN, QED_CLUSTER_MAX);
    if (!is_power_of_2(table) || table > QED_TABLE_MAX)
        return err_set(err, EINVAL,
                       "QED tables of %" PRIu64 " clusters: not a power of two up to %d", table,
                       QED_TABLE_MAX);
    return true;
}

/* Could there be @len bytes of clusters at @off? */
static bool is_inside(const Qed *s, uint64_t off, uint64_t len)
{
    return is_aligned(off, s->cluster) && off >= s->first && off < s->end && len <= s->end - off;
}

static bool qed_check_header(Qed *s, uint64_t have, GError **err)
{
    const QedHeader *h = &s->header;
    uint64_t cluster = le32_get(h->cluster), table = le32_get(h->table), size = le64_get(h->size);
    uint64_t known = QED_BACKING | QED_NEED_CHECK | QED_BACKING_RAW;

    if (le32_get(h->magic) != QED_MAGIC)
        return err_set(err, EINVAL, "This is no QED image");
    if (features(s) & ~known)
        return err_set(err, ENOTSUP, "The QED image has unknown features: 0x%" PRIx64,
                       features(s) & ~known);
    if (!qed_check_cluster(cluster, table, err))
        return false;
    s->cluster = cluster;
    s->table_len = cluster * table;
    s->per_table = s->table_len / 8;
    s->first = le32_get(h->header) * cluster;
    s->end = round_down(have, cluster);
    s->fresh = have;
    if (size % SECTOR || size > qed_size_max(cluster, table))
        return err_set(err, EINVAL,
                       "The disk of the QED image has %" PRIu64 " bytes, which is not a "
                       "multiple of %d up to %" PRIu64,
                       size, SECTOR, qed_size_max(cluster, table));
    if (!s->first || !is_inside(s, le64_get(h->l1_off), s->table_len))
        return err_set(err, EINVAL,
                       "The L1 table of the QED image, %u bytes at %" PRIu64 ", is not inside "
                       "the file of %" PRIu64 " bytes behind the header of %" PRIu64,
                       s->table_len, le64_get(h->l1_off), have, s->first);
    return true;
}

static CO bool qed_read_backing_name(Node *n, Edge *file, GError **err)
{
    Qed *s = node_state(n);
    uint64_t off = le32_get(s->header.backing_off), len = le32_get(s->header.backing_len);
    char name[QED_NAME_MAX + 1] = "";
    int r;

    if (!(features(s) & QED_BACKING)) {
        node_set_backing_stored(n, NULL, NULL);
        return true;
    }
    if (off + len > s->first || len > QED_NAME_MAX)
        return err_set(err, EINVAL, "The name of the backing file, %" PRIu64 " bytes at %" PRIu64
                       ", is not inside the header of %" PRIu64 " bytes", len, off, s->first);
    r = edge_pread_buf(file, off, name, len);
    if (r < 0)
        return err_set_errno(err, r, "Could not read the name of the backing file");
    node_set_backing_stored(n, name, features(s) & QED_BACKING_RAW ? "raw" : NULL);
    return true;
}

static CO bool qed_read_l1(Node *n, Edge *file, GError **err)
{
    Qed *s = node_state(n);
    int r;

    s->l1 = g_try_malloc(s->table_len);
    s->l2 = g_try_new0(QedTable, s->per_table);
    r = s->l1 && s->l2 ? edge_pread_buf(file, le64_get(s->header.l1_off), s->l1, s->table_len)
                       : -ENOMEM;
    return r >= 0 || err_set_errno(err, r, "Could not read the L1 table of '%s'", node_filename(n));
}

static void qed_drop_tables(Qed *s)
{
    for (uint64_t i = 0; s->l2 && i < s->per_table; i++)
        if (!s->l2[i].dirty)
            g_clear_pointer(&s->l2[i].entries, g_free);
}

static CO void qed_close(Node *n)
{
    Qed *s = node_state(n);

    for (uint64_t i = 0; s->l2 && i < s->per_table; i++)
        g_free(s->l2[i].entries);
    g_clear_pointer(&s->l1, g_free);
    g_clear_pointer(&s->l2, g_free);
}

static CO bool qed_open_for_writing(Node *n, OpenFlags flags, GError **err);

/* Reads all that the file says; what is in memory of an earlier time counts no more. */
static CO bool qed_load(Node *n, OpenFlags flags, GError **err)
{
    Edge *file = node_edge(n, ROLE_STORAGE);
    Qed *s = node_state(n);
    int r;

    qed_close(n);
    *s = (Qed){};
    r = edge_pread_buf(file, 0, &s->header, sizeof(s->header));
    if (r < 0)
        return err_set_errno(err, r, "Could not read the header of '%s'", node_filename(n));
    if (!qed_check_header(s, edge_size(file), err) || !qed_read_backing_name(n, file, err))
        return err_prefix(err, "Image '%s': ", node_filename(n));
    node_set_size(n, le64_get(s->header.size));
    return flags & OPEN_NO_IO || (qed_read_l1(n, file, err) &&
                                  (node_is_read_only(n) || qed_open_for_writing(n, flags, err)));
}

static CO bool qed_activate(Node *n, GError **err)
{
    return qed_load(n, node_flags(n), err);
}

static CO bool qed_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    if (node_open_child(n, "file", NULL, o, ROLE_STORAGE, false, err) && qed_load(n, flags, err))
        return true;
    qed_close(n);
    return false;
}

static void qed_refresh_limits(Node *n)
{
    const Qed *s = node_state(n);

    node_limits(n)->zero_alignment = s->cluster;
}

/* ---- tables --------------------------------------------------------------------------------- */

static CO int qed_write_header(Node *n)
{
    Qed *s = node_state(n);

    return edge_pwrite_buf(node_edge(n, ROLE_STORAGE), 0, &s->header, sizeof(s->header));
}

/* The file has all of its clusters whole, and they are durable. */
static CO int qed_settle_data(Node *n)
{
    Edge *file = node_edge(n, ROLE_STORAGE);
    Qed *s = node_state(n);
    g_autoptr(GError) err = NULL;

    if (edge_size(file) < s->end && !edge_resize(file, s->end, false, PREALLOC_OFF, 0, &err))
        return err_errno(err);
    return edge_flush(file);
}

/* Writes changed L2 tables; *@l1_from, *@l1_to: the range of the L1 table that has to follow. */
static CO int qed_write_tables(Node *n, uint64_t *l1_from, uint64_t *l1_to)
{
    Qed *s = node_state(n);

    for (uint64_t i = 0; i < s->per_table; i++) {
        QedTable *t = &s->l2[i];
        int r = t->dirty ? edge_pwrite_buf(node_edge(n, ROLE_STORAGE), le64_get(s->l1[i]),
                                           t->entries, s->table_len)
                         : 0;

        if (r < 0)
            return r;
        if (t->is_new) {
            *l1_from = MIN(*l1_from, i);
            *l1_to = i + 1;
        }
    }
    return 0;
}

/* With the lock held. */
static CO int qed_flush_locked(Node *n)
{
    Edge *file = node_edge(n, ROLE_STORAGE);
    Qed *s = node_state(n);
    uint64_t from = UINT64_MAX, to = 0;
    int r;

    if (!s->dirty)
        return 0;
    r = qed_settle_data(n);
    if (r >= 0)
        r = qed_write_tables(n, &from, &to);
    if (r >= 0 && from < to) {
        from = round_down(from, SECTOR / 8);
        to = MIN(round_up(to, SECTOR / 8), s->per_table);
        r = edge_flush(file);
        if (r >= 0)
            r = edge_pwrite_buf(file, le64_get(s->header.l1_off) + from * 8, s->l1 + from,
                                (to - from) * 8);
    }
    if (r < 0)
        return r;
    for (uint64_t i = 0; i < s->per_table; i++)
        s->l2[i].dirty = s->l2[i].is_new = false;
    s->dirty = false;
    return 0;
}

static CO int qed_flush(Node *n)
{
    Qed *s = node_state(n);

    if (!s->l1)
        return 0;
    CO_LOCKED(&s->lock);
    return qed_flush_locked(n);
}

/* Makes room for a table. With the lock held. */
static CO int qed_trim_cache(Node *n)
{
    Qed *s = node_state(n);
    int r = 0;

    if (s->cached < MAX(QED_CACHE_MAX / s->table_len, QED_CACHE_MIN))
        return 0;
    if (!node_is_read_only(n))
        r = qed_flush_locked(n);
    if (r >= 0) {
        qed_drop_tables(s);
        s->cached = 0;
    }
    return r;
}

/* The L2 table @i is in memory when this returns 0. With the lock held. */
static CO int qed_load_table(Node *n, uint64_t i)
{
    Qed *s = node_state(n);
    uint64_t off = le64_get(s->l1[i]);
    g_autofree le64 *entries = NULL;
    int r;

    if (s->l2[i].entries)
        return 0;
    if (!is_inside(s, off, s->table_len))
        return -EIO;
    r = qed_trim_cache(n);
    if (r < 0)
        return r;
    entries = g_try_malloc(s->table_len);
    r = entries ? edge_pread_buf(node_edge(n, ROLE_STORAGE), off, entries, s->table_len) : -ENOMEM;
    if (r < 0)
        return r;
    s->l2[i].entries = g_steal_pointer(&entries);
    s->cached++;
    return 0;
}

/* What an entry of an L2 table means, without its offset. */
static bool is_alike(uint64_t first, uint64_t e, uint64_t distance)
{
    return first <= QED_ZERO ? e == first : e == first + distance;
}

/* Of @len bytes from @off on, those alike in table @t. *@entry is the first one's. */
static uint64_t qed_run(const Qed *s, const le64 *t, uint64_t off, uint64_t len, uint64_t *entry)
{
    uint64_t cluster = off / s->cluster, first = cluster % s->per_table, i = first + 1;
    uint64_t run = s->cluster - off % s->cluster;

    *entry = le64_get(t[first]);
    while (run < len && i < s->per_table &&
           is_alike(*entry, le64_get(t[i]), (i - first) * s->cluster)) {
        run += s->cluster;
        i++;
    }
    return MIN(run, len);
}

static CO int qed_extent_locked(Node *n, uint64_t off, uint64_t len, Extent *e)
{
    Qed *s = node_state(n);
    uint64_t i = off / s->cluster / s->per_table, span = s->cluster * s->per_table, entry;
    int r;

    if (!le64_get(s->l1[i])) {
        e->len = MIN(len, span - off % span);
        return 0;
    }
    r = qed_load_table(n, i);
    if (r < 0)
        return r;
    e->len = qed_run(s, s->l2[i].entries, off, len, &entry);
    if (entry == QED_ZERO) {
        e->flags = EXTENT_ZERO | EXTENT_ALLOCATED;
    } else if (entry) {
        if (!is_inside(s, entry, s->cluster))
            return -EIO;
        e->len = MIN(e->len, s->end - entry - off % s->cluster);
        e->flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_HOST;
        e->host = edge_node(node_edge(n, ROLE_STORAGE));
        e->host_off = entry + off % s->cluster;
    }
    return 0;
}

static CO int qed_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    Qed *s = node_state(n);
    uint64_t i = off / s->cluster / s->per_table;

    if (!s->l1)
        return -EPERM;
    if (!le64_get(s->l1[i]) || s->l2[i].entries)
        return qed_extent_locked(n, off, len, e); /* does not suspend */
    CO_LOCKED(&s->lock);
    return qed_extent_locked(n, off, len, e);
}

/* ---- writing -------------------------------------------------------------------------------- */

/* The L2 table @i can be written to when this returns 0. With the lock held. */
static CO int qed_make_table(Node *n, uint64_t i)
{
    Qed *s = node_state(n);
    int r;

    if (le64_get(s->l1[i]))
        return qed_load_table(n, i);
    r = qed_trim_cache(n);
    if (r < 0)
        return r;
    s->l2[i] = (QedTable){ .entries = g_try_malloc0(s->table_len), .dirty = true, .is_new = true };
    if (!s->l2[i].entries) {
        s->l2[i] = (QedTable){};
        return -ENOMEM;
    }
    s->cached++;
    s->dirty = true;
    le64_set(&s->l1[i], s->end);
    s->end += s->table_len;
    return 0;
}

static void qed_set(Qed *s, uint64_t cluster, uint64_t count, uint64_t entry)
{
    QedTable *t = &s->l2[cluster / s->per_table];

    for (uint64_t k = 0; k < count; k++)
        le64_set(&t->entries[cluster % s->per_table + k],
                 entry > QED_ZERO ? entry + k * s->cluster : entry);
    t->dirty = s->dirty = true;
}

/* Space at the end of the file, which reads as zeroes. With the lock held. */
static CO int qed_take_clusters(Node *n, uint64_t count, uint64_t *host)
{
    Qed *s = node_state(n);
    uint64_t len = count * s->cluster;
    int r = 0;

    if (s->end > INT64_MAX - len)
        return -EFBIG;
    if (s->end < s->fresh)
        r = edge_zero(node_edge(n, ROLE_STORAGE), s->end, MIN(len, s->fresh - s->end), 0);
    if (r < 0)
        return r;
    *host = s->end;
    s->end += len;
    return 0;
}

/*
 * Copies what the backing file has in [@off, @off + @len) to @host, and then @data, in one write.
 */
static CO int qed_write_cow(Node *n, uint64_t start, uint64_t len, uint64_t host, uint64_t off,
                            Span data)
{
    uint64_t head = off - start, tail = len - head - data.len;
    g_autoptr(Aligned) ends = NULL;
    Edge *file = node_edge(n, ROLE_STORAGE);
    int r = 0;

    if (head || tail) {
        ends = aligned_try_alloc(MAX(head, tail));
        if (!ends)
            return -ENOMEM;
    }
    if (head)
        r = mapped_pread_backing(n, start, span_of(ends, head));
    if (head && r >= 0)
        r = edge_pwrite_buf(file, host, ends, head);
    if (r >= 0)
        r = edge_pwrite(file, host + head, data, 0);
    if (tail && r >= 0)
        r = mapped_pread_backing(n, off + data.len, span_of(ends, tail));
    if (tail && r >= 0)
        r = edge_pwrite_buf(file, host + head + data.len, ends, tail);
    return r;
}

/*
 * Writes all of @data where there was no cluster yet; the map changes when all of it is in the
 * file, as a flush in between would show zeroes instead of the backing file. Of @data no more than
 * one run.
 */
static CO int qed_write_new(Node *n, uint64_t off, Span data, uint64_t *done)
{
    Qed *s = node_state(n);
    uint64_t first = off / s->cluster, host, count;
    bool was_zero;
    Extent e = {};
    int r;

    CO_LOCKED(&s->lock);
    r = qed_extent_locked(n, off, data.len, &e);
    *done = 0;
    if (r < 0 || e.flags & EXTENT_HOST)
        return r; /* another request was faster */
    data = span_slice(data, 0, MIN(e.len, data.len));
    was_zero = e.flags & EXTENT_ZERO;
    count = div_round_up(off + data.len, s->cluster) - first;
    r = qed_take_clusters(n, count, &host);
    if (r >= 0 && was_zero)
        r = edge_pwrite(node_edge(n, ROLE_STORAGE), host + off % s->cluster, data, 0);
    else if (r >= 0)
        r = qed_write_cow(n, first * s->cluster, count * s->cluster, host, off, data);
    if (r >= 0)
        r = qed_make_table(n, first / s->per_table);
    if (r < 0)
        return r;
    qed_set(s, first, count, host);
    *done = data.len;
    return 0;
}

/* Without a backing file a new cluster reads as before. */
static CO int qed_allocate(Node *n, uint64_t off, uint64_t len)
{
    Qed *s = node_state(n);
    uint64_t first = off / s->cluster, host, count;
    Extent e = {};
    int r;

    CO_LOCKED(&s->lock);
    r = qed_extent_locked(n, off, len, &e);
    if (r < 0 || e.flags & EXTENT_HOST)
        return r;
    count = div_round_up(off + MIN(e.len, len), s->cluster) - first;
    r = qed_take_clusters(n, count, &host);
    if (r >= 0)
        r = qed_make_table(n, first / s->per_table);
    if (r >= 0)
        qed_set(s, first, count, host);
    return r;
}

static CO int qed_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    if (!node_edge(n, ROLE_BACKING))
        return mapped_pwrite(n, off, buf, flags, qed_allocate);
    while (buf.len) {
        Extent e = {};
        uint64_t done;
        int r = qed_extent(n, off, buf.len, false, &e);

        if (r < 0)
            return r;
        done = MIN(e.len, buf.len);
        if (e.flags & EXTENT_HOST)
            r = edge_pwrite(node_edge(n, ROLE_STORAGE), e.host_off, span_slice(buf, 0, done), 0);
        else
            r = qed_write_new(n, off, span_slice(buf, 0, done), &done);
        if (r < 0)
            return r;
        off += done;
        buf = span_slice(buf, done, buf.len - done);
    }
    return 0;
}

/*
 * Whole clusters, or part of one: those of the file are zeroed there, others get the entry for
 * zeroes; part of one that the backing file decides is written as data.
 */
static CO int qed_zero_run(Node *n, uint64_t off, uint64_t len, ReqFlags flags, uint64_t *done)
{
    Qed *s = node_state(n);
    Extent e = {};
    int r;

    CO_LOCKED(&s->lock);
    r = qed_extent_locked(n, off, len, &e);
    if (r < 0)
        return r;
    *done = MIN(e.len, len);
    if (e.flags & EXTENT_HOST)
        return edge_zero(node_edge(n, ROLE_STORAGE), e.host_off, *done, flags);
    if (e.flags & EXTENT_ZERO)
        return 0;
    if (off % s->cluster || (*done % s->cluster && off + *done < node_size(n)))
        return node_edge(n, ROLE_BACKING) ? -ENOTSUP : 0;
    r = qed_make_table(n, off / s->cluster / s->per_table);
    if (r >= 0)
        qed_set(s, off / s->cluster, div_round_up(*done, s->cluster), QED_ZERO);
    return r;
}

static CO int qed_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    while (len) {
        uint64_t done = 0;
        int r = qed_zero_run(n, off, len, flags, &done);

        if (r < 0)
            return r;
        off += done;
        len -= done;
    }
    return 0;
}

static CO bool qed_inactivate(Node *n, GError **err)
{
    int r = qed_flush(n);

    if (r >= 0)
        r = edge_flush(node_edge(n, ROLE_STORAGE));
    return r >= 0 ||
           err_set_errno(err, r, "The tables of '%s' could not be written", node_filename(n));
}

static CO bool qed_resize(Node *n, uint64_t size, bool exact, Prealloc prealloc, ReqFlags flags,
                          GError **err)
{
    Qed *s = node_state(n);
    uint64_t max = qed_size_max(s->cluster, s->table_len / s->cluster),
             old = le64_get(s->header.size);
    int r;

    if (prealloc != PREALLOC_OFF)
        return err_set(err, ENOTSUP, "Unsupported preallocation mode '%s'",
                       prealloc_name(prealloc));
    size = round_up(size, SECTOR);
    if (size < old)
        return err_set(err, ENOTSUP, "QED images cannot shrink");
    if (size > max)
        return err_set(err, EFBIG,
                       "A QED image with such clusters and tables has at most %" PRIu64 " bytes",
                       max);
    le64_set(&s->header.size, size);
    r = qed_write_header(n);
    if (r < 0) {
        le64_set(&s->header.size, old);
        return err_set_errno(err, r, "Could not write the header of '%s'", node_filename(n));
    }
    node_set_size(n, size);
    return true;
}

static CO int qed_change_backing(Node *n, const char *name, const char *format)
{
    Qed *s = node_state(n);
    size_t len = name ? strlen(name) : 0;
    uint64_t set = features(s) & ~(QED_BACKING | QED_BACKING_RAW);
    int r = 0;

    if (len > QED_NAME_MAX || sizeof(QedHeader) + len > s->first)
        return -EINVAL;
    if (name)
        set |= QED_BACKING | (format && !strcmp(format, "raw") ? QED_BACKING_RAW : 0);
    if (name)
        r = edge_pwrite_buf(node_edge(n, ROLE_STORAGE), sizeof(QedHeader), name, len);
    if (r < 0)
        return r;
    le64_set(&s->header.features, set);
    le32_set(&s->header.backing_off, sizeof(QedHeader));
    le32_set(&s->header.backing_len, len);
    r = qed_write_header(n);
    if (r >= 0)
        node_set_backing_stored(n, name, set & QED_BACKING_RAW ? "raw" : NULL);
    return r;
}

/* ---- check ---------------------------------------------------------------------------------- */

typedef struct {
    Node *n;
    CheckResult *result;
    bool fix;
    uint8_t *used;          /* a bit per cluster of the file */
    uint64_t clusters;      /* of the file */
} QedCheck;

/* Marks @count clusters at @off used; those that were are told of. True if none was. */
static bool qed_check_use(QedCheck *c, uint64_t off, uint64_t count)
{
    const Qed *s = node_state(c->n);
    uint64_t first = off / s->cluster;
    bool ok = true;

    for (uint64_t i = first; i < first + count; i++) {
        if (c->used[i / 8] & 1u << i % 8) {
            c->result->corruptions++;
            ok = false;
        }
        c->used[i / 8] |= 1u << i % 8;
    }
    return ok;
}

/*
 * An entry that points to what cannot be there is dropped by a repair: the content is lost already.
 */
static bool qed_check_bad(QedCheck *c)
{
    if (c->fix)
        c->result->corruptions_fixed++;
    else
        c->result->corruptions++;
    return c->fix;
}

static void qed_check_l2(QedCheck *c, uint64_t i)
{
    Qed *s = node_state(c->n);
    uint64_t last = 0;

    for (uint64_t k = 0; k < s->per_table; k++) {
        uint64_t e = le64_get(s->l2[i].entries[k]);

        if (e <= QED_ZERO)
            continue;
        c->result->clusters.allocated++;
        if (last && e != last + s->cluster)
            c->result->clusters.fragmented++;
        last = e;
        if (is_inside(s, e, s->cluster))
            qed_check_use(c, e, 1);
        else if (qed_check_bad(c))
            qed_set(s, i * s->per_table + k, 1, 0);
    }
}

static CO void qed_check_l1(QedCheck *c)
{
    Qed *s = node_state(c->n);

    for (uint64_t i = 0; i < s->per_table; i++) {
        uint64_t off = le64_get(s->l1[i]);

        if (!off)
            continue;
        if (!is_inside(s, off, s->table_len)) {
            if (qed_check_bad(c)) {
                s->l1[i] = le64_of(0);
                s->l2[i].is_new = s->dirty = true;
            }
            continue;
        }
        if (!qed_check_use(c, off, s->table_len / s->cluster))
            continue;
        if (qed_load_table(c->n, i) < 0)
            c->result->check_errors++;
        else
            qed_check_l2(c, i);
        work_tell(i, s->per_table);
    }
}

/* With the lock held. Leaves the bit that asked for the check only if something is wrong. */
static CO int qed_check_end(QedCheck *c)
{
    Qed *s = node_state(c->n);
    int r = c->fix ? qed_flush_locked(c->n) : 0;

    for (uint64_t i = s->first / s->cluster; i < c->clusters; i++)
        if (!(c->used[i / 8] & 1u << i % 8))
            c->result->leaks++;
    if (r < 0 || !c->fix || !(features(s) & QED_NEED_CHECK) || c->result->corruptions ||
        c->result->check_errors)
        return r;
    r = edge_flush(node_edge(c->n, ROLE_STORAGE));
    if (r < 0)
        return r;
    le64_set(&s->header.features, features(s) & ~QED_NEED_CHECK);
    return qed_write_header(c->n);
}

static CO int qed_check(Node *n, CheckResult *result, CheckFix fix, FILE *out, GError **err)
{
    Qed *s = node_state(n);
    QedCheck c = { .n = n, .result = result, .fix = fix, .clusters = s->end / s->cluster };
    g_autofree uint8_t *used = g_try_malloc0(c.clusters / 8 + 1);

    if (!used)
        return -ENOMEM;
    c.used = used;
    CO_LOCKED(&s->lock);
    qed_check_use(&c, le64_get(s->header.l1_off), s->table_len / s->cluster);
    qed_check_l1(&c);
    result->clusters.total = div_round_up(node_size(n), s->cluster);
    result->clusters_known = true;
    return qed_check_end(&c);
}

/* Clears features that we would break, and repairs an image that was not closed. */
static CO bool qed_open_for_writing(Node *n, OpenFlags flags, GError **err)
{
    Qed *s = node_state(n);
    CheckResult result = {};
    int r = 0;

    if (le64_get(s->header.autoclear_features)) {
        le64_set(&s->header.autoclear_features, 0);
        r = qed_write_header(n);
    }
    if (r < 0)
        return err_set_errno(err, r, "Could not write the header of '%s'", node_filename(n));
    if (!(features(s) & QED_NEED_CHECK) || flags & OPEN_CHECK)
        return true;
    r = qed_check(n, &result, CHECK_FIX_ERRORS, NULL, err);
    if (r < 0)
        return err_set_errno(err, r, "'%s' was not closed and could not be checked",
                             node_filename(n));
    if (result.corruptions || result.check_errors)
        return err_set(err, EIO, "'%s' was not closed and is damaged: 'check' tells more",
                       node_filename(n));
    return true;
}

/* ---- what is known -------------------------------------------------------------------------- */

static CO int qed_info(Node *n, NodeInfo *info)
{
    const Qed *s = node_state(n);

    info->cluster_size = s->cluster;
    info->is_dirty = features(s) & QED_NEED_CHECK;
    return 0;
}

static bool qed_has_zero_init(Node *n)
{
    return true;
}

/* ---- creating ------------------------------------------------------------------------------- */

static CO bool qed_create(const char *filename, json_t *opts, GError **err)
{
    uint64_t cluster = json_get_int(opts, "cluster_size", 64 * KiB),
             table = json_get_int(opts, "table_size", 4);
    uint64_t size = round_up((uint64_t)json_get_int(opts, "size", 0), SECTOR);
    const char *backing = json_get_str(opts, "backing_file", NULL);
    const char *format = json_get_str(opts, "backing_fmt", "");
    g_autoptr(Handle) file = NULL;
    QedHeader h = { .magic = le32_of(QED_MAGIC) };
    int r;

    if (!qed_check_cluster(cluster, table, err))
        return false;
    if (size > qed_size_max(cluster, table))
        return err_set(err, EFBIG,
                       "A QED image with such clusters and tables has at most %" PRIu64 " bytes",
                       qed_size_max(cluster, table));
    if (backing && (strlen(backing) > QED_NAME_MAX || sizeof(h) + strlen(backing) > cluster))
        return err_set(err, EINVAL, "The name of the backing file is longer than %d bytes",
                       QED_NAME_MAX);
    h.cluster = le32_of(cluster);
    h.table = le32_of(table);
    h.header = le32_of(1);
    h.l1_off = le64_of(cluster);
    h.size = le64_of(size);
    if (backing) {
        h.features = le64_of(QED_BACKING | (strcmp(format, "raw") ? 0 : QED_BACKING_RAW));
        h.backing_off = le32_of(sizeof(h));
        h.backing_len = le32_of(strlen(backing));
    }
    file = file_create(filename, opts, 0, err);
    if (!file || !handle_resize(file, cluster + cluster * table, false, PREALLOC_OFF, err))
        return false;
    r = backing ? handle_pwrite(file, sizeof(h), span_of_const(backing, strlen(backing)), 0) : 0;
    if (r >= 0)
        r = handle_pwrite(file, 0, span_of(&h, sizeof(h)), 0);
    if (r >= 0)
        r = handle_flush(file);
    return r >= 0 || err_set_errno(err, r, "Could not write the new image '%s'", filename);
}

const BlockDriver block_qed = {
    .name = "qed",
    .kind = BLK_FORMAT,
    .any_loop = true,
    .state_size = sizeof(Qed),
    .takes_backing = true,
    .zero_flags = REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    .probe = qed_probe,
    .open = qed_open,
    .inactivate = qed_inactivate,
    .activate = qed_activate,
    .close = qed_close,
    .create_opts = create_opts_qed,
    .create = qed_create,
    .pread = mapped_pread,
    .pwrite = qed_pwrite,
    .zero = qed_zero,
    .flush = qed_flush,
    .extent = qed_extent,
    .resize = qed_resize,
    .change_backing = qed_change_backing,
    .info = qed_info,
    .check = qed_check,
    .has_zero_init = qed_has_zero_init,
    .refresh_limits = qed_refresh_limits,
};
