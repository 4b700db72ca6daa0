/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Arguments of commands. What is wrong with one is told on standard output, as scripts expect. */
#ifndef QEMU_IO_NUMBER_H
#define QEMU_IO_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

/* No single request is longer, in bytes. */
#define REQUEST_MAX ((uint64_t)INT32_MAX & ~(uint64_t)511)

/* A size or offset in bytes with the usual suffixes, at most INT64_MAX. */
bool arg_size(const char *text, uint64_t *out);
/* A byte to fill or compare with: 0 to 255 in any base C knows. */
bool arg_pattern(const char *text, uint8_t *out);

/* True if @value, the argument called @what, is a multiple of 512. */
bool arg_is_aligned(uint64_t value, const char *what);

/* @bytes with a unit: "1.500 KiB", "3.547500 bytes". Caller frees. */
char *bytes_text(double bytes);

#endif
