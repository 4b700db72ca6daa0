/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Any option string: an error or an object. */
#include "util/keyval.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    g_autofree char *text = g_strndup((const char *)data, len);
    g_autoptr(json_t) o = keyval_parse(text, "driver", NULL);

    g_assert_true(!o || json_is_object(o));
    return 0;
}
