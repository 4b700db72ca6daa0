/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a finished request prints. */
#include "qemu-io/report.h"
#include "qemu-io/number.h"
#include "util/size.h"
#include <ctype.h>
#include <glib.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum { DUMP_WIDTH = 16 };

/* Hours, minutes and seconds; for people, times below a second are shorter. */
static char *duration_text(int64_t ns, bool machine)
{
    unsigned centi = (unsigned)(ns / 10000000 % 100);
    uint64_t seconds = (uint64_t)(ns / 1000000000);

    if (!seconds && !machine)
        return g_strdup_printf("00.%02u sec", centi);
    return g_strdup_printf("%" PRIu64 ":%02u:%02u.%02u", seconds / 3600,
                           (unsigned)(seconds / 60 % 60), (unsigned)(seconds % 60), centi);
}

void report_stats(Stats how, const char *verb, uint64_t off, uint64_t len, int64_t ns)
{
    double seconds = (double)MAX(ns, 1) / 1e9, speed = (double)len / seconds;
    g_autofree char *time = duration_text(ns, how == STATS_MACHINE);
    g_autofree char *size = bytes_text((double)len), *speed_text = bytes_text(speed);

    if (how == STATS_NONE)
        return;
    if (how == STATS_MACHINE) {
        printf("%" PRIu64 ",1,%s,%.3f,%.3f\n", len, time, speed, 1 / seconds);
        return;
    }
    printf("%s %" PRIu64 "/%" PRIu64 " bytes at offset %" PRIu64 "\n", verb, len, len, off);
    printf("%s, 1 ops; %s (%s/sec and %.4f ops/sec)\n", size, time, speed_text, 1 / seconds);
}

void report_dump(const uint8_t *data, size_t len, uint64_t off)
{
    for (size_t at = 0; at < len; at += DUMP_WIDTH) {
        size_t n = MIN(len - at, DUMP_WIDTH);

        printf("%08" PRIx64 ":  ", off + at);
        for (size_t i = 0; i < n; i++)
            printf("%02x ", data[at + i]);
        putchar(' ');
        for (size_t i = 0; i < n; i++)
            putchar(isascii(data[at + i]) && isalnum(data[at + i]) ? data[at + i] : '.');
        putchar('\n');
    }
}

void report_failure(const char *verb, int r, uint64_t off, uint64_t len, uint64_t size)
{
    uint64_t end;

    printf("%s failed: %s\n", verb, g_strerror(-r));
    if ((size_add(off, len, &end) && end <= size) || !isatty(STDERR_FILENO))
        return;
    fflush(stdout);
    fprintf(stderr, "Hint: the image ends at %" PRIu64 ", before the end of what is asked for\n",
            size);
}
