/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What hypervisors and clouds take: formats, their options, and rules for the disk. */
#ifndef QEMU_IMG_PLATFORM_H
#define QEMU_IMG_PLATFORM_H

#include "util/json.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct Platform Platform;

/* NULL, complained: there is none of that name. */
const Platform *platform_find(const char *name);

/*
 * Makes *@format and @opts, options to create an image with, what @p takes. False, complained: the
 * user asks for something else.
 */
bool platform_apply(const Platform *p, const char **format, json_t *opts);

/*
 * Does @p take a disk of @size bytes as file @target? False, complained, with the rule that is
 * broken.
 */
bool platform_check(const Platform *p, uint64_t size, const char *target);

#endif
