/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What happens when damage is found in use: it is told on stderr once, and an image that could be
 * written gets the corrupt bit and answers no more requests. Callers of the tools look for these
 * lines, so their text is fixed.
 */
#include "block/formats/qcow2/qcow2.h"
#include <stdarg.h>

CO int qcow2_corrupt(Qcow2 *q, bool fatal, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    fatal = fatal && qcow2_is_writable(q);
    if (q->is_corrupt || (q->corrupt_told && !fatal))
        return -EIO;
    q->corrupt_told = true;
    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    if (!fatal) {
        fprintf(stderr, "qcow2: Image is corrupt: %s; further non-fatal corruption events will be "
                "suppressed\n", text);
        return -EIO;
    }
    fprintf(stderr, "qcow2: Marking image as corrupt: %s; further corruption events will be "
            "suppressed\n", text);
    q->is_corrupt = true;
    if (q->version > 2 && !(q->incompatible & INCOMPAT_CORRUPT)) {
        q->incompatible |= INCOMPAT_CORRUPT;
        qcow2_header_write_sync(q);
    }
    return -EIO;
}
