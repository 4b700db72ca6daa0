/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ACPI generic event device, with the registers that sleep and reset the machine. */
#ifndef HW_GED_H
#define HW_GED_H

#include "system/base/device.h"

enum { GED_ADDRESS = 0xfea00000, GED_REGISTERS = 0xfea00200, GED_IRQ = 9, GED_POWER_BUTTON = 2 };
enum { GED_SLEEP_CONTROL, GED_SLEEP_STATUS, GED_RESET, GED_REGISTERS_SIZE };
enum { GED_RESET_VALUE = 0x42, GED_S5 = 5 };

extern const DeviceClass device_ged;
void ged_press_power_button(Device *d);

#endif
