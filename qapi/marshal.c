/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qapi/marshal.h"
#include "qapi/command.h"
#include "qapi/types.h"
#include <string.h>

char **qmp_strings_parse(const json_t *list)
{
    size_t n = json_array_size(list);
    char **strings = g_new0(char *, n + 1);

    for (size_t i = 0; i < n; i++)
        strings[i] = g_strdup(json_string_value(json_array_get(list, i)));
    return strings;
}

json_t *qmp_strings_to_json(char *const *strings)
{
    json_t *list = json_array();

    for (; *strings; strings++)
        json_array_append_new(list, json_string_nocheck(*strings));
    return list;
}

GArray *qmp_enums_parse(const SchemaEnum *e, const json_t *list)
{
    GArray *values = g_array_new(FALSE, FALSE, sizeof(int));

    for (size_t i = 0; i < json_array_size(list); i++) {
        int v = schema_enum_parse(e, json_string_value(json_array_get(list, i)));

        g_array_append_val(values, v);
    }
    return values;
}

json_t *qmp_enums_to_json(const SchemaEnum *e, const GArray *values)
{
    json_t *list = json_array();

    for (guint i = 0; i < values->len; i++)
        json_array_append_new(list, json_string(schema_enum_name(e, g_array_index(values, int, i))));
    return list;
}

GPtrArray *qmp_structs_parse(const json_t *list, gpointer (*parse)(const json_t *o),
                             GDestroyNotify free)
{
    GPtrArray *structs = g_ptr_array_new_with_free_func(free);

    for (size_t i = 0; i < json_array_size(list); i++)
        g_ptr_array_add(structs, parse(json_array_get(list, i)));
    return structs;
}

json_t *qmp_structs_to_json(const GPtrArray *structs, json_t *(*to_json)(gconstpointer v))
{
    json_t *list = json_array();

    for (guint i = 0; i < structs->len; i++)
        json_array_append_new(list, to_json(structs->pdata[i]));
    return list;
}

/* ---- events ---------------------------------------------------------------------------------- */

static void (*listener)(int event, json_t *data);

void qmp_events_hear(void (*fn)(int event, json_t *data))
{
    listener = fn;
}

void qmp_event_emit(int event, json_t *data)
{
    if (listener)
        listener(event, data);
    else
        json_decref(data);
}

const char *schema_event_name(int event)
{
    return schema_events[event].name;
}
