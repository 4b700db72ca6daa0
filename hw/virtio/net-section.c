/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-net-device in migration streams: docs/spec/migration-stream.md. */
#include "hw/virtio/net.h"
#include "util/err.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>

typedef struct {
    uint8_t mac[NET_MAC_SIZE], vlans[VLANS / 8], macs[MACS_MAX][NET_MAC_SIZE];
    uint32_t tx_waiting, mergeable, mac_count, has_header;
    uint16_t status;
    uint8_t promisc, allmulti, multi_overflow, uni_overflow, alluni, nomulti, nouni, nobcast,
        has_ufo;
    uint64_t offloads;
} NetImage;

static uint32_t macs_present(const void *image)
{
    return ((const NetImage *)image)->mac_count;
}

static uint32_t offloads_present(const void *image)
{
    return !!(virtio_part_features(image) & F_GUEST_OFFLOADS);
}

static const StateField net_fields[] = {
    STATE_BYTES("mac", NetImage, mac), STATE_U("vqs[0].tx_waiting", NetImage, tx_waiting),
    STATE_U("mergeable_rx_bufs", NetImage, mergeable), STATE_U("status", NetImage, status),
    STATE_U("promisc", NetImage, promisc), STATE_U("allmulti", NetImage, allmulti),
    STATE_U("mac_table.in_use", NetImage, mac_count),
    STATE_SOME(STATE_BUFFER, "mac_table.macs", NetImage, macs, NULL, macs_present),
    STATE_BYTES("vlans", NetImage, vlans),
    STATE_U("has_vnet_hdr", NetImage, has_header),
    STATE_U("mac_table.multi_overflow", NetImage, multi_overflow),
    STATE_U("mac_table.uni_overflow", NetImage, uni_overflow),
    STATE_U("alluni", NetImage, alluni),
    STATE_U("nomulti", NetImage, nomulti),
    STATE_U("nouni", NetImage, nouni),
    STATE_U("nobcast", NetImage, nobcast),
    STATE_U("has_ufo", NetImage, has_ufo),
    { "curr_guest_offloads", STATE_UINT, offsetof(NetImage, offloads), sizeof(uint64_t), 1, 0, NULL,
      0, offloads_present },
    {}
};
static const StateLayout net_layout = { "virtio-net-device", 11, 11, sizeof(NetImage), net_fields };

static void net_save(const VirtioDevice *d, void *part)
{
    const VirtioNet *s = (const VirtioNet *)d;
    NetImage *i = part;

    *i = (NetImage){
        .mergeable = virtio_has(d, F_MRG_RXBUF), .mac_count = s->mac_count,
        .has_header = s->netdev && netdev_has_header(s->netdev), .status = s->status,
        .promisc = s->promisc, .allmulti = s->allmulti, .multi_overflow = s->multi_overflow,
        .uni_overflow = s->uni_overflow, .alluni = s->alluni, .nomulti = s->nomulti,
        .nouni = s->nouni, .nobcast = s->nobcast, .offloads = net_offloads(s),
    };
    memcpy(i->mac, s->mac, sizeof(i->mac));
    memcpy(i->macs, s->macs, sizeof(i->macs));
    /* Without VLAN filtering the driver gets all VLANs. */
    if (virtio_has(d, F_CTRL_VLAN))
        memcpy(i->vlans, s->vlans, sizeof(i->vlans));
    else
        memset(i->vlans, 0xff, sizeof(i->vlans));
}

/* Unicast addresses come before multicast ones. */
static unsigned first_group(const VirtioNet *s)
{
    unsigned i = 0;

    while (i < s->mac_count && !(s->macs[NET_MAC_SIZE * i] & 1))
        i++;
    return i;
}

static bool net_load(VirtioDevice *d, const void *part, const uint8_t *config, GError **err)
{
    VirtioNet *s = (VirtioNet *)d;
    const NetImage *i = part;

    if (i->offloads & ~(d->features & OFFLOADS_MASK))
        return err_set(err, EINVAL, "Its driver has turned on offloads 0x%" PRIx64 " without the "
                       "features for them", i->offloads);
    memcpy(s->mac, i->mac, sizeof(i->mac));
    memcpy(s->macs, i->macs, sizeof(i->macs));
    memcpy(s->vlans, i->vlans, sizeof(i->vlans));
    s->mac_count = i->mac_count;
    s->first_multi = first_group(s);
    s->status = i->status & (LINK_UP | ANNOUNCE);
    s->promisc = i->promisc;
    s->allmulti = i->allmulti;
    s->multi_overflow = i->multi_overflow;
    s->uni_overflow = i->uni_overflow;
    s->alluni = i->alluni;
    s->nomulti = i->nomulti;
    s->nouni = i->nouni;
    s->nobcast = i->nobcast;
    s->offloads_set = virtio_has(d, F_GUEST_OFFLOADS);
    s->offloads = i->offloads;
    s->kicked = s->is_full = s->lacks_room = false;
    return true;
}

/* Multiqueue, which is not supported, would make the configuration in streams longer too. */
static unsigned net_config_size(const VirtioDevice *d)
{
    return ((const VirtioNet *)d)->host_mtu ? CONFIG_SIZE : CONFIG_PAIRS;
}

const VirtioPart net_part = {
    .name = "virtio-net", .version = 11, .config_size = net_config_size, .layout = &net_layout,
    .save = net_save, .load = net_load,
};
