/* SPDX-License-Identifier: GPL-2.0-or-later */
/* docs/spec/apic.md */
#include "hw/ioapic.h"
#include "system/base/guest-log.h"
#include <inttypes.h>
#include <string.h>

enum {
    SELECT = 0x00, WINDOW = 0x10, EOI = 0x40,
    REG_ID = 0, REG_VERSION = 1, REG_ARBITRATION = 2, REG_TABLE = 0x10,
    VERSION = 0x20,
    ENTRY_LOGICAL = 1 << 11, ENTRY_BUSY = 1 << 12, ENTRY_LOW_ACTIVE = 1 << 13,
    ENTRY_REMOTE_IRR = 1 << 14, ENTRY_LEVEL = 1 << 15, ENTRY_MASKED = 1 << 16,
    ENTRY_READ_ONLY = ENTRY_BUSY | ENTRY_REMOTE_IRR,
};
#define ENTRY_WRITABLE (UINT64_C(0xff00000000000000) | 0x1afff)

typedef struct {
    Device dev;
    LapicBus *bus;
    unsigned first; /* input of that */

    uint8_t select, id;
    uint64_t table[IOAPIC_PINS];
    uint32_t level;   /* inputs that are asserted */
    uint64_t count[IOAPIC_PINS]; /* messages sent: not of the machine, for people */
    uint32_t waiting; /* edges that came while masked or not sent yet */
} Ioapic;

static LapicMessage message(uint64_t e)
{
    return (LapicMessage){
        .destination = e >> 56, .logical = e & ENTRY_LOGICAL, .delivery = e >> 8 & 7,
        .level_triggered = e & ENTRY_LEVEL, .vector = e,
    };
}

static void announce(const Ioapic *s, unsigned pin)
{
    LapicMessage m = message(s->table[pin]);

    lapic_bus_route(s->bus, s->first + pin, s->table[pin] & ENTRY_MASKED ? NULL : &m);
}

static void deliver(Ioapic *s, unsigned pin)
{
    uint64_t e = s->table[pin];
    LapicMessage m = message(e);

    if (e & ENTRY_MASKED)
        return;
    if (e & ENTRY_LEVEL) {
        if (!(s->level >> pin & 1) || e & ENTRY_REMOTE_IRR)
            return;
        s->table[pin] |= ENTRY_REMOTE_IRR;
    } else {
        if (!(s->waiting >> pin & 1))
            return;
        s->waiting &= ~(UINT32_C(1) << pin);
    }
    s->count[pin]++;
    lapic_bus_send(s->bus, &m);
}

void ioapic_set_irq(Device *d, unsigned pin, bool level)
{
    Ioapic *s = (Ioapic *)d;
    uint32_t bit = UINT32_C(1) << pin;
    bool rises = level && !(s->level & bit);

    s->level = level ? s->level | bit : s->level & ~bit;
    /* An edge at a masked input is lost, as on the chip. */
    if (rises && !(s->table[pin] & ENTRY_MASKED))
        s->waiting |= bit;
    deliver(s, pin);
}

static void end_of_interrupt(Ioapic *s, unsigned pin)
{
    s->table[pin] &= ~(uint64_t)ENTRY_REMOTE_IRR;
    deliver(s, pin);
}

void ioapic_eoi(Device *d, uint8_t vector)
{
    Ioapic *s = (Ioapic *)d;

    for (unsigned i = 0; i < IOAPIC_PINS; i++)
        if ((s->table[i] & 0xff) == vector && s->table[i] & ENTRY_REMOTE_IRR)
            end_of_interrupt(s, i);
}

/* ---- registers ------------------------------------------------------------------------------- */

static uint32_t read_selected(const Ioapic *s)
{
    unsigned i = s->select - REG_TABLE;

    switch (s->select) {
    case REG_ID:
    case REG_ARBITRATION:
        return s->id << 24;
    case REG_VERSION:
        return VERSION | (IOAPIC_PINS - 1) << 16;
    }
    if (s->select < REG_TABLE || i >= 2 * IOAPIC_PINS) {
        guest_log(GUEST_LOG_ERRORS, "ioapic: read of 0x%02x: there is no such register", s->select);
        return 0;
    }
    return s->table[i / 2] >> (i % 2 ? 32 : 0);
}

static void write_entry(Ioapic *s, unsigned i, uint32_t value)
{
    uint64_t *e = &s->table[i / 2];
    uint64_t keep = ~ENTRY_WRITABLE | (i % 2 ? UINT32_MAX : ~(uint64_t)UINT32_MAX);
    uint64_t v = i % 2 ? (uint64_t)value << 32 : value;

    *e = (*e & keep) | (v & ~keep);
    /* Remote IRR means nothing to edges: the way to clear it without an EOI. */
    if (!(*e & ENTRY_LEVEL))
        *e &= ~(uint64_t)ENTRY_REMOTE_IRR;
    if (*e & ENTRY_MASKED)
        s->waiting &= ~(UINT32_C(1) << i / 2);
    announce(s, i / 2);
    deliver(s, i / 2);
}

static void write_selected(Ioapic *s, uint32_t value)
{
    unsigned i = s->select - REG_TABLE;

    if (s->select == REG_ID)
        s->id = value >> 24 & 15;
    else if (s->select >= REG_TABLE && i < 2 * IOAPIC_PINS)
        write_entry(s, i, value);
    else
        guest_log(GUEST_LOG_ERRORS, "ioapic: write of 0x%02x: there is no such register",
                  s->select);
}

static uint64_t ioapic_read(void *opaque, uint64_t offset, unsigned size)
{
    Ioapic *s = opaque;

    switch (offset) {
    case SELECT:
        return s->select;
    case WINDOW:
        return size == 4 ? read_selected(s) : 0;
    default:
        return 0;
    }
}

static void ioapic_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    Ioapic *s = opaque;

    switch (offset) {
    case SELECT:
        s->select = value;
        break;
    case WINDOW:
        if (size == 4)
            write_selected(s, value);
        break;
    case EOI:
        if (size == 4)
            ioapic_eoi(&s->dev, value);
        break;
    }
}

/* ---- for people ------------------------------------------------------------------------------ */

uint64_t ioapic_count(const Device *d, unsigned pin)
{
    return ((const Ioapic *)d)->count[pin];
}

static void describe_pins(const Ioapic *s, GString *out, const char *name, bool remote)
{
    bool any = false;

    g_string_append_printf(out, "  %-8s ", name);
    for (unsigned i = 0; i < IOAPIC_PINS; i++) {
        bool on = remote ? s->table[i] & ENTRY_REMOTE_IRR : (s->level | s->waiting) >> i & 1;

        if (on)
            g_string_append_printf(out, any ? ",%u" : "%u", i);
        any |= on;
    }
    g_string_append(out, any ? "\n" : "(none)\n");
}

void ioapic_describe(const Device *d, GString *out)
{
    static const char *const deliveries[] = { "fixed", "lowest", "SMI", "...", "NMI", "INIT", "...",
                                              "extINT" };
    const Ioapic *s = (const Ioapic *)d;

    g_string_append_printf(out, "ioapic0: ver=0x%02x id=0x%02x sel=0x%02x", VERSION, s->id,
                           s->select);
    if (s->select >= REG_TABLE && s->select < REG_TABLE + 2 * IOAPIC_PINS)
        g_string_append_printf(out, " (redir[%u])", (s->select - REG_TABLE) / 2);
    g_string_append_c(out, '\n');
    for (unsigned i = 0; i < IOAPIC_PINS; i++) {
        uint64_t e = s->table[i];

        g_string_append_printf(
            out, "  pin %-2u 0x%016" PRIx64 " dest=%x vec=%-3u %s %-5s %-6s %-6s %s\n", i, e,
            (unsigned)(e >> 56), (unsigned)(e & 0xff),
            e & ENTRY_LOW_ACTIVE ? "active-lo" : "active-hi", e & ENTRY_LEVEL ? "level" : "edge",
            e & ENTRY_MASKED ? "masked" : "", deliveries[e >> 8 & 7],
            e & ENTRY_LOGICAL ? "logical" : "physical");
    }
    describe_pins(s, out, "IRR", false);
    describe_pins(s, out, "Remote IRR", true);
}

/* ---- migration ------------------------------------------------------------------------------- */

/*
 * Others mark edges and levels that ask in one word. Inputs of edges that are asserted are ours:
 * they stand in bytes that others neither set nor read.
 */
typedef struct {
    uint8_t id, select;
    uint32_t edge_level, unused, asking;
    uint64_t table[IOAPIC_PINS];
} IoapicImage;

static const StateField ioapic_fields[] = {
    STATE_U("id", IoapicImage, id), STATE_U("ioregsel", IoapicImage, select),
    STATE_U("edge_level", IoapicImage, edge_level), STATE_U("unused", IoapicImage, unused),
    STATE_U("irr", IoapicImage, asking), STATE_US("ioredtbl", IoapicImage, table), {}
};
static const StateLayout ioapic_layout = { "ioapic", 3, 3, sizeof(IoapicImage), ioapic_fields };

static uint32_t level_pins(const uint64_t *table)
{
    uint32_t pins = 0;

    for (unsigned i = 0; i < IOAPIC_PINS; i++)
        pins |= table[i] & ENTRY_LEVEL ? UINT32_C(1) << i : 0;
    return pins;
}

static void ioapic_save(const Device *d, unsigned n, void *image)
{
    const Ioapic *s = (const Ioapic *)d;
    IoapicImage *i = image;
    uint32_t levels = level_pins(s->table);

    i->id = s->id;
    i->select = s->select;
    i->edge_level = s->level & ~levels;
    i->asking = (s->level & levels) | s->waiting;
    memcpy(i->table, s->table, sizeof(i->table));
}

static bool ioapic_load(Device *d, unsigned n, const void *image, GError **err)
{
    Ioapic *s = (Ioapic *)d;
    const IoapicImage *i = image;
    uint32_t levels = level_pins(i->table);

    s->id = i->id & 15;
    s->select = i->select;
    s->level = (i->asking & levels) | (i->edge_level & ~levels);
    s->waiting = i->asking & ~levels;
    for (unsigned k = 0; k < IOAPIC_PINS; k++) {
        s->table[k] = i->table[k] & (ENTRY_WRITABLE | ENTRY_REMOTE_IRR);
        if (s->table[k] & ENTRY_MASKED)
            s->waiting &= ~(UINT32_C(1) << k);
        announce(s, k);
    }
    return true;
}

static const DeviceSection ioapic_section = {
    .name = "ioapic", .layout = &ioapic_layout, .save = ioapic_save, .load = ioapic_load,
};

/* ---- the device ------------------------------------------------------------------------------ */

void ioapic_connect(Device *d, uint64_t address, LapicBus *bus, unsigned first)
{
    static const MmioOps ops = { ioapic_read, ioapic_write, 4, "ioapic" };

    ((Ioapic *)d)->bus = bus;
    ((Ioapic *)d)->first = first;
    memory_map_add_mmio(d->board->memory, address, 0x1000, &ops, d);
}

static void ioapic_reset(Device *d)
{
    Ioapic *s = (Ioapic *)d;

    s->select = s->id = 0;
    s->waiting = s->level = 0;
    for (unsigned i = 0; i < IOAPIC_PINS; i++) {
        s->table[i] = ENTRY_MASKED;
        announce(s, i);
    }
}

const DeviceClass device_ioapic = {
    .name = "ioapic",
    .size = sizeof(Ioapic),
    .section = &ioapic_section,
    .reset = ioapic_reset,
};
