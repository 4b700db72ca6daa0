/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Internal snapshots. A snapshot is an L1 table; its L2 tables and clusters are shared with the
 * active disk and with other snapshots, each use counted in the refcounts.
 *
 * Order of writing, each line durable before the next:
 *
 *     create   counts up; COPIED flags off; copy of the L1 table
 *              snapshot table; header
 *     apply    counts of the snapshot's tree up; its COPIED flags off; copy of its L1 table
 *              header: that copy is the active table
 *              counts of the old active tree down; COPIED flags of what is only ours now on
 *     remove   snapshot table without it; header
 *              counts of its tree down; COPIED flags of what is only ours now on
 *
 * So a flag is never set on a cluster that two tables share, and a cut leaves only clusters whose
 * count is too high and flags that are off without need, which the repair of leaks puts right.
 * No request runs meanwhile (qcow2_exclusive_begin).
 */
#include "block/formats/qcow2/snapshot-table.h"
#include "block/formats/qcow2/tree.h"
#include <string.h>

void qcow2_snapshots_free(Qcow2 *q)
{
    for (uint32_t i = 0; i < q->snapshot_count && q->snapshots; i++)
        snapshot_clear(&q->snapshots[i]);
    g_clear_pointer(&q->snapshots, g_free);
    q->snapshot_count = 0;
}

CO bool qcow2_snapshots_open(Qcow2 *q, OpenFlags flags, GError **err)
{
    if (!q->snapshot_count)
        return true;
    if (flags & OPEN_CHECK) {    /* check looks at the table itself */
        q->snapshot_count = 0;
        return true;
    }
    if (snapshot_table_read(q, err))
        return true;
    q->snapshot_count = 0;
    return false;
}

uint64_t qcow2_vmstate_offset(const Qcow2 *q)
{
    return qcow2_l1_needed(q, q->size) << (q->l2_bits + q->cluster_bits);
}

/* ---- counting a whole tree ------------------------------------------------------------------ */

static CO bool counts_of_tree(Qcow2 *q, const uint64_t *l1, uint32_t len, Counts *c, GError **err)
{
    uint64_t clusters = div_round_up(edge_size(q->storage), q->cluster);
    int r;

    if (!counts_init(c, clusters))
        return err_set(err, ENOMEM, "No memory to count %" PRIu64 " clusters", clusters);
    r = tree_count(q, l1, len, c);
    return r < 0 ? err_set_errno(err, r, "Could not read the L2 tables") : true;
}

/* ---- flags ---------------------------------------------------------------------------------- */

/* Turns COPIED off in every entry of a table. */
static CO int flags_off(Qcow2 *q, const TreeTable *t, uint8_t *entries, bool *changed, void *arg)
{
    for (uint64_t i = 0; i < UINT64_C(1) << q->l2_bits; i++) {
        uint8_t *at = entries + (i << q->entry_bits);

        if (at[0] & 0x80) {
            at[0] &= 0x7f;
            *changed = true;
        }
    }
    return 0;
}

/* Turns COPIED on where @arg, what tree_apply left, says that the count has become 1. */
static CO int flags_on(Qcow2 *q, const TreeTable *t, uint8_t *entries, bool *changed, void *arg)
{
    const Counts *c = arg;

    for (uint64_t i = 0; i < UINT64_C(1) << q->l2_bits; i++) {
        uint8_t *at = entries + (i << q->entry_bits);
        uint64_t desc = be64_at(at), cluster = (desc & ENTRY_OFFSET) >> q->cluster_bits;

        if (desc & (ENTRY_COMPRESSED | ENTRY_COPIED) || !cluster || cluster >= c->n ||
            counts_get(c, cluster) != 2)
            continue;
        be64_put(at, desc | ENTRY_COPIED);
        *changed = true;
    }
    return 0;
}

static CO int tree_flags(Qcow2 *q, const uint64_t *l1, uint32_t len, TreeVisit *visit, void *arg)
{
    g_autoptr(GArray) tables = tree_tables(q, l1, len);

    return tree_walk(q, tables, visit, arg);
}

/* COPIED in the active L1, for what tree_apply made single; then in its L2 tables. */
static CO int active_flags_on(Qcow2 *q, Counts *c)
{
    for (uint32_t i = 0; i < q->l1_len; i++) {
        uint64_t cluster = (q->l1[i] & ENTRY_OFFSET) >> q->cluster_bits;

        if (cluster && cluster < c->n && counts_get(c, cluster) == 2 &&
            !(q->l1[i] & ENTRY_COPIED)) {
            q->l1[i] |= ENTRY_COPIED;
            qcow2_l1_mark(q, i, 1);
        }
    }
    cache_drop_all(&q->l2);
    return tree_flags(q, q->l1, q->l1_len, flags_on, c);
}

/* ---- L1 tables ------------------------------------------------------------------------------ */

/* A durable copy of @l1 without flags, at a new place. */
static CO int l1_copy(Qcow2 *q, const uint64_t *l1, uint32_t len, uint64_t *off)
{
    uint64_t bytes = len * UINT64_C(8);
    g_autofree uint64_t *disk = g_try_malloc(MAX(bytes, 8));
    int r = disk ? qcow2_table_alloc(q, bytes, off) : -ENOMEM;

    if (r < 0)
        return r;
    for (uint32_t i = 0; i < len; i++)
        be64_put(&disk[i], l1[i] & ~ENTRY_COPIED);
    r = qcow2_overlap_check(q, 0, *off, MAX(bytes, 8));
    if (r >= 0 && bytes)
        r = edge_pwrite_buf(q->storage, *off, disk, bytes);
    q->unflushed = true;
    if (r < 0)
        qcow2_cluster_unalloc(q, *off, MAX(bytes, 1));
    return r;
}

static CO int commit_and_barrier(Qcow2 *q)
{
    int r = qcow2_commit(q);

    return r < 0 ? r : qcow2_barrier(q);
}

/* ---- finding -------------------------------------------------------------------------------- */

static Qcow2Snapshot *find_id(Qcow2 *q, const char *id)
{
    for (uint32_t i = 0; i < q->snapshot_count; i++)
        if (!strcmp(q->snapshots[i].id, id))
            return &q->snapshots[i];
    return NULL;
}

/* The L1 table of @s, in range; NULL with @err. */
static CO uint64_t *snapshot_l1(Qcow2 *q, const Qcow2Snapshot *s, GError **err)
{
    uint64_t *l1;
    int r;

    if (qcow2_within(q, s->l1_off) || s->l1_off > INT64_MAX - QCOW2_L1_BYTES_MAX) {
        err_set(err, EINVAL, "The L1 table of snapshot '%s' is at 0x%" PRIx64 ", not at a cluster",
                s->name, s->l1_off);
        return NULL;
    }
    l1 = tree_l1_read(q, s->l1_off, s->l1_len, &r);
    if (!l1)
        err_set_errno(err, r, "Could not read the L1 table (%u entries) of snapshot '%s'",
                      s->l1_len, s->name);
    return l1;
}

/* Brings the file up to date, so that tables can be read from it; no requests from here on. */
static CO bool begin(Qcow2 *q, GError **err)
{
    int r;

    if (qcow2_has_data_file(q))
        return err_set(err, ENOTSUP, "Images with a data file have no internal snapshots");
    if (!qcow2_is_writable(q))
        return err_set(err, EPERM, "The image is open read-only");
    qcow2_exclusive_begin(q);
    r = q->is_corrupt ? -ENOMEDIUM : qcow2_mark_dirty(q);
    if (r >= 0)
        r = qcow2_commit_all(q);
    if (r >= 0)
        return true;
    qcow2_exclusive_end(q);
    return err_set_errno(err, r, "Could not write metadata");
}

/* ---- create --------------------------------------------------------------------------------- */

static char *new_id(const Qcow2 *q)
{
    uint64_t max = 0;

    for (uint32_t i = 0; i < q->snapshot_count; i++)
        max = MAX(max, g_ascii_strtoull(q->snapshots[i].id, NULL, 10));
    return g_strdup_printf("%" PRIu64, max + 1);
}

static CO bool share_active(Qcow2 *q, GError **err)
{
    g_auto(Counts) c = {};
    int r;

    if (!counts_of_tree(q, q->l1, q->l1_len, &c, err))
        return false;
    r = tree_apply(q, &c, 1, FREE_NEVER);
    if (r == -EOVERFLOW)
        return err_set(err, EINVAL, "Refcounts of %u bits cannot count another snapshot of '%s'",
                       qcow2_refcount_bits(q), node_filename(q->node));
    if (r >= 0)
        r = qcow2_commit(q);    /* counts first: then flags only where they are to go */
    if (r >= 0)
        r = tree_flags(q, q->l1, q->l1_len, flags_off, NULL);
    cache_drop_all(&q->l2);
    for (uint32_t i = 0; i < q->l1_len && r >= 0; i++)
        if (q->l1[i] & ENTRY_COPIED) {
            q->l1[i] &= ~ENTRY_COPIED;
            qcow2_l1_mark(q, i, 1);
        }
    return r < 0 ? err_set_errno(err, r, "Could not share the clusters of the disk") : true;
}

static void list_add(Qcow2 *q, const Qcow2Snapshot *s)
{
    q->snapshots = g_renew(Qcow2Snapshot, q->snapshots, q->snapshot_count + 1);
    q->snapshots[q->snapshot_count++] = *s;
}

static void list_remove(Qcow2 *q, uint32_t i)
{
    memmove(&q->snapshots[i], &q->snapshots[i + 1],
            (q->snapshot_count - i - 1) * sizeof(*q->snapshots));
    q->snapshot_count--;
}

static CO bool create(Qcow2 *q, Snapshot *in, GError **err)
{
    Qcow2Snapshot s = {
        .l1_len = q->l1_len, .id = in->id && *in->id ? g_strdup(in->id) : new_id(q),
        .name = g_strdup(in->name), .date_sec = in->date_sec, .date_nsec = in->date_nsec,
        .vm_clock_nsec = in->vm_clock_nsec, .vm_state_size = in->vm_state_size,
        .disk_size = q->size, .icount = in->icount,
    };
    int r = 0;

    list_add(q, &s);
    if (!share_active(q, err)) {
        r = -EIO;
    } else {
        r = l1_copy(q, q->l1, q->l1_len, &s.l1_off);
        if (r >= 0) {
            q->snapshots[q->snapshot_count - 1].l1_off = s.l1_off;
            r = commit_and_barrier(q);
        }
        if (r >= 0)
            r = snapshot_table_write(q);
        if (r < 0)
            err_set_errno(err, r, "Could not write the snapshot");
    }
    if (r < 0) {
        list_remove(q, q->snapshot_count - 1);
        snapshot_clear(&s);
        return false;
    }
    qcow2_overlap_add(q, OVERLAP_INACTIVE_L1, s.l1_off, s.l1_len * UINT64_C(8));
    if (!in->id || !*in->id)
        in->id = g_strdup(s.id);
    return true;
}

/* VM state belongs to the snapshot only: in the active disk it would be copied at the next one. */
static CO int drop_vmstate(Qcow2 *q, uint64_t size)
{
    uint64_t off = qcow2_vmstate_offset(q);

    return size ? qcow2_unmap_range(q, off, round_up(size, q->cluster)) : 0;
}

static CO int qcow2_snapshot_create(Node *n, Snapshot *s, GError **err)
{
    Qcow2 *q = qcow2_of(n);
    bool ok;
    int r = 0;

    if (strlen(s->name ? s->name : "") > UINT16_MAX || strlen(s->id ? s->id : "") > UINT16_MAX) {
        err_set(err, EINVAL, "The name of a snapshot has at most 65535 bytes");
        return -EINVAL;
    }
    if (q->snapshot_count >= QCOW2_SNAPSHOTS_MAX) {
        err_set(err, EFBIG, "The image has %u snapshots already", q->snapshot_count);
        return -EFBIG;
    }
    if (s->id && *s->id && find_id(q, s->id)) {
        err_set(err, EEXIST, "There is a snapshot with id '%s' already", s->id);
        return -EEXIST;
    }
    if (!begin(q, err))
        return -EIO;
    ok = create(q, s, err);
    if (ok)
        r = drop_vmstate(q, s->vm_state_size);
    qcow2_exclusive_end(q);
    return ok ? r : -EIO;
}

/* ---- remove --------------------------------------------------------------------------------- */

/* Gives back what the table @l1 at @off (a tree of @len entries) refers to, and itself. */
static CO bool release_tree(Qcow2 *q, const uint64_t *l1, uint32_t len, uint64_t off,
                            GError **err)
{
    g_auto(Counts) c = {};
    int r;

    if (!counts_of_tree(q, l1, len, &c, err))
        return false;
    r = tree_apply(q, &c, -1, FREE_SNAPSHOT);
    if (r >= 0)
        r = active_flags_on(q, &c);
    if (r >= 0) {
        qcow2_overlap_remove(q, OVERLAP_INACTIVE_L1, off, len * UINT64_C(8));
        qcow2_free_later(q, off, MAX(len * UINT64_C(8), 1), FREE_SNAPSHOT);
        r = qcow2_commit_all(q);
    }
    return r < 0 ? err_set_errno(err, r, "Could not free clusters that are not used any more")
                 : true;
}

static CO bool remove_one(Qcow2 *q, const char *id, GError **err)
{
    Qcow2Snapshot *found = find_id(q, id), s;
    g_autofree uint64_t *l1 = found ? snapshot_l1(q, found, err) : NULL;
    bool ok;
    int r;

    if (!found)
        return err_set(err, ENOENT, "There is no snapshot with id '%s'", id);
    if (!l1)
        return false;
    s = *found;
    list_remove(q, found - q->snapshots);
    r = snapshot_table_write(q);
    if (r < 0) {
        list_add(q, &s);
        return err_set_errno(err, r, "Could not write the snapshot table");
    }
    ok = release_tree(q, l1, s.l1_len, s.l1_off, err);
    snapshot_clear(&s);
    return ok;
}

static CO int qcow2_snapshot_remove(Node *n, const char *id, GError **err)
{
    Qcow2 *q = qcow2_of(n);
    bool ok;

    if (!begin(q, err))
        return -EIO;
    ok = remove_one(q, id, err);
    qcow2_exclusive_end(q);
    return ok ? 0 : -EIO;
}

/* ---- apply ---------------------------------------------------------------------------------- */

/*
 * Makes *@table (@len entries) the active table of a disk of @size bytes, durably. It is taken over,
 * and NULL then, once the file has it.
 */
static CO int switch_l1(Qcow2 *q, uint64_t **table, uint32_t len, uint64_t size)
{
    uint64_t old_off = q->l1_off, old_size = q->size, off, *l1 = *table;
    uint32_t old_len = q->l1_len;
    bool done;
    int r = l1_copy(q, l1, len, &off);

    if (r >= 0)
        r = commit_and_barrier(q);
    if (r < 0)
        return r;
    q->l1_off = off;
    q->l1_len = len;
    q->size = size;
    r = qcow2_header_switch(q, &done);
    if (!done) {
        q->l1_off = old_off;
        q->l1_len = old_len;
        q->size = old_size;
        return r;
    }
    qcow2_overlap_free(q);      /* built anew when next needed */
    cache_drop_all(&q->l2);
    for (uint32_t i = 0; i < len; i++)
        l1[i] &= ~ENTRY_COPIED;
    g_free(q->l1);
    q->l1 = g_steal_pointer(table);
    node_set_size(q->node, size);
    return r;
}

static CO bool apply(Qcow2 *q, const Qcow2Snapshot *s, GError **err)
{
    g_autofree uint64_t *l1 = snapshot_l1(q, s, err);
    g_autofree uint64_t *old = g_try_new(uint64_t, MAX(q->l1_len, 1));
    uint64_t *longer;
    uint64_t old_off = q->l1_off;
    uint32_t old_len = q->l1_len, len;
    g_auto(Counts) c = {};
    int r;

    if (!l1)
        return false;
    if (s->disk_size > INT64_MAX || qcow2_l1_needed(q, s->disk_size) > QCOW2_L1_BYTES_MAX / 8)
        return err_set(err, EFBIG, "Snapshot '%s' has a disk of %" PRIu64 " bytes, which is too "
                       "large", s->name, s->disk_size);
    len = MAX(s->l1_len, (uint32_t)qcow2_l1_needed(q, s->disk_size));
    longer = g_try_renew(uint64_t, l1, MAX(len, 1));
    if (!longer || !old)
        return err_set(err, ENOMEM, "No memory for the L1 table of snapshot '%s'", s->name);
    l1 = longer;
    memset(l1 + s->l1_len, 0, (len - s->l1_len) * sizeof(*l1));
    if (old_len)
        memcpy(old, q->l1, old_len * sizeof(*old));
    if (!counts_of_tree(q, l1, len, &c, err))
        return false;
    r = tree_apply(q, &c, 1, FREE_NEVER);
    if (r == -EOVERFLOW)
        return err_set(err, EINVAL, "Refcounts of %u bits cannot count the clusters of snapshot "
                       "'%s' twice", qcow2_refcount_bits(q), s->name);
    if (r >= 0)
        r = commit_and_barrier(q);
    if (r >= 0)
        r = tree_flags(q, l1, len, flags_off, NULL);
    if (r >= 0)
        r = switch_l1(q, &l1, len, s->disk_size);
    if (r < 0)
        return err_set_errno(err, r, "Could not make snapshot '%s' the active disk", s->name);
    return release_tree(q, old, old_len, old_off, err);
}

static CO int qcow2_snapshot_apply(Node *n, const char *id, GError **err)
{
    Qcow2 *q = qcow2_of(n);
    Qcow2Snapshot *s = find_id(q, id);
    bool ok;

    if (!s) {
        err_set(err, ENOENT, "There is no snapshot with id '%s'", id);
        return -ENOENT;
    }
    if (dirty_first(n)) {
        err_set(err, EBUSY, "Dirty bitmap '%s' cannot record what applying a snapshot changes",
                dirty_first(n)->name);
        return -EBUSY;
    }
    if (!begin(q, err))
        return -EIO;
    ok = apply(q, s, err);
    qcow2_exclusive_end(q);
    return ok ? 0 : -EIO;
}

/* ---- looking at them ------------------------------------------------------------------------ */

static CO int qcow2_snapshot_list(Node *n, Snapshot **list, size_t *count)
{
    Qcow2 *q = qcow2_of(n);

    *count = q->snapshot_count;
    *list = g_new0(Snapshot, MAX(*count, 1));
    for (uint32_t i = 0; i < q->snapshot_count; i++) {
        const Qcow2Snapshot *s = &q->snapshots[i];

        (*list)[i] = (Snapshot){
            .id = s->id, .name = s->name, .vm_state_size = s->vm_state_size,
            .date_sec = s->date_sec, .date_nsec = s->date_nsec,
            .vm_clock_nsec = s->vm_clock_nsec, .icount = s->icount,
        };
    }
    return 0;
}

/* Shows the snapshot instead of the active disk, in memory only. */
static CO int qcow2_snapshot_load(Node *n, const char *id, GError **err)
{
    Qcow2 *q = qcow2_of(n);
    Qcow2Snapshot *s = find_id(q, id);
    uint64_t *l1;

    if (!s) {
        err_set(err, ENOENT, "There is no snapshot with id '%s'", id);
        return -ENOENT;
    }
    if (qcow2_is_writable(q)) {
        err_set(err, EINVAL, "A snapshot can only be shown in an image that is open read-only");
        return -EINVAL;
    }
    if (s->disk_size > INT64_MAX || qcow2_l1_needed(q, s->disk_size) > s->l1_len) {
        err_set(err, EINVAL, "The L1 table of snapshot '%s' has %u entries, too few for its disk "
                "of %" PRIu64 " bytes", s->name, s->l1_len, s->disk_size);
        return -EINVAL;
    }
    l1 = snapshot_l1(q, s, err);
    if (!l1 || !qcow2_l1_check(q, l1, s->l1_len, err)) {
        g_free(l1);
        return -EIO;
    }
    qcow2_exclusive_begin(q);
    cache_drop_all(&q->l2);
    g_free(q->l1);
    q->l1 = l1;
    q->l1_len = s->l1_len;
    q->l1_off = s->l1_off;
    q->size = s->disk_size;
    node_set_size(n, q->size);
    qcow2_exclusive_end(q);
    return 0;
}

const SnapshotOps qcow2_snapshot_ops = {
    .list = qcow2_snapshot_list,
    .create = qcow2_snapshot_create,
    .apply = qcow2_snapshot_apply,
    .remove = qcow2_snapshot_remove,
    .load = qcow2_snapshot_load,
};

/* ---- VM state ------------------------------------------------------------------------------- */

CO int qcow2_vmstate_pread(Node *n, uint64_t off, Span buf)
{
    Qcow2 *q = qcow2_of(n);
    uint64_t at;
    unsigned pin;
    int r;

    if (q->is_corrupt)
        return -ENOMEDIUM;
    if (!size_add(off, qcow2_vmstate_offset(q), &at) || at + buf.len < at)
        return -EFBIG;
    edge_event(q->storage, EV_VMSTATE_LOAD);
    pin = qcow2_pin(q);
    r = qcow2_read(q, at, buf);
    qcow2_unpin(q, pin);
    return r;
}

CO int qcow2_vmstate_pwrite(Node *n, uint64_t off, Span buf)
{
    Qcow2 *q = qcow2_of(n);
    uint64_t at, end;
    unsigned pin;
    int r;

    if (q->is_corrupt)
        return -ENOMEDIUM;
    if (qcow2_has_data_file(q))
        return -ENOTSUP;
    if (!size_add(off, qcow2_vmstate_offset(q), &at) || !size_add(at, buf.len, &end) ||
        end > INT64_MAX)
        return -EFBIG;
    edge_event(q->storage, EV_VMSTATE_SAVE);
    if (qcow2_l1_needed(q, end) > q->l1_len) {
        qcow2_exclusive_begin(q);
        r = qcow2_l1_grow(q, qcow2_l1_needed(q, end));
        qcow2_exclusive_end(q);
        if (r < 0)
            return r;
    }
    pin = qcow2_pin(q);
    r = qcow2_write(q, at, buf);
    qcow2_unpin(q, pin);
    return r;
}
