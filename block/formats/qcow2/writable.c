/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bits of the header that are set while an image may be written: before the first write, and
 * cleared when everything is in the file.
 */
#include "block/formats/qcow2/qcow2.h"

CO bool qcow2_open_for_writing(Qcow2 *q, OpenFlags flags, GError **err)
{
    int r;

    if (q->incompatible & INCOMPAT_CORRUPT && !(flags & OPEN_CHECK))
        return err_set(err, EACCES, "The image is marked as corrupt and cannot be written");
    if (q->autoclear & ~(uint64_t)AUTOCLEAR_KNOWN) {
        q->autoclear &= AUTOCLEAR_KNOWN;
        r = qcow2_header_write_sync(q);
        if (r < 0)
            return err_set_errno(err, r, "Could not clear unknown feature bits");
    }
    if (q->incompatible & INCOMPAT_DIRTY && !(flags & OPEN_CHECK) && !qcow2_repair_dirty(q, err))
        return false;
    return qcow2_bitmaps_open_for_writing(q, err);
}

CO int qcow2_write_all(Qcow2 *q)
{
    int r;

    q->lazy_refcounts = false;
    r = qcow2_commit_all(q);
    if (r >= 0 && q->incompatible & INCOMPAT_DIRTY && !q->dirty_found) {
        q->incompatible &= ~(uint64_t)INCOMPAT_DIRTY;
        r = qcow2_header_write_sync(q);
    }
    return r;
}
