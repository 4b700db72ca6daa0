/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What qemu-nbd was asked to do, and the files that do parts of it. */
#ifndef QEMU_NBD_JOB_H
#define QEMU_NBD_JOB_H

#include "block/block.h"
#include "io/co-lock.h"
#include "nbd/server.h"

typedef struct {
    /* What is exported. */
    const char *file;          /* NULL: none */
    const char *format;        /* -f; NULL: not given */
    bool image_opts;
    OpenFlags flags;
    const char *detect_zeroes; /* NULL: not given */
    bool snapshot;             /* -s */
    const char *load_snapshot; /* -l; NULL: not given */
    uint64_t offset;           /* -o */
    const char *name;          /* -x; NULL: not given */
    const char *description;   /* -D */
    bool allocation_depth;     /* -A */
    const char **bitmaps;      /* -B, NULL-ended */
    GPtrArray *exports;        /* --export, of const char *; instead of @file */

    /* Where, and to whom. */
    const char *bind, *port;   /* -b, -p; NULL: not given */
    const char *socket;        /* -k; NULL: not given */
    const char *selinux_label;
    unsigned shared;           /* -e; 0: no limit */
    unsigned handshake_limit;  /* seconds; 0: none */
    unsigned idle_limit;       /* seconds; 0: none */
    unsigned inherited;        /* sockets the service manager has opened, from descriptor 3 on */
    const char *tls_creds, *tls_authz;
    bool tls_optional, tls_anonymous;

    /* How. */
    bool persistent, verbose, fork;
    const char *pid_file;

    const char *device;        /* -c: attached to the kernel; NULL: not given */

    int exit_code;
} Job;

/* ---- images.c -------------------------------------------------------------------------------- */

/* Opens all that @j exports and offers it on @s. False: complained. */
CO bool images_export(const Job *j, NbdServer *s);

/* ---- listen.c -------------------------------------------------------------------------------- */

/* How many sockets the service manager has opened for us. To be asked once, before any fork. */
unsigned listen_inherited(void);
/* Adds sockets (of int) that listen where @j says to @fds. False: complained. */
CO bool listen_open(const Job *j, GArray *fds);
/* Removes the socket's file, if there is one. */
void listen_end(const Job *j);

/* ---- daemon.c -------------------------------------------------------------------------------- */

/* Stores our process id where @j says. False: complained. */
bool daemon_write_pid(const Job *j);

/* ---- serve.c --------------------------------------------------------------------------------- */

/* Serves until a signal or the last client ends it; @arg is a Job. */
CO void serve_run(void *arg);
/* To be called before anything that may start threads. */
void serve_block_signals(void);

/* ---- device.c -------------------------------------------------------------------------------- */

typedef struct Device Device;

/* Attaches the export of @s to device @j->device. NULL: complained. */
CO Device *device_start(const Job *j, NbdServer *s);
/* Detaches it if it still is attached. NULL is fine. */
CO void device_stop(Device *d);
/* -d. False: complained. */
bool device_disconnect(const char *path);

/* ---- list.c ---------------------------------------------------------------------------------- */

typedef struct {
    const Job *job;            /* where the server is */
    const char *tls_hostname;  /* NULL: not given */
    bool json;
    int exit_code;
} ListJob;

/* Prints what a server exports; @arg is a ListJob. */
CO void list_run(void *arg);

#endif
