/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the programs do alike when they open images. */
#ifndef TOOLS_IMAGE_H
#define TOOLS_IMAGE_H

#include "block/block.h"

/*
 * Adds to *@flags what the value of a cache, discard or AIO option means. False: complained.
 * @what: "cache" or "source cache"; @mode NULL: the option was not given.
 */
bool open_cache_mode(const char *what, const char *mode, OpenFlags *flags);
bool open_discard_mode(const char *mode, OpenFlags *flags);
bool open_aio_mode(const char *mode, OpenFlags *flags);

/* For each option of lenient @text without a value prints the lines of the reference. */
void warn_of_short_forms(const char *text, const char *implied_key);

/*
 * The options that the value of --image-opts gives, nested; for each key without a value the lines
 * of the reference are printed. @implied_key, unless NULL, names a first value without '='. NULL
 * with @err.
 */
json_t *image_opts_parse(const char *text, const char *implied_key, GError **err);
/* The same merged into @into, keys as they are written. */
bool image_opts_merge(const char *text, json_t *into, GError **err);

/*
 * As handle_open, but read-only below an image in a temporary file that takes all writes and is
 * gone with the handle.
 */
CO Handle *image_open_snapshot(const char *name, json_t *options, OpenFlags flags, GError **err);

/*
 * Makes read-only @h show the internal snapshot that @param names: an id, a name, or
 * "snapshot.id=ID,snapshot.name=NAME". False: complained.
 */
CO bool image_load_snapshot(Handle *h, const char *param);

#endif
