/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Networks of guests. A *netdev* is what a network device is plugged into: packets go to it and
 * come from it, and either side may have no room for the moment and says when it has again. Main
 * loop only.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include "gen/qmp.h"
#include "io/co.h"
#include "util/span.h"

enum { NET_MAC_SIZE = 6, NET_PACKET_MAX = 68 * 1024, NET_VIRTIO_HEADER = 12 };

typedef struct Netdev Netdev;

/* ---- making them ----------------------------------------------------------------------------- */

/* Makes one of @options, a checked Netdev of the schema. NULL with @err. */
CO Netdev *netdev_add(const json_t *options, GError **err);
/* Makes one of what -netdev says: "TYPE,id=ID,key=value,..." or JSON. */
CO bool netdev_add_text(const char *text, GError **err);
/* A line for each type on standard output. */
void netdev_print_types(void);
/*
 * What -nic says, as the values of a -netdev called @id (or as it says) and a -device. False with
 * @err.
 */
bool netdev_split_nic(const char *text, const char *id, char **netdev, char **device, GError **err);
/* Nobody may use it. */
CO void netdev_remove(Netdev *n);
CO void netdev_remove_all(void);

Netdev *netdev_find(const char *id);
/* In the order they were made; NULL behind the last. */
Netdev *netdev_at(unsigned i);
const char *netdev_id(const Netdev *n);

/* ---- network devices ------------------------------------------------------------------------- */

/* What a network device does. Nothing here suspends; the machine's lock is not held. */
typedef struct {
    bool (*receive)(void *opaque, Span packet); /* false: no room, netdev_ready follows */
    void (*writable)(void *opaque);             /* netdev_send would take a packet again */
    void (*set_link)(void *opaque, bool up);
    /* Tells the network where it is; NULL: cannot. False: not now, for the guest does not run. */
    bool (*announce)(void *opaque);
    RxFilterInfo *(*rx_filter)(void *opaque);   /* NULL: it has none */
    const char *(*id)(void *opaque);            /* of the device; NULL: it has none */
} NicOps;

/*
 * The network devices @how->interfaces (NULL: all) tell where they are, at once and .rounds - 1
 * times more, or not at all (0). A guest that stands still is not announced: the rounds follow when
 * it runs. What goes on under the same id ends.
 */
void netdev_announce(const AnnounceParameters *how);

/* Plugs a device into the netdev @id, alone. NULL with @err. */
Netdev *netdev_claim(const char *id, const NicOps *ops, void *opaque, GError **err);
void netdev_release(Netdev *n);

/* Sends a packet; a packet over a link that is down is lost. False: no room, .writable follows. */
bool netdev_send(Netdev *n, Span packet);
/* The device, which had no room, takes packets again. */
void netdev_ready(Netdev *n);

/*
 * Packets begin with a virtio_net_hdr of NET_VIRTIO_HEADER bytes, and may lack checksums and be
 * longer than the network takes, if @offloads says so for what the device receives.
 */
bool netdev_has_header(const Netdev *n);
enum {
    NET_RECEIVES_UNSUMMED = 1,
    NET_RECEIVES_TSO4 = 2,
    NET_RECEIVES_TSO6 = 4,
    NET_RECEIVES_ECN = 8
};
void netdev_set_offloads(Netdev *n, unsigned offloads);

/* What it delivers needs no check of sums. */
bool netdev_is_checked(const Netdev *n);
/* Takes whole TCP packets of up to 64 KiB, whatever the network's MTU is. */
bool netdev_takes_long(const Netdev *n);

#endif
