/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Warnings to people. */
#include "block/driver.h"
#include "util/printable.h"
#include <stdio.h>

void block_warn(const char *fmt, ...)
{
    g_autofree char *text = NULL, *shown = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    shown = printable(text);
    fprintf(stderr, "%s: warning: %s\n", g_get_prgname() ? g_get_prgname() : "ferry", shown);
}
