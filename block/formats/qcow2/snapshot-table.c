/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading and writing the snapshot table ("Snapshots" in the specification).
 *
 *     0    be64 offset of L1, be32 entries of L1, be16 length of id, be16 length of name,
 *          be32 date in seconds, be32 and nanoseconds, be64 VM clock, be32 VM state,
 *          be32 length of extra data
 *     40   extra data: be64 VM state, be64 size of the disk, be64 icount, what is unknown here
 *          id, name, padding to 8
 *
 * The table is read through a window, so memory is taken for snapshots, not for what a header
 * claims.
 */
#include "block/formats/qcow2/snapshot-table.h"
#include <string.h>

enum { ENTRY_LEN = 40, EXTRA_KNOWN = 24, WINDOW = 16 << 10 };

typedef struct {
    uint8_t bytes[ENTRY_LEN];
} EntryHead;

void snapshot_clear(Qcow2Snapshot *s)
{
    g_free(s->id);
    g_free(s->name);
    if (s->unknown_extra)
        g_bytes_unref(s->unknown_extra);
    *s = (Qcow2Snapshot){};
}

/* ---- reading -------------------------------------------------------------------------------- */

typedef struct {
    Qcow2 *q;
    uint64_t at;             /* next byte of the file */
    uint64_t window;         /* where buf begins in the file */
    size_t have;
    uint8_t buf[WINDOW];
} Reader;

static CO int reader_get(Reader *r, void *out, size_t len)
{
    uint8_t *to = out;

    while (len) {
        size_t skip, n;

        if (r->at < r->window || r->at - r->window >= r->have) {
            int e = qcow2_file_read(r->q, r->at, r->buf, WINDOW);
            if (e < 0)
                return e;
            r->window = r->at;
            r->have = WINDOW;
        }
        skip = r->at - r->window;
        n = MIN(len, r->have - skip);
        memcpy(to, r->buf + skip, n);
        to += n;
        len -= n;
        r->at += n;
    }
    return 0;
}

static CO int read_extra(Reader *rd, Qcow2Snapshot *s, uint32_t len)
{
    uint8_t known[EXTRA_KNOWN] = {};
    uint32_t here = MIN(len, EXTRA_KNOWN), rest = len - here;
    g_autofree uint8_t *unknown = rest ? g_malloc(rest) : NULL;
    int r = reader_get(rd, known, here);

    if (r >= 0 && rest)
        r = reader_get(rd, unknown, rest);
    if (r < 0)
        return r;
    if (len >= 8)
        s->vm_state_size = be64_at(known);
    s->disk_size = len >= 16 ? be64_at(known + 8) : rd->q->size;
    s->icount = len >= 24 ? be64_at(known + 16) : UINT64_MAX;
    s->extra_len = len;
    if (rest)
        s->unknown_extra = g_bytes_new_take(g_steal_pointer(&unknown), rest);
    return 0;
}

static CO int read_text(Reader *rd, char **out, uint16_t len)
{
    *out = g_malloc0(len + 1);
    return reader_get(rd, *out, len);
}

static CO bool read_entry(Reader *rd, uint32_t number, Qcow2Snapshot *s, GError **err)
{
    EntryHead h;
    uint64_t start = rd->at;
    uint32_t extra;
    int r;

    if (start >= edge_size(rd->q->storage))
        return err_set(err, EINVAL, "Entry %" PRIu32 " of the snapshot table is at 0x%" PRIx64
                       ", behind the end of the file", number, start);
    r = reader_get(rd, &h, sizeof(h));
    if (r < 0)
        return err_set_errno(err, r, "Could not read the snapshot table");
    extra = be32_at(h.bytes + 36);
    if (extra > QCOW2_SNAPSHOT_EXTRA_MAX) {
        err_set(err, EFBIG, "Snapshot %u has %u bytes of extra data, more than %d", number, extra,
                QCOW2_SNAPSHOT_EXTRA_MAX);
        return err_line(err, "You can force-remove this extra metadata with qemu-img check -r all");
    }
    s->l1_off = be64_at(h.bytes);
    s->l1_len = be32_at(h.bytes + 8);
    s->date_sec = be32_at(h.bytes + 16);
    s->date_nsec = be32_at(h.bytes + 20);
    s->vm_clock_nsec = be64_at(h.bytes + 24);
    s->vm_state_size = be32_at(h.bytes + 32);
    r = read_extra(rd, s, extra);
    if (r >= 0)
        r = read_text(rd, &s->id, be16_at(h.bytes + 12));
    if (r >= 0)
        r = read_text(rd, &s->name, be16_at(h.bytes + 14));
    if (r < 0)
        return err_set_errno(err, r, "Could not read the snapshot table");
    rd->at = start + round_up(rd->at - start, 8);
    return true;
}

CO bool snapshot_table_read(Qcow2 *q, GError **err)
{
    g_autofree Reader *rd = g_new(Reader, 1);
    g_autoptr(GArray) list = g_array_new(FALSE, TRUE, sizeof(Qcow2Snapshot));

    rd->q = q;
    rd->at = q->snapshots_off;
    rd->window = rd->at;
    rd->have = 0;
    g_array_set_clear_func(list, (GDestroyNotify)snapshot_clear);
    for (uint32_t i = 0; i < q->snapshot_count; i++) {
        Qcow2Snapshot s = {};
        bool ok = read_entry(rd, i, &s, err);

        g_array_append_val(list, s);
        if (!ok)
            return false;
        if (rd->at - q->snapshots_off > QCOW2_SNAPSHOT_TABLE_MAX) {
            err_set(err, EFBIG, "The snapshot table is longer than %d bytes",
                    QCOW2_SNAPSHOT_TABLE_MAX);
            return err_line(err, "You can force-remove the %u overhanging snapshots with qemu-img "
                            "check -r all", q->snapshot_count - i);
        }
    }
    q->snapshots_len = rd->at - q->snapshots_off;
    q->snapshots = (Qcow2Snapshot *)g_array_free(g_steal_pointer(&list), FALSE);
    return true;
}

/* ---- writing -------------------------------------------------------------------------------- */

static void put_entry(GByteArray *out, const Qcow2Snapshot *s)
{
    static const uint8_t padding[8];
    uint8_t h[ENTRY_LEN + EXTRA_KNOWN];
    size_t id = strlen(s->id), name = strlen(s->name), unknown = 0;
    const void *extra = s->unknown_extra ? g_bytes_get_data(s->unknown_extra, &unknown) : NULL;

    be64_put(h, s->l1_off);
    be32_put(h + 8, s->l1_len);
    be16_put(h + 12, id);
    be16_put(h + 14, name);
    be32_put(h + 16, s->date_sec);
    be32_put(h + 20, s->date_nsec);
    be64_put(h + 24, s->vm_clock_nsec);
    be32_put(h + 32, s->vm_state_size > UINT32_MAX ? 0 : s->vm_state_size);
    be32_put(h + 36, EXTRA_KNOWN + unknown);
    be64_put(h + 40, s->vm_state_size);
    be64_put(h + 48, s->disk_size);
    be64_put(h + 56, s->icount);
    g_byte_array_append(out, h, sizeof(h));
    if (unknown)
        g_byte_array_append(out, extra, unknown);
    g_byte_array_append(out, (const uint8_t *)s->id, id);
    g_byte_array_append(out, (const uint8_t *)s->name, name);
    g_byte_array_append(out, padding, round_up(out->len, 8) - out->len);
}

/* Takes space for @bytes and writes it there. */
static CO int table_put(Qcow2 *q, const GByteArray *bytes, uint64_t *off)
{
    int r = qcow2_table_alloc(q, bytes->len, off);

    if (r < 0)
        return r;
    r = qcow2_overlap_check(q, 0, *off, bytes->len);
    if (r >= 0)
        r = edge_pwrite_buf(q->storage, *off, bytes->data, bytes->len);
    q->unflushed = true;
    if (r < 0)
        qcow2_cluster_unalloc(q, *off, bytes->len);
    return r;
}

CO int snapshot_table_put(Qcow2 *q, uint64_t *off, uint64_t *len)
{
    GByteArray *bytes = g_byte_array_new();
    int r = 0;

    *off = 0;
    for (uint32_t i = 0; i < q->snapshot_count && bytes->len <= QCOW2_SNAPSHOT_TABLE_MAX; i++)
        put_entry(bytes, &q->snapshots[i]);
    *len = bytes->len;
    if (bytes->len > QCOW2_SNAPSHOT_TABLE_MAX)
        r = -EFBIG;
    if (r >= 0 && bytes->len)
        r = table_put(q, bytes, off);
    g_byte_array_unref(bytes);
    return r;
}

CO int snapshot_table_write(Qcow2 *q)
{
    uint64_t old_off = q->snapshots_off, old_len = q->snapshots_len, off, len;
    uint32_t old_count = q->header_snapshots;
    bool done = false;
    int r = snapshot_table_put(q, &off, &len);

    if (r < 0)
        return r;
    r = qcow2_commit(q);
    if (r >= 0)
        r = qcow2_barrier(q);
    if (r >= 0) {
        q->snapshots_off = off;
        q->snapshots_len = len;
        q->header_snapshots = q->snapshot_count;
        r = qcow2_header_switch(q, &done);
    }
    if (!done) {
        q->snapshots_off = old_off;
        q->snapshots_len = old_len;
        q->header_snapshots = old_count;
        if (len)
            qcow2_cluster_unalloc(q, off, len);
        return r;
    }
    qcow2_overlap_remove(q, OVERLAP_SNAPSHOTS, old_off, old_len);
    qcow2_overlap_add(q, OVERLAP_SNAPSHOTS, q->snapshots_off, q->snapshots_len);
    if (old_len && r >= 0)
        qcow2_free_later(q, old_off, old_len, FREE_SNAPSHOT);
    return r;
}
