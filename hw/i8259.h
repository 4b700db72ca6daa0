/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pair of legacy interrupt controllers. */
#ifndef HW_I8259_H
#define HW_I8259_H

#include "system/base/device.h"

extern const DeviceClass device_i8259;
/* @output is called with the level of the first controller's output. */
void i8259_connect(Device *d, void (*output)(void *opaque, bool level), void *opaque);
void i8259_set_irq(Device *d, unsigned irq, bool level); /* 0 to 15 */
/* Masks all, as firmware does before it starts a system. */
void i8259_mask(Device *d);
/* The vector of the interrupt that the processor serves now. */
uint8_t i8259_acknowledge(Device *d);
/*
 * @vector was acknowledged, but the processor has not taken it: it is asked for again. False: it is
 * not one of those served.
 */
bool i8259_take_back(Device *d, uint8_t vector);
/* For people. */
void i8259_describe(const Device *d, GString *out);

#endif
