/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Command lines. */
#ifndef TOOLS_OPTIONS_H
#define TOOLS_OPTIONS_H

#include <getopt.h>

/*
 * "; did you mean '--NAME'?" or "", for the end of a message about @typed, an option that is not among
 * @known (ended by one without a name). Caller frees.
 */
char *option_suggestion(const struct option *known, const char *typed);

#endif
