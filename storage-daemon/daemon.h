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

CO bool setup_blockdev(const char *text, GError **err);
CO bool setup_chardev(const char *text, GError **err);
CO bool setup_export(const char *text, GError **err);
CO bool setup_monitor(const char *text, GError **err);
CO bool setup_nbd_server(const char *text, GError **err);
CO bool setup_object(const char *text, GError **err);

/*
 * ---- pid-file.c -------------------------------------------------------------------------------
 */

/* Stores our process id in @path and keeps others from doing that. False: complained. */
bool pid_file_write(const char *path);
/* Removes it, if it was written. */
void pid_file_remove(void);

/*
 * ---- run.c ------------------------------------------------------------------------------------
 */

/* To be called before anything that may start threads. */
void run_block_signals(void);
/* Sets all up, serves until it is told to stop, and stores all; @arg is a Daemon. */
CO void run(void *arg);
/* Tells it to stop. */
void run_stop(void);

#endif
