/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "io/co.h"
#include "tests/lib/harness.h"
#include "util/crc32c.h"
#include <string.h>

/* The values of RFC 3720, B.4, and pieces of any length make up the whole. */
static CO void test_crc32c(void)
{
    uint8_t data[100] = { 0 };

    g_assert_cmphex(crc32c(0, data, 32), ==, 0x8a9136aa);
    memset(data, 0xff, 32);
    g_assert_cmphex(crc32c(0, data, 32), ==, 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        data[i] = (uint8_t)i;
    g_assert_cmphex(crc32c(0, data, 32), ==, 0x46dd794e);
    g_assert_cmphex(crc32c(0, "123456789", 9), ==, 0xe3069283);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7);
    for (size_t i = 0; i <= sizeof(data); i++)
        g_assert_cmphex(crc32c(crc32c(0, data, i), data + i, sizeof(data) - i), ==,
                        crc32c(0, data, sizeof(data)));
}

const Test tests[] = {
    { "/crc32c/values", test_crc32c },
    {}
};
