/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ib700: a watchdog. Unless the guest writes to it again in time, something happens.
 * docs/spec/ib700.md
 */
#include "system/base/clock.h"
#include "system/base/device.h"
#include "util/err.h"

enum { STOP_PORT = 0x441, START_PORT = 0x443, STEPS = 15 };
#define STEP_NS INT64_C(2000000000)

typedef struct {
    Device dev;
    GuestTimer timer;
} Ib700;

static uint64_t ib700_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0xff;
}

static void stop_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    guest_timer_cancel(&((Ib700 *)opaque)->timer);
}

static void start_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    unsigned steps = STEPS - (value & STEPS);

    guest_timer_set(&((Ib700 *)opaque)->timer, guest_clock_now() + steps * STEP_NS);
}

static void ib700_expired(void *opaque)
{
    Board *b = ((Device *)opaque)->board;

    b->watchdog_expired(b);
}

/* ---- migration ------------------------------------------------------------------------------- */

typedef struct {
    int64_t due;
} Ib700Image;

static const StateField ib700_fields[] = { STATE_T("timer", Ib700Image, due), {} };
static const StateLayout ib700_layout = { "ib700_wdt", 0, 0, sizeof(Ib700Image), ib700_fields };

static void ib700_save(const Device *d, unsigned n, void *image)
{
    const GuestTimer *t = &((const Ib700 *)d)->timer;

    ((Ib700Image *)image)->due = t->is_set ? t->due : -1;
}

static bool ib700_load(Device *d, unsigned n, const void *image, GError **err)
{
    Ib700 *s = (Ib700 *)d;
    int64_t due = ((const Ib700Image *)image)->due;

    if (due > guest_clock_now() + STEPS * STEP_NS)
        return err_set(err, ERANGE, "The watchdog waits for longer than it can");
    if (due < -1)
        return err_set(err, ERANGE, "The watchdog expires at a negative time");
    guest_timer_cancel(&s->timer);
    if (due >= 0)
        guest_timer_set(&s->timer, due);
    return true;
}

static const DeviceSection ib700_section = {
    .name = "ib700_wdt", .layout = &ib700_layout, .save = ib700_save, .load = ib700_load,
};

/* ---- the device ------------------------------------------------------------------------------ */

static bool ib700_realize(Device *d, GError **err)
{
    static const MmioOps stop = { ib700_read, stop_write, 1, "ib700-stop" };
    static const MmioOps start = { ib700_read, start_write, 1, "ib700-start" };
    Ib700 *s = (Ib700 *)d;

    s->timer = (GuestTimer){ .expired = ib700_expired, .opaque = s };
    return board_add_ports(d->board, STOP_PORT, 1, &stop, d, err) &&
           board_add_ports(d->board, START_PORT, 1, &start, d, err);
}

static void ib700_reset(Device *d)
{
    guest_timer_cancel(&((Ib700 *)d)->timer);
}

const DeviceClass device_ib700 = {
    .name = "ib700",
    .bus = "ISA",
    .size = sizeof(Ib700),
    .section = &ib700_section,
    .realize = ib700_realize,
    .reset = ib700_reset,
    .unrealize = ib700_reset,
};
