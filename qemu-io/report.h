/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a finished request prints. */
#ifndef QEMU_IO_REPORT_H
#define QEMU_IO_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { STATS_TEXT, STATS_MACHINE, STATS_NONE } Stats;

/*
 * The result and speed of one request that took @ns: "wrote 512/512 bytes at offset 0" and a line
 * of figures, or with STATS_MACHINE one line of numbers.
 */
void report_stats(Stats how, const char *verb, uint64_t off, uint64_t len, int64_t ns);
/*
 * "VERB failed: REASON" for request failure @r. A person is told if that is because the image has
 * only @size bytes.
 */
void report_failure(const char *verb, int r, uint64_t off, uint64_t len, uint64_t size);
/* A dump of @len bytes in hexadecimal and letters; the first is called @off. */
void report_dump(const uint8_t *data, size_t len, uint64_t off);

#endif
