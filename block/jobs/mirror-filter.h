/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mirror_top: what users of an image that is mirrored go through; internal, made by the job only.
 */
#ifndef BLOCK_JOBS_MIRROR_FILTER_H
#define BLOCK_JOBS_MIRROR_FILTER_H

#include "block/jobs/resume-log.h"

extern const BlockDriver mirror_filter;

/*
 * From now on a write ends when @c's target has it as well, until this is called with NULL. Before
 * that, others may not write to the image past the filter (an edit sees to it).
 */
void mirror_filter_set(Node *filter, Copy *c);
/*
 * Before the filter is in its place: all changes pass by @log, as long as there are any. Others may
 * not write past the filter, until mirror_filter_set is called with NULL.
 */
void mirror_filter_log(Node *filter, ResumeLog *log);

#endif
