/* SPDX-License-Identifier: GPL-2.0-or-later */
/* blockdev-backup. Messages are those of the reference. */
#include "block/jobs/backup-args.h"

CO bool qmp_blockdev_backup(const BlockdevBackup *args, GError **err)
{
    Edit *edit = edit_begin();
    bool ok;
    Job *j = backup_from_args(args, NULL, edit, &ok, err);

    ok = ok && edit_commit(edit, err);
    edit_free(edit);
    if (ok)
        job_start(j);
    else if (j)
        job_drop(j, false);
    return ok;
}
