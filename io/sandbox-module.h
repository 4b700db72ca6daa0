/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the module "sandbox" offers to sandbox.c. */
#ifndef IO_SANDBOX_MODULE_H
#define IO_SANDBOX_MODULE_H

typedef struct {
    /* Installs the system call filter for all threads. 0, or a negative errno (-ENOSYS: none here). */
    int (*filter)(void);
} SandboxModule;

#endif
