/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text from images, servers and clients, fit for a terminal. */
#ifndef UTIL_PRINTABLE_H
#define UTIL_PRINTABLE_H

/*
 * A copy of @text in which whatever a terminal could obey, or that is no UTF-8, is written out as
 * in C: \n, \x1b, \u202e. Everything else, also beyond ASCII, stays as it is. Caller frees.
 */
char *printable(const char *text);

#endif
