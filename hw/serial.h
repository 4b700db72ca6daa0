/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A serial port at I/O ports. */
#ifndef HW_SERIAL_H
#define HW_SERIAL_H

#include "system/base/device.h"

extern const DeviceClass device_serial;

#endif
