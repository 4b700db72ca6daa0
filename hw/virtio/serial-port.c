/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtconsole and virtserialport: ports of virtio-serial-device, each on a character device. */
#include "gen/qmp.h"
#include "hw/virtio/serial.h"
#include "util/err.h"
#include <string.h>

enum { PIECE = 4096, CHAINS = 128 };

static const Property port_properties[] = {
    LOCAL_PROPERTY("chardev", DEVICE_STR, SerialPort, chardev,
                   "character device it is connected to"),
    PROPERTY("name", DEVICE_STR, SerialPort, name, "by which the guest finds it"),
    PROPERTY("nr", DEVICE_UINT16, SerialPort, nr, "its number [the first that is free]"), {}
};

static VirtioDevice *virtio_of(const SerialPort *p)
{
    return (VirtioDevice *)p->bus;
}

unsigned serial_port_receive_queue(const SerialPort *p)
{
    return p->nr ? 2 * (p->nr + 1) : 0;
}

unsigned serial_port_transmit_queue(const SerialPort *p)
{
    return serial_port_receive_queue(p) + 1;
}

/* ---- from the host --------------------------------------------------------------------------- */

/* The chain that waits for bytes of the host; false: there is none. */
static bool peek_receiver(const SerialPort *p, RingChain *c)
{
    unsigned queue = serial_port_receive_queue(p);

    if (!serial_port_is_open(p) || !virtio_await(virtio_of(p), queue, c))
        return false;
    if (!c->in_len)
        virtio_fail(virtio_of(p));
    return c->in_len;
}

static size_t port_room(void *opaque)
{
    g_autofree RingChain *c = g_new(RingChain, 1);

    return peek_receiver(opaque, c) ? MIN(c->in_len, PIECE) : 0;
}

static void port_receive(void *opaque, const uint8_t *buf, size_t len)
{
    g_autofree RingChain *c = g_new(RingChain, 1);
    SerialPort *p = opaque;

    while (len && peek_receiver(p, c)) {
        VirtioDevice *d = virtio_of(p);
        unsigned queue = serial_port_receive_queue(p);
        size_t n = ring_chain_write(c, &d->memory, 0, buf, len);

        ring_take(&d->ring[queue], c);
        virtio_push(d, queue, c, n);
        buf += n;
        len -= n;
    }
}

/* ---- to the host ----------------------------------------------------------------------------- */

/* Sends the rest of @c. False: the line takes no more now. */
static bool send_chain(SerialPort *p, const RingChain *c)
{
    uint8_t buf[PIECE];
    size_t n, taken;

    while (p->line && (n = ring_chain_read(c, p->sent, buf, sizeof(buf)))) {
        taken = char_line_send(p->line, buf, n);
        p->sent += taken;
        if (taken < n)
            return false;
    }
    return true;
}

void serial_port_transmit(SerialPort *p)
{
    g_autofree RingChain *c = g_new(RingChain, 1);
    VirtioDevice *d = virtio_of(p);
    unsigned queue = serial_port_transmit_queue(p);

    virtio_want_kicks(d, queue, true);
    for (unsigned i = 0; i < CHAINS && virtio_peek(d, queue, c) && send_chain(p, c); i++) {
        p->sent = 0;
        ring_take(&d->ring[queue], c);
        virtio_push(d, queue, c, 0);
        virtio_want_kicks(d, queue, true);
    }
}

static void port_sent(void *opaque)
{
    SerialPort *p = opaque;

    if (p->bus)
        serial_port_transmit(p);
}

void serial_port_send_byte(SerialPort *p, uint8_t byte)
{
    if (p->line)
        char_line_send(p->line, &byte, 1);
}

/* ---- who is there ---------------------------------------------------------------------------- */

static void port_opened(void *opaque, bool open)
{
    SerialPort *p = opaque;

    p->host_open = open;
    serial_port_host_changed(p);
}

void serial_port_set_guest_open(SerialPort *p, bool open)
{
    if (p->guest_open == open)
        return;
    p->guest_open = open;
    if (p->dev.id)
        event_vserport_change(p->dev.id, open);
    if (open && p->line)
        char_line_accept(p->line);
}

/* ---- the devices ----------------------------------------------------------------------------- */

static void port_defaults(Device *d)
{
    ((SerialPort *)d)->nr = SERIAL_PORT_ANY;
}

static bool port_realize(Device *d, GError **err)
{
    static const CharLineOps ops = { port_room, port_receive, port_sent, port_opened };
    SerialPort *p = (SerialPort *)d;

    return !p->chardev || (p->line = char_line_new(p->chardev, &ops, p, err));
}

static CO void port_disconnect(Device *d)
{
    SerialPort *p = (SerialPort *)d;

    CharLine *line;

    machine_lock();
    line = p->line;
    p->line = NULL;
    serial_port_unplug(p);
    machine_unlock();
    char_line_free(line);
}

const DeviceClass device_virtconsole = {
    .name = "virtconsole",
    .bus = SERIAL_PORT_BUS,
    .is_stateless = true,
    .size = sizeof(SerialPort),
    .properties = port_properties,
    .defaults = port_defaults,
    .realize = port_realize,
    .disconnect = port_disconnect,
};

const DeviceClass device_virtserialport = {
    .name = "virtserialport",
    .bus = SERIAL_PORT_BUS,
    .is_stateless = true,
    .size = sizeof(SerialPort),
    .properties = port_properties,
    .defaults = port_defaults,
    .realize = port_realize,
    .disconnect = port_disconnect,
};

bool serial_port_is_console(const SerialPort *p)
{
    return p->dev.cls == &device_virtconsole;
}
