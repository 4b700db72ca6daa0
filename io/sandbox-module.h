/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the module "sandbox" offers to sandbox.c. */
#ifndef IO_SANDBOX_MODULE_H
#define IO_SANDBOX_MODULE_H

#include <stdbool.h>

typedef struct {
    /* Can this kernel filter the system calls of all threads? */
    bool (*is_available)(void);
    /* Installs the filter of sandbox_enter. 0, or a negative errno. */
    int (*filter)(void);
    /* Installs that of sandbox_forbid. 0, or a negative errno. */
    int (*forbid)(unsigned kinds);
} SandboxModule;

#endif
