/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-serial-device and its ports in migration streams: docs/spec/migration-stream.md. A chain
 * of which the host took only a part is sent as QEMU keeps it, taken from its queue, and put back
 * when it is loaded.
 */
#include "hw/virtio/section.h"
#include "hw/virtio/serial.h"
#include "util/endian.h"
#include "util/err.h"
#include <errno.h>
#include <inttypes.h>

enum { ELEMENT_SEGMENTS = 1024, MAP_BITS = 32 };

/* In the host's byte order, which is little-endian. Host addresses mean nothing on another host. */
typedef struct {
    le32 head, out, in, padding;
    le64 in_at[ELEMENT_SEGMENTS], out_at[ELEMENT_SEGMENTS];
    struct {
        le64 host, len;
    } in_data[ELEMENT_SEGMENTS], out_data[ELEMENT_SEGMENTS];
} Element;

typedef struct {
    uint32_t id;
    uint8_t guest_open, host_open;
    uint32_t has_begun;      /* the rest is there if this is 1 */
    uint32_t segment;        /* of the chain: the next to be sent ... */
    uint64_t segment_offset; /* ... from this byte on */
    uint32_t entries;        /* that the chain takes in a packed queue */
    uint8_t element[sizeof(Element)];
} PortImage;

typedef struct {
    uint16_t columns, rows;
    uint32_t max_ports, map, count;
    PortImage ports[SERIAL_PORTS_MAX];
} SerialImage;

static uint32_t begun(const void *image)
{
    return ((const PortImage *)image)->has_begun;
}

static uint32_t ports_present(const void *image)
{
    return ((const SerialImage *)image)->count;
}

#define IF_BEGUN(kind, name, member)                                                               \
    { name, kind, offsetof(PortImage, member), STATE_SIZE(PortImage, member), 1, 0, NULL, 0, begun }
#define PORT_FIELDS                                                                                \
    STATE_U("id", PortImage, id), STATE_U("guest_connected", PortImage, guest_open),               \
    STATE_U("host_connected", PortImage, host_open), STATE_U("elem_popped", PortImage, has_begun), \
    IF_BEGUN(STATE_UINT, "iov_idx", segment), IF_BEGUN(STATE_UINT, "iov_offset", segment_offset)
#define DEVICE_FIELDS(port_layout)                                                                 \
    STATE_U("cols", SerialImage, columns), STATE_U("rows", SerialImage, rows),                     \
    STATE_U("max_nr_ports", SerialImage, max_ports), STATE_U("ports_map", SerialImage, map),       \
    STATE_U("nr_active_ports", SerialImage, count),                                                \
    STATE_SOME(STATE_STRUCT, "port", SerialImage, ports, port_layout, ports_present)

static const StateField port_fields[] = {
    PORT_FIELDS, IF_BEGUN(STATE_BUFFER, "elem", element), {}
};
static const StateField packed_port_fields[] = {
    PORT_FIELDS, IF_BEGUN(STATE_BUFFER, "elem", element),
    IF_BEGUN(STATE_UINT, "elem.ndescs", entries), {}
};
static const StateLayout port_layout = { "port", 1, 1, sizeof(PortImage), port_fields };
static const StateLayout packed_port_layout = { "port", 1, 1, sizeof(PortImage),
                                                packed_port_fields };
static const StateField serial_fields[] = { DEVICE_FIELDS(&port_layout), {} };
static const StateField packed_serial_fields[] = { DEVICE_FIELDS(&packed_port_layout), {} };
static const StateLayout serial_layout = {
    "virtio-console", 3, 3, sizeof(SerialImage), serial_fields
};
static const StateLayout packed_serial_layout = {
    "virtio-console", 3, 3, sizeof(SerialImage), packed_serial_fields
};

/* The port that @queue belongs to; NULL: none. */
static const SerialPort *port_of(const VirtioSerial *s, unsigned queue)
{
    unsigned nr = queue < 2 ? 0 : queue / 2 - 1;

    return queue == 2 || queue == 3 || nr >= s->max_ports ? NULL : s->ports[nr];
}

static bool serial_has_begun(const VirtioDevice *d, unsigned queue)
{
    const SerialPort *p = port_of((const VirtioSerial *)d, queue);

    return p && queue == serial_port_transmit_queue(p) && p->sent;
}

/* ---- saving ---------------------------------------------------------------------------------- */

static void save_element(Element *e, const RingChain *c)
{
    e->head = le32_of(c->head);
    e->out = le32_of(c->out);
    e->in = le32_of(c->in);
    for (unsigned i = 0; i < c->out; i++) {
        e->out_at[i] = le64_of(c->at[i]);
        e->out_data[i].len = le64_of(c->iov[i].iov_len);
    }
    for (unsigned i = 0; i < c->in; i++) {
        e->in_at[i] = le64_of(c->at[c->out + i]);
        e->in_data[i].len = le64_of(c->iov[c->out + i].iov_len);
    }
}

static void save_begun(PortImage *i, const VirtioDevice *d, const SerialPort *p)
{
    g_autofree RingChain *c = g_new(RingChain, 1);
    Ring r = d->ring[serial_port_transmit_queue(p)];

    if (ring_peek(&r, &d->memory, c) != RING_CHAIN)
        return;
    i->has_begun = 1;
    i->segment_offset = p->sent;
    while (i->segment < c->out && i->segment_offset >= c->iov[i->segment].iov_len)
        i->segment_offset -= c->iov[i->segment++].iov_len;
    i->entries = c->count;
    save_element((Element *)i->element, c);
}

static void serial_save(const VirtioDevice *d, void *part)
{
    const VirtioSerial *s = (const VirtioSerial *)d;
    SerialImage *image = part;

    image->max_ports = s->max_ports;
    for (unsigned n = 0; n < s->max_ports; n++) {
        const SerialPort *p = s->ports[n];
        PortImage *i = &image->ports[image->count];

        if (!p)
            continue;
        image->map |= 1u << n;
        image->count++;
        /* QEMU takes a console for open, whatever its driver says. */
        *i = (PortImage){ .id = n, .guest_open = p->guest_open || serial_port_is_console(p),
                          .host_open = p->host_open };
        if (serial_has_begun(d, serial_port_transmit_queue(p)))
            save_begun(i, d, p);
    }
}

/* ---- loading --------------------------------------------------------------------------------- */

/* How much of the chain has been sent. False: it is not a chain. */
static bool load_begun(SerialPort *p, const PortImage *i)
{
    const Element *e = (const Element *)i->element;
    uint64_t sent = i->segment_offset;

    if (i->segment > ELEMENT_SEGMENTS || sent > UINT32_MAX)
        return false;
    for (uint32_t n = 0; n < i->segment && sent <= UINT32_MAX; n++)
        sent += MIN(le64_get(e->out_data[n].len), UINT32_MAX);
    p->sent = sent;
    return sent <= UINT32_MAX;
}

static bool load_port(VirtioSerial *s, const PortImage *i, GError **err)
{
    SerialPort *p = i->id < s->max_ports ? s->ports[i->id] : NULL;

    if (!p)
        return err_set(err, ENOENT, "It has port %" PRIu32 ", which does not exist here", i->id);
    p->messages = 0;
    p->sent = 0;
    if (i->has_begun && !load_begun(p, i))
        return err_set(err, EINVAL, "Port %" PRIu32 " has sent %" PRIu32 " segments and %" PRIu64
                       " bytes of a chain", i->id, i->segment, i->segment_offset);
    serial_port_set_guest_open(p, i->guest_open);
    if (p->host_open != !!i->host_open)
        serial_port_owe_open(p);
    return true;
}

static bool serial_load(VirtioDevice *d, const void *part, const uint8_t *config, GError **err)
{
    VirtioSerial *s = (VirtioSerial *)d;
    const SerialImage *i = part;
    uint32_t map = 0;

    for (unsigned n = 0; n < s->max_ports; n++)
        map |= s->ports[n] ? 1u << n : 0;
    if (i->max_ports != s->max_ports || i->map != map)
        return err_set(err, EINVAL,
                       "It has %" PRIu32 " ports, 0x%" PRIx32 " of them in use; here it has "
                       "%" PRIu32 " and 0x%" PRIx32,
                       i->max_ports, i->map, s->max_ports, map);
    s->guest_ready = virtio_has_driver(d) && virtio_has(d, F_MULTIPORT);
    s->removed = 0;
    for (uint32_t n = 0; n < i->count; n++)
        if (!load_port(s, &i->ports[n], err))
            return false;
    return true;
}

/* The queues to the host of all ports. */
#define TRANSMIT_QUEUES UINT64_C(0xaaaaaaaaaaaaaaa2)

const VirtioPart serial_part = {
    .name = "virtio-console", .version = 3, .layout = &serial_layout,
    .packed_layout = &packed_serial_layout, .save = serial_save, .load = serial_load,
    .held_queues = TRANSMIT_QUEUES, .has_begun = serial_has_begun,
};
