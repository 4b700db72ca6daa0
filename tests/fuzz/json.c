/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Any text: an error, or a value that survives being printed and read again. */
#include "util/json.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    g_autoptr(json_t) v = json_parse((const char *)data, len, NULL);
    g_autoptr(json_t) again = NULL;
    g_autofree char *text = NULL;

    if (!v)
        return 0;
    text = json_print(v);
    again = json_parse(text, strlen(text), NULL);
    g_assert_true(again && json_equal(v, again));
    return 0;
}
