/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Any option string, in both dialects: an error, or an object that its flat form makes again. */
#include "util/keyval.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(json_t *o)
{
    g_autoptr(json_t) flat = o ? keyval_flatten(o) : NULL;

    if (o) {
        g_assert_true(json_is_object(o));
        g_assert_true(keyval_nest(flat, NULL) && json_equal(flat, o));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    g_autofree char *text = g_strndup((const char *)data, len);
    g_autoptr(json_t) lenient = keyval_parse(text, "driver", NULL);
    g_autoptr(json_t) strict = keyval_parse_strict(text, "qom-type", NULL);
    G_GNUC_UNUSED g_auto(GStrv) forms = keyval_short_forms(text, NULL);

    check(lenient);
    check(strict);
    return 0;
}
