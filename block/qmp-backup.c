/* SPDX-License-Identifier: GPL-2.0-or-later */
/* blockdev-backup. Messages are those of the reference. */
#include "block/jobs/backup-args.h"

CO bool qmp_blockdev_backup(const BlockdevBackup *args, GError **err)
{
    Job *j = backup_from_args(args, NULL, err);

    if (j)
        job_start(j);
    return j;
}
