/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets that a guest has left unfinished, for netdevs that take only finished ones. */
#ifndef HW_VIRTIO_NET_OFFLOAD_H
#define HW_VIRTIO_NET_OFFLOAD_H

#include "net/net.h"

/* Of the header of packets, virtio 1.2, 5.1.6: bits of the first byte, values of the second. */
enum {
    NET_HEADER_NEEDS_CSUM = 1, NET_HEADER_DATA_VALID = 2,
    NET_HEADER_GSO_NONE = 0, NET_HEADER_GSO_TCPV4 = 1, NET_HEADER_GSO_TCPV6 = 4,
    NET_HEADER_ECN = 0x80,
};

static inline bool net_offload_is_plain(const uint8_t *header)
{
    return !(header[0] & NET_HEADER_NEEDS_CSUM) && header[1] == NET_HEADER_GSO_NONE;
}

/* Puts the checksum into @frame, in a copy of it, and sends that. As netdev_send. */
bool net_offload_send(Netdev *n, const uint8_t *header, Span frame);

#endif
