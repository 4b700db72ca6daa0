/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log of guests' failed accesses: errors of the guest, and features that real devices have but
 * ours lack. Any thread.
 */
#ifndef SYSTEM_BASE_GUEST_LOG_H
#define SYSTEM_BASE_GUEST_LOG_H

#include <glib.h>

enum { GUEST_LOG_ERRORS = 1, GUEST_LOG_MISSING = 2 };

/* What is to be logged, and who does it. Changes only while processors stand still. */
extern unsigned guest_log_items;
extern void (*guest_log_write)(const char *line); /* not NULL while there are items */

/* A line of @item, without its end, if such lines are wanted. */
void guest_log(unsigned item, const char *format, ...) G_GNUC_PRINTF(2, 3);

#endif
