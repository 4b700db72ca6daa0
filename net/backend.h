/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Netdevs as their types see them. Inside of the room. */
#ifndef NET_BACKEND_H
#define NET_BACKEND_H

#include "io/co-lock.h"
#include "net/net.h"

/* A type: one constant struct at the end of its file. */
typedef struct NetdevDriver {
    const char *type; /* "stream" */
    /* Reads @options, a checked Netdev, and opens. After a failure .close is called too. */
    CO bool (*open)(Netdev *n, const json_t *options, GError **err);
    bool (*send)(Netdev *n, Span packet);  /* false: no room, netdev_writable follows */
    /* netdev_deliver takes packets again; NULL: does not care */
    void (*ready)(Netdev *n);
    void (*set_offloads)(Netdev *n, unsigned offloads); /* NULL: it has no header */
    /* Frees .state; coroutines in .running have been told to end by .interrupt, and have ended. */
    CO void (*close)(Netdev *n);
    void (*interrupt)(Netdev *n);          /* NULL: nothing runs */
} NetdevDriver;

/* Generated; NULL-ended. */
extern const NetdevDriver *const netdev_drivers[];

struct Netdev {
    char *id;
    const NetdevDriver *drv;
    void *state;
    bool has_header;       /* packets begin with a virtio_net_hdr */
    bool takes_long, is_checked;
    bool link_down;
    bool is_blocked;       /* the device had no room */
    bool closing;
    CoGroup running;
    CoQueue unblocked;     /* woken when is_blocked ends, or all does */
    const NicOps *nic;     /* NULL: no device is plugged in */
    void *nic_opaque;
};

/* Gives a packet to the device; it is lost if there is none. False: no room, .ready follows. */
bool netdev_deliver(Netdev *n, Span packet);
/* The same, and waits for room. False: all ends. */
CO bool netdev_deliver_wait(Netdev *n, Span packet);
/* The netdev, which had no room, takes packets again. */
void netdev_writable(Netdev *n);

extern const NetdevDriver netdev_stream, netdev_dgram;

#endif
