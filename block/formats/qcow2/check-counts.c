/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading the refcounts as they are, and the references that they have themselves. */
#include "block/formats/qcow2/check.h"
#include <inttypes.h>
#include <string.h>

enum { READ_MAX = 2 << 20, OVERFLOWS_TOLD = 1000, FAR_READS_MAX = 100000 };

/* ---- reading -------------------------------------------------------------------------------- */

static CO int reftable_read(Check *c, GError **err)
{
    Qcow2 *q = c->q;
    uint64_t bytes = q->reftable_clusters * q->cluster;
    int r;

    c->reftable_len = (uint32_t)(bytes / 8);
    c->reftable = g_try_malloc(MAX(bytes, 8));
    r = c->reftable ? qcow2_file_read(q, q->reftable_off, c->reftable, bytes) : -ENOMEM;
    if (r < 0) {
        err_set_errno(err, r, "Could not read the refcount table");
        return r;
    }
    for (uint32_t i = 0; i < c->reftable_len; i++)
        c->reftable[i] = be64_at(&c->reftable[i]);
    return 0;
}

/* Counts of block @index, whose content is @block. */
static void block_load(Check *c, uint64_t index, const uint8_t *block)
{
    Qcow2 *q = c->q;
    uint64_t first = index << q->refblock_bits;
    uint64_t n = MIN(UINT64_C(1) << q->refblock_bits, c->counts.n - first);

    for (uint64_t i = 0; i < n; i++) {
        uint64_t v;

        if (!(i & 7) && n - i >= 8 && q->refcount_order == 4 &&
            counts_load8(&c->counts, first + i, block + 2 * i)) {
            i += 7;
            continue;
        }
        v = q->refcount_order == 4 ? be16_at(block + 2 * i) : qcow2_count_at(q, block, i);

        if (v)
            counts_set(&c->counts, first + i, v);
    }
}

typedef struct {
    uint64_t off;
    uint64_t index;
} Block;

static int block_order(const void *a, const void *b)
{
    const Block *x = a, *y = b;

    return x->off < y->off ? -1 : x->off > y->off;
}

/* Blocks that count clusters of the file and lie in it; the others hold zeroes or nobody knows. */
static GArray *blocks_list(Check *c)
{
    Qcow2 *q = c->q;
    GArray *list = g_array_new(FALSE, FALSE, sizeof(Block));

    for (uint64_t i = 0; i < c->reftable_len && i << q->refblock_bits < c->counts.n; i++) {
        Block b = { c->reftable[i] & REFTABLE_OFFSET, i };

        if (qcow2_within(q, b.off))
            g_hash_table_add(c->unknown, GUINT_TO_POINTER((guint)i));
        else if (b.off && b.off < c->file_len)
            g_array_append_val(list, b);
    }
    g_array_sort(list, block_order);
    return list;
}

CO int check_counts_read(Check *c, GError **err)
{
    uint64_t cluster = c->q->cluster;
    guint max = (guint)MAX(READ_MAX / cluster, 1);
    g_autoptr(GArray) list = NULL;
    g_autoptr(Aligned) buf = NULL;
    int r = reftable_read(c, err);

    if (r < 0)
        return r;
    list = blocks_list(c);
    max = MIN(max, MAX(list->len, 1));
    buf = aligned_try_alloc(max * cluster);
    if (!buf) {
        err_set(err, ENOMEM, "No memory to read refcount blocks");
        return -ENOMEM;
    }
    for (guint i = 0, n; i < list->len; i += n) {
        const Block *b = &g_array_index(list, Block, i);

        for (n = 1; n < max && i + n < list->len && b[n].off == b->off + n * cluster; n++)
            ;
        r = qcow2_file_read(c->q, b->off, buf, n * cluster);
        if (r < 0) {
            err_set_errno(err, r, "Could not read the refcount block at 0x%" PRIx64, b->off);
            return r;
        }
        for (guint k = 0; k < n; k++)
            block_load(c, b[k].index, (uint8_t *)buf + k * cluster);
    }
    return 0;
}

/* That of a cluster that c->counts has no room for; 0 if it cannot be read. */
static CO uint64_t count_read(Check *c, uint64_t i)
{
    Qcow2 *q = c->q;
    uint64_t index = i >> q->refblock_bits, in_block = i & ((UINT64_C(1) << q->refblock_bits) - 1);
    uint64_t off = index < c->reftable_len ? c->reftable[index] & REFTABLE_OFFSET : 0;
    unsigned per_word = 64 >> q->refcount_order;
    uint8_t word[8];

    if (!off || qcow2_within(q, off) || c->far_reads >= FAR_READS_MAX)
        return 0;
    c->far_reads++;
    if (qcow2_file_read(q, off + in_block / per_word * 8, word, sizeof(word)) < 0)
        return 0;
    return qcow2_count_at(q, word, in_block % per_word);
}

CO uint64_t check_count_of(Check *c, uint64_t i)
{
    return i < c->clusters ? counts_get(&c->counts, i) : count_read(c, i);
}

/* ---- references ----------------------------------------------------------------------------- */

/* Entry @i of the refcount table. */
static void check_block(Check *c, uint32_t i)
{
    uint64_t entry = c->reftable[i], off = entry & REFTABLE_OFFSET;
    uint64_t cluster = off >> c->q->cluster_bits;
    bool repairing = c->fix & CHECK_FIX_ERRORS;

    if (entry & REFTABLE_RESERVED) {
        check_tell(c, "ERROR refcount table entry %" PRIu32 " has reserved bits set\n", i);
        c->result->corruptions++;
        c->rebuild = true;
    } else if (qcow2_within(c->q, off)) {
        check_tell(c, "ERROR refcount block %" PRIu32 " is not cluster aligned; refcount table "
                   "entry corrupted\n", i);
        c->result->corruptions++;
        c->rebuild = true;
    } else if (cluster >= c->clusters) {
        check_tell(c, "%s refcount block %" PRIu32 " is outside image\n", check_verb(repairing), i);
        if (repairing) {
            c->reftable[i] = 0;
            c->reftable_changed = true;
            c->result->corruptions_fixed++;
        } else {
            c->result->corruptions++;
        }
    } else {
        check_region(c, off, c->q->cluster);
        g_array_append_val(c->old_blocks, cluster);
        if (counts_get(&c->refs, cluster) == 1)
            return;
        check_tell(c, "ERROR refcount block %" PRIu32 " refcount=%" PRIu64 "\n", i,
                   counts_get(&c->refs, cluster));
        c->result->corruptions++;
        c->rebuild = true;
    }
}

/* Counts that the refcounts of the image are too narrow for become the largest they have. */
static void clip_counts(Check *c)
{
    uint64_t max = c->q->refcount_max;

    for (uint64_t i = 0; i < c->refs.n; i++) {
        uint64_t over;

        if (!(i & (COUNTS_CHUNK - 1)) && counts_max(&c->refs, i) <= max) {
            i += COUNTS_CHUNK - 1;
            continue;
        }
        over = counts_get(&c->refs, i) - MIN(counts_get(&c->refs, i), max);
        for (uint64_t k = 0; k < MIN(over, OVERFLOWS_TOLD); k++)
            check_tell(c, "ERROR: overflow cluster offset=0x%" PRIx64 "\nUse qemu-img amend to "
                       "increase the refcount entry width or qemu-img convert to create a clean "
                       "copy if the image cannot be opened for writing\n", i << c->q->cluster_bits);
        c->overflows += (int64_t)MIN(over, INT32_MAX);
        if (over)
            counts_set(&c->refs, i, max);
    }
    c->result->corruptions += c->overflows;
}

CO int check_counts_refs(Check *c, GError **err)
{
    Qcow2 *q = c->q;
    uint64_t bytes = q->reftable_clusters * q->cluster;

    if (bytes && check_region(c, q->reftable_off, bytes))
        for (uint64_t i = 0; i < q->reftable_clusters; i++) {
            uint64_t cluster = (q->reftable_off >> q->cluster_bits) + i;

            g_array_append_val(c->old_blocks, cluster);
        }
    for (uint32_t i = 0; i < c->reftable_len; i++)
        if (c->reftable[i])
            check_block(c, i);
    clip_counts(c);
    if (c->refs.failed || c->counts.failed || c->far.failed) {
        err_set(err, ENOMEM, "No memory to count references");
        return -ENOMEM;
    }
    return 0;
}
