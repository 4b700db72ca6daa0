/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Numbers in and out. */
#include "qemu-io/number.h"
#include "util/size.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SECTOR = 512 };

bool arg_size(const char *text, uint64_t *out)
{
    const char *digits = text + strspn(text, " \t");
    int r = size_parse(*digits == '+' ? digits + 1 : digits, 1, out, NULL);

    if (r == 0 && *out <= INT64_MAX)
        return true;
    if (r == -EINVAL)
        printf("Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- %s\n",
               text);
    else
        printf("Parsing error: argument too large -- %s\n", text);
    return false;
}

bool arg_pattern(const char *text, uint8_t *out)
{
    char *end;
    long value = strtol(text, &end, 0);

    if (end == text || *end || value < 0 || value > UINT8_MAX) {
        printf("%s is not a valid pattern byte\n", text);
        return false;
    }
    *out = (uint8_t)value;
    return true;
}

bool arg_is_aligned(uint64_t value, const char *what)
{
    if (is_aligned(value, SECTOR))
        return true;
    printf("%" PRIu64 " is not a sector-aligned value for '%s'\n", value, what);
    return false;
}

char *bytes_text(double bytes)
{
    static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    unsigned i = 0;
    char *text, *point;

    while (bytes >= 1024 && i < G_N_ELEMENTS(units) - 1) {
        bytes /= 1024;
        i++;
    }
    text = g_strdup_printf(i ? "%.3f %s" : "%f %s", bytes, units[i]);
    /* A whole number is shown as one. */
    point = strchr(text, '.');
    if (strspn(point + 1, "0") == strcspn(point + 1, " "))
        memmove(point, strchr(point, ' '), strlen(strchr(point, ' ')) + 1);
    return text;
}
