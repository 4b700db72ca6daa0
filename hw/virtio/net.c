/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-net-device: packets of the guest are taken from the ring on the main loop and given to the
 * netdev; those of the netdev are written to the guest's memory at once, or wait there for room.
 */
#include "gen/qmp.h"
#include "hw/virtio/net.h"
#include "hw/virtio/net-offload.h"
#include "util/endian.h"
#include "util/err.h"
#include <errno.h>
#include <string.h>

enum {
    ID = 1, QUEUE_SIZE = 256, CONTROL_QUEUE_SIZE = 64, RECEIVE = 0, TRANSMIT = 1, CONTROL = 2,
    LEGACY_HEADER = 10, ETHERNET = 14, BATCH = 64, CHAINS_MAX = 64,

    CLASS_RX = 0, CLASS_MAC = 1, CLASS_VLAN = 2, CLASS_ANNOUNCE = 3, CLASS_OFFLOADS = 5,
    RX_PROMISC = 0, RX_ALLMULTI = 1, RX_ALLUNI = 2, RX_NOMULTI = 3, RX_NOUNI = 4, RX_NOBCAST = 5,
    MAC_TABLE_SET = 0, MAC_ADDR_SET = 1, VLAN_ADD = 0, VLAN_DEL = 1,

    TAGGED = 0x8100, MTU_MIN = 68,
};

static const Property net_properties[] = {
    VIRTIO_PROPERTIES,
    LOCAL_PROPERTY("netdev", DEVICE_STR, VirtioNet, netdev_id,
                   "id of the -netdev it is plugged into"),
    LOCAL_PROPERTY("mac", DEVICE_STR, VirtioNet, mac_text,
                   "address [52:54:00:12:34:56 and following]"),
    PROPERTY("host_mtu", DEVICE_UINT16, VirtioNet, host_mtu,
             "MTU that the guest is told; 0: none [0]"),
    PROPERTY("rx_queue_size", DEVICE_UINT16, VirtioNet, rx_queue_size,
             "a power of two, to 256 [256]"),
    PROPERTY("tx_queue_size", DEVICE_UINT16, VirtioNet, tx_queue_size,
             "a power of two, to 256 [256]"),
    PROPERTY("mrg_rxbuf", DEVICE_BOOL, VirtioNet, mergeable_wanted,
             "packets over several buffers [on]"),
    PROPERTY("csum", DEVICE_BOOL, VirtioNet, csum_wanted, "checksums are left to the host [on]"),
    PROPERTY("host_tso4", DEVICE_BOOL, VirtioNet, tso_wanted,
             "segmentation is left to the host [on]"),
    PROPERTY("ctrl_vq", DEVICE_BOOL, VirtioNet, control_wanted, "there is a control queue [on]"), {}
};

uint64_t net_offloads(const VirtioNet *s)
{
    return (s->offloads_set ? s->offloads : s->virtio.features) & OFFLOADS_MASK;
}

/* ---- what is received ------------------------------------------------------------------------ */

static bool is_in_table(const VirtioNet *s, const uint8_t *mac, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        if (!memcmp(s->macs + NET_MAC_SIZE * i, mac, NET_MAC_SIZE))
            return true;
    return false;
}

static bool is_wanted(const VirtioNet *s, const uint8_t *frame)
{
    static const uint8_t broadcast[NET_MAC_SIZE] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    unsigned tag = be16_at(frame + 14) & (VLANS - 1);

    if (s->promisc)
        return true;
    if (virtio_has(&s->virtio, F_CTRL_VLAN) && be16_at(frame + 12) == TAGGED &&
        !(s->vlans[tag / 32] >> tag % 32 & 1))
        return false;
    if (!memcmp(frame, broadcast, sizeof(broadcast)))
        return !s->nobcast;
    if (frame[0] & 1)
        return !s->nomulti && (s->allmulti || s->multi_overflow ||
                               is_in_table(s, frame, s->first_multi, s->mac_count));
    return !s->nouni && (s->alluni || s->uni_overflow || !memcmp(frame, s->mac, NET_MAC_SIZE) ||
                         is_in_table(s, frame, 0, s->first_multi));
}

/* Writes @len bytes of @from, from its @at'th on, behind the first @skip bytes of @c. */
static size_t write_part(VirtioNet *s, const RingChain *c, size_t skip, Span from, size_t at,
                         size_t len)
{
    Span part = span_slice(from, at, len);
    size_t done = 0;

    while (part.len) {
        size_t n;
        const void *p = span_head(part, &n);

        ring_chain_write(c, &s->virtio.memory, skip + done, p, n);
        done += n;
        part = span_slice(part, n, part.len - n);
    }
    return done;
}

/* Legacy drivers have no number of buffers in it, unless there may be several. */
static size_t header_size(const VirtioNet *s)
{
    bool is_whole = virtio_has(&s->virtio, VIRTIO_F_VERSION_1 | F_MRG_RXBUF);

    return is_whole ? NET_VIRTIO_HEADER : LEGACY_HEADER;
}

/* Puts chains back, the last first. */
static void untake(VirtioNet *s, const RingUsed *used, unsigned count)
{
    while (count)
        ring_untake(&s->virtio.ring[RECEIVE], &used[--count]);
}

/*
 * Gives @header and @frame to the guest, over several chains if it agreed to that. False: it has no
 * room, and nothing was given. A packet that fits into no chain is lost.
 */
static bool give(VirtioNet *s, uint8_t *header, Span frame)
{
    bool merges = virtio_has(&s->virtio, F_MRG_RXBUF);
    RingUsed used[CHAINS_MAX];
    unsigned count = 0;
    size_t done = 0;

    do {
        RingChain *c = count ? &s->next : &s->first;
        size_t skip = count ? 0 : header_size(s), n;

        if (count == CHAINS_MAX)
            return true;
        if (!virtio_pop(&s->virtio, RECEIVE, c)) {
            untake(s, used, count);
            return !virtio_is_running(&s->virtio);
        }
        if (c->in_len <= skip) {
            virtio_fail(&s->virtio);
            return true;
        }
        n = MIN(c->in_len - skip, frame.len - done);
        done += write_part(s, c, skip, frame, done, n);
        used[count++] = ring_used(c, skip + n);
    } while (merges && done < frame.len);
    if (done < frame.len) {
        untake(s, used, count);
        return true;
    }
    le16_put(header + 10, count);
    ring_chain_write(&s->first, &s->virtio.memory, 0, header, header_size(s));
    virtio_push_all(&s->virtio, RECEIVE, used, count);
    return true;
}

/* The same; after it was false the device tells when there is room. */
static bool give_or_wait(VirtioNet *s, uint8_t *header, Span frame)
{
    if (give(s, header, frame)) {
        if (s->lacks_room)
            virtio_want_kicks(&s->virtio, RECEIVE, false);
        s->lacks_room = false;
        return true;
    }
    s->lacks_room = true;
    /* The guest may have made room before it knew that we wait for it. */
    return virtio_want_kicks(&s->virtio, RECEIVE, true) && give(s, header, frame);
}

/* Packets that are not whole come only as the guest has agreed to. */
static bool may_come(const VirtioNet *s, const uint8_t *header)
{
    uint64_t has = net_offloads(s);

    switch (header[1] & ~NET_HEADER_ECN) {
    case NET_HEADER_GSO_NONE:
        return has & F_GUEST_CSUM || !(header[0] & NET_HEADER_NEEDS_CSUM);
    case NET_HEADER_GSO_TCPV4:
        return has & F_GUEST_TSO4;
    case NET_HEADER_GSO_TCPV6:
        return has & F_GUEST_TSO6;
    default:
        return false;
    }
}

static bool net_receive(void *opaque, Span packet)
{
    VirtioNet *s = opaque;
    uint8_t header[NET_VIRTIO_HEADER] = { 0 }, start[18];
    bool has_header = s->netdev && netdev_has_header(s->netdev), taken = true;
    size_t skip = has_header ? NET_VIRTIO_HEADER : 0;

    if (packet.len < skip + ETHERNET || packet.len > NET_PACKET_MAX)
        return true;
    if (has_header)
        span_read(span_slice(packet, 0, NET_VIRTIO_HEADER), header);
    packet = span_slice(packet, skip, packet.len - skip);
    memset(start, 0, sizeof(start));
    span_read(span_slice(packet, 0, MIN(packet.len, sizeof(start))), start);
    machine_lock();
    if (s->virtio.is_paused)
        /* without one nobody tells that it may come again */
        taken = !virtio_has_driver(&s->virtio);
    else if (virtio_is_running(&s->virtio) && s->virtio.ring[RECEIVE].ready &&
             s->status & LINK_UP && is_wanted(s, start) && may_come(s, header)) {
        /* The host has checked the sum, or nothing but memory lies between. */
        if (!has_header && net_offloads(s) & F_GUEST_CSUM && netdev_is_checked(s->netdev))
            header[0] = NET_HEADER_DATA_VALID;
        taken = give_or_wait(s, header, packet);
    }
    machine_unlock();
    return taken;
}

/* ---- what is sent ---------------------------------------------------------------------------- */

/* To a netdev that expects a whole header. */
static bool send_with_header(VirtioNet *s, uint8_t *header, Span packet)
{
    g_autofree uint8_t *all = g_malloc(NET_VIRTIO_HEADER + packet.len);
    struct iovec iov = { all, NET_VIRTIO_HEADER + packet.len };

    memcpy(all, header, NET_VIRTIO_HEADER);
    span_read(packet, all + NET_VIRTIO_HEADER);
    return netdev_send(s->netdev, span_of_iov(&iov, 1));
}

/* Sends the chain @c. False: the netdev takes nothing now. */
static bool send_chain(VirtioNet *s, const RingChain *c)
{
    uint8_t header[NET_VIRTIO_HEADER] = { 0 };
    Span packet = span_of_iov(c->iov, c->out);
    size_t size = header_size(s);

    if (!s->netdev || !(s->status & LINK_UP) || packet.len > NET_PACKET_MAX ||
        packet.len < size + ETHERNET)
        return true;
    if (netdev_has_header(s->netdev) && size == NET_VIRTIO_HEADER)
        return netdev_send(s->netdev, packet);
    span_read(span_slice(packet, 0, size), header);
    packet = span_slice(packet, size, packet.len - size);
    if (netdev_has_header(s->netdev))
        return send_with_header(s, header, packet);
    if (!net_offload_is_plain(header))
        return net_offload_send(s->netdev, header, packet);
    return netdev_send(s->netdev, packet);
}

/* Sends the next packet. False: there is none, or no room. The lock is given up meanwhile. */
static CO bool send_next(VirtioNet *s)
{
    uint32_t resets = s->virtio.resets;
    bool sent;

    if (!virtio_peek(&s->virtio, TRANSMIT, &s->sent))
        return false;
    machine_unlock();
    sent = send_chain(s, &s->sent);
    machine_lock();
    if (resets != s->virtio.resets)
        return true;
    s->is_full = !sent;
    if (sent) {
        RingUsed used = ring_used(&s->sent, 0);

        ring_take(&s->virtio.ring[TRANSMIT], &s->sent);
        ring_push_all(&s->virtio.ring[TRANSMIT], &s->virtio.memory, &used, 1);
    }
    return sent;
}

/*
 * Processors are woken at the end: one that hears of a packet before all is done finds the lock
 * taken, and sleeps again before it hears of the rest.
 */
static CO void send_all(VirtioNet *s)
{
    machine_wakes_hold();
    do {
        unsigned sent = 0;

        virtio_want_kicks(&s->virtio, TRANSMIT, false);
        while (!s->ending && send_next(s))
            if (++sent % BATCH == 0) {
                virtio_notify(&s->virtio, TRANSMIT);
                machine_wakes_release();
                machine_unlock();
                co_yield();
                machine_lock();
                machine_wakes_hold();
            }
        if (sent % BATCH)
            virtio_notify(&s->virtio, TRANSMIT);
    } while (!s->is_full && !s->ending && virtio_want_kicks(&s->virtio, TRANSMIT, true) &&
             virtio_is_running(&s->virtio));
    machine_wakes_release();
}

static unsigned netdev_offloads(const VirtioNet *s)
{
    uint64_t f = net_offloads(s);

    return (f & F_GUEST_CSUM ? NET_RECEIVES_UNSUMMED : 0) |
           (f & F_GUEST_TSO4 ? NET_RECEIVES_TSO4 : 0) | (f & F_GUEST_TSO6 ? NET_RECEIVES_TSO6 : 0) |
           (f & F_GUEST_ECN ? NET_RECEIVES_ECN : 0);
}

static CO void work(void *arg)
{
    VirtioNet *s = arg;

    machine_lock();
    while (!s->ending) {
        if (s->netdev && netdev_offloads(s) != s->told_offloads) {
            netdev_set_offloads(s->netdev, s->told_offloads = netdev_offloads(s));
        } else if (s->netdev && s->has_room) {
            s->has_room = false;
            machine_unlock();
            netdev_ready(s->netdev);
            machine_lock();
        } else if (s->kicked && !s->is_full) {
            s->kicked = false;
            send_all(s);
            s->kicked |= s->is_full;
        } else {
            sleeper_wait(&s->sender);
        }
    }
    machine_unlock();
}

static void net_writable(void *opaque)
{
    VirtioNet *s = opaque;

    machine_lock();
    s->is_full = false;
    sleeper_wake(&s->sender);
    machine_unlock();
}

/* ---- control --------------------------------------------------------------------------------- */

static void filter_changed(VirtioNet *s)
{
    g_autofree char *path = s->virtio.dev.id
                            ? g_strdup_printf("/machine/peripheral/%s", s->virtio.dev.id)
                            : g_strdup("/machine/peripheral-anon");

    if (!s->told_of_filter)
        event_nic_rx_filter_changed(s->virtio.dev.id, path);
    s->told_of_filter = true;
}

static bool set_mode(VirtioNet *s, uint8_t command, const uint8_t *data, size_t len)
{
    uint8_t *const modes[] = {
        [RX_PROMISC] = &s->promisc, [RX_ALLMULTI] = &s->allmulti, [RX_ALLUNI] = &s->alluni,
        [RX_NOMULTI] = &s->nomulti, [RX_NOUNI] = &s->nouni, [RX_NOBCAST] = &s->nobcast,
    };

    if (command >= G_N_ELEMENTS(modes) || len != 1)
        return false;
    *modes[command] = data[0] != 0;
    filter_changed(s);
    return true;
}

/* Appends a table of the guest's; the number of bytes it takes, 0: it is cut off. */
static size_t add_macs(VirtioNet *s, const uint8_t *data, size_t len, uint8_t *overflow)
{
    uint32_t count = len >= 4 ? le32_at(data) : UINT32_MAX;

    if (count > (len - 4) / NET_MAC_SIZE || len < 4)
        return 0;
    *overflow = count > MACS_MAX - s->mac_count;
    if (!*overflow) {
        memcpy(s->macs + NET_MAC_SIZE * s->mac_count, data + 4, NET_MAC_SIZE * count);
        s->mac_count += count;
    }
    return 4 + NET_MAC_SIZE * (size_t)count;
}

static bool set_macs(VirtioNet *s, const uint8_t *data, size_t len)
{
    size_t used;

    s->mac_count = s->first_multi = 0;
    used = add_macs(s, data, len, &s->uni_overflow);
    if (!used)
        return false;
    s->first_multi = s->mac_count;
    used += add_macs(s, data + used, len - used, &s->multi_overflow);
    filter_changed(s);
    return used == len;
}

static bool set_address(VirtioNet *s, uint8_t command, const uint8_t *data, size_t len)
{
    if (command == MAC_TABLE_SET)
        return set_macs(s, data, len);
    if (command != MAC_ADDR_SET || len != NET_MAC_SIZE)
        return false;
    memcpy(s->mac, data, NET_MAC_SIZE);
    filter_changed(s);
    return true;
}

static bool set_vlan(VirtioNet *s, uint8_t command, const uint8_t *data, size_t len)
{
    unsigned id = len == 2 ? le16_at(data) : VLANS;

    if (id >= VLANS || command > VLAN_DEL)
        return false;
    if (command == VLAN_ADD)
        s->vlans[id / 32] |= 1u << id % 32;
    else
        s->vlans[id / 32] &= ~(1u << id % 32);
    filter_changed(s);
    return true;
}

static bool set_offloads(VirtioNet *s, const uint8_t *data, size_t len)
{
    uint64_t wanted = len == 8 ? le64_at(data) : UINT64_MAX;

    if (wanted & ~(s->virtio.features & OFFLOADS_MASK) ||
        !virtio_has(&s->virtio, F_GUEST_OFFLOADS))
        return false;
    s->offloads = wanted;
    s->offloads_set = 1;
    sleeper_wake(&s->sender);
    return true;
}

static bool control(VirtioNet *s, const uint8_t *command, size_t len)
{
    const uint8_t *data = command + 2;

    if (len < 2)
        return false;
    switch (command[0]) {
    case CLASS_RX:
        return set_mode(s, command[1], data, len - 2);
    case CLASS_MAC:
        return set_address(s, command[1], data, len - 2);
    case CLASS_VLAN:
        return set_vlan(s, command[1], data, len - 2);
    case CLASS_ANNOUNCE:
        s->status &= ~ANNOUNCE;
        return command[1] == 0 && len == 2;
    case CLASS_OFFLOADS:
        return command[1] == 0 && set_offloads(s, data, len - 2);
    default:
        return false;
    }
}

static void run_control(VirtioNet *s)
{
    g_autofree RingChain *c = g_new(RingChain, 1);
    uint8_t command[2 + 2 * (4 + 4096)];

    virtio_want_kicks(&s->virtio, CONTROL, true);
    for (unsigned i = 0; i < CONTROL_QUEUE_SIZE && virtio_pop(&s->virtio, CONTROL, c); i++) {
        size_t len = ring_chain_read(c, 0, command, sizeof(command));
        uint8_t failed;

        if (!c->in_len || c->out_len < 2) {
            virtio_fail(&s->virtio);
            return;
        }
        failed = c->out_len > sizeof(command) || !control(s, command, len);
        ring_chain_write(c, &s->virtio.memory, 0, &failed, 1);
        virtio_push(&s->virtio, CONTROL, c, 1);
        virtio_want_kicks(&s->virtio, CONTROL, true);
    }
}

static void net_kick(VirtioDevice *d, unsigned queue)
{
    VirtioNet *s = (VirtioNet *)d;

    if (queue == CONTROL) {
        run_control(s);
    } else {
        if (queue == TRANSMIT)
            s->kicked = true;
        else
            s->has_room = true;
        sleeper_wake(&s->sender);
    }
}

static void net_reset(VirtioDevice *d)
{
    VirtioNet *s = (VirtioNet *)d;

    s->kicked = s->is_full = s->lacks_room = false;
    memcpy(s->mac, s->first_mac, NET_MAC_SIZE);
    s->status &= ~ANNOUNCE;
    s->promisc = 1;
    s->allmulti = s->alluni = s->nomulti = s->nouni = s->nobcast = 0;
    s->mac_count = s->first_multi = 0;
    s->multi_overflow = s->uni_overflow = 0;
    memset(s->vlans, 0, sizeof(s->vlans));
    s->offloads_set = 0;
    s->offloads = 0;
    s->has_room = true;
    sleeper_wake(&s->sender);
}

/* ---- configuration --------------------------------------------------------------------------- */

static uint64_t net_features(const VirtioDevice *d)
{
    const VirtioNet *s = (const VirtioNet *)d;
    bool has_header = s->netdev && netdev_has_header(s->netdev);
    bool takes_long = s->netdev && netdev_takes_long(s->netdev);
    bool checked = has_header || (s->netdev && netdev_is_checked(s->netdev));
    uint64_t f = F_MAC | F_STATUS;

    if (s->mergeable_wanted)
        f |= F_MRG_RXBUF;
    if (s->host_mtu)
        f |= F_MTU;
    if (s->control_wanted)
        f |= F_CTRL_VQ | F_CTRL_RX | F_CTRL_RX_EXTRA | F_CTRL_VLAN | F_CTRL_MAC | F_GUEST_ANNOUNCE;
    if (s->csum_wanted)
        f |= F_CSUM | (checked ? F_GUEST_CSUM : 0);
    if (s->csum_wanted && s->tso_wanted && takes_long)
        f |= F_HOST_TSO4 | F_HOST_TSO6;
    if (s->csum_wanted && has_header)
        f |= F_GUEST_TSO4 | F_GUEST_TSO6 | F_GUEST_ECN | (s->control_wanted ? F_GUEST_OFFLOADS : 0);
    return f;
}

static void net_config_read(const VirtioDevice *d, uint8_t *c)
{
    const VirtioNet *s = (const VirtioNet *)d;

    memcpy(c, s->mac, NET_MAC_SIZE);
    le16_put(c + CONFIG_STATUS, s->status);
    le16_put(c + CONFIG_PAIRS, 1);
    le16_put(c + CONFIG_MTU, s->host_mtu);
}

static void net_config_write(VirtioDevice *d, unsigned offset, uint8_t value)
{
    VirtioNet *s = (VirtioNet *)d;

    if (offset < NET_MAC_SIZE && !virtio_has(d, F_CTRL_MAC))
        s->mac[offset] = value;
}

static const VirtioType net_type = {
    .part = &net_part,
    .id = ID,
    .queues = 3,
    .features = net_features,
    .config_size = CONFIG_SIZE,
    .config_read = net_config_read,
    .config_write = net_config_write,
    .kick = net_kick,
    .reset = net_reset,
};

/* ---- the netdev's side ----------------------------------------------------------------------- */

static void net_set_link(void *opaque, bool up)
{
    VirtioNet *s = opaque;

    machine_lock();
    if (up != (s->status & LINK_UP)) {
        s->status ^= LINK_UP;
        virtio_config_changed(&s->virtio);
        sleeper_wake(&s->sender);
    }
    machine_unlock();
}

/* A frame by which switches learn where the address is (RARP), and what the guest has to say. */
static bool net_announce(void *opaque)
{
    VirtioNet *s = opaque;
    uint8_t packet[NET_VIRTIO_HEADER + 60] = { 0 }, *f = packet + NET_VIRTIO_HEADER;
    static const uint8_t rarp[] = { 0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3 };
    unsigned skip = netdev_has_header(s->netdev) ? 0 : NET_VIRTIO_HEADER;

    machine_lock();
    if (s->virtio.is_paused) {
        machine_unlock();
        return false;
    }
    memset(f, 0xff, NET_MAC_SIZE);
    memcpy(f + 6, s->mac, NET_MAC_SIZE);
    memcpy(f + 12, rarp, sizeof(rarp));
    memcpy(f + 22, s->mac, NET_MAC_SIZE);
    memcpy(f + 32, s->mac, NET_MAC_SIZE);
    if (virtio_has(&s->virtio, F_GUEST_ANNOUNCE) && s->status & LINK_UP) {
        s->status |= ANNOUNCE;
        virtio_config_changed(&s->virtio);
    }
    machine_unlock();
    netdev_send(s->netdev, span_of(packet + skip, sizeof(packet) - skip));
    return true;
}

static char *mac_text(const uint8_t *m)
{
    return g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
}

static char **mac_list(const VirtioNet *s, unsigned from, unsigned to)
{
    char **list = g_new0(char *, to - from + 1);

    for (unsigned i = from; i < to; i++)
        list[i - from] = mac_text(s->macs + NET_MAC_SIZE * i);
    return list;
}

static RxState rx_state(bool all, bool none)
{
    return all ? RX_STATE_ALL : none ? RX_STATE_NONE : RX_STATE_NORMAL;
}

static RxFilterInfo *net_rx_filter(void *opaque)
{
    VirtioNet *s = opaque;
    RxFilterInfo *i = g_new0(RxFilterInfo, 1);

    machine_lock();
    s->told_of_filter = false;
    i->name = g_strdup(s->virtio.dev.id ? s->virtio.dev.id : s->virtio.dev.cls->name);
    i->promiscuous = s->promisc;
    i->multicast = rx_state(s->allmulti, s->nomulti);
    i->unicast = rx_state(s->alluni, s->nouni);
    i->vlan = virtio_has(&s->virtio, F_CTRL_VLAN) ? RX_STATE_NORMAL : RX_STATE_ALL;
    i->broadcast_allowed = !s->nobcast;
    i->multicast_overflow = s->multi_overflow;
    i->unicast_overflow = s->uni_overflow;
    i->main_mac = mac_text(s->mac);
    i->vlan_table = json_array();
    for (unsigned id = 0; id < VLANS; id++)
        if (s->vlans[id / 32] >> id % 32 & 1)
            json_array_append_new(i->vlan_table, json_integer(id));
    i->unicast_table = mac_list(s, 0, s->first_multi);
    i->multicast_table = mac_list(s, s->first_multi, s->mac_count);
    machine_unlock();
    return i;
}

static const char *net_id(void *opaque)
{
    return ((VirtioNet *)opaque)->virtio.dev.id;
}

/* ---- the device ------------------------------------------------------------------------------ */

static void net_defaults(Device *d)
{
    VirtioNet *s = (VirtioNet *)d;

    s->rx_queue_size = s->tx_queue_size = QUEUE_SIZE;
    s->mergeable_wanted = s->csum_wanted = s->tso_wanted = s->control_wanted = true;
}

static bool choose_mac(VirtioNet *s, GError **err)
{
    static unsigned made;
    uint8_t *m = s->first_mac;
    int end = 0;

    if (!s->mac_text) {
        memcpy(m, (uint8_t[]){ 0x52, 0x54, 0, 0x12, 0x34, 0x56 + made++ }, NET_MAC_SIZE);
        return true;
    }
    return (sscanf(s->mac_text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &m[0], &m[1], &m[2], &m[3],
                   &m[4], &m[5], &end) == NET_MAC_SIZE && !s->mac_text[end] && !(m[0] & 1)) ||
           err_set(err, EINVAL, "Property 'virtio-net-device.mac' doesn't take value '%s'",
                   s->mac_text);
}

static bool check_sizes(const VirtioNet *s, GError **err)
{
    uint16_t rx = s->rx_queue_size, tx = s->tx_queue_size;

    if (rx < 16 || rx > QUEUE_SIZE || rx & (rx - 1) || tx < 16 || tx > QUEUE_SIZE || tx & (tx - 1))
        return err_set(err, EINVAL, "Queue sizes are powers of two from 16 to %d", QUEUE_SIZE);
    return !s->host_mtu || s->host_mtu >= MTU_MIN ||
           err_set(err, EINVAL, "host_mtu is %d at least", MTU_MIN);
}

static CO bool net_realize(Device *d, GError **err)
{
    static const NicOps ops = {
        net_receive, net_writable, net_set_link, net_announce, net_rx_filter, net_id,
    };
    VirtioNet *s = (VirtioNet *)d;

    if (!choose_mac(s, err) || !check_sizes(s, err))
        return false;
    s->status = LINK_UP;
    virtio_init(&s->virtio, &net_type, QUEUE_SIZE);
    s->virtio.queue_size[RECEIVE] = s->rx_queue_size;
    s->virtio.queue_size[TRANSMIT] = s->tx_queue_size;
    s->virtio.queue_size[CONTROL] = CONTROL_QUEUE_SIZE;
    s->virtio.queues = s->control_wanted ? 3 : 2;
    if (s->netdev_id && !(s->netdev = netdev_claim(s->netdev_id, &ops, s, err)))
        return false;
    co_group_start(&s->running, work, s);
    return true;
}

static CO void net_disconnect(Device *d)
{
    VirtioNet *s = (VirtioNet *)d;

    machine_lock();
    s->ending = true;
    sleeper_wake(&s->sender);
    machine_unlock();
    co_group_wait(&s->running);
    if (s->netdev)
        netdev_release(s->netdev);
    s->netdev = NULL;
}

const DeviceClass device_virtio_net = {
    .name = "virtio-net-device",
    .bus = "virtio-bus",
    .is_stateless = true,
    .size = sizeof(VirtioNet),
    .properties = net_properties,
    .defaults = net_defaults,
    .realize = net_realize,
    .disconnect = net_disconnect,
};
