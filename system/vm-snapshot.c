/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages that the reference has too are worded as its own. */
#include "system/vm-snapshot.h"
#include "block/account.h"
#include "block/actions.h"
#include "block/internal.h"
#include "block/monitor-nodes.h"
#include "system/base/clock.h"
#include "system/base/lock.h"
#include "system/dump.h"
#include "system/migration.h"
#include "system/vm-state.h"
#include <string.h>

static struct {
    CoMutex busy;
    bool is_ending;
} work;

/* ---- images ---------------------------------------------------------------------------------- */

typedef struct {
    Node *node;              /* a reference */
    Node *keeper;            /* the image below filters, which has the snapshots */
    Snapshot *list;
    size_t count;
    char *old;               /* id of the snapshot that is to go; NULL: none */
} Disk;

static CO void disk_clear(void *disk)
{
    Disk *d = disk;

    node_unref(d->node);
    g_free(d->list);
    g_free(d->old);
}

typedef GArray Disks; /* of Disk */

static CO void disks_free(Disks *disks)
{
    g_array_unref(disks);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Disks, disks_free)

static Disk *disk_at(const Disks *disks, guint i)
{
    return &g_array_index(disks, Disk, i);
}

static const char *shown_name(const Node *n)
{
    const char *drive = account_drive_of(n);

    return *drive ? drive : node_shown_name(n);
}

static bool can_snapshot(const Disk *d)
{
    return d->keeper->drv->snapshots && !node_is_read_only(d->node);
}

/* Takes the reference to @n. */
static void disks_add(Disks *disks, Node *n)
{
    Disk d = { .node = n, .keeper = node_skip_filters(n) };

    g_array_append_val(disks, d);
}

static bool disks_add_named(Disks *disks, char **nodes, GError **err)
{
    if (!*nodes)
        return err_set(err, EINVAL, "At least one device is required for snapshot");
    for (; *nodes; nodes++) {
        Node *n = node_find(*nodes);

        if (!n)
            return err_set(err, ENOENT, "No block device node '%s'", *nodes);
        disks_add(disks, node_ref(n));
    }
    return true;
}

static void disks_add_all(Disks *disks)
{
    g_autoptr(GPtrArray) tops = monitor_nodes_tops();

    for (guint i = 0; i < tops->len; i++)
        if (!node_is_read_only(tops->pdata[i]))
            disks_add(disks, node_ref(tops->pdata[i]));
}

static CO bool disks_read(const Disks *disks, GError **err)
{
    for (guint i = 0; i < disks->len; i++) {
        Disk *d = disk_at(disks, i);
        int r;

        if (!can_snapshot(d))
            continue;
        g_clear_pointer(&d->list, g_free);
        r = d->keeper->drv->snapshots->list(d->keeper, &d->list, &d->count);
        if (r < 0)
            return err_set_errno(err, r, "Snapshots of '%s' cannot be listed", shown_name(d->node));
    }
    return true;
}

static CO Disks *disks_find(char **nodes, GError **err)
{
    g_autoptr(Disks) disks = g_array_new(FALSE, FALSE, sizeof(Disk));

    g_array_set_clear_func(disks, disk_clear);
    if (!nodes)
        disks_add_all(disks);
    else if (!disks_add_named(disks, nodes, err))
        return NULL;
    return disks_read(disks, err) ? g_steal_pointer(&disks) : NULL;
}

/*
 * Jobs would not see what happens to their images, and others may be writing those that are
 * inactive.
 */
static bool check_idle(const Disks *disks, GError **err)
{
    for (guint i = 0; i < disks->len; i++) {
        const Disk *d = disk_at(disks, i);

        if (!node_is_active(d->keeper))
            return err_set(err, EBUSY, "Device '%s' is inactive", shown_name(d->node));
        if (!node_check_idle(d->node, err) || !node_check_idle(d->keeper, err))
            return false;
    }
    return true;
}

static bool check_all_can(const Disks *disks, GError **err)
{
    if (!check_idle(disks, err))
        return false;
    for (guint i = 0; i < disks->len; i++) {
        const Disk *d = disk_at(disks, i);

        if (!can_snapshot(d))
            return err_set(err, ENOTSUP, "Device '%s' is writable but does not support snapshots",
                           shown_name(d->node));
        for (guint k = 0; k < i; k++)
            if (disk_at(disks, k)->keeper == d->keeper)
                return err_set(err, EINVAL, "Device '%s' is named twice", shown_name(d->node));
    }
    return true;
}

/* Without @name, the first that can have snapshots. NULL with @err. */
static const Disk *find_vmstate(const Disks *disks, const char *name, GError **err)
{
    for (guint i = 0; i < disks->len; i++) {
        const Disk *d = disk_at(disks, i);

        if (name ? !strcmp(node_name(d->node), name)
                 : can_snapshot(d) && d->keeper->drv->vmstate_pwrite)
            return d;
    }
    if (name)
        err_set(err, ENOENT, "vmstate block device '%s' does not exist", name);
    else
        err_set(err, ENOENT, "no block device can store vmstate for snapshot");
    return NULL;
}

static const Snapshot *disk_snapshot(const Disk *d, const char *tag)
{
    return snapshot_find(d->list, d->count, NULL, tag);
}

/* ---- what goes on meanwhile ------------------------------------------------------------------ */

static bool must_end(void *job)
{
    return work.is_ending || (job && job_must_end(job));
}

static bool check_may_begin(GError **err)
{
    if (work.is_ending)
        return err_set(err, ECANCELED, "The program ends");
    if (run_state_machine()->config.is_none)
        return err_set(err, ENOTSUP, "Machine 'none' has no state");
    if (dump_is_active())
        return err_set(err, EBUSY, "The guest's memory is being dumped");
    if (migration_is_active())
        return err_set(err, EBUSY, "There's a migration process in progress");
    if (run_state() == STATE_INMIGRATE)
        return err_set(err, EBUSY, "Guest is waiting for an incoming migration");
    return true;
}

/* Marks the images as used by @job, for other jobs and for commands. */
static void use_disks(Job *job, const Disks *disks)
{
    for (guint i = 0; job && i < disks->len; i++)
        job_use_node(job, disk_at(disks, i)->node);
}

static CO Handle *state_handle(const Disk *d, GError **err)
{
    return handle_new(d->node, HANDLE_JOB, 0, ACCESS_ALL, err);
}

/* Removes a state that belongs to no snapshot. */
static CO void drop_state(const Disk *d)
{
    int r = d->keeper->drv->snapshots->drop_vmstate(d->keeper);

    if (r < 0)
        block_warn("A machine state that is no longer needed could not be removed from '%s': %s",
                   node_filename(d->keeper), g_strerror(-r));
}

/* ---- saving ---------------------------------------------------------------------------------- */

static bool prepare_replaced(const Disks *disks, const VmSnapshotArgs *a, GError **err)
{
    for (guint i = 0; i < disks->len; i++) {
        Disk *d = disk_at(disks, i);
        const Snapshot *old = disk_snapshot(d, a->tag);

        if (old && !a->replaces)
            return err_set(err, EEXIST, "Snapshot '%s' already exists in one or more devices",
                           a->tag);
        d->old = old ? g_strdup(old->id) : NULL;
    }
    return true;
}

static CO bool create_all(const Disks *disks, const Disk *vm, Snapshot *new, GError **err)
{
    uint64_t size = new->vm_state_size;
    g_autoptr(Edit) edit = edit_begin();

    for (guint i = 0; i < disks->len; i++) {
        new->vm_state_size = disk_at(disks, i) == vm ? size : 0;
        action_internal_add(edit, disk_at(disks, i)->keeper, new);
    }
    return edit_commit(edit, err);
}

static CO bool remove_old(const Disks *disks, GError **err)
{
    g_autoptr(Edit) edit = edit_begin();

    for (guint i = 0; i < disks->len; i++)
        if (disk_at(disks, i)->old)
            action_internal_remove(edit, disk_at(disks, i)->keeper, disk_at(disks, i)->old);
    return edit_commit(edit, err);
}

static CO bool save_state(const VmSnapshotArgs *a, MachineState before, const Disk *vm,
                          uint64_t *size, GError **err)
{
    g_autoptr(Handle) h = state_handle(vm, err);

    if (!h)
        return false;
    drop_state(vm);
    if (!vm_state_save(run_state_machine(), before, h, must_end, a->job, size, err)) {
        drop_state(vm);
        return false;
    }
    return true;
}

/* The guest stands still. */
static CO bool save(const VmSnapshotArgs *a, MachineState before, const Disks *disks,
                    const Disk *vm, GError **err)
{
    gint64 now = g_get_real_time();
    Snapshot new = {
        .name = (char *)a->tag,
        .date_sec = now / G_USEC_PER_SEC,
        .date_nsec = (uint32_t)(now % G_USEC_PER_SEC) * 1000,
        .vm_clock_nsec = (uint64_t)guest_clock_now(),
        .icount = UINT64_MAX,
    };

    if (!save_state(a, before, vm, &new.vm_state_size, err))
        return false;
    if (!create_all(disks, vm, &new, err)) {
        drop_state(vm);
        return false;
    }
    return remove_old(disks, err) ||
           err_prefix(err, "The new snapshot is there, but an old one of that name, too: ");
}

static CO bool save_locked(const VmSnapshotArgs *a, GError **err)
{
    g_autoptr(Disks) disks = NULL;
    g_autoptr(Hold) use = NULL;
    MachineState before = run_state();
    const Disk *vm;
    bool ok;

    if (!check_may_begin(err))
        return false;
    if (!machine_state_travels(before))
        return err_set(err, EBUSY, "The guest can be saved only while it is running or stopped");
    use = hold_take(&hold_migration, HOLD_USE, "snapshot", "a snapshot is being made", err);
    disks = use ? disks_find(a->nodes, err) : NULL;
    if (!disks || !check_all_can(disks, err) || !prepare_replaced(disks, a, err))
        return false;
    vm = find_vmstate(disks, a->vmstate, err);
    if (!vm)
        return false;
    use_disks(a->job, disks);
    if (before == STATE_RUNNING)
        run_state_stop(STATE_SAVE_VM);
    ok = machine_has_failed_io(run_state_machine())
             ? err_set(err, EIO,
                       "Requests of a disk have failed and wait: a state with them cannot be "
                       "loaded")
             : save(a, before, disks, vm, err);
    /* PRELAUNCH: it was reset. Whatever else has happened meanwhile stops it. */
    if (before == STATE_RUNNING && !work.is_ending &&
        (run_state() == STATE_SAVE_VM || run_state() == STATE_PRELAUNCH))
        run_state_start();
    return ok;
}

CO bool vm_snapshot_save(const VmSnapshotArgs *a, GError **err)
{
    CO_LOCKED(&work.busy);

    return save_locked(a, err);
}

/* ---- loading --------------------------------------------------------------------------------- */

static bool check_there(const Disks *disks, const char *tag, GError **err)
{
    for (guint i = 0; i < disks->len; i++)
        if (!disk_snapshot(disk_at(disks, i), tag))
            return err_set(err, ENOENT, "Snapshot '%s' does not exist in one or more devices", tag);
    return true;
}

static bool check_no_bitmaps(const Disks *disks, GError **err)
{
    for (guint i = 0; i < disks->len; i++) {
        const DirtyBitmap *b = dirty_first(disk_at(disks, i)->keeper);

        if (b)
            return err_set(err, EBUSY, "Dirty bitmap '%s' of '%s' cannot record what loading a "
                           "snapshot changes", b->name ? b->name : "",
                           shown_name(disk_at(disks, i)->node));
    }
    return true;
}

static CO bool apply_all(const Disks *disks, const char *tag, bool *changed, GError **err)
{
    g_autofree NodeSnapshot *images = g_new(NodeSnapshot, disks->len);
    g_autoptr(Edit) edit = edit_begin();

    for (guint i = 0; i < disks->len; i++) {
        const Disk *d = disk_at(disks, i);

        images[i] = (NodeSnapshot){ d->keeper, disk_snapshot(d, tag)->id };
    }
    action_internal_apply(edit, images, disks->len, changed);
    return edit_commit(edit, err);
}

/* From @h, of @vm. The guest stands still. *@changed: it, or a disk, is not what it was. */
static CO bool load(const VmSnapshotArgs *a, const Disks *disks, const Disk *vm, Handle *h,
                    bool *changed, GError **err)
{
    uint64_t size = disk_snapshot(vm, a->tag)->vm_state_size;
    bool ok;

    if (!apply_all(disks, a->tag, changed, err))
        return false;
    ok = vm_state_load(run_state_machine(), h, size, err);
    drop_state(vm);
    return ok || err_prefix(err, "Error while loading VM state: ");
}

static CO bool load_locked(const VmSnapshotArgs *a, GError **err)
{
    bool was_running = run_state_is_running(), changed = false;
    g_autoptr(Disks) disks = NULL;
    g_autoptr(Handle) h = NULL;
    const Disk *vm;

    if (!check_may_begin(err))
        return false;
    disks = disks_find(a->nodes, err);
    if (!disks || !check_all_can(disks, err) || !check_there(disks, a->tag, err) ||
        !check_no_bitmaps(disks, err))
        return false;
    vm = find_vmstate(disks, a->vmstate, err);
    if (!vm)
        return false;
    if (!disk_snapshot(vm, a->tag)->vm_state_size)
        return err_set(err, EINVAL, "This is a disk-only snapshot. Revert to it  offline using "
                       "qemu-img");
    use_disks(a->job, disks);
    h = state_handle(vm, err);
    if (!h)
        return false;
    if (was_running)
        run_state_stop(STATE_RESTORE_VM);
    if (!load(a, disks, vm, h, &changed, err)) {
        if (changed)
            run_state_stop(STATE_RESTORE_VM);
        else if (was_running && run_state() == STATE_RESTORE_VM && !work.is_ending)
            run_state_start();
        return false;
    }
    /*
     * The state that the guest was in before the load, such as a shutdown, is over. A debugger that
     * attached meanwhile keeps it stopped.
     */
    if (was_running && !work.is_ending && run_state() != STATE_DEBUG)
        run_state_start();
    else if (run_state() != STATE_PRELAUNCH && run_state() != STATE_DEBUG)
        run_state_stop(STATE_PAUSED);
    return true;
}

bool vm_snapshot_is_busy(void)
{
    return work.busy.locked;
}

CO bool vm_snapshot_load(const VmSnapshotArgs *a, GError **err)
{
    CO_LOCKED(&work.busy);

    return load_locked(a, err);
}

/* ---- deleting -------------------------------------------------------------------------------- */

CO bool vm_snapshot_delete(const VmSnapshotArgs *a, GError **err)
{
    CO_LOCKED(&work.busy);
    g_autoptr(Disks) disks = disks_find(a->nodes, err);

    if (!disks || !check_all_can(disks, err))
        return false;
    for (guint i = 0; i < disks->len; i++) {
        Disk *d = disk_at(disks, i);
        const Snapshot *old = disk_snapshot(d, a->tag);

        d->old = old ? g_strdup(old->id) : NULL;
    }
    return remove_old(disks, err);
}

/* ---- looking --------------------------------------------------------------------------------- */

static bool is_on_all(const Disks *disks, const char *name)
{
    for (guint i = 0; i < disks->len; i++)
        if (can_snapshot(disk_at(disks, i)) && !disk_snapshot(disk_at(disks, i), name))
            return false;
    return true;
}

/* Those of @d that are on all images, or those that are not. */
static unsigned put_rows(GString *out, const Disks *disks, const Disk *d, bool on_all)
{
    unsigned rows = 0;

    for (size_t i = 0; i < d->count; i++) {
        if (is_on_all(disks, d->list[i].name) != on_all)
            continue;
        if (!rows++)
            snapshot_put_row(out, NULL, NULL);
        snapshot_put_row(out, &d->list[i], on_all ? "--" : NULL);
    }
    return rows;
}

static void put_partial(GString *out, const Disks *disks, const Disk *d)
{
    g_autoptr(GString) rows = g_string_new(NULL);

    if (put_rows(rows, disks, d, false))
        g_string_append_printf(out, "\nList of partial (non-loadable) snapshots on '%s':\n%s",
                               account_drive_of(d->node), rows->str);
}

CO void vm_snapshot_list(GString *out)
{
    CO_LOCKED(&work.busy);
    g_autoptr(GError) err = NULL;
    g_autoptr(Disks) disks = disks_find(NULL, &err);
    const Disk *vm = disks ? find_vmstate(disks, NULL, &err) : NULL;
    size_t count = 0;

    for (guint i = 0; disks && i < disks->len; i++)
        count += disk_at(disks, i)->count;
    if (!vm) {
        g_string_append_printf(out, "%s\n", err->message);
        return;
    }
    if (!count) {
        g_string_append(out, "There is no snapshot available.\n");
        return;
    }
    g_string_append(out, "List of snapshots present on all disks:\n");
    if (!put_rows(out, disks, vm, true))
        g_string_append(out, "None\n");
    for (guint i = 0; i < disks->len; i++)
        put_partial(out, disks, disk_at(disks, i));
}

/* ---- life ------------------------------------------------------------------------------------ */

CO void vm_snapshot_end(void)
{
    work.is_ending = true;
    co_mutex_lock(&work.busy);
    co_mutex_unlock(&work.busy);
}
