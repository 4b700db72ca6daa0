/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's ACPI code reads which events have happened (docs/spec/microvm.md); the sleep control
 * and reset registers are those of hardware-reduced ACPI.
 */
#include "hw/ged.h"

enum { SLEEP_ENABLE = 0x20 };

typedef struct {
    Device dev;
    uint32_t events;
} Ged;

void ged_press_power_button(Device *d)
{
    Ged *s = (Ged *)d;

    s->events |= GED_POWER_BUTTON;
    /* An edge. */
    d->board->set_irq(d->board, GED_IRQ, true);
    d->board->set_irq(d->board, GED_IRQ, false);
}

static uint64_t events_read(void *opaque, uint64_t offset, unsigned size)
{
    Ged *s = opaque;
    uint32_t v = s->events;

    if (offset || size != 4)
        return 0;
    s->events = 0;
    return v;
}

static void events_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
}

static uint64_t registers_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0;
}

static void registers_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    Board *b = ((Ged *)opaque)->dev.board;

    if (offset == GED_SLEEP_CONTROL && value & SLEEP_ENABLE && (value >> 2 & 7) == GED_S5)
        b->shutdown(b, 0);
    else if (offset == GED_RESET && value == GED_RESET_VALUE)
        b->reset(b);
}

/* ---- migration ------------------------------------------------------------------------------- */

typedef struct {
    uint32_t events, slot;
    bool has_slot;
} GedImage;

static const StateField ged_fields[] = { STATE_U("sel", GedImage, events), {} };
/* Which place for memory is selected: there is none. */
static const StateField slot_fields[] = { STATE_U("selector", GedImage, slot), {} };
static const StateLayout slot_layout = {
    "acpi-ged/memhp", 1, 1, sizeof(GedImage), slot_fields, NULL, offsetof(GedImage, has_slot)
};
static const StateLayout *const ged_parts[] = { &slot_layout, NULL };
static const StateLayout ged_layout = { "acpi-ged", 1, 1, sizeof(GedImage), ged_fields, ged_parts };

static void ged_save(const Device *d, unsigned n, void *image)
{
    ((GedImage *)image)->events = ((const Ged *)d)->events;
}

static bool ged_load(Device *d, unsigned n, const void *image, GError **err)
{
    ((Ged *)d)->events = ((const GedImage *)image)->events;
    return true;
}

static const DeviceSection ged_section = {
    .name = "acpi-ged", .layout = &ged_layout, .save = ged_save, .load = ged_load,
};

/* ---- the device ------------------------------------------------------------------------------ */

static bool ged_realize(Device *d, GError **err)
{
    static const MmioOps events = { events_read, events_write, 4, "acpi-ged" };
    static const MmioOps registers = { registers_read, registers_write, 1, "acpi-ged-regs" };

    memory_map_add_mmio(d->board->memory, GED_ADDRESS, 4, &events, d);
    memory_map_add_mmio(d->board->memory, GED_REGISTERS, GED_REGISTERS_SIZE, &registers, d);
    return true;
}

static void ged_reset(Device *d)
{
    ((Ged *)d)->events = 0;
}

const DeviceClass device_ged = {
    .name = "acpi-ged-x86",
    .size = sizeof(Ged),
    .section = &ged_section,
    .realize = ged_realize,
    .reset = ged_reset,
};
