/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * transaction: several commands as one edit, so that they happen at one moment, or none of them.
 * What has to be made or opened for it is made before.
 */
#include "block/actions.h"
#include "block/internal.h"
#include "block/jobs/backup-args.h"

typedef struct {
    JobGroup *group;        /* of jobs that complete together; NULL: each by itself */
    Edit *edit;
    GPtrArray *overlays;    /* of Node, by the number of their action; NULL: it has none */
    GPtrArray *jobs;        /* of Job, not started yet */
} Transaction;

static const char *action_type(const json_t *action)
{
    return json_get_str(action, "type", "");
}

static const json_t *action_data(const json_t *action)
{
    return json_get(action, "data");
}

/* ---- what each action adds ------------------------------------------------------------------- */

/* Adds action number @i. */
typedef CO bool ActionFn(Transaction *t, const json_t *data, size_t i, GError **err);

static bool abort_apply(void *step, GError **err)
{
    return err_set(err, ECANCELED, "Transaction aborted using Abort action");
}

static const EditOps abort_ops = { .apply = abort_apply };

static CO bool add_abort(Transaction *t, const json_t *data, size_t i, GError **err)
{
    edit_add(t->edit, &abort_ops, NULL);
    return true;
}

static CO bool add_bitmap_add(Transaction *t, const json_t *data, size_t i, GError **err)
{
    g_autoptr(BlockDirtyBitmapAdd) args = block_dirty_bitmap_add_parse(data);

    return action_bitmap_add(t->edit, args, err);
}

static CO bool add_bitmap_remove(Transaction *t, const json_t *data, size_t i, GError **err)
{
    g_autoptr(BlockDirtyBitmap) args = block_dirty_bitmap_parse(data);

    return action_bitmap_remove(t->edit, args, err);
}

static CO bool add_bitmap_clear(Transaction *t, const json_t *data, size_t i, GError **err)
{
    g_autoptr(BlockDirtyBitmap) args = block_dirty_bitmap_parse(data);

    return action_bitmap_clear(t->edit, args, err);
}

static CO bool add_bitmap_enable(Transaction *t, const json_t *data, size_t i, GError **err)
{
    g_autoptr(BlockDirtyBitmap) args = block_dirty_bitmap_parse(data);

    return action_bitmap_set_enabled(t->edit, args, true, err);
}

static CO bool add_bitmap_disable(Transaction *t, const json_t *data, size_t i, GError **err)
{
    g_autoptr(BlockDirtyBitmap) args = block_dirty_bitmap_parse(data);

    return action_bitmap_set_enabled(t->edit, args, false, err);
}

static CO bool add_bitmap_merge(Transaction *t, const json_t *data, size_t i, GError **err)
{
    g_autoptr(BlockDirtyBitmapMerge) args = block_dirty_bitmap_merge_parse(data);

    return action_bitmap_merge(t->edit, args, err);
}

static CO bool add_snapshot(Transaction *t, const json_t *data, size_t i, GError **err)
{
    g_autoptr(BlockdevSnapshot) args = blockdev_snapshot_parse(data);

    return action_snapshot(t->edit, args, err);
}

static CO bool add_snapshot_sync(Transaction *t, const json_t *data, size_t i, GError **err)
{
    g_autoptr(BlockdevSnapshotSync) args = blockdev_snapshot_sync_parse(data);

    return action_overlay_add(t->edit, args, t->overlays->pdata[i], err);
}

static CO bool add_internal_snapshot(Transaction *t, const json_t *data, size_t i, GError **err)
{
    g_autoptr(BlockdevSnapshotInternal) args = blockdev_snapshot_internal_parse(data);

    return action_internal_snapshot(t->edit, args, err);
}

static CO bool add_backup(Transaction *t, const json_t *data, size_t i, GError **err)
{
    g_autoptr(BlockdevBackup) args = blockdev_backup_parse(data);
    bool ok;
    Job *j = backup_from_args(args, t->group, t->edit, &ok, err);

    if (j)
        g_ptr_array_add(t->jobs, j);
    return ok;
}

typedef struct {
    ActionFn *add;
    bool may_be_grouped;    /* makes no difference to others, or can wait for them */
} ActionKind;

static const ActionKind kinds[TRANSACTION_ACTION_KIND__COUNT] = {
    [TRANSACTION_ACTION_KIND_ABORT] = { add_abort, true },
    [TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_ADD] = { add_bitmap_add },
    [TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_REMOVE] = { add_bitmap_remove },
    [TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_CLEAR] = { add_bitmap_clear },
    [TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_ENABLE] = { add_bitmap_enable },
    [TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_DISABLE] = { add_bitmap_disable },
    [TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_MERGE] = { add_bitmap_merge },
    [TRANSACTION_ACTION_KIND_BLOCKDEV_BACKUP] = { add_backup, true },
    [TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT] = { add_snapshot },
    [TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT_INTERNAL_SYNC] = { add_internal_snapshot },
    [TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT_SYNC] = { add_snapshot_sync },
};

static const ActionKind *kind_of(const json_t *action)
{
    return &kinds[schema_enum_parse(&transaction_action_kind_enum, action_type(action))];
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* Makes the overlays of all actions that want one. */
static CO bool overlays_make(Transaction *t, const json_t *actions, GError **err)
{
    json_t *action;
    size_t i;

    json_array_foreach(actions, i, action) {
        Node *overlay = NULL;

        if (kind_of(action)->add == add_snapshot_sync) {
            g_autoptr(BlockdevSnapshotSync) args =
                blockdev_snapshot_sync_parse(action_data(action));

            overlay = action_overlay_new(args, err);
            if (!overlay)
                return false;
        }
        g_ptr_array_add(t->overlays, overlay);
    }
    return true;
}

static CO bool actions_run(Transaction *t, const json_t *actions, GError **err)
{
    json_t *action;
    size_t i;

    if (!overlays_make(t, actions, err))
        return false;
    t->edit = edit_begin();
    json_array_foreach(actions, i, action)
        if (!kind_of(action)->add(t, action_data(action), i, err))
            return false;
    return edit_commit(t->edit, err);
}

/* Starts what is to be started, or takes it back. */
static CO void transaction_end(Transaction *t, bool ok)
{
    edit_free(t->edit);
    if (ok)
        jobs_start((Job **)t->jobs->pdata, t->jobs->len);
    for (guint i = 0; i < t->jobs->len && !ok; i++)
        job_drop(t->jobs->pdata[i], true);
    for (guint i = 0; i < t->overlays->len; i++)
        node_unref(t->overlays->pdata[i]);
    g_ptr_array_free(t->jobs, true);
    g_ptr_array_free(t->overlays, true);
    job_group_unref(t->group);
}

CO bool qmp_transaction(const QmpTransactionArgs *args, GError **err)
{
    bool is_grouped = args->properties &&
                      args->properties->completion_mode == ACTION_COMPLETION_MODE_GROUPED;
    Transaction t = { .group = is_grouped ? job_group_new() : NULL };
    json_t *action;
    bool ok = true;
    size_t i;

    t.jobs = g_ptr_array_new();
    t.overlays = g_ptr_array_new();
    json_array_foreach(args->actions, i, action)
        if (ok && is_grouped && !kind_of(action)->may_be_grouped)
            ok = err_set(err, ENOTSUP, "Action '%s' does not support Transaction property "
                         "completion-mode = grouped", action_type(action));
    ok = ok && actions_run(&t, args->actions, err);
    transaction_end(&t, ok);
    return ok;
}
