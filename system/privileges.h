/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the process gives up, or takes for itself, before it runs a guest. */
#ifndef SYSTEM_PRIVILEGES_H
#define SYSTEM_PRIVILEGES_H

#include <stdbool.h>
#include <sys/types.h>

typedef struct {
    bool locks_memory;      /* -overcommit mem-lock=on */
    const char *root;       /* folder that becomes its root; NULL: none */
    bool changes_user;
    char *user;             /* whose other groups it gets; NULL: it gets none */
    uid_t uid;
    gid_t gid;
    bool is_filtered;       /* -sandbox on */
    unsigned forbidden;     /* SandboxKind, the system calls it cannot make then */
} Privileges;

/* Before anything is opened or started for the guest. False: complained. */
bool privileges_begin(const Privileges *p);
/* When all that needs them is open, before the guest runs. False: complained. */
bool privileges_drop(const Privileges *p);

#endif
