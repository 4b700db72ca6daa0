/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A backup from the arguments of its command, which also stand in transactions. */
#ifndef BLOCK_JOBS_BACKUP_ARGS_H
#define BLOCK_JOBS_BACKUP_ARGS_H

#include "block/jobs/kinds.h"

/* @group: see JobArgs. Ended by job_start or job_drop. NULL with @err. */
CO Job *backup_from_args(const BlockdevBackup *args, JobGroup *group, GError **err);

#endif
