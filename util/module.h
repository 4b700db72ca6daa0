/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Libraries that are loaded when first needed, so that small jobs do not pay for them.
 *
 * Module NAME is NAME.so and exports one constant struct, ferry_module_NAME. It is looked for in
 * modules/ beside the running program (a build folder), then where "make install" puts it. Built
 * with --static-modules, the struct is part of the program.
 */
#ifndef UTIL_MODULE_H
#define UTIL_MODULE_H

#include <glib.h>

/*
 * The struct of module @name, loaded once and never unloaded; NULL with @err (ENOENT). Any thread.
 */
const void *module_load(const char *name, GError **err);

/* Put before the definition of the struct. */
#define MODULE_EXPORT __attribute__((visibility("default")))

#endif
