/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A backup from the arguments of its command, which also stand in transactions. */
#ifndef BLOCK_JOBS_BACKUP_ARGS_H
#define BLOCK_JOBS_BACKUP_ARGS_H

#include "block/jobs/kinds.h"

/* @group: see JobArgs. As backup_new. */
CO Job *backup_from_args(const BlockdevBackup *args, JobGroup *group, Edit *edit, bool *ok,
                         GError **err);

#endif
