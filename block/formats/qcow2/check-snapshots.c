/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The snapshot table, read for check: what is too much is cut off if errors are to be repaired,
 * what an old program left out is filled in. The repaired table is written anew at the end, when
 * there are refcounts to take space by. See snapshot-table.c for how entries look.
 */
#include "block/formats/qcow2/check.h"
#include "block/formats/qcow2/snapshot-table.h"
#include <inttypes.h>
#include <string.h>

enum { ENTRY_LEN = 40, EXTRA_NEEDED = 16, EXTRA_KNOWN = 24, STEP = 64 << 10 };

/* The start of the table, as far as it has been wanted. */
typedef struct {
    Check *c;
    GByteArray *bytes;
    int error;
} Table;

/* The bytes [@at, @at + @len) of the table; NULL if they could not be read. */
static CO const uint8_t *table_at(Table *t, uint64_t at, uint64_t len)
{
    uint64_t have = t->bytes->len, want = round_up(at + len, STEP);

    if (at + len > have) {
        g_byte_array_set_size(t->bytes, (guint)want);
        t->error = qcow2_file_read(t->c->q, t->c->q->snapshots_off + have, t->bytes->data + have,
                                   want - have);
    }
    return t->error < 0 ? NULL : t->bytes->data + at;
}

static bool repairs_errors(const Check *c)
{
    return c->fix & CHECK_FIX_ERRORS;
}

/* The field for extra data of entry @i: what is to be kept of it. False: it is too long. */
static bool extra_check(Check *c, uint32_t i, uint32_t len, GError **err)
{
    if (len > QCOW2_SNAPSHOT_EXTRA_MAX) {
        if (!repairs_errors(c)) {
            err_set(err, EFBIG, "Snapshot table entry %u has %u bytes of extra data, more than %d",
                    i, len, QCOW2_SNAPSHOT_EXTRA_MAX);
            return err_line(err, "You can force-remove this extra metadata with qemu-img check "
                            "-r all");
        }
        check_tell(c, "Discarding too much extra metadata in snapshot table entry %u (%u > %d)\n",
                   i, len, QCOW2_SNAPSHOT_EXTRA_MAX);
        c->snapshots_wrong++;
    } else if (len < EXTRA_NEEDED && c->q->version > 2) {
        check_tell(c, "%s snapshot table entry %u is incomplete\n", check_verb(repairs_errors(c)),
                   i);
        c->snapshots_wrong++;
    }
    return true;
}

static void entry_take(Check *c, const uint8_t *p, uint32_t extra_len, Qcow2Snapshot *s)
{
    const uint8_t *extra = p + ENTRY_LEN, *id = extra + extra_len;
    uint32_t id_len = be16_at(p + 12), kept = MIN(extra_len, QCOW2_SNAPSHOT_EXTRA_MAX);

    *s = (Qcow2Snapshot){
        .l1_off = be64_at(p),
        .l1_len = be32_at(p + 8),
        .date_sec = be32_at(p + 16),
        .date_nsec = be32_at(p + 20),
        .vm_clock_nsec = be64_at(p + 24),
        .vm_state_size = extra_len >= 8 ? be64_at(extra) : be32_at(p + 32),
        .disk_size = extra_len >= 16 ? be64_at(extra + 8) : c->q->size,
        .icount = extra_len >= 24 ? be64_at(extra + 16) : UINT64_MAX,
        .extra_len = kept,
        .id = g_strndup((const char *)id, id_len),
        .name = g_strndup((const char *)id + id_len, be16_at(p + 14)),
    };
    if (kept > EXTRA_KNOWN)
        s->unknown_extra = g_bytes_new(extra + EXTRA_KNOWN, kept - EXTRA_KNOWN);
}

/* Entry @i at *@at, which moves to the next one. */
static CO bool entry_read(Table *t, uint32_t i, uint64_t *at, Qcow2Snapshot *s, GError **err)
{
    const uint8_t *p = table_at(t, *at, ENTRY_LEN);
    uint64_t len;
    uint32_t extra;

    if (!p)
        return err_set_errno(err, t->error, "Could not read the snapshot table");
    extra = be32_at(p + 36);
    if (!extra_check(t->c, i, extra, err))
        return false;
    len = ENTRY_LEN + (uint64_t)extra + be16_at(p + 12) + be16_at(p + 14);
    if (*at + len > QCOW2_SNAPSHOT_TABLE_MAX) {
        *at = UINT64_MAX;
        return true;
    }
    p = table_at(t, *at, len);
    if (!p)
        return err_set_errno(err, t->error, "Could not read the snapshot table");
    entry_take(t->c, p, extra, s);
    *at += round_up(len, 8);
    return true;
}

/* More snapshots than there may be: @left are cut off. */
static bool overhang(Check *c, uint32_t left, GError **err)
{
    if (!repairs_errors(c)) {
        err_set(err, EFBIG, "The snapshot table is too large");
        return err_line(err, "You can force-remove all %u overhanging snapshots with qemu-img "
                        "check -r all", left);
    }
    check_tell(c, "Discarding %u overhanging snapshots\n", left);
    c->snapshots_wrong += left;
    return true;
}

static CO bool entries_read(Check *c, uint32_t count, GArray *list, GError **err)
{
    Table t = { .c = c, .bytes = g_byte_array_new() };
    uint64_t at = 0;
    bool ok = true;

    for (uint32_t i = 0; i < count && ok; i++) {
        Qcow2Snapshot s = {};
        uint64_t start = at;

        ok = entry_read(&t, i, &at, &s, err);
        if (ok && at == UINT64_MAX) {
            at = start;
            ok = overhang(c, count - i, err);
            break;
        }
        if (ok)
            g_array_append_val(list, s);
    }
    c->q->snapshots_len = at;
    g_byte_array_unref(t.bytes);
    return ok;
}

CO int check_snapshots_read(Check *c, GError **err)
{
    Qcow2 *q = c->q;
    uint32_t count = q->header_snapshots;
    g_autoptr(GArray) list = g_array_new(FALSE, TRUE, sizeof(Qcow2Snapshot));

    g_array_set_clear_func(list, (GDestroyNotify)snapshot_clear);
    qcow2_snapshots_free(q);
    if (!count)
        return 0;
    if (qcow2_within(q, q->snapshots_off) || q->snapshots_off > INT64_MAX / 2) {
        err_set(err, EINVAL, "The offset of the snapshot table, 0x%" PRIx64 ", is not that of a "
                "cluster", q->snapshots_off);
        return -EINVAL;
    }
    if (count > QCOW2_SNAPSHOTS_MAX) {
        if (!overhang(c, count - QCOW2_SNAPSHOTS_MAX, err))
            return -EFBIG;
        count = QCOW2_SNAPSHOTS_MAX;
    }
    if (!entries_read(c, count, list, err))
        return -EIO;
    if (!repairs_errors(c))
        c->result->corruptions += c->snapshots_wrong;
    q->snapshot_count = list->len;
    q->snapshots = (Qcow2Snapshot *)g_array_free(g_steal_pointer(&list), FALSE);
    return 0;
}

CO int check_snapshots_write(Check *c, GError **err)
{
    int r;

    if (!repairs_errors(c) || !c->snapshots_wrong)
        return 0;
    r = snapshot_table_write(c->q);
    if (r >= 0)
        r = qcow2_commit(c->q);
    if (r < 0) {
        err_set_errno(err, r, "Could not write the repaired snapshot table");
        return r;
    }
    c->result->corruptions_fixed += c->snapshots_wrong;
    return 0;
}
