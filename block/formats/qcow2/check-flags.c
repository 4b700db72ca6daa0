/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The COPIED flags of the active tables: set exactly where the refcount is 1, so that a write needs
 * no copy. First all tables are looked at in the order of the file; those with wrong flags are then
 * told of, and put right, in the order of the disk.
 */
#include "block/formats/qcow2/check.h"
#include <inttypes.h>

/* Is there a flag in the L2 entry, and is it wrong? */
static CO bool entry_is_wrong(Check *c, uint64_t desc, uint64_t *count)
{
    uint64_t i = (desc & ENTRY_OFFSET) >> c->q->cluster_bits;

    if (desc & ENTRY_COMPRESSED || !(desc & ENTRY_OFFSET) || qcow2_has_data_file(c->q) ||
        check_is_unknown(c, i))
        return false;
    *count = check_count_of(c, i);
    return check_flag_is_wrong(desc, *count);
}

static CO void look_at(Check *c, CheckTable *t, const uint8_t *entries)
{
    uint64_t count;

    t->bad_flags = false;
    for (unsigned i = 0; t->active && !t->bad_flags && i < 1u << c->q->l2_bits; i++)
        t->bad_flags = entry_is_wrong(c, be64_at(entries + ((size_t)i << c->q->entry_bits)),
                                      &count);
}

static void counted(Check *c, bool repaired)
{
    if (repaired)
        c->result->corruptions_fixed++;
    else
        c->result->corruptions++;
}

static CO int table_flags(Check *c, CheckTable *t, bool repair, GError **err)
{
    Qcow2 *q = c->q;
    g_autofree uint8_t *entries = g_try_malloc(q->cluster);
    int r = entries ? qcow2_file_read(q, t->off, entries, q->cluster) : -ENOMEM;
    bool changed = false;

    repair = repair && check_may_write(c, t->off, q->cluster, (uint64_t)t->active + t->snaps);
    for (unsigned i = 0; r >= 0 && i < 1u << q->l2_bits; i++) {
        uint8_t *at = entries + ((size_t)i << q->entry_bits);
        uint64_t desc = be64_at(at), count;

        if (!entry_is_wrong(c, desc, &count))
            continue;
        check_tell(c, "%s OFLAG_COPIED data cluster: l2_entry=%" PRIx64 " refcount=%" PRIu64 "\n",
                   check_verb(repair), desc, count);
        counted(c, repair);
        be64_put(at, desc ^ ENTRY_COPIED);
        changed = true;
    }
    if (r >= 0 && changed && repair) {
        r = edge_pwrite_buf(q->storage, t->off, entries, q->cluster);
        c->unflushed = true;
        t->bad_flags = false;
    }
    if (r < 0)
        err_set_errno(err, r, "L2 table at 0x%" PRIx64, t->off);
    return r;
}

/* Writes the changed part of the active L1 table. */
static CO int l1_write(Check *c, uint32_t from, uint32_t to, GError **err)
{
    Qcow2 *q = c->q;
    uint64_t bytes = (to - from) * UINT64_C(8);
    g_autofree uint8_t *buf = g_try_malloc(bytes);
    int r = buf ? 0 : -ENOMEM;

    for (uint32_t i = from; i < to && buf; i++)
        be64_put(buf + (i - from) * UINT64_C(8), q->l1[i]);
    c->unflushed = true;
    if (r >= 0)
        r = edge_pwrite_buf(q->storage, q->l1_off + from * UINT64_C(8), buf, bytes);
    if (r < 0)
        err_set_errno(err, r, "Could not write the L1 table");
    return r;
}

CO int check_flags(Check *c, GError **err)
{
    Qcow2 *q = c->q;
    const CheckResult *res = c->result;
    bool repair = c->fix & CHECK_FIX_ERRORS ||
                  (c->fix && !res->check_errors && !res->corruptions && !res->leaks);
    bool repair_l1 = false, asked = false;
    uint32_t from = UINT32_MAX, to = 0;
    int r = 0;

    if (c->counts_changed)
        r = check_tables_read(c, look_at, err);
    for (uint32_t i = 0; r >= 0 && i < q->l1_len; i++) {
        uint64_t off = q->l1[i] & ENTRY_OFFSET, cluster = off >> q->cluster_bits, count;
        CheckTable *t;

        if (!off)
            continue;
        count = check_count_of(c, cluster);
        if (check_flag_is_wrong(q->l1[i], count) && !check_is_unknown(c, cluster)) {
            if (repair && !asked)
                repair_l1 = check_may_write(c, q->l1_off, q->l1_len * UINT64_C(8), 1);
            asked = true;
            check_tell(c, "%s OFLAG_COPIED L2 cluster: l1_index=%" PRIu32 " l1_entry=%" PRIx64
                       " refcount=%" PRIu64 "\n", check_verb(repair_l1), i, q->l1[i], count);
            counted(c, repair_l1);
            if (repair_l1) {
                q->l1[i] ^= ENTRY_COPIED;
                from = MIN(from, i);
                to = i + 1;
            }
        }
        t = check_table_find(c, off);
        if (t && t->bad_flags && t->visits++ < 2 * CHECK_VISITS_MAX)
            r = table_flags(c, t, repair, err);
    }
    return r >= 0 && from < to ? l1_write(c, from, to, err) : r;
}
