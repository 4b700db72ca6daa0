/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-serial-device: what ports are plugged into, and the messages by which it tells of them. */
#include "hw/virtio/serial.h"
#include "hw/virtio/section.h"
#include "util/endian.h"
#include "util/err.h"
#include <string.h>

enum {
    ID = 3, QUEUE_SIZE = 128, CONTROL_QUEUE_SIZE = 32, CONTROL_RECEIVE = 2, CONTROL_TRANSMIT = 3,
    MESSAGE_SIZE = 8, NAME_MAX_SENT = 256,

    CONFIG_PORTS = 4, CONFIG_EMERGENCY = 8, CONFIG_SIZE = 12,

    EVENT_DEVICE_READY = 0, EVENT_PORT_ADD = 1, EVENT_PORT_REMOVE = 2, EVENT_PORT_READY = 3,
    EVENT_CONSOLE = 4, EVENT_PORT_OPEN = 6, EVENT_PORT_NAME = 7,
};

/* Bits of .messages of a port, in the order of being sent. */
enum { SEND_ADD = 1, SEND_CONSOLE = 2, SEND_NAME = 4, SEND_OPEN = 8 };

#define F_EMERGENCY_WRITE (UINT64_C(1) << 2)

static const Property serial_properties[] = {
    VIRTIO_PROPERTIES,
    PROPERTY("max_ports", DEVICE_UINT32, VirtioSerial, max_ports,
             "ports it can have, 1 to 31 [31]"),
    {}
};

static bool has_messages(const VirtioSerial *s)
{
    return virtio_has(&s->virtio, F_MULTIPORT) && s->guest_ready;
}

/* ---- messages to the guest ------------------------------------------------------------------- */

static bool send_message(VirtioSerial *s, unsigned port, uint16_t event, uint16_t value,
                         const char *text)
{
    g_autofree RingChain *c = g_new(RingChain, 1);
    uint8_t message[MESSAGE_SIZE];
    size_t len;

    if (!virtio_await(&s->virtio, CONTROL_RECEIVE, c))
        return false;
    ring_take(&s->virtio.ring[CONTROL_RECEIVE], c);
    le32_put(message, port);
    le16_put(message + 4, event);
    le16_put(message + 6, value);
    len = ring_chain_write(c, &s->virtio.memory, 0, message, sizeof(message));
    if (text)
        len += ring_chain_write(c, &s->virtio.memory, len, text, MIN(strlen(text), NAME_MAX_SENT));
    virtio_push(&s->virtio, CONTROL_RECEIVE, c, len);
    return true;
}

/* The first that is due of the port's messages. False: there is no room for it now. */
static bool send_next(VirtioSerial *s, SerialPort *p)
{
    uint8_t bit = p->messages & -p->messages;
    bool sent;

    switch (bit) {
    case SEND_ADD:
        sent = send_message(s, p->nr, EVENT_PORT_ADD, 1, NULL);
        break;
    case SEND_CONSOLE:
        sent = send_message(s, p->nr, EVENT_CONSOLE, 1, NULL);
        break;
    case SEND_NAME:
        sent = send_message(s, p->nr, EVENT_PORT_NAME, 1, p->name);
        break;
    default:
        sent = send_message(s, p->nr, EVENT_PORT_OPEN, p->host_open, NULL);
    }
    if (sent)
        p->messages &= ~bit;
    return sent;
}

static void send_messages(VirtioSerial *s)
{
    if (!has_messages(s))
        return;
    for (unsigned i = 0; i < s->max_ports; i++) {
        if (s->removed & 1u << i && !send_message(s, i, EVENT_PORT_REMOVE, 1, NULL))
            return;
        s->removed &= ~(1u << i);
        while (s->ports[i] && s->ports[i]->messages)
            if (!send_next(s, s->ports[i]))
                return;
    }
}

void serial_port_owe_open(SerialPort *p)
{
    p->messages |= SEND_OPEN;
}

void serial_port_host_changed(SerialPort *p)
{
    if (!p->bus || !has_messages(p->bus))
        return;
    serial_port_owe_open(p);
    send_messages(p->bus);
}

/* A driver that knows of one port has it open. */
bool serial_port_is_open(const SerialPort *p)
{
    return p->bus && (p->guest_open || !virtio_has(&p->bus->virtio, F_MULTIPORT));
}

/* ---- messages of the guest ------------------------------------------------------------------- */

static void announce(VirtioSerial *s)
{
    for (unsigned i = 0; i < s->max_ports; i++)
        if (s->ports[i])
            s->ports[i]->messages = SEND_ADD;
    s->removed = 0;
}

static void introduce(SerialPort *p)
{
    if (serial_port_is_console(p))
        p->messages |= SEND_CONSOLE;
    if (p->name)
        p->messages |= SEND_NAME;
    if (p->host_open)
        p->messages |= SEND_OPEN;
}

static void hear(VirtioSerial *s, uint32_t id, uint16_t event, uint16_t value)
{
    SerialPort *p = id < s->max_ports ? s->ports[id] : NULL;

    if (event == EVENT_DEVICE_READY) {
        s->guest_ready = value == 1;
        if (s->guest_ready)
            announce(s);
    } else if (p && event == EVENT_PORT_READY && value) {
        introduce(p);
    } else if (p && event == EVENT_PORT_OPEN) {
        serial_port_set_guest_open(p, value);
    }
    send_messages(s);
}

static void receive_messages(VirtioSerial *s)
{
    g_autofree RingChain *c = g_new(RingChain, 1);
    uint8_t message[MESSAGE_SIZE];

    virtio_want_kicks(&s->virtio, CONTROL_TRANSMIT, true);
    for (unsigned i = 0; i < QUEUE_SIZE && virtio_pop(&s->virtio, CONTROL_TRANSMIT, c); i++) {
        bool whole = ring_chain_read(c, 0, message, sizeof(message)) == sizeof(message);

        virtio_push(&s->virtio, CONTROL_TRANSMIT, c, 0);
        virtio_want_kicks(&s->virtio, CONTROL_TRANSMIT, true);
        if (whole)
            hear(s, le32_at(message), le16_at(message + 4), le16_at(message + 6));
    }
}

/* ---- queues ---------------------------------------------------------------------------------- */

static void serial_kick(VirtioDevice *d, unsigned queue)
{
    VirtioSerial *s = (VirtioSerial *)d;
    unsigned nr = queue < CONTROL_RECEIVE ? 0 : queue / 2 - 1;
    SerialPort *p = s->ports[nr];

    if (queue == CONTROL_TRANSMIT)
        receive_messages(s);
    else if (queue == CONTROL_RECEIVE)
        send_messages(s);
    else if (p && queue % 2)
        serial_port_transmit(p);
    else if (p && p->line)
        char_line_accept(p->line);
}

static void serial_reset(VirtioDevice *d)
{
    VirtioSerial *s = (VirtioSerial *)d;

    s->guest_ready = 0;
    s->removed = 0;
    for (unsigned i = 0; i < s->max_ports; i++) {
        SerialPort *p = s->ports[i];

        if (!p)
            continue;
        p->messages = 0;
        p->sent = 0;
        serial_port_set_guest_open(p, false);
    }
}

/* ---- configuration --------------------------------------------------------------------------- */

static uint64_t serial_features(const VirtioDevice *d)
{
    bool several = ((const VirtioSerial *)d)->max_ports > 1;

    return F_EMERGENCY_WRITE | (several ? F_MULTIPORT : 0);
}

static void serial_config_read(const VirtioDevice *d, uint8_t *c)
{
    le32_put(c + CONFIG_PORTS, ((const VirtioSerial *)d)->max_ports);
}

static void serial_config_write(VirtioDevice *d, unsigned offset, uint8_t value)
{
    VirtioSerial *s = (VirtioSerial *)d;

    if (offset == CONFIG_EMERGENCY && s->ports[0])
        serial_port_send_byte(s->ports[0], value);
}

static const VirtioType serial_type = {
    .part = &serial_part,
    .id = ID,
    .queues = 2,
    .features = serial_features,
    .config_size = CONFIG_SIZE,
    .config_read = serial_config_read,
    .config_write = serial_config_write,
    .kick = serial_kick,
    .reset = serial_reset,
};

/* ---- ports ----------------------------------------------------------------------------------- */

/* Number 0 is that of a console: drivers know it as such. */
static bool choose_number(VirtioSerial *s, SerialPort *p, GError **err)
{
    bool is_console = serial_port_is_console(p);

    if (p->nr == SERIAL_PORT_ANY)
        for (p->nr = !is_console; p->nr < s->max_ports && s->ports[p->nr]; p->nr++)
            ;
    else if (p->nr < s->max_ports && s->ports[p->nr])
        return err_set(err, EBUSY, "virtio-serial-bus: A port already exists at id %u", p->nr);
    if (!p->nr && !is_console)
        return err_set(err, EINVAL, "Port number 0 of virtio-serial devices is reserved for a "
                       "virtconsole");
    return p->nr < s->max_ports || err_set(err, ENOSPC, "The device has room for %u ports, numbers "
                                           "0 to %u", s->max_ports, s->max_ports - 1);
}

static bool serial_plug(Device *d, Device *child, GError **err)
{
    VirtioSerial *s = (VirtioSerial *)d;
    SerialPort *p = (SerialPort *)child;

    if (!choose_number(s, p, err))
        return false;
    machine_lock();
    s->ports[p->nr] = p;
    p->bus = s;
    if (has_messages(s)) {
        p->messages = SEND_ADD;
        send_messages(s);
    }
    machine_unlock();
    return true;
}

void serial_port_unplug(SerialPort *p)
{
    VirtioSerial *s = p->bus;

    if (!s)
        return;
    serial_port_set_guest_open(p, false);
    s->ports[p->nr] = NULL;
    p->bus = NULL;
    if (has_messages(s))
        s->removed |= 1u << p->nr;
    send_messages(s);
}

/* ---- the device ------------------------------------------------------------------------------ */

static void serial_defaults(Device *d)
{
    ((VirtioSerial *)d)->max_ports = SERIAL_PORTS_MAX;
}

static bool serial_realize(Device *d, GError **err)
{
    VirtioSerial *s = (VirtioSerial *)d;

    if (!s->max_ports || s->max_ports > SERIAL_PORTS_MAX)
        return err_set(err, EINVAL, "A virtio-serial device has 1 to %d ports, not %u",
                       SERIAL_PORTS_MAX, s->max_ports);
    virtio_init(&s->virtio, &serial_type, QUEUE_SIZE);
    s->virtio.queues = 2 * (s->max_ports + 1);
    s->virtio.queue_size[CONTROL_RECEIVE] = CONTROL_QUEUE_SIZE;
    s->virtio.queue_size[CONTROL_TRANSMIT] = CONTROL_QUEUE_SIZE;
    return true;
}

const DeviceClass device_virtio_serial = {
    .name = "virtio-serial-device",
    .bus = "virtio-bus",
    .provides = SERIAL_PORT_BUS,
    .is_stateless = true,
    .size = sizeof(VirtioSerial),
    .properties = serial_properties,
    .defaults = serial_defaults,
    .realize = serial_realize,
    .plug = serial_plug,
};
