/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Work on images that nobody vouches for. Files named inside images are refused by OPEN_UNTRUSTED;
 * once everything is open the process enters a sandbox (io/sandbox.h) and limits its memory and
 * its CPU time.
 */
#ifndef QEMU_IMG_UNTRUSTED_H
#define QEMU_IMG_UNTRUSTED_H

#include "block/block.h"
#include <stdbool.h>
#include <stdint.h>

/*
 * Reads the value of --untrusted: NULL not given, "" or "strict". Adds to *@flags what images are
 * opened with, and gets ready. To be called before anything is opened. False: complained.
 */
bool untrusted_prepare(const char *how, OpenFlags *flags);

/*
 * Enters the sandbox, if @how is given. Everything that will be used is open; @images are the
 * @count nodes whose content is not trusted. False: complained.
 */
bool untrusted_enter(const char *how, Handle *const *images, unsigned count);

/* Entry of option tables. */
#define OPTION_UNTRUSTED(type)                                                                     \
    { 0, "untrusted", "strict",                                                                    \
      "open no file but those named, work in a sandbox, with bounded memory and time; strict: "    \
      "fail where the kernel cannot do all of that", OPT_MAYBE, offsetof(type, untrusted) }

#endif
