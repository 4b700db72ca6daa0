/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * New images. All metadata is laid out beforehand and written front to back, once:
 *
 *     header | refcount table | refcount blocks | L1 | encryption header | L2 tables | data
 *
 * The last two only with preallocation; the data area is then one hole, or as the file system
 * preallocates it. An image that goes to a pipe has both for the clusters that will be written.
 */
#include "block/formats/qcow2/crypt.h"
#include "block/formats/qcow2/qcow2.h"
#include "block/pipe.h"
#include "io/pool.h"
#include <string.h>

enum { CHUNK = 2 << 20 };

typedef struct {
    Qcow2 q;                 /* only what a header needs */
    Prealloc prealloc;
    CryptCreate crypt;
    Handle *file;
    uint64_t l2_off, l2_tables, data_off, data_len;
    uint64_t meta_end;       /* up to where refcounts are 1 */
    /* To a pipe: */
    uint8_t *used;           /* a bit for each cluster that will be written; NULL: not to a pipe */
    uint64_t used_count;
    uint64_t next_table;     /* the L1 entry from which on tables are still to be filled */
    uint64_t next_off;       /* where the next table, or cluster, lies */
} Create;

static void create_clear(Create *c)
{
    qcow2_header_free(&c->q);
    qcow2_crypt_create_clear(&c->crypt);
    if (!c->used)
        handle_close(c->file);
    g_free(c->used);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Create, create_clear)

/* ---- options -------------------------------------------------------------------------------- */

bool qcow2_version_parse(const char *text, unsigned *version, GError **err)
{
    if (!strcmp(text, "0.10") || !strcmp(text, "v2"))
        *version = 2;
    else if (!strcmp(text, "1.1") || !strcmp(text, "v3"))
        *version = 3;
    else
        return err_set(err, EINVAL, "Option 'compat' is '0.10' or '1.1', not '%s'", text);
    return true;
}

bool qcow2_prealloc_parse(const char *text, Prealloc *prealloc, GError **err)
{
    return prealloc_parse(text, prealloc) ||
           err_set(err, EINVAL, "Option 'preallocation' is 'off', 'metadata', 'falloc' or 'full', "
                   "not '%s'", text);
}

bool qcow2_geometry_parse(Qcow2 *q, const json_t *o, GError **err)
{
    uint64_t cluster = json_get_int(o, "cluster_size", 64 * KiB);
    uint64_t bits = json_get_int(o, "refcount_bits", 16);
    bool extended = json_get_bool(o, "extended_l2", false);

    if (!is_power_of_2(cluster) || cluster < 512 || cluster > 2 * MiB)
        return err_set(err, EINVAL, "Option 'cluster_size' is %" PRIu64 ", not a power of two from "
                       "512 to 2097152", cluster);
    if (!is_power_of_2(bits) || bits > 64)
        return err_set(err, EINVAL, "Option 'refcount_bits' is %" PRIu64 ", not a power of two up "
                       "to 64", bits);
    if (bits != 16 && q->version < 3)
        return err_set(err, EINVAL, "Refcounts of %" PRIu64 " bits need compat=1.1", bits);
    q->cluster_bits = __builtin_ctzll(cluster);
    q->refcount_order = __builtin_ctzll(bits);
    if (extended && q->version < 3)
        return err_set(err, EINVAL, "Extended L2 entries need compat=1.1");
    if (extended && q->cluster_bits < QCOW2_EXTENDED_BITS_MIN)
        return err_set(err, EINVAL, "Extended L2 entries need clusters of at least 16384 bytes, "
                       "not %" PRIu64, cluster);
    q->incompatible |= extended ? INCOMPAT_EXTENDED_L2 : 0;
    qcow2_set_geometry(q);
    return true;
}

static bool read_features(Qcow2 *q, const json_t *o, GError **err)
{
    const char *compression = json_get_str(o, "compression_type", "zlib");
    bool lazy = json_get_bool(o, "lazy_refcounts", false);

    if (!strcmp(compression, "zstd"))
        q->compression = QCOW2_ZSTD;
    else if (strcmp(compression, "zlib"))
        return err_set(err, EINVAL, "Option 'compression_type' is 'zlib' or 'zstd', not '%s'",
                       compression);
    if (q->compression && q->version < 3)
        return err_set(err, EINVAL, "Compression with '%s' needs compat=1.1", compression);
    if (lazy && q->version < 3)
        return err_set(err, EINVAL, "Lazy refcounts need compat=1.1");
    q->incompatible |= q->compression ? INCOMPAT_COMPRESSION : 0;
    q->compatible |= lazy ? COMPAT_LAZY_REFCOUNTS : 0;
    return true;
}

static bool read_names(Create *c, const json_t *o, GError **err)
{
    Qcow2 *q = &c->q;
    bool raw = json_get_bool(o, "data_file_raw", false);

    q->backing_name = g_strdup(json_get_str(o, "backing_file", NULL));
    q->backing_format = g_strdup(json_get_str(o, "backing_fmt", NULL));
    q->data_name = g_strdup(json_get_str(o, "data_file", NULL));
    if (q->backing_name && strlen(q->backing_name) > QCOW2_NAME_MAX)
        return err_set(err, EINVAL, "The name of the backing file is longer than %d bytes",
                       QCOW2_NAME_MAX);
    if (q->data_name && strlen(q->data_name) > QCOW2_NAME_MAX)
        return err_set(err, EINVAL, "The name of the data file is longer than %d bytes",
                       QCOW2_NAME_MAX);
    if (q->backing_format && !q->backing_name)
        return err_set(err, EINVAL, "Option 'backing_fmt' is given without 'backing_file'");
    if (q->backing_format && !driver_find(q->backing_format))
        return err_set(err, EINVAL, "The backing file has the unknown format '%s'",
                       q->backing_format);
    if (q->data_name && q->version < 3)
        return err_set(err, EINVAL, "A data file needs compat=1.1");
    if (raw && !q->data_name)
        return err_set(err, EINVAL, "Option 'data_file_raw' needs 'data_file'");
    /* All is mapped, so that what others write to the raw file shows. */
    if (raw && c->prealloc == PREALLOC_OFF)
        c->prealloc = PREALLOC_METADATA;
    if (raw && q->backing_name)
        return err_set(err, EINVAL, "A raw data file and a backing file exclude each other");
    if (c->prealloc != PREALLOC_OFF && q->backing_name && q->subs == 1)
        return err_set(err, EINVAL, "Preallocation with a backing file needs extended_l2=on");
    q->incompatible |= q->data_name ? INCOMPAT_DATA_FILE : 0;
    q->autoclear |= raw ? AUTOCLEAR_DATA_RAW : 0;
    return true;
}

static bool read_options(Create *c, const json_t *o, GError **err)
{
    Qcow2 *q = &c->q;
    int64_t size = json_get_int(o, "size", 0);

    q->head = g_byte_array_new();
    q->unknown_exts = g_byte_array_new();
    q->unknown_fields = g_byte_array_new();
    if (!qcow2_version_parse(json_get_str(o, "compat", "1.1"), &q->version, err) ||
        !qcow2_prealloc_parse(json_get_str(o, "preallocation", "off"), &c->prealloc, err) ||
        !qcow2_geometry_parse(q, o, err) || !read_features(q, o, err) || !read_names(c, o, err) ||
        !qcow2_crypt_create_options(&c->crypt, o, err))
        return false;
    if (size < 0 || size > INT64_MAX - 511)
        return err_set(err, EFBIG, "Option 'size' is %" PRId64 ", too large for any image", size);
    q->size = round_up(size, 512);
    if (qcow2_l1_needed(q, q->size) * 8 > QCOW2_L1_BYTES_MAX)
        return err_set(err, EFBIG, "A disk of %" PRIu64 " bytes is too large for clusters of %"
                       PRIu64 " bytes", q->size, q->cluster);
    return true;
}

/* ---- layout --------------------------------------------------------------------------------- */

static uint64_t clusters_of(const Qcow2 *q, uint64_t bytes)
{
    return div_round_up(bytes, q->cluster);
}

/* Has the L2 table of L1 entry @i an entry? To a pipe. */
static bool table_is_used(const Create *c, uint64_t i)
{
    uint64_t clusters = clusters_of(&c->q, c->q.size), first = i << c->q.l2_bits;
    uint64_t end = MIN(clusters, first + (UINT64_C(1) << c->q.l2_bits));

    for (uint64_t guest = first; guest < end; guest++)
        if (pipe_cluster_is_used(c->used, guest))
            return true;
    return false;
}

static void count_used(Create *c)
{
    c->data_len = c->used_count * c->q.cluster;
    c->l2_tables = 0;
    for (uint64_t i = 0; i < c->q.l1_len; i++)
        c->l2_tables += table_is_used(c, i);
}

/* Places everything; refcount structures count themselves, so until their number is stable. */
static bool layout(Create *c, GError **err)
{
    Qcow2 *q = &c->q;
    uint64_t blocks = 1, table = 1, guest = clusters_of(q, q->size), other, total;
    uint64_t luks = clusters_of(q, qcow2_crypt_header_len(&c->crypt));

    q->l1_len = qcow2_l1_needed(q, q->size);
    c->l2_tables = c->prealloc == PREALLOC_OFF ? 0 : q->l1_len;
    c->data_len = c->prealloc == PREALLOC_OFF || q->data_name ? 0 : guest * q->cluster;
    if (c->used)
        count_used(c);
    other = 1 + clusters_of(q, q->l1_len * UINT64_C(8)) + luks + c->l2_tables +
            clusters_of(q, c->data_len);
    for (;;) {
        uint64_t need;

        total = other + blocks + table;
        need = div_round_up(total, UINT64_C(1) << q->refblock_bits);
        if (need <= blocks && clusters_of(q, need * 8) <= table)
            break;
        blocks = MAX(need, blocks);
        table = MAX(clusters_of(q, blocks * 8), table);
    }
    if (table * q->cluster > QCOW2_REFTABLE_BYTES_MAX)
        return err_set(err, EFBIG, "A preallocated disk of %" PRIu64 " bytes is too large for "
                       "clusters of %" PRIu64 " bytes", q->size, q->cluster);
    q->reftable_off = q->cluster;
    q->reftable_clusters = table;
    q->reftable_len = blocks;
    q->l1_off = q->reftable_off + (table + blocks) * q->cluster;
    c->l2_off = q->l1_off + clusters_of(q, q->l1_len * UINT64_C(8)) * q->cluster;
    if (c->crypt.method != QCOW2_CRYPT_NONE)
        q->crypt_method = c->crypt.method;
    if (luks) {
        q->crypt_off = c->l2_off;
        q->crypt_len = qcow2_crypt_header_len(&c->crypt);
        c->l2_off += luks * q->cluster;
    }
    if (!q->l1_len)
        q->l1_off = 0;
    c->data_off = c->l2_off + c->l2_tables * q->cluster;
    c->meta_end = total * q->cluster;
    return true;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* Writes [@off, @off + @len), which @fill makes piece by piece. */
static CO int write_filled(Create *c, uint64_t off, uint64_t len,
                           void (*fill)(Create *c, uint64_t at, uint8_t *buf, uint64_t len))
{
    g_autoptr(Aligned) buf = aligned_try_alloc(MIN(len, CHUNK));
    int r = 0;

    if (!buf)
        return -ENOMEM;
    for (uint64_t at = 0; at < len && r >= 0; at += CHUNK) {
        uint64_t n = MIN(CHUNK, len - at);

        fill(c, at, buf, n);
        r = handle_pwrite(c->file, off + at, span_of(buf, n), 0);
    }
    return r;
}

static void fill_reftable(Create *c, uint64_t at, uint8_t *buf, uint64_t len)
{
    uint64_t first = c->q.reftable_off + c->q.reftable_clusters * c->q.cluster;

    for (uint64_t i = 0; i < len / 8; i++) {
        uint64_t block = at / 8 + i;

        be64_put(buf + i * 8, block < c->q.reftable_len ? first + block * c->q.cluster : 0);
    }
}

/* Counts of 1 up to the end of what is used. */
static void fill_refblocks(Create *c, uint64_t at, uint8_t *buf, uint64_t len)
{
    const Qcow2 *q = &c->q;
    uint64_t per_byte_shift = 3, first = (at << per_byte_shift) >> q->refcount_order;
    uint64_t count = (len << per_byte_shift) >> q->refcount_order;
    uint64_t used = c->meta_end >> q->cluster_bits;

    memset(buf, 0, len);
    for (uint64_t i = 0; i < count && first + i < used; i++)
        qcow2_count_put(q, buf, i, 1);
}

static void fill_l1(Create *c, uint64_t at, uint8_t *buf, uint64_t len)
{
    for (uint64_t i = 0; i < len / 8; i++)
        be64_put(buf + i * 8, c->l2_tables ? (c->l2_off + ((at / 8 + i) << c->q.cluster_bits)) |
                                                 ENTRY_COPIED : 0);
}

static void fill_l2(Create *c, uint64_t at, uint8_t *buf, uint64_t len)
{
    const Qcow2 *q = &c->q;
    uint64_t base = q->data_name ? 0 : c->data_off;
    uint64_t clusters = clusters_of(q, q->size);

    memset(buf, 0, len);
    for (uint64_t i = 0; i < len >> q->entry_bits; i++) {
        uint64_t guest = (at >> q->entry_bits) + i;

        if (guest < clusters)
            be64_put(buf + (i << q->entry_bits),
                     (base + (guest << q->cluster_bits)) | ENTRY_COPIED);
    }
}

/* The same of an image for a pipe: tables that are used, in order. */
static void fill_l1_used(Create *c, uint64_t at, uint8_t *buf, uint64_t len)
{
    if (!at)
        c->next_off = c->l2_off;
    for (uint64_t i = 0; i < len / 8; i++) {
        bool used = table_is_used(c, at / 8 + i);

        be64_put(buf + i * 8, used ? c->next_off | ENTRY_COPIED : 0);
        c->next_off += used ? c->q.cluster : 0;
    }
}

static void fill_l2_used(Create *c, uint64_t at, uint8_t *buf, uint64_t len)
{
    const Qcow2 *q = &c->q;
    uint64_t clusters = clusters_of(q, q->size), entries = UINT64_C(1) << q->l2_bits;

    if (!at)
        c->next_off = c->data_off;
    memset(buf, 0, len);
    for (; len; len -= q->cluster, buf += q->cluster) {
        while (!table_is_used(c, c->next_table))
            c->next_table++;
        for (uint64_t i = 0; i < entries; i++) {
            uint64_t guest = (c->next_table << q->l2_bits) + i;

            if (guest >= clusters || !pipe_cluster_is_used(c->used, guest))
                continue;
            be64_put(buf + i * 8, c->next_off | ENTRY_COPIED);
            c->next_off += q->cluster;
        }
        c->next_table++;
    }
}

static CO int write_head(Create *c)
{
    uint32_t backing_off;
    GByteArray *head = qcow2_head_build(&c->q, &backing_off);
    guint used;
    int r;

    if (!head)
        return -ENOSPC;
    used = head->len;
    g_byte_array_set_size(head, MAX(used, c->q.cluster));
    memset(head->data + used, 0, head->len - used); /* no stray memory in the image */
    r = handle_pwrite(c->file, 0, span_of(head->data, head->len), 0);
    g_byte_array_unref(head);
    return r;
}

static CO int write_tables(Create *c)
{
    const Qcow2 *q = &c->q;
    uint64_t reftable = q->reftable_clusters * q->cluster;
    int r = write_filled(c, q->reftable_off, reftable, fill_reftable);

    if (r >= 0)
        r = write_filled(c, q->reftable_off + reftable, q->reftable_len * q->cluster,
                         fill_refblocks);
    if (r >= 0 && q->l1_len)
        r = write_filled(c, q->l1_off, q->l1_len * UINT64_C(8), c->used ? fill_l1_used : fill_l1);
    if (r >= 0 && c->l2_tables)
        r = write_filled(c, c->l2_off, c->l2_tables * q->cluster, c->used ? fill_l2_used : fill_l2);
    return r;
}

static CO int io_read(void *opaque, uint64_t off, void *buf, size_t len)
{
    Create *c = opaque;

    return handle_pread(c->file, c->q.crypt_off + off, span_of(buf, len), 0);
}

static CO int io_write(void *opaque, uint64_t off, const void *buf, size_t len)
{
    Create *c = opaque;

    return handle_pwrite(c->file, c->q.crypt_off + off, span_of_const(buf, len), 0);
}

static CO bool write_crypt(Create *c, GError **err)
{
    LuksIo io = { .read = io_read, .write = io_write, .compute = pool_run, .opaque = c };

    return c->crypt.method == QCOW2_CRYPT_NONE || qcow2_crypt_create_header(&c->crypt, &io, err);
}

/* Where the metadata ends; the reference's new images end there too. */
static uint64_t tables_end(const Create *c)
{
    if (c->l2_tables || c->q.crypt_off || !c->q.l1_len)
        return c->data_off;
    return c->q.l1_off + c->q.l1_len * UINT64_C(8);
}

/* ---- all of it ------------------------------------------------------------------------------ */

/* The data file, as long as the disk. */
static CO bool create_data_file(const Create *c, const json_t *opts, GError **err)
{
    Prealloc prealloc = c->prealloc == PREALLOC_METADATA ? PREALLOC_OFF : c->prealloc;
    g_autoptr(json_t) none = json_object();
    g_autoptr(Handle) file = NULL;

    if (!c->q.data_name)
        return true;
    if (json_has(opts, "#data-node"))
        json_put_str(none, "#node", json_get_str(opts, "#data-node", ""));
    file = file_create(c->q.data_name, none, 0, err);
    return file && handle_resize(file, c->q.size, false, prealloc, err);
}

static CO bool create_image(Create *c, GError **err)
{
    Prealloc prealloc = c->prealloc == PREALLOC_METADATA ? PREALLOC_OFF : c->prealloc;
    int r;

    if (!handle_resize(c->file, tables_end(c), false, PREALLOC_OFF, err) || !write_crypt(c, err))
        return false;
    r = write_tables(c);
    if (r >= 0)
        r = write_head(c);
    if (r < 0)
        return err_set_errno(err, r, "Could not write the metadata");
    if (c->data_off + c->data_len > tables_end(c) && c->data_len &&
        !handle_resize(c->file, c->data_off + c->data_len, false, prealloc, err))
        return false;
    r = handle_flush(c->file);
    return r < 0 ? err_set_errno(err, r, "Could not flush the new image") : true;
}

CO bool qcow2_create(const char *filename, json_t *opts, GError **err)
{
    g_auto(Create) c = {};

    if (!read_options(&c, opts, err) || !layout(&c, err))
        return false;
    if (c.q.data_name && filename_is_same(c.q.data_name, filename))
        return err_set(err, EINVAL, "'%s' cannot be its own data file", filename);
    if (!create_data_file(&c, opts, err))
        return false;
    c.file = file_create(filename, opts, 0, err);
    return c.file && create_image(&c, err);
}

/* What needs a file that can be written anywhere, or would be none of its own. */
static bool ahead_check(const Create *c, GError **err)
{
    const Qcow2 *q = &c->q;
    const char *what = c->prealloc != PREALLOC_OFF ? "Preallocation"
                       : q->data_name ? "A data file"
                       : q->backing_name ? "A backing file"
                       : c->crypt.method != QCOW2_CRYPT_NONE ? "Encryption"
                       : q->subs > 1 ? "Option 'extended_l2'" : NULL;

    return !what ||
           err_set(err, ENOTSUP, "%s is not possible for an image that is written to a pipe", what);
}

CO bool qcow2_create_ahead(Handle *pipe, json_t *opts, const PipeSource *s, uint64_t *end,
                           GError **err)
{
    g_auto(Create) c = {};
    unsigned bits;
    int r;

    if (!read_options(&c, opts, err) || !ahead_check(&c, err))
        return false;
    bits = c.q.cluster_bits;
    c.used = pipe_used_clusters(s, bits, &c.used_count);
    if (!c.used)
        return err_set(err, ENOMEM, "There is no memory for a map of %" PRIu64 " bytes of disk",
                       s->size);
    if (!layout(&c, err))
        return false;
    c.file = pipe;
    r = write_head(&c);
    if (r >= 0)
        r = write_tables(&c);
    if (r < 0)
        return err_set_errno(err, r, "Could not write the metadata");
    *end = c.meta_end;
    pipe_set_clusters(pipe, g_memdup2(c.used, clusters_of(&c.q, c.q.size) / 8 + 1), bits,
                      c.data_off);
    return true;
}
