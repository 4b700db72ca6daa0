/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Findings of a check, as they are printed. */
#include "block/formats/qcow2/check.h"
#include <stdarg.h>

/* Nobody reads more findings than this line by line. */
#define TELL_MAX 1000000

void check_tell_va(Check *c, const char *fmt, va_list ap)
{
    if (c->told++ >= TELL_MAX) {
        if (c->told == TELL_MAX + 1)
            fprintf(c->out, "There is more, which is counted but not shown.\n");
        return;
    }
    vfprintf(c->out, fmt, ap);
}

void check_tell(Check *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    check_tell_va(c, fmt, ap);
    va_end(ap);
}
