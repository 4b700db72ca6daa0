/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The I/O APIC: 24 inputs, each sent to processors as its entry says. */
#ifndef HW_IOAPIC_H
#define HW_IOAPIC_H

#include "hw/lapic.h"

enum { IOAPIC_PINS = 24 };

extern const DeviceClass device_ioapic;
/*
 * To be called at once after device_new: its registers at @address, its messages to @bus, where its
 * pins are the inputs from @first on.
 */
void ioapic_connect(Device *d, uint64_t address, LapicBus *bus, unsigned first);
void ioapic_set_irq(Device *d, unsigned pin, bool level);
/* A processor has served @vector, which was level-triggered. */
void ioapic_eoi(Device *d, uint8_t vector);
/* For people: the table; how often an interrupt has come at @pin. */
void ioapic_describe(const Device *d, GString *out);
uint64_t ioapic_count(const Device *d, unsigned pin);

#endif
