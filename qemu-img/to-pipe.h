/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The target "-" of convert: standard output, which takes formats that can be laid out ahead. */
#ifndef QEMU_IMG_TO_PIPE_H
#define QEMU_IMG_TO_PIPE_H

#include "qemu-img/copy.h"
#include "util/json.h"

/* Can format @fmt, made with options @opts, go there? NULL: complained. */
const BlockDriver *to_pipe_format(const char *fmt, json_t *opts);

/*
 * Opens standard output as the target of @job, whose sources are open, and writes what precedes the
 * content. *@end: see pipe_set_end. False: complained.
 */
CO bool to_pipe_open(CopyJob *job, const BlockDriver *format, json_t *opts, uint64_t *end);

/* All was copied. */
void to_pipe_end(CopyJob *job, uint64_t end);

#endif
