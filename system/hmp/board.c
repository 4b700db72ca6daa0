/* SPDX-License-Identifier: GPL-2.0-or-later */
/* info: what the machine is made of. */
#include "gen/qmp.h"
#include "hw/i8259.h"
#include "hw/ioapic.h"
#include "system/base/lock.h"
#include "system/hmp/commands.h"
#include "util/err.h"
#include "util/size.h"
#include <inttypes.h>
#include <string.h>

#define SAY(...) g_string_append_printf(h->out, __VA_ARGS__)

/* ---- memory ---------------------------------------------------------------------------------- */

static void show_region(void *opaque, const MemoryRegion *r)
{
    Hmp *h = opaque;

    SAY("  %016" PRIx64 "-%016" PRIx64 " (prio 0, %s): %s\n", r->start, r->start + r->size - 1,
        !r->is_ram ? "i/o" : r->is_rom ? "rom" : "ram", r->name);
}

HMP_COMMAND(hmp_info_mtree)
{
    Machine *m = run_state_machine();

    machine_lock();
    SAY("address-space: memory\n");
    memory_map_each(m->board.memory, show_region, h);
    SAY("\naddress-space: I/O\n");
    memory_map_each(m->board.ports, show_region, h);
    SAY("\n");
    machine_unlock();
}

/* ---- devices --------------------------------------------------------------------------------- */

static void show_property(Hmp *h, const Device *d, const Property *p)
{
    const void *at = (const uint8_t *)d + p->offset;
    uint64_t n;

    switch (p->kind) {
    case DEVICE_STR:
        SAY("    %s = \"%s\"\n", p->name, *(char *const *)at ? *(char *const *)at : "");
        return;
    case DEVICE_BOOL:
        SAY("    %s = %s\n", p->name, *(const bool *)at ? "true" : "false");
        return;
    case DEVICE_UINT16:
        n = *(const uint16_t *)at;
        break;
    case DEVICE_UINT32:
        n = *(const uint32_t *)at;
        break;
    default:
        n = *(const uint64_t *)at;
        break;
    }
    SAY("    %s = %" PRIu64 " (0x%" PRIx64 ")\n", p->name, n, n);
}

static void show_device(Hmp *h, const Device *d)
{
    SAY("  dev: %s, id \"%s\"\n", d->cls->name, d->id ? d->id : "");
    for (const Property *p = d->cls->properties; p && p->name; p++)
        show_property(h, d, p);
}

/* By buses: what is part of the board first. */
HMP_COMMAND(hmp_info_qtree)
{
    static const char *const buses[] = { NULL, "virtio-bus", "ISA" };
    GPtrArray *devices = run_state_machine()->devices;

    machine_lock();
    for (size_t b = 0; b < G_N_ELEMENTS(buses); b++) {
        SAY("bus: %s\n  type %s\n", b ? buses[b] : "main-system-bus", b ? buses[b] : "System");
        for (guint i = 0; i < devices->len; i++)
            if (!g_strcmp0(((Device *)devices->pdata[i])->cls->bus, buses[b]))
                show_device(h, devices->pdata[i]);
    }
    machine_unlock();
}

HMP_COMMAND(hmp_info_qdm)
{
    for (const DeviceClass *const *c = device_classes; *c; c++)
        if ((*c)->bus)
            SAY("name \"%s\", bus %s\n", (*c)->name, (*c)->bus);
}

/* ---- interrupts ------------------------------------------------------------------------------ */

HMP_COMMAND(hmp_info_pic)
{
    Machine *m = run_state_machine();

    machine_lock();
    if (m->pic)
        i8259_describe(m->pic, h->out);
    for (unsigned i = 0; m->ioapic[0] && i < G_N_ELEMENTS(m->ioapic); i++)
        ioapic_describe(m->ioapic[i], h->out);
    machine_unlock();
}

HMP_COMMAND(hmp_info_irq)
{
    Machine *m = run_state_machine();

    if (m->pic)
        SAY("IRQ statistics for isa-i8259:\n");
    for (unsigned i = 0; m->ioapic[0] && i < G_N_ELEMENTS(m->ioapic); i++) {
        SAY("IRQ statistics for ioapic:\n");
        for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
            if (ioapic_count(m->ioapic[i], pin))
                SAY("%2u: %" PRIu64 "\n", pin, ioapic_count(m->ioapic[i], pin));
    }
}

HMP_COMMAND(hmp_info_lapic)
{
    GPtrArray *vcpus = run_state_machine()->vcpus;
    uint64_t index = a->is_given[0] ? a->number[0] : h->cpu;

    if (index >= vcpus->len) {
        SAY("No CPU available\n");
        return;
    }
    machine_lock();
    SAY("dumping local APIC state for CPU %-2u\n\n", (unsigned)index);
    lapic_describe(vcpu_lapic(vcpus->pdata[index]), h->out);
    machine_unlock();
}

/* ---- the watchdog ---------------------------------------------------------------------------- */

HMP_COMMAND(hmp_watchdog_action)
{
    int action = schema_enum_parse(&watchdog_action_enum, a->text[0]);
    GError *err = NULL;

    if (action < 0)
        err_set(&err, EINVAL, "invalid parameter value: %s", a->text[0]);
    else
        qmp_watchdog_set_action(&(QmpWatchdogSetActionArgs){ .action = action }, &err);
    hmp_error(h, err);
}
