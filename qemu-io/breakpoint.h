/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests that blkdebug has stopped. */
#ifndef QEMU_IO_BREAKPOINT_H
#define QEMU_IO_BREAKPOINT_H

#include "qemu-io/session.h"

/* Lets all stopped requests of the image of @s go on, until none runs in the background. */
CO void breakpoints_release(Session *s);

#endif
