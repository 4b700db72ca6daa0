/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-serial-device and its ports: docs/spec/virtio.md. The device has two queues for each port
 * and two for messages about ports; a port, which is a device of its own, joins its queues to a
 * character device. All with the machine's lock held.
 */
#ifndef HW_VIRTIO_SERIAL_H
#define HW_VIRTIO_SERIAL_H

#include "hw/char-line.h"
#include "hw/virtio/device.h"
#include "system/base/lock.h"

#define SERIAL_PORT_BUS "virtio-serial-bus"
enum { SERIAL_PORTS_MAX = VIRTIO_QUEUES_MAX / 2 - 1, SERIAL_PORT_ANY = UINT16_MAX };

typedef struct VirtioSerial VirtioSerial;

typedef struct {
    Device dev;
    char *chardev, *name;   /* NULL: none */
    uint16_t nr;            /* SERIAL_PORT_ANY: the first that is free */
    VirtioSerial *bus;      /* NULL: not plugged in yet, or not any more */
    CharLine *line;         /* NULL: it leads nowhere */
    bool host_open;         /* somebody is at the other end of the line */

    uint8_t guest_open;
    uint8_t messages;       /* about the port, that the guest has to be sent */
    uint32_t sent;          /* bytes of the queue's first chain that the line has taken */
} SerialPort;

struct VirtioSerial {
    VirtioDevice virtio;
    uint32_t max_ports;
    SerialPort *ports[SERIAL_PORTS_MAX]; /* NULL: none has this number */

    uint8_t guest_ready;                 /* the driver wants to be told of ports */
    uint32_t removed;                    /* numbers of ports that it has to be told are gone */
};

#define F_MULTIPORT (UINT64_C(1) << 1)

/* How the device goes into migration streams: serial-section.c. */
extern const struct VirtioPart serial_part;

/* The guest is told, when it runs again, whether @p's host side is open. */
void serial_port_owe_open(SerialPort *p);
/* The guest is told that @p's host side is open, or not. */
void serial_port_host_changed(SerialPort *p);
/* The guest takes what the host sends. */
bool serial_port_is_open(const SerialPort *p);
/* Takes @p out; the guest is told. */
void serial_port_unplug(SerialPort *p);

/* ---- serial-port.c --------------------------------------------------------------------------- */

bool serial_port_is_console(const SerialPort *p);
/* Queues of the port. */
unsigned serial_port_receive_queue(const SerialPort *p);
unsigned serial_port_transmit_queue(const SerialPort *p);
/* Sends what the guest has put into the queue, as far as the line takes it. */
void serial_port_transmit(SerialPort *p);
/* The guest has opened the port, or closed it. */
void serial_port_set_guest_open(SerialPort *p, bool open);
/* A byte that is sent past all queues. */
void serial_port_send_byte(SerialPort *p, uint8_t byte);

#endif
