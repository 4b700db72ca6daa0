/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Any JSON object as options of a node: refused, or converted once and for all. */
#include "qapi/schema.h"
#include "util/keyval.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    g_autoptr(json_t) v = json_parse((const char *)data, len, NULL), before = NULL;

    if (!json_is_object(v) || !keyval_nest(v, NULL) || !schema_check("BlockdevOptions", v, NULL))
        return 0;
    before = json_deep_copy(v);
    g_assert_true(schema_check("BlockdevOptions", v, NULL));
    g_assert_true(json_equal(v, before));
    return 0;
}
