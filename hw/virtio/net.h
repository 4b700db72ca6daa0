/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-net-device as its two files see it: net.c, and net-section.c for migration. */
#ifndef HW_VIRTIO_NET_H
#define HW_VIRTIO_NET_H

#include "hw/sleeper.h"
#include "hw/virtio/section.h"
#include "io/co-lock.h"
#include "net/net.h"

enum {
    CONFIG_STATUS = 6, CONFIG_PAIRS = 8, CONFIG_MTU = 10, CONFIG_SIZE = 12,
    LINK_UP = 1, ANNOUNCE = 2, MACS_MAX = 64, VLANS = 4096,
};

#define F_CSUM (UINT64_C(1) << 0)
#define F_GUEST_CSUM (UINT64_C(1) << 1)
#define F_GUEST_OFFLOADS (UINT64_C(1) << 2)
#define F_MTU (UINT64_C(1) << 3)
#define F_MAC (UINT64_C(1) << 5)
#define F_GUEST_TSO4 (UINT64_C(1) << 7)
#define F_GUEST_TSO6 (UINT64_C(1) << 8)
#define F_GUEST_ECN (UINT64_C(1) << 9)
#define F_HOST_TSO4 (UINT64_C(1) << 11)
#define F_HOST_TSO6 (UINT64_C(1) << 12)
#define F_MRG_RXBUF (UINT64_C(1) << 15)
#define F_STATUS (UINT64_C(1) << 16)
#define F_CTRL_VQ (UINT64_C(1) << 17)
#define F_CTRL_RX (UINT64_C(1) << 18)
#define F_CTRL_VLAN (UINT64_C(1) << 19)
#define F_CTRL_RX_EXTRA (UINT64_C(1) << 20)
#define F_GUEST_ANNOUNCE (UINT64_C(1) << 21)
#define F_CTRL_MAC (UINT64_C(1) << 23)
#define OFFLOADS_MASK (F_GUEST_CSUM | F_GUEST_TSO4 | F_GUEST_TSO6 | F_GUEST_ECN)

typedef struct {
    VirtioDevice virtio;
    /* Properties. */
    char *netdev_id, *mac_text;
    uint16_t host_mtu, rx_queue_size, tx_queue_size;
    bool mergeable_wanted, csum_wanted, tso_wanted, control_wanted;
    uint8_t first_mac[NET_MAC_SIZE]; /* which the guest may change until it is reset */

    Netdev *netdev;   /* NULL: the cable leads nowhere */
    CoGroup running;
    Sleeper sender;
    bool kicked, ending, is_full, told_of_filter;
    bool lacks_room, has_room; /* the netdev was refused a packet; it may try again */
    unsigned told_offloads;    /* that the netdev was last told */
    RingChain sent, first, next; /* of the main loop */

    /* State of the guest. */
    uint8_t mac[NET_MAC_SIZE];
    uint16_t status;
    uint8_t promisc, allmulti, alluni, nomulti, nouni, nobcast;
    uint32_t mac_count, first_multi;    /* entries; those from .first_multi on are multicast */
    uint8_t macs[MACS_MAX * NET_MAC_SIZE];
    uint8_t multi_overflow, uni_overflow;
    uint32_t vlans[VLANS / 32];
    uint8_t offloads_set;
    uint64_t offloads;                  /* that the guest has chosen, if .offloads_set */
} VirtioNet;

/* The offloads that packets to the guest may use. */
uint64_t net_offloads(const VirtioNet *s);
extern const VirtioPart net_part;

#endif
