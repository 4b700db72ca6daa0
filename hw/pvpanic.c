/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pvpanic: by a byte the guest's kernel tells that it has crashed. docs/spec/pvpanic.md */
#include "system/base/device.h"
#include "util/err.h"

enum { PANICKED = 1, CRASH_LOADED = 2, EVENTS = PANICKED | CRASH_LOADED };

typedef struct {
    Device dev;
    uint16_t ioport;
} PvPanic;

static const Property pvpanic_properties[] = {
    PROPERTY("ioport", DEVICE_UINT16, PvPanic, ioport, "its port [0x505]"), {}
};

static uint64_t pvpanic_read(void *opaque, uint64_t offset, unsigned size)
{
    return EVENTS;
}

static void pvpanic_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    Board *b = ((Device *)opaque)->board;

    if (value & EVENTS)
        b->panicked(b, !(value & PANICKED));
}

static bool pvpanic_realize(Device *d, GError **err)
{
    static const MmioOps ops = { pvpanic_read, pvpanic_write, 1, "pvpanic" };
    PvPanic *s = (PvPanic *)d;

    if (!s->ioport)
        s->ioport = 0x505;
    return board_add_ports(d->board, s->ioport, 1, &ops, d, err);
}

const DeviceClass device_pvpanic = {
    .name = "pvpanic",
    .bus = "ISA",
    .size = sizeof(PvPanic),
    .is_stateless = true,
    .properties = pvpanic_properties,
    .realize = pvpanic_realize,
};
