/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checking of option trees. */
#include "qapi/schema.h"
#include "util/size.h"
#include <string.h>

bool schema_check(const char *type, json_t *value, GError **err)
{
    const char *key;
    json_t *v;
    void *next;

    json_object_foreach_safe(value, next, key, v) {
        const char *s = json_string_value(v);
        uint64_t n;

        if (!strcmp(key, "filename") || !strcmp(key, "node-name") || !strcmp(key, "detect-zeroes") || !strcmp(key, "locking"))
            continue;
        if (json_is_object(v))
            schema_check(type, v, err);
        else if (s && (!strcmp(s, "on") || !strcmp(s, "off")))
            json_put_bool(value, key, !strcmp(s, "on"));
        else if (s && size_parse(s, 1, &n, NULL) == 0)
            json_put_int(value, key, n);
    }
    return true;
}
