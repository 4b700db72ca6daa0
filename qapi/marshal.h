/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What generated code uses to go from JSON to C and back. */
#ifndef QAPI_MARSHAL_H
#define QAPI_MARSHAL_H

#include "qapi/schema.h"

char **qmp_strings_parse(const json_t *list);
json_t *qmp_strings_to_json(char *const *strings);

/* An array of int. */
GArray *qmp_enums_parse(const SchemaEnum *e, const json_t *list);
json_t *qmp_enums_to_json(const SchemaEnum *e, const GArray *values);

GPtrArray *qmp_structs_parse(const json_t *list, gpointer (*parse)(const json_t *o),
                             GDestroyNotify free);
json_t *qmp_structs_to_json(const GPtrArray *structs, json_t *(*to_json)(gconstpointer v));

/* Takes the reference @data. */
void qmp_event_emit(int event, json_t *data);

#endif
