/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Character devices as their kinds see them. Inside of the room. */
#ifndef MONITOR_BACKEND_H
#define MONITOR_BACKEND_H

#include "io/channel.h"
#include "io/co-lock.h"
#include "monitor/chardev.h"

/* A kind of device: one constant struct at the end of its file. */
typedef struct ChardevDriver {
    const char *name;        /* "socket" */
    size_t state_size;       /* zeroed memory */
    /* Reads @data, the members of its kind, and opens. After a failure .close is called too. */
    CO bool (*open)(Chardev *c, const json_t *data, GError **err);
    /*
     * Makes connections, one after the other, until .interrupt. NULL: open has made the only one.
     * Runs in a coroutine of its own.
     */
    CO void (*run)(Chardev *c);
    void (*interrupt)(Chardev *c);
    /* run has returned, there is no connection. */
    void (*close)(Chardev *c);
    /* Takes what users write in place of a channel. */
    void (*write)(Chardev *c, const void *buf, size_t len);
    char *(*filename)(const Chardev *c); /* NULL: the name of the kind */
} ChardevDriver;

/* Generated; NULL-ended. */
extern const ChardevDriver *const chardev_drivers[];

struct Chardev {
    char *id;
    const ChardevDriver *drv;
    void *state;
    bool is_used;
    bool closing;
    bool is_open;          /* somebody is at the other end ... */
    Channel *in, *out;     /* ... who sends, or takes; may be the same; NULL: does not */
    CoQueue changed;       /* woken when any of the above changes */
    CoGroup running;
    char *pty;             /* NULL: it is none */
    int log_fd;            /* copy of what is sent; -1: none */
};

/* Somebody is there. Takes over the channels. */
void chardev_connected(Chardev *c, Channel *in, Channel *out);
/* Waits until that connection is over, or all is. */
CO void chardev_wait_closed(Chardev *c);

#endif
