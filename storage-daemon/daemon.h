/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-storage-daemon: what was asked for on the command line, and the files that do parts of it.
 */
#ifndef STORAGE_DAEMON_H
#define STORAGE_DAEMON_H

#include "io/co.h"
#include <glib.h>
#include <stdbool.h>

/* An option that makes something, in the order of the command line. */
typedef struct {
    const char *name;           /* "blockdev" */
    const char *text;
    CO bool (*apply)(const char *text, GError **err);
} Setup;

typedef struct {
    GArray *setups;             /* of Setup */
    const char *pid_file;       /* NULL: none */
    bool daemonize;
    int exit_code;
} Daemon;

/*
 * ---- setup.c: what setups do ------------------------------------------------------------------
 */

CO bool setup_export(const char *text, GError **err);
CO bool setup_nbd_server(const char *text, GError **err);

/*
 * ---- run.c ------------------------------------------------------------------------------------
 */

/* Sets all up, serves until it is told to stop, and stores all; @arg is a Daemon. */
CO void run(void *arg);
/* Tells it to stop. */
void run_stop(void);

#endif
