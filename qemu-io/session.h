/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One run of qemu-io: the open image, what runs behind it, whether to go on. */
#ifndef QEMU_IO_SESSION_H
#define QEMU_IO_SESSION_H

#include "block/block.h"
#include "io/co-lock.h"
#include "tools/image.h"
#include <glib.h>
#include <stdbool.h>

typedef struct {
    Handle *file;          /* NULL: none is open */
    OpenFlags flags;       /* it was opened with */
    bool image_opts;       /* --image-opts: what is opened is a list of options */
    bool misalign;         /* -m: no buffer starts where O_DIRECT wants it */
    bool quit;             /* no more commands */
    CoGroup background;    /* aio_read and aio_write under way */
    GPtrArray *break_tags; /* of char *: all tags given to break for this image */
} Session;

/* How to open an image. */
typedef struct {
    const char *name;      /* NULL: the options say it all */
    json_t *options;       /* may be NULL; session_open takes the reference */
    OpenFlags flags;
    bool snapshot;         /* writes go to a temporary file */
} OpenRequest;

/* What qemu-io opens images with unless told otherwise. */
#define OPEN_DEFAULTS (OPEN_RDWR | OPEN_UNMAP | OPEN_WRITETHROUGH)

/* Opens the image of @s, which has none. False: complained. */
CO bool session_open(Session *s, OpenRequest *r);
/* Waits for what runs in the background, writes back, closes. False: complained. Fine without. */
CO bool session_close(Session *s);

#endif
