/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A source of convert whose size is not known before all of it is decoded: a compressed file. It is
 * decoded once, while the target grows with it.
 */
#ifndef QEMU_IMG_UNSIZED_H
#define QEMU_IMG_UNSIZED_H

#include "qemu-img/copy.h"

/* Can a new file @target of format @format, with create options @opts, grow while it is written? */
bool unsized_target(const char *target, const char *format, const json_t *opts);
/*
 * Opens @name if it is such a source and holds a raw image. NULL: it is to be opened as any other,
 * which tells what is wrong if something is.
 */
CO Handle *unsized_open(const char *name, const char *format, OpenFlags flags);
/* A .grow operation of CopyJob. */
CO int unsized_grow(CopyJob *job, CopyFailure *what);

#endif
