/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QCOW version 1: a header, the name of the backing file, an L1 table, and L2 tables and clusters
 * in any order.
 *
 *     L1 table:  offset of an L2 table, or 0
 *     L2 table:  offset of a cluster; with the top bit set, length and offset of a deflated one; 0
 *                where the backing file decides
 *
 * Clusters are only ever added at the end of the file. L2 tables are in memory once they are used,
 * and what changes of them is written by flushes: when the data is durable the L2 tables, when
 * these are the L1 table. So a crash leaves clusters that nobody refers to. See docs/spec/qcow.md.
 */
#include "block/crypt.h"
#include "block/formats/mapped.h"
#include "crypto/secret.h"
#include "gen/schema.h"
#include "io/co-lock.h"
#include "io/pool.h"
#include "util/endian.h"
#include <inttypes.h>
#include <string.h>
#include <zlib.h>

enum {
    SECTOR = 512,
    QCOW_VERSION = 1,
    CLUSTER_BITS_MIN = 9, CLUSTER_BITS_MAX = 16,
    L2_BITS_MIN = 6, L2_BITS_MAX = 13,
    QCOW_NAME_MAX = 1023,
    L1_MAX = 32 << 20,              /* bytes */
    CACHE_MAX = 8 << 20,            /* bytes of L2 tables in memory */
    WINDOW_BITS = 12,               /* of deflated clusters */
    CRYPT_NONE = 0, CRYPT_AES = 1,
};

#define QCOW_MAGIC 0x514649fbu      /* "QFI\xfb" */
#define COMPRESSED (UINT64_C(1) << 63)

typedef struct {
    be32 magic, version;
    be64 backing_off;
    be32 backing_len, mtime;
    be64 size;
    uint8_t cluster_bits, l2_bits, padding[2];
    be32 crypt_method;
    be64 l1_off;
} QcowHeader;
G_STATIC_ASSERT(sizeof(QcowHeader) == 48);

typedef struct {
    be64 *entries;      /* NULL: not in memory */
    bool dirty;
    bool is_new;        /* the file's L1 table does not have it yet */
} QcowTable;

typedef struct {
    QcowHeader header;
    uint32_t cluster;       /* bytes */
    uint32_t per_table;     /* entries of an L2 table */
    uint64_t n_l1;
    uint64_t first;         /* bytes; tables and clusters begin there */
    uint64_t end;           /* bytes; what comes next lies there */
    be64 *l1;               /* NULL without I/O */
    QcowTable *l2;
    unsigned cached;        /* tables in memory */
    bool dirty;             /* something has to be written */
    CryptoBlock *crypt;
    uint8_t *plain;         /* of the compressed cluster that was read last ... */
    uint64_t plain_entry;   /* ... its entry; 0: none */
    CoMutex lock;           /* loading tables, allocation, compressed clusters, flushes */
} Qcow;

static int qcow_probe(const uint8_t *head, size_t len, const char *filename)
{
    const QcowHeader *h = (const QcowHeader *)head;

    return len >= 8 && be32_get(h->magic) == QCOW_MAGIC && be32_get(h->version) == QCOW_VERSION
               ? 100
               : 0;
}

/* ---- opening -------------------------------------------------------------------------------- */

static bool qcow_check_sizes(Qcow *s, uint64_t size, GError **err)
{
    const QcowHeader *h = &s->header;
    uint64_t per_l1;

    if (h->cluster_bits < CLUSTER_BITS_MIN || h->cluster_bits > CLUSTER_BITS_MAX)
        return err_set(err, EINVAL, "qcow clusters of 2^%u bytes: not from 2^%d to 2^%d",
                       h->cluster_bits, CLUSTER_BITS_MIN, CLUSTER_BITS_MAX);
    if (h->l2_bits < L2_BITS_MIN || h->l2_bits > L2_BITS_MAX)
        return err_set(err, EINVAL, "qcow tables of 2^%u entries: not from 2^%d to 2^%d",
                       h->l2_bits, L2_BITS_MIN, L2_BITS_MAX);
    s->cluster = 1u << h->cluster_bits;
    s->per_table = 1u << h->l2_bits;
    per_l1 = (uint64_t)s->cluster * s->per_table;
    if (size <= 1 || size > NODE_SIZE_MAX || div_round_up(size, per_l1) > L1_MAX / 8)
        return err_set(err, EFBIG, "A qcow image with such clusters cannot have a disk of %" PRIu64
                       " bytes", size);
    s->n_l1 = div_round_up(size, per_l1);
    return true;
}

static bool qcow_check_header(Qcow *s, uint64_t have, GError **err)
{
    const QcowHeader *h = &s->header;
    uint64_t l1_off = be64_get(h->l1_off), method = be32_get(h->crypt_method);

    if (be32_get(h->magic) != QCOW_MAGIC || be32_get(h->version) != QCOW_VERSION)
        return err_set(err, EINVAL, "This is no image of qcow version 1");
    if (!qcow_check_sizes(s, be64_get(h->size), err))
        return false;
    if (method > CRYPT_AES)
        return err_set(err, ENOTSUP, "The encryption method of the qcow image is unknown: %" PRIu64,
                       method);
    if (l1_off < sizeof(*h) || l1_off % 8 || l1_off > have || s->n_l1 * 8 > have - l1_off)
        return err_set(err, EINVAL, "The L1 table of the qcow image, %" PRIu64 " bytes at %" PRIu64
                       ", is not inside the file of %" PRIu64 " bytes", s->n_l1 * 8, l1_off, have);
    s->first = l1_off + s->n_l1 * 8;
    s->end = have;
    return true;
}

static CO bool qcow_read_backing_name(Node *n, Edge *file, GError **err)
{
    Qcow *s = node_state(n);
    uint64_t off = be64_get(s->header.backing_off), len = be32_get(s->header.backing_len);
    char name[QCOW_NAME_MAX + 1] = "";
    int r;

    if (!off) {
        node_set_backing_stored(n, NULL, NULL);
        return true;
    }
    if (len > QCOW_NAME_MAX || off > edge_size(file) || len > edge_size(file) - off)
        return err_set(err, EINVAL, "The name of the backing file, %" PRIu64 " bytes at %" PRIu64
                       ", is not inside the file or too long", len, off);
    r = edge_pread_buf(file, off, name, len);
    if (r < 0)
        return err_set_errno(err, r, "Could not read the name of the backing file");
    node_set_backing_stored(n, name, NULL);
    return true;
}

static CO bool qcow_read_l1(Node *n, Edge *file, GError **err)
{
    Qcow *s = node_state(n);
    int r;

    s->l1 = g_try_malloc(s->n_l1 * 8);
    s->l2 = g_try_new0(QcowTable, s->n_l1);
    s->plain = g_try_malloc(s->cluster);
    r = s->l1 && s->l2 && s->plain
            ? edge_pread_buf(file, be64_get(s->header.l1_off), s->l1, s->n_l1 * 8) : -ENOMEM;
    return r >= 0 || err_set_errno(err, r, "Could not read the L1 table of '%s'", node_filename(n));
}

static bool qcow_unlock(Node *n, const json_t *o, GError **err)
{
    Qcow *s = node_state(n);
    const json_t *given = json_get(o, "encrypt");
    const char *id = json_get_str(given, "key-secret", NULL);
    bool encrypted = be32_get(s->header.crypt_method) == CRYPT_AES;
    g_auto(SecretBytes) pass = { 0 };

    if (!encrypted)
        return !json_has(given, "format") ||
               err_set(err, EINVAL, "The image is not encrypted, but 'encrypt.format' is given");
    if (node_flags(n) & OPEN_NO_IO)
        return true;
    if (!(id ? secret_get_utf8(id, &pass, err)
             : secret_ask(node_filename(n), &pass) ||
                   err_set(err, EINVAL,
                           "The image is encrypted: option 'encrypt.key-secret' is needed")))
        return false;
    s->crypt = crypto_block_new_qcow(pass.data, pass.len, err);
    return s->crypt;
}

static CO void qcow_close(Node *n)
{
    Qcow *s = node_state(n);

    for (uint64_t i = 0; s->l2 && i < s->n_l1; i++)
        g_free(s->l2[i].entries);
    g_clear_pointer(&s->l1, g_free);
    g_clear_pointer(&s->l2, g_free);
    g_clear_pointer(&s->plain, g_free);
    crypto_block_free(s->crypt);
    s->crypt = NULL;
}

/* Reads all that the file says; what is in memory of an earlier time counts no more. */
static CO bool qcow_load(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    Edge *file = node_edge(n, ROLE_STORAGE);
    Qcow *s = node_state(n);
    int r;

    qcow_close(n);
    *s = (Qcow){};
    r = edge_pread_buf(file, 0, &s->header, sizeof(s->header));
    if (r < 0)
        return err_set_errno(err, r, "Could not read the header of '%s'", node_filename(n));
    if (!qcow_check_header(s, edge_size(file), err) || !qcow_read_backing_name(n, file, err) ||
        !qcow_unlock(n, o, err))
        return err_prefix(err, "Image '%s': ", node_filename(n));
    node_set_size(n, be64_get(s->header.size));
    return flags & OPEN_NO_IO || qcow_read_l1(n, file, err);
}

static CO bool qcow_activate(Node *n, GError **err)
{
    return qcow_load(n, node_options(n), node_flags(n), err);
}

static CO bool qcow_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    if (node_open_child(n, "file", NULL, o, ROLE_STORAGE, false, err) &&
        qcow_load(n, o, flags, err))
        return true;
    qcow_close(n);
    return false;
}

/* ---- tables --------------------------------------------------------------------------------- */

/* Writes changed L2 tables; *@from, *@to: the range of the L1 table that has to follow. */
static CO int qcow_write_tables(Node *n, uint64_t *from, uint64_t *to)
{
    Qcow *s = node_state(n);

    for (uint64_t i = 0; i < s->n_l1; i++) {
        QcowTable *t = &s->l2[i];
        int r = t->dirty ? edge_pwrite_buf(node_edge(n, ROLE_STORAGE), be64_get(s->l1[i]),
                                           t->entries, s->per_table * 8)
                         : 0;

        if (r < 0)
            return r;
        if (t->is_new) {
            *from = MIN(*from, i);
            *to = i + 1;
        }
    }
    return 0;
}

/* With the lock held. */
static CO int qcow_flush_locked(Node *n)
{
    Edge *file = node_edge(n, ROLE_STORAGE);
    Qcow *s = node_state(n);
    uint64_t from = UINT64_MAX, to = 0;
    int r;

    if (!s->dirty)
        return 0;
    r = edge_flush(file);
    if (r >= 0)
        r = qcow_write_tables(n, &from, &to);
    if (r >= 0 && from < to) {
        r = edge_flush(file);
        if (r >= 0)
            r = edge_pwrite_buf(file, be64_get(s->header.l1_off) + from * 8, s->l1 + from,
                                (to - from) * 8);
    }
    if (r < 0)
        return r;
    for (uint64_t i = 0; i < s->n_l1; i++)
        s->l2[i].dirty = s->l2[i].is_new = false;
    s->dirty = false;
    return 0;
}

static CO int qcow_flush(Node *n)
{
    Qcow *s = node_state(n);

    if (!s->l1)
        return 0;
    CO_LOCKED(&s->lock);
    return qcow_flush_locked(n);
}

static CO bool qcow_inactivate(Node *n, GError **err)
{
    int r = qcow_flush(n);

    if (r >= 0)
        r = edge_flush(node_edge(n, ROLE_STORAGE));
    return r >= 0 ||
           err_set_errno(err, r, "The tables of '%s' could not be written", node_filename(n));
}

/* Makes room for a table. With the lock held. */
static CO int qcow_trim_cache(Node *n)
{
    Qcow *s = node_state(n);
    int r = 0;

    if (s->cached < MAX(CACHE_MAX / (s->per_table * 8), 4))
        return 0;
    if (!node_is_read_only(n))
        r = qcow_flush_locked(n);
    if (r < 0)
        return r;
    for (uint64_t i = 0; i < s->n_l1; i++)
        g_clear_pointer(&s->l2[i].entries, g_free);
    s->cached = 0;
    return 0;
}

/* Could there be @len bytes at @off? */
static bool is_inside(const Qcow *s, uint64_t off, uint64_t len)
{
    return off >= s->first && off <= s->end && len <= s->end - off;
}

/* The L2 table @i, which the L1 table has, is in memory when this returns 0. With the lock held. */
static CO int qcow_load_table(Node *n, uint64_t i)
{
    Qcow *s = node_state(n);
    uint64_t off = be64_get(s->l1[i]);
    g_autofree be64 *entries = NULL;
    int r;

    if (s->l2[i].entries)
        return 0;
    if (off % SECTOR || !is_inside(s, off, s->per_table * 8))
        return -EIO;
    r = qcow_trim_cache(n);
    if (r < 0)
        return r;
    entries = g_try_malloc(s->per_table * 8);
    r = entries ? edge_pread_buf(node_edge(n, ROLE_STORAGE), off, entries, s->per_table * 8)
                : -ENOMEM;
    if (r < 0)
        return r;
    s->l2[i].entries = g_steal_pointer(&entries);
    s->cached++;
    return 0;
}

/* Space for @len bytes at the next multiple of @align. With the lock held. */
static uint64_t qcow_allocate(Qcow *s, uint64_t len, uint64_t align)
{
    uint64_t off = round_up(s->end, align);

    s->end = off + len;
    return off;
}

/* As qcow_load_table, and makes the table if there is none. */
static CO int qcow_make_table(Node *n, uint64_t i)
{
    Qcow *s = node_state(n);
    int r;

    if (be64_get(s->l1[i]))
        return qcow_load_table(n, i);
    r = qcow_trim_cache(n);
    if (r < 0)
        return r;
    s->l2[i].entries = g_try_malloc0(s->per_table * 8);
    if (!s->l2[i].entries)
        return -ENOMEM;
    s->cached++;
    s->l1[i] = be64_of(qcow_allocate(s, s->per_table * 8, s->cluster));
    s->l2[i].dirty = s->l2[i].is_new = s->dirty = true;
    return 0;
}

/* ---- what is where --------------------------------------------------------------------------- */

/* The entry of the cluster @off is in. With the lock held. */
static CO int qcow_entry(Node *n, uint64_t off, uint64_t *entry)
{
    Qcow *s = node_state(n);
    uint64_t at = off / s->cluster, i = at / s->per_table;
    int r;

    *entry = 0;
    if (!be64_get(s->l1[i]))
        return 0;
    r = qcow_load_table(n, i);
    if (r < 0)
        return r;
    *entry = be64_get(s->l2[i].entries[at % s->per_table]);
    return *entry && !(*entry & COMPRESSED) &&
           (*entry % SECTOR || !is_inside(s, *entry, SECTOR)) ? -EIO : 0;
}

static void qcow_set(Qcow *s, uint64_t off, uint64_t entry)
{
    uint64_t at = off / s->cluster;
    QcowTable *t = &s->l2[at / s->per_table];

    t->entries[at % s->per_table] = be64_of(entry);
    t->dirty = s->dirty = true;
}

/* How a run from @off on continues: the same kind, and at the next place in the file. */
static CO int qcow_run_locked(Node *n, uint64_t off, uint64_t len, uint64_t *entry, uint64_t *run)
{
    Qcow *s = node_state(n);
    int r = qcow_entry(n, off, entry);

    *run = MIN(len, s->cluster - off % s->cluster);
    while (r == 0 && *run < len && !(*entry & COMPRESSED)) {
        uint64_t next, at = off + *run;

        /* A table that is not there has nothing, all of it. */
        if (!*entry && !be64_get(s->l1[at / s->cluster / s->per_table])) {
            *run = MIN(len, round_down(at, (uint64_t)s->cluster * s->per_table) +
                       (uint64_t)s->cluster * s->per_table - off);
            continue;
        }
        if (qcow_entry(n, at, &next) < 0 ||
            next !=
                (*entry ? *entry + round_down(at, s->cluster) - round_down(off, s->cluster) : 0))
            break;
        *run = MIN(len, *run + s->cluster);
    }
    return r;
}

static CO int qcow_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    Qcow *s = node_state(n);
    uint64_t entry;
    int r;

    CO_LOCKED(&s->lock);
    r = qcow_run_locked(n, off, len, &entry, &e->len);
    if (r < 0)
        return r;
    if (!entry) {
        e->flags = 0;
    } else if (entry & COMPRESSED) {
        e->flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_COMPRESSED;
    } else {
        e->flags = EXTENT_DATA | EXTENT_ALLOCATED;
        if (!s->crypt) {
            e->flags |= EXTENT_HOST;
            e->host = edge_node(node_edge(n, ROLE_STORAGE));
            e->host_off = entry + off % s->cluster;
        }
    }
    return 0;
}

/* ---- compressed clusters --------------------------------------------------------------------- */

typedef struct {
    uint8_t *in, *out;
    size_t in_len, out_len;
    size_t made;            /* by deflate */
} ZlibJob;

static int inflate_job(void *arg)
{
    ZlibJob *j = arg;
    z_stream z = {
        .next_in = j->in, .avail_in = j->in_len, .next_out = j->out, .avail_out = j->out_len };
    int r;

    if (inflateInit2(&z, -WINDOW_BITS) != Z_OK)
        return -ENOMEM;
    r = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    /* What follows the stream does not count. */
    return (r == Z_STREAM_END || r == Z_BUF_ERROR) && !z.avail_out ? 0 : -EIO;
}

static int deflate_job(void *arg)
{
    ZlibJob *j = arg;
    z_stream z = {
        .next_in = j->in, .avail_in = j->in_len, .next_out = j->out, .avail_out = j->out_len };
    int r;

    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -WINDOW_BITS, 9, Z_DEFAULT_STRATEGY) !=
        Z_OK)
        return -ENOMEM;
    r = deflate(&z, Z_FINISH);
    j->made = r == Z_STREAM_END ? j->out_len - z.avail_out : 0;
    deflateEnd(&z);
    return 0;
}

/* The content of a compressed cluster is in s->plain when this returns 0. With the lock held. */
static CO int qcow_inflate(Node *n, uint64_t entry)
{
    Qcow *s = node_state(n);
    unsigned bits = s->header.cluster_bits;
    uint64_t off = entry & ((UINT64_C(1) << (63 - bits)) - 1);
    size_t len = entry >> (63 - bits) & (s->cluster - 1);
    g_autofree uint8_t *in = g_try_malloc(s->cluster);
    ZlibJob j = { .in = in, .in_len = len, .out = s->plain, .out_len = s->cluster };
    int r;

    if (s->plain_entry == entry)
        return 0;
    s->plain_entry = 0;
    if (!in)
        return -ENOMEM;
    if (!len || !is_inside(s, off, len))
        return -EIO;
    r = edge_pread_buf(node_edge(n, ROLE_STORAGE), off, in, len);
    if (r == 0)
        r = pool_compute(inflate_job, &j);
    if (r == 0)
        s->plain_entry = entry;
    return r;
}

/* ---- reading -------------------------------------------------------------------------------- */

static CO int read_host(Node *n, uint64_t host, uint64_t off, Span buf)
{
    Qcow *s = node_state(n);
    int r = edge_pread(node_edge(n, ROLE_STORAGE), host, buf, 0);

    return r < 0 || !s->crypt ? r : crypt_decrypt(s->crypt, off, buf);
}

/* One run. *@done: its length. */
static CO int qcow_read_run(Node *n, uint64_t off, Span buf, uint64_t *done)
{
    Qcow *s = node_state(n);
    uint64_t entry;
    int r;

    {
        CO_LOCKED(&s->lock);
        r = qcow_run_locked(n, off, buf.len, &entry, done);
        if (r == 0 && entry & COMPRESSED) {
            r = qcow_inflate(n, entry);
            if (r == 0)
                span_write(span_slice(buf, 0, *done), s->plain + off % s->cluster);
            return r;
        }
    }
    if (r < 0)
        return r;
    buf = span_slice(buf, 0, *done);
    return entry ? read_host(n, entry + off % s->cluster, off, buf)
                 : mapped_pread_backing(n, off, buf);
}

static CO int qcow_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    while (buf.len) {
        uint64_t done = 0;
        int r = qcow_read_run(n, off, buf, &done);

        if (r < 0)
            return r;
        off += done;
        buf = span_slice(buf, done, buf.len - done);
    }
    return 0;
}

/* ---- writing -------------------------------------------------------------------------------- */

static CO int write_host(Node *n, uint64_t host, uint64_t off, Span buf)
{
    Edge *file = node_edge(n, ROLE_STORAGE);
    Qcow *s = node_state(n);
    g_autoptr(Aligned) hidden = NULL;

    if (!s->crypt)
        return edge_pwrite(file, host, buf, 0);
    hidden = aligned_try_alloc(buf.len);
    if (!hidden)
        return -ENOMEM;
    crypt_encrypt(s->crypt, off, buf, hidden);
    return edge_pwrite(file, host, span_of(hidden, buf.len), 0);
}

/* Whole clusters that have no place, or a compressed one: a new place. With the lock held. */
static CO int write_new(Node *n, uint64_t off, Span buf)
{
    Qcow *s = node_state(n);
    uint64_t host = qcow_allocate(s, buf.len, s->cluster);
    int r = write_host(n, host, off, buf);

    for (uint64_t at = 0; r == 0 && at < buf.len; at += s->cluster)
        qcow_set(s, off + at, host + at);
    return r;
}

/* Part of a cluster that has no place: with what is around it. With the lock held. */
static CO int write_part(Node *n, uint64_t off, uint64_t entry, Span buf)
{
    Qcow *s = node_state(n);
    uint64_t start = round_down(off, s->cluster), have;
    g_autoptr(Aligned) whole = aligned_try_alloc(s->cluster);
    int r = 0;

    if (!whole)
        return -ENOMEM;
    have = MIN(s->cluster, node_size(n) - start);
    memset(whole, 0, s->cluster);
    if (entry & COMPRESSED) {
        r = qcow_inflate(n, entry);
        if (r == 0)
            memcpy(whole, s->plain, s->cluster);
    } else {
        r = mapped_pread_backing(n, start, span_of(whole, have));
    }
    if (r < 0)
        return r;
    span_read(buf, (uint8_t *)whole + (off - start));
    return write_new(n, start, span_of(whole, s->cluster));
}

/* How many of the @len bytes at @off are whole clusters without a place, in one table. */
static CO uint64_t run_without_place(Node *n, uint64_t off, uint64_t len)
{
    Qcow *s = node_state(n);
    uint64_t table = (uint64_t)s->cluster * s->per_table, run = 0, entry;

    len = MIN(len, round_down(off, table) + table - off);
    while (len - run >= s->cluster && qcow_entry(n, off + run, &entry) == 0 &&
           (!entry || entry & COMPRESSED))
        run += s->cluster;
    return run;
}

/* One run that has no place, *@done bytes. With the lock held. */
static CO int write_placeless(Node *n, uint64_t off, uint64_t entry, Span buf, uint64_t *done)
{
    Qcow *s = node_state(n);
    uint64_t run;
    int r = qcow_make_table(n, off / s->cluster / s->per_table);

    if (r < 0)
        return r;
    run = off % s->cluster ? 0 : run_without_place(n, off, buf.len);
    *done = run ? run : MIN(buf.len, s->cluster - off % s->cluster);
    buf = span_slice(buf, 0, *done);
    return run ? write_new(n, off, buf) : write_part(n, off, entry, buf);
}

static CO int qcow_write_run(Node *n, uint64_t off, Span buf, uint64_t *done)
{
    Qcow *s = node_state(n);
    uint64_t entry;
    int r;

    {
        CO_LOCKED(&s->lock);
        r = qcow_run_locked(n, off, buf.len, &entry, done);
        if (r < 0)
            return r;
        if (!entry || entry & COMPRESSED)
            return write_placeless(n, off, entry, buf, done);
    }
    return write_host(n, entry + off % s->cluster, off, span_slice(buf, 0, *done));
}

/* One whole cluster, or the last part of the disk, compressed if that makes it smaller. */
static CO int write_compressed(Node *n, uint64_t off, Span buf)
{
    Qcow *s = node_state(n);
    unsigned bits = s->header.cluster_bits;
    g_autofree uint8_t *in = g_try_malloc0(s->cluster), *out = g_try_malloc(s->cluster);
    ZlibJob j = { .in = in, .in_len = s->cluster, .out = out, .out_len = s->cluster - 1 };
    uint64_t host;
    int r;

    if (!in || !out)
        return -ENOMEM;
    span_read(buf, in);
    r = pool_compute(deflate_job, &j);
    if (r < 0)
        return r;
    CO_LOCKED(&s->lock);
    r = qcow_make_table(n, off / s->cluster / s->per_table);
    if (r < 0)
        return r;
    if (!j.made || s->end + s->cluster >= UINT64_C(1) << (63 - bits))
        return write_new(n, off, span_of(in, s->cluster));
    host = qcow_allocate(s, j.made, 1);
    r = edge_pwrite_buf(node_edge(n, ROLE_STORAGE), host, out, j.made);
    if (r == 0)
        qcow_set(s, off, COMPRESSED | (uint64_t)j.made << (63 - bits) | host);
    return r;
}

static CO int qcow_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    Qcow *s = node_state(n);

    if (flags & REQ_COMPRESSED && s->crypt)
        return -ENOTSUP;
    while (buf.len) {
        uint64_t done = MIN(buf.len, s->cluster);
        bool whole = off % s->cluster == 0 && (done == s->cluster || off + done == node_size(n));
        int r;

        if (flags & REQ_COMPRESSED)
            r = whole ? write_compressed(n, off, span_slice(buf, 0, done)) : -EINVAL;
        else
            r = qcow_write_run(n, off, buf, &done);
        if (r < 0)
            return r;
        off += done;
        buf = span_slice(buf, done, buf.len - done);
    }
    return 0;
}

static void qcow_refresh_limits(Node *n)
{
    /* Sectors are encrypted whole. */
    if (((Qcow *)node_state(n))->crypt)
        node_limits(n)->request_alignment = SECTOR;
}

/* ---- what is known -------------------------------------------------------------------------- */

static CO int qcow_info(Node *n, NodeInfo *info)
{
    const Qcow *s = node_state(n);

    info->cluster_size = s->cluster;
    info->is_encrypted = be32_get(s->header.crypt_method) == CRYPT_AES;
    return 0;
}

static bool qcow_has_zero_init(Node *n)
{
    return true;
}

/* ---- creating ------------------------------------------------------------------------------- */

static bool create_is_encrypted(const json_t *opts, bool *encrypted, GError **err)
{
    const char *format = json_get_str(opts, "encrypt.format", NULL);
    const char *id = json_get_str(opts, "encrypt.key-secret", NULL);
    bool old = json_get_bool(opts, "encryption", false);
    g_auto(SecretBytes) pass = { 0 };

    *encrypted = format || old;
    if (format && old)
        return err_set(err, EINVAL, "Options 'encryption' and 'encrypt.format' exclude each other");
    if (format && strcmp(format, "aes"))
        return err_set(err, EINVAL, "qcow images are encrypted with 'aes', not with '%s'", format);
    if (!*encrypted != !id)
        return err_set(err, EINVAL, "'encrypt.format' and 'encrypt.key-secret' go together");
    return !id || secret_get_utf8(id, &pass, err);
}

/* Header, name and an empty L1 table, as one piece. Caller frees. */
static uint8_t *create_head(const QcowHeader *h, const char *backing, uint64_t n_l1, size_t *len)
{
    size_t l1_off = be64_get(h->l1_off);
    uint8_t *head;

    *len = l1_off + round_up(n_l1 * 8, SECTOR);
    head = g_malloc0(*len);
    memcpy(head, h, sizeof(*h));
    if (backing)
        memcpy(head + sizeof(*h), backing, strlen(backing));
    return head;
}

static CO bool qcow_create(const char *filename, json_t *opts, GError **err)
{
    uint64_t size = round_up((uint64_t)json_get_int(opts, "size", 0), SECTOR);
    const char *backing = json_get_str(opts, "backing_file", NULL);
    Qcow s = { .header = {
        .magic = be32_of(QCOW_MAGIC),
        .version = be32_of(QCOW_VERSION),
        .size = be64_of(size),
        /* Below a backing file small clusters, so that little is copied from it. */
        .cluster_bits = backing ? 9 : 12,
        .l2_bits = backing ? 12 : 9,
        .l1_off = be64_of(sizeof(QcowHeader)),
    } };
    g_autoptr(Handle) file = NULL;
    g_autofree uint8_t *head = NULL;
    bool encrypted;
    size_t len;
    int r;

    if (!size)
        return err_set(err, EINVAL, "A qcow image cannot have a disk of 0 bytes");
    if (!create_is_encrypted(opts, &encrypted, err) || !qcow_check_sizes(&s, size, err))
        return false;
    if (backing && strlen(backing) > QCOW_NAME_MAX)
        return err_set(err, EINVAL, "The name of the backing file is longer than %d bytes",
                       QCOW_NAME_MAX);
    s.header.crypt_method = be32_of(encrypted ? CRYPT_AES : CRYPT_NONE);
    if (backing) {
        s.header.backing_off = be64_of(sizeof(QcowHeader));
        s.header.backing_len = be32_of(strlen(backing));
        s.header.l1_off = be64_of(round_up(sizeof(QcowHeader) + strlen(backing), 8));
    }
    head = create_head(&s.header, backing, s.n_l1, &len);
    file = file_create(filename, opts, 0, err);
    if (!file || !handle_resize(file, len, false, PREALLOC_OFF, err))
        return false;
    r = handle_pwrite(file, 0, span_of(head, len), 0);
    if (r >= 0)
        r = handle_flush(file);
    return r >= 0 || err_set_errno(err, r, "Could not write the new image '%s'", filename);
}

static const char *const qcow_strong_options[] = { "encrypt.key-secret", NULL };

const BlockDriver block_qcow = {
    .name = "qcow",
    .stays = "qcow",
    .kind = BLK_FORMAT,
    .any_loop = true,
    .state_size = sizeof(Qcow),
    .takes_backing = true,
    .is_compressing = true,
    .strong_options = qcow_strong_options,
    .probe = qcow_probe,
    .open = qcow_open,
    .inactivate = qcow_inactivate,
    .activate = qcow_activate,
    .close = qcow_close,
    .create_opts = create_opts_qcow,
    .create = qcow_create,
    .pread = qcow_pread,
    .pwrite = qcow_pwrite,
    .flush = qcow_flush,
    .extent = qcow_extent,
    .info = qcow_info,
    .has_zero_init = qcow_has_zero_init,
    .refresh_limits = qcow_refresh_limits,
};
