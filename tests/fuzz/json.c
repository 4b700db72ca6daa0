/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any text: an error, or a value that can be printed and read again. The first printing may change
 * what a value is (1.0 becomes 1, characters Unicode excludes become U+FFFD), later ones may not.
 */
#include "util/json.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static json_t *printed_and_read(const json_t *v)
{
    g_autofree char *text = json_print(v), *lines = json_print_pretty(v);
    g_autoptr(json_t) same = json_parse(lines, strlen(lines), NULL);
    json_t *again = json_parse(text, strlen(text), NULL);

    g_assert_true(again ? json_equal(again, same) : !same);
    /* Different keys may have become the same. */
    g_assert_true(again || strstr(text, "\\uFFFD"));
    return again;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    g_autoptr(json_t) v = json_parse((const char *)data, len, NULL);
    g_autoptr(json_t) again = v ? printed_and_read(v) : NULL;
    g_autoptr(json_t) third = again ? printed_and_read(again) : NULL;

    g_assert_true(again ? json_equal(again, third) : !third);
    return 0;
}
