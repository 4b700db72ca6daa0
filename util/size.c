/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sizes as text. */
#include "util/size.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Bits to shift for suffix @c, or -1 if it is none. */
static int suffix_shift(char c)
{
    static const char suffixes[] = "bkmgtpe";
    const char *p = c ? strchr(suffixes, tolower((unsigned char)c)) : NULL;

    return p ? (int)(p - suffixes) * 10 : -1;
}

/* Reads ".5" at @p, as the double nearest to it; returns the first byte after it. */
static const char *fraction_parse(const char *p, double *out)
{
    size_t digits = 0;

    *out = 0;
    if (*p != '.')
        return p;
    while (isdigit((unsigned char)p[1 + digits]))
        digits++;
    if (digits) {
        g_autofree char *text = g_strdup_printf("0.%.*s", (int)MIN(digits, 64), p + 1);

        *out = g_ascii_strtod(text, NULL);
    }
    return p + 1 + digits;
}

int size_parse(const char *text, uint64_t unit, uint64_t *out, const char **end)
{
    const char *p = text;
    uint64_t whole, value;
    double fraction = 0;
    bool hex;
    int shift;
    char *after;

    while (isspace((unsigned char)*p))
        p++;
    p += *p == '+';
    if (!isdigit((unsigned char)*p))
        return -EINVAL;
    hex = p[0] == '0' && (p[1] == 'x' || p[1] == 'X') && isxdigit((unsigned char)p[2]);
    errno = 0;
    whole = strtoull(p, &after, hex ? 16 : 10);
    if (errno)
        return -ERANGE;
    p = after;
    if (!hex)
        p = fraction_parse(p, &fraction);
    shift = suffix_shift(*p);
    if (shift >= 0) {
        p++;
        unit = UINT64_C(1) << shift;
    }
    if (fraction != 0 && unit == 1)
        return -EINVAL;
    if (end)
        *end = p;
    else if (*p)
        return -EINVAL;
    if (!size_mul(whole, unit, &value) ||
        !size_add(value, (uint64_t)(fraction * (double)unit + 0.5), &value))
        return -ERANGE;
    *out = value;
    return 0;
}

char *size_format(uint64_t bytes)
{
    static const char *const units[] = { "", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei" };
    double value = (double)bytes;
    int i = 0;

    /* At 1000, not 1024, so that three digits do; what callers parse depends on it. */
    while (value >= 1000 && i < 6) {
        value /= 1024;
        i++;
    }
    return g_strdup_printf("%0.3g %sB", value, units[i]);
}
