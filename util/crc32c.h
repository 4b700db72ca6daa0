/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CRC-32C (Castagnoli), as iSCSI and VHDX have it. */
#ifndef UTIL_CRC32C_H
#define UTIL_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Of @len bytes at @data that follow bytes with checksum @crc (0: none). */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

#endif
