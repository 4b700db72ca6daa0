/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening and closing the image of a session. */
#include "qemu-io/session.h"
#include "qemu-io/breakpoint.h"
#include "tools/complain.h"
#include "util/err.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

bool open_cache_mode(const char *mode, OpenFlags *flags)
{
    return cache_mode_parse(mode, flags) ||
           complain("There is no cache mode '%s'; choose none, writeback, writethrough, directsync "
                    "or unsafe", mode);
}

bool open_discard_mode(const char *mode, OpenFlags *flags)
{
    return discard_mode_parse(mode, flags) ||
           complain("There is no discard mode '%s'; choose ignore or unmap", mode);
}

bool open_aio_mode(const char *mode, OpenFlags *flags)
{
    return aio_mode_parse(mode, flags) ||
           complain("There is no AIO mode '%s'; choose threads, native or io_uring", mode);
}

/* ---- writing to a temporary file ------------------------------------------------------------ */

/* The name of a new empty file for temporary data. NULL with @err. */
static char *temporary_file(GError **err)
{
    const char *folder = g_getenv("TMPDIR");
    g_autofree char *name = g_build_filename(folder && *folder ? folder : "/var/tmp",
                                             "qemu-io-XXXXXX", NULL);
    int fd = g_mkstemp(name);

    if (fd < 0) {
        err_set_errno(err, errno, "Could not make temporary file '%s'", name);
        return NULL;
    }
    close(fd);
    return g_steal_pointer(&name);
}

/* Opens file @name, made into an empty qcow2 image, over @base. */
static CO Handle *overlay_open(Handle *base, const char *name, OpenFlags flags, GError **err)
{
    g_autoptr(json_t) create = json_pack("{s:I}", "size", (json_int_t)handle_size(base));
    json_t *options = json_pack("{s:s, s:{s:s, s:s}, s:s}", "driver", "qcow2", "file", "driver",
                                "file", "filename", name, "backing", node_name(handle_node(base)));

    if (!image_create(name, "qcow2", create, err)) {
        json_decref(options);
        return NULL;
    }
    return handle_open(NULL, options, flags | OPEN_NO_FLUSH, err);
}

/* Opens what @r names read-only, and over it an image that takes the writes and then is gone. */
static CO Handle *snapshot_open(OpenRequest *r, GError **err)
{
    OpenFlags never = OPEN_RDWR | OPEN_COPY_ON_READ | OPEN_WRITETHROUGH;
    g_autoptr(Handle) base = NULL;
    g_autofree char *name = NULL;
    Handle *top;

    if (!r->options)
        r->options = json_object();
    if (!json_has(r->options, "node-name"))
        json_put_str(r->options, "node-name", "snapshot-base");
    base = handle_open(r->name, g_steal_pointer(&r->options), r->flags & ~never, err);
    if (!base)
        return NULL;
    name = temporary_file(err);
    if (!name)
        return NULL;
    top = overlay_open(base, name, r->flags, err);
    unlink(name);
    return top;
}

/* ---- opening and closing -------------------------------------------------------------------- */

bool session_open(Session *s, OpenRequest *r)
{
    g_autoptr(GError) err = NULL;

    if (r->flags & OPEN_COPY_ON_READ && !(r->flags & OPEN_RDWR)) {
        json_decref(g_steal_pointer(&r->options));
        return complain("Copy-on-read needs an image that may be written");
    }
    s->file = r->snapshot ? snapshot_open(r, &err)
                          : handle_open(r->name, g_steal_pointer(&r->options), r->flags, &err);
    s->flags = r->flags;
    return s->file || complain_err(err);
}

bool session_close(Session *s)
{
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
    handle_close(g_steal_pointer(&s->file));
    return ok;
}
