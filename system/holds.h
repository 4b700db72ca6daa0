/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Holds as clients see them. */
#ifndef SYSTEM_HOLDS_H
#define SYSTEM_HOLDS_H

#include <glib.h>

/* HoldInfo of each of @holds, the oldest first. The caller frees the array with its elements. */
GPtrArray *holds_shown(const GQueue *holds);

#endif
