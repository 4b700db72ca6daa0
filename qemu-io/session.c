/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening and closing the image of a session. */
#include "qemu-io/session.h"
#include "qemu-io/breakpoint.h"
#include "tools/complain.h"

/* ---- opening and closing -------------------------------------------------------------------- */

bool session_open(Session *s, OpenRequest *r)
{
    g_autoptr(GError) err = NULL;

    if (r->flags & OPEN_COPY_ON_READ && !(r->flags & OPEN_RDWR)) {
        json_decref(g_steal_pointer(&r->options));
        return complain("Copy-on-read needs an image that may be written");
    }
    s->file = (r->snapshot ? image_open_snapshot : handle_open)(
        r->name, g_steal_pointer(&r->options), r->flags, &err);
    s->flags = r->flags;
    return s->file || complain_err(err);
}

bool session_close(Session *s)
{
    g_autoptr(GError) err = NULL;
    bool ok = true;
    int r;

    if (!s->file)
        return true;
    breakpoints_release(s);
    co_group_wait(&s->background);
    r = handle_is_writable(s->file) ? handle_flush(s->file) : 0;
    if (r < 0)
        ok = complain_errno(r, "Last data of '%s' could not be written",
                            node_filename(handle_node(s->file)));
    if (!handle_close_err(g_steal_pointer(&s->file), &err) && ok)
        ok = complain_err(err);
    return ok;
}
