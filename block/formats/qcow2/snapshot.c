/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Internal snapshots. A snapshot is an L1 table; its L2 tables and clusters are shared with the
 * active disk and with other snapshots, each use counted in the refcounts.
 *
 * Creating, applying and removing one writes what changes beside what is there and switches to it
 * by one write of the header (switch.h). So refcounts and COPIED flags agree at every moment: a
 * check reports a flag that is off without need as an error, here as with the reference.
 * No request runs meanwhile (qcow2_exclusive_begin).
 */
#include "block/formats/qcow2/snapshot-table.h"
#include "block/formats/qcow2/switch.h"
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

/*
 * Brings the file up to date, so that tables can be read from it; no requests from here on.
 * Refcounts are written meanwhile even if writes leave them out (*@lazy).
 */
static CO bool begin(Qcow2 *q, bool *lazy, GError **err)
{
    int r;

    if (qcow2_has_data_file(q))
        return err_set(err, ENOTSUP, "Images with a data file have no internal snapshots");
    if (!qcow2_is_writable(q))
        return err_set(err, EPERM, "The image is open read-only");
    qcow2_exclusive_begin(q);
    *lazy = q->lazy_refcounts;
    q->lazy_refcounts = false;
    r = q->is_corrupt ? -ENOMEDIUM : qcow2_commit_all(q);
    if (r >= 0)
        return true;
    q->lazy_refcounts = *lazy;
    qcow2_exclusive_end(q);
    return err_set_errno(err, r, "Could not write metadata");
}

static void end(Qcow2 *q, bool lazy)
{
    q->lazy_refcounts = lazy;
    qcow2_exclusive_end(q);
}

/* A copy of the active L1 table; NULL with @err. */
static uint64_t *active_l1(const Qcow2 *q, GError **err)
{
    uint64_t *l1 = g_try_new(uint64_t, MAX(q->l1_len, 1));

    if (!l1)
        err_set(err, ENOMEM, "No memory for a copy of the L1 table");
    else if (q->l1_len)
        memcpy(l1, q->l1, q->l1_len * sizeof(*l1));
    return l1;
}

/* Why switch_plan returned @r; @what: what refcounts are too narrow for. Returns false. */
static bool plan_failed(const Qcow2 *q, int r, const char *what, GError **err)
{
    if (r == -EOVERFLOW)
        return err_set(err, EINVAL, "Refcounts of %u bits cannot count %s", qcow2_refcount_bits(q),
                       what);
    if (r == -EIO)
        return err_set(err, EIO, "Refcounts are wrong, or cannot be read: there are clusters that "
                       "are used more often than counted");
    return err_set_errno(err, r, "Could not read refcounts");
}

/* ---- create --------------------------------------------------------------------------------- */

static char *new_id(const Qcow2 *q)
{
    uint64_t max = 0;

    for (uint32_t i = 0; i < q->snapshot_count; i++)
        max = MAX(max, g_ascii_strtoull(q->snapshots[i].id, NULL, 10));
    return g_strdup_printf("%" PRIu64, max + 1);
}

static void list_insert(Qcow2 *q, uint32_t i, const Qcow2Snapshot *s)
{
    q->snapshots = g_renew(Qcow2Snapshot, q->snapshots, q->snapshot_count + 1);
    memmove(&q->snapshots[i + 1], &q->snapshots[i], (q->snapshot_count - i) * sizeof(*s));
    q->snapshots[i] = *s;
    q->snapshot_count++;
}

static void list_remove(Qcow2 *q, uint32_t i)
{
    memmove(&q->snapshots[i], &q->snapshots[i + 1],
            (q->snapshot_count - i - 1) * sizeof(*q->snapshots));
    q->snapshot_count--;
}

/* The snapshot is the last of the list. */
static CO bool create_over(Qcow2 *q, Switch *s, bool *done, GError **err)
{
    g_autofree char *what = g_strdup_printf("another snapshot of '%s'", node_filename(q->node));
    uint64_t *l1 = active_l1(q, err), off;
    int r;

    if (!l1 || !switch_init(s, q, l1, q->l1_len, q->size, err) ||
        !switch_count(s, l1, q->l1_len, true, err))
        return false;
    r = switch_plan(s);
    if (r < 0)
        return plan_failed(q, r, what, err);
    r = switch_tables(s, SWITCH_SHARE);
    if (r >= 0)
        r = switch_l1_copy(s, &off);
    if (r >= 0) {
        q->snapshots[q->snapshot_count - 1].l1_off = off;
        r = switch_snapshots_write(s);
    }
    if (r >= 0)
        r = switch_prepare(s);
    if (r >= 0)
        r = switch_over(s, done);
    return r < 0 ? err_set_errno(err, r, "Could not write the snapshot") : true;
}

static CO bool create(Qcow2 *q, Snapshot *in, GError **err)
{
    Qcow2Snapshot new = {
        .l1_len = q->l1_len, .id = in->id && *in->id ? g_strdup(in->id) : new_id(q),
        .name = g_strdup(in->name), .date_sec = in->date_sec, .date_nsec = in->date_nsec,
        .vm_clock_nsec = in->vm_clock_nsec, .vm_state_size = in->vm_state_size,
        .disk_size = q->size, .icount = in->icount,
    };
    Switch s = {};
    bool done = false, ok;

    list_insert(q, q->snapshot_count, &new);
    ok = create_over(q, &s, &done, err);
    switch_clear(&s);
    if (!done) {
        list_remove(q, q->snapshot_count - 1);
        snapshot_clear(&new);
        return false;
    }
    if (!in->id || !*in->id)
        in->id = g_strdup(new.id);
    return ok;
}

static CO int qcow2_vmstate_unmap(Qcow2 *q)
{
    uint64_t off = qcow2_vmstate_offset(q);
    uint64_t end = (uint64_t)q->l1_len << (q->l2_bits + q->cluster_bits);

    return off < end ? qcow2_unmap_range(q, off, end - off) : 0;
}

static CO int qcow2_snapshot_create(Node *n, Snapshot *s, GError **err)
{
    Qcow2 *q = qcow2_of(n);
    bool ok, lazy;
    int r;

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
    if (!begin(q, &lazy, err))
        return -EIO;
    ok = create(q, s, err);
    /* VM state is of this snapshot only: left in the active disk it would go into the next one. */
    r = ok ? qcow2_vmstate_unmap(q) : 0;
    if (r < 0)
        block_warn("The state of the machine stays in the active disk of '%s', too: %s",
                   node_filename(n), g_strerror(-r));
    end(q, lazy);
    return ok ? 0 : -EIO;
}

/* ---- remove --------------------------------------------------------------------------------- */

/* The snapshot with the tree @l1 of @len entries is not in the list any more. */
static CO bool remove_over(Qcow2 *q, Switch *s, const uint64_t *l1, uint32_t len, uint64_t off,
                           bool *done, GError **err)
{
    uint64_t *active = active_l1(q, err);
    int r;

    if (!active || !switch_init(s, q, active, q->l1_len, q->size, err) ||
        !switch_count(s, l1, len, false, err))
        return false;
    r = switch_plan(s);
    if (r < 0)
        return plan_failed(q, r, "fewer snapshots", err);
    r = switch_tables(s, SWITCH_OWN);
    if (r >= 0)
        r = switch_snapshots_write(s);
    switch_leave(s, off, len * UINT64_C(8));
    if (r >= 0)
        r = switch_prepare(s);
    if (r >= 0)
        r = switch_over(s, done);
    if (r < 0)
        return err_set_errno(err, r, *done ? "Could not free clusters that are not used any more"
                                           : "Could not write metadata without the snapshot");
    return true;
}

static CO bool remove_one(Qcow2 *q, const char *id, GError **err)
{
    Qcow2Snapshot *found = find_id(q, id), old;
    g_autofree uint64_t *l1 = found ? snapshot_l1(q, found, err) : NULL;
    uint32_t at;
    Switch s = {};
    bool done = false, ok;

    if (!found)
        return err_set(err, ENOENT, "There is no snapshot with id '%s'", id);
    if (!l1)
        return false;
    old = *found;
    at = found - q->snapshots;
    list_remove(q, at);
    ok = remove_over(q, &s, l1, old.l1_len, old.l1_off, &done, err);
    switch_clear(&s);
    if (done)
        snapshot_clear(&old);
    else
        list_insert(q, at, &old);
    return ok;
}

static CO int qcow2_snapshot_remove(Node *n, const char *id, GError **err)
{
    Qcow2 *q = qcow2_of(n);
    bool ok, lazy;

    if (!begin(q, &lazy, err))
        return -EIO;
    ok = remove_one(q, id, err);
    end(q, lazy);
    return ok ? 0 : -EIO;
}

/* ---- apply ---------------------------------------------------------------------------------- */

/* The L1 table of @snap, *@len entries: as many as its disk needs. NULL with @err. */
static CO uint64_t *l1_to_apply(Qcow2 *q, const Qcow2Snapshot *snap, uint32_t *len, GError **err)
{
    g_autofree uint64_t *l1 = snapshot_l1(q, snap, err);
    uint64_t *longer;

    if (!l1)
        return NULL;
    if (snap->disk_size > INT64_MAX ||
        qcow2_l1_needed(q, snap->disk_size) > QCOW2_L1_BYTES_MAX / 8) {
        err_set(err, EFBIG, "Snapshot '%s' has a disk of %" PRIu64 " bytes, which is too large",
                snap->name, snap->disk_size);
        return NULL;
    }
    *len = MAX(snap->l1_len, (uint32_t)qcow2_l1_needed(q, snap->disk_size));
    longer = g_try_renew(uint64_t, l1, MAX(*len, 1));
    if (!longer) {
        err_set(err, ENOMEM, "No memory for the L1 table of snapshot '%s'", snap->name);
        return NULL;
    }
    l1 = longer;
    memset(l1 + snap->l1_len, 0, (*len - snap->l1_len) * sizeof(*l1));
    return g_steal_pointer(&l1);
}

static bool apply_failed(const char *name, int r, GError **err)
{
    return err_set_errno(err, r, "Could not make snapshot '%s' the active disk", name);
}

static CO bool apply_beside(Qcow2 *q, Switch *s, const Qcow2Snapshot *snap, GError **err)
{
    g_autofree char *what = g_strdup_printf("the clusters of snapshot '%s' twice", snap->name);
    uint32_t len;
    uint64_t *l1 = l1_to_apply(q, snap, &len, err);
    int r;

    if (!l1 || !switch_init(s, q, l1, len, snap->disk_size, err) ||
        !switch_count(s, l1, len, true, err) || !switch_count(s, q->l1, q->l1_len, false, err))
        return false;
    r = switch_plan(s);
    if (r < 0)
        return plan_failed(q, r, what, err);
    r = switch_tables(s, SWITCH_BORROW);
    if (r >= 0)
        r = switch_prepare(s);
    return r >= 0 || apply_failed(snap->name, r, err);
}

typedef struct {
    Switch over;
    char *name;      /* of the snapshot */
    bool lazy;       /* for end() */
} Apply;

static CO void qcow2_snapshot_apply_end(Node *n, void *apply)
{
    Qcow2 *q = qcow2_of(n);
    Apply *a = apply;

    switch_clear(&a->over);
    end(q, a->lazy);
    g_free(a->name);
    g_free(a);
}

static CO void *qcow2_snapshot_apply_begin(Node *n, const char *id, GError **err)
{
    Qcow2 *q = qcow2_of(n);
    Qcow2Snapshot *snap = find_id(q, id);
    bool lazy;
    Apply *a;

    if (!snap) {
        err_set(err, ENOENT, "There is no snapshot with id '%s'", id);
        return NULL;
    }
    if (dirty_first(n)) {
        err_set(err, EBUSY, "Dirty bitmap '%s' cannot record what applying a snapshot changes",
                dirty_first(n)->name);
        return NULL;
    }
    if (!begin(q, &lazy, err))
        return NULL;
    a = g_new0(Apply, 1);
    a->lazy = lazy;
    a->name = g_strdup(snap->name);
    if (apply_beside(q, &a->over, snap, err))
        return a;
    qcow2_snapshot_apply_end(n, a);
    return NULL;
}

static CO bool qcow2_snapshot_apply(Node *n, void *apply, bool *done, GError **err)
{
    Apply *a = apply;
    int r = switch_over(&a->over, done);

    return r >= 0 || apply_failed(a->name, r, err);
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

static CO int qcow2_vmstate_drop(Node *n)
{
    Qcow2 *q = qcow2_of(n);
    unsigned pin;
    int r;

    r = qcow2_enter(q, &pin);
    if (r < 0)
        return r;
    r = qcow2_vmstate_unmap(q);
    qcow2_leave(q, pin);
    return r;
}

const SnapshotOps qcow2_snapshot_ops = {
    .list = qcow2_snapshot_list,
    .create = qcow2_snapshot_create,
    .apply_begin = qcow2_snapshot_apply_begin,
    .apply = qcow2_snapshot_apply,
    .apply_end = qcow2_snapshot_apply_end,
    .remove = qcow2_snapshot_remove,
    .load = qcow2_snapshot_load,
    .drop_vmstate = qcow2_vmstate_drop,
};

/* ---- VM state ------------------------------------------------------------------------------- */

CO int qcow2_vmstate_pread(Node *n, uint64_t off, Span buf)
{
    Qcow2 *q = qcow2_of(n);
    uint64_t at;
    unsigned pin;
    int r;

    if (!size_add(off, qcow2_vmstate_offset(q), &at) || at + buf.len < at)
        return -EFBIG;
    r = qcow2_enter(q, &pin);
    if (r < 0)
        return r;
    edge_event(q->storage, EV_VMSTATE_LOAD);
    r = qcow2_read(q, at, buf);
    qcow2_leave(q, pin);
    return r;
}

CO int qcow2_vmstate_pwrite(Node *n, uint64_t off, Span buf)
{
    Qcow2 *q = qcow2_of(n);
    uint64_t at, end;
    unsigned pin;
    int r;

    if (qcow2_has_data_file(q))
        return -ENOTSUP;
    if (!size_add(off, qcow2_vmstate_offset(q), &at) || !size_add(at, buf.len, &end) ||
        end > INT64_MAX)
        return -EFBIG;
    edge_event(q->storage, EV_VMSTATE_SAVE);
    if (qcow2_l1_needed(q, end) > q->l1_len) {
        qcow2_exclusive_begin(q);
        r = q->is_corrupt ? -ENOMEDIUM : qcow2_l1_grow(q, qcow2_l1_needed(q, end));
        qcow2_exclusive_end(q);
        if (r < 0)
            return r;
    }
    r = qcow2_enter(q, &pin);
    if (r < 0)
        return r;
    r = qcow2_write(q, at, buf);
    qcow2_leave(q, pin);
    return r;
}
