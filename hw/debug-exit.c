/* SPDX-License-Identifier: GPL-2.0-or-later */
/* isa-debug-exit: a write of N ends the program with exit code 2 N + 1. For test programs. */
#include "system/base/device.h"
#include "util/err.h"

typedef struct {
    Device dev;
    uint32_t iobase, iosize;
} DebugExit;

static const Property debug_exit_properties[] = {
    PROPERTY("iobase", DEVICE_UINT32, DebugExit, iobase, "first port [0x501]"),
    PROPERTY("iosize", DEVICE_UINT32, DebugExit, iosize, "number of ports [2]"), {}
};

static uint64_t debug_exit_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0;
}

static void debug_exit_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    Board *b = ((Device *)opaque)->board;

    b->shutdown(b, (value << 1 | 1) & 0xff);
}

static bool debug_exit_realize(Device *d, GError **err)
{
    static const MmioOps ops = { debug_exit_read, debug_exit_write, 4, "isa-debug-exit" };
    DebugExit *s = (DebugExit *)d;

    if (!s->iobase)
        s->iobase = 0x501;
    if (!s->iosize)
        s->iosize = 2;
    if (s->iobase > 0xffff || s->iosize > 0x10000 - s->iobase)
        return err_set(err, EINVAL, "Ports end at 0xffff");
    return board_add_ports(d->board, s->iobase, s->iosize, &ops, d, err);
}

const DeviceClass device_debug_exit = {
    .name = "isa-debug-exit",
    .bus = "ISA",
    .size = sizeof(DebugExit),
    .is_stateless = true,
    .properties = debug_exit_properties,
    .realize = debug_exit_realize,
};
