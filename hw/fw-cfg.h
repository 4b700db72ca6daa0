/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The firmware configuration device: values and files that the machine offers to firmware and
 * guests.
 */
#ifndef HW_FW_CFG_H
#define HW_FW_CFG_H

#include "system/base/device.h"

enum {
    FW_CFG_NB_CPUS = 5, FW_CFG_BOOT_MENU = 0x0e, FW_CFG_MAX_CPUS = 0x0f, FW_CFG_RAM_SIZE = 3,
    FW_CFG_NOGRAPHIC = 4, FW_CFG_UUID = 2, FW_CFG_IRQ0_OVERRIDE = 0x8002,
};

enum { FW_CFG_NAME_MAX = 55 };

extern const DeviceClass device_fw_cfg;

/* Adds what @key or the file @name holds; a copy is made. Before the machine runs. */
void fw_cfg_add(Device *d, uint16_t key, const void *data, size_t len);
void fw_cfg_add_number(Device *d, uint16_t key, unsigned bytes, uint64_t value);
/* False if there are too many files, or the name is too long or taken. */
bool fw_cfg_add_file(Device *d, const char *name, const void *data, size_t len);

#endif
