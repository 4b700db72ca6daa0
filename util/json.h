/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * JSON, a thin face on jansson: its json_t is used everywhere; json_object_set_new and friends are
 * called directly. Here are strict parsing with bounds, the writer, and readers for objects whose
 * shape a schema has already checked.
 */
#ifndef UTIL_JSON_H
#define UTIL_JSON_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Bounds on text from outside. */
enum { JSON_DEPTH_MAX = 1024, JSON_TEXT_MAX = 64 << 20 };

G_DEFINE_AUTOPTR_CLEANUP_FUNC(json_t, json_decref)

/*
 * Parses one value that fills @text (@len bytes, no NUL needed). Duplicate keys, NUL characters in
 * strings, integers outside int64, depth or size over the bounds are errors. Strings may also be
 * in single quotes. New reference, or NULL with @err set (code EINVAL).
 */
json_t *json_parse(const char *text, size_t len, GError **err);

/* One line: {"a": 1, "b": [true]}. Keys in the reference's visible order. Caller frees. */
char *json_print(const json_t *v);

/* Four-space indented, as the tools' --output=json. No newline at the end. Caller frees. */
char *json_print_pretty(const json_t *v);

/*
 * An array that is not held as a whole: @element makes its element @i, or returns NULL behind the
 * last. In the value to write, the member @key holds the integer @n instead.
 */
typedef struct {
    const char *key;
    json_t *(*element)(void *arg, int64_t n, size_t i);
    void *arg;
} JsonLazy;

/* As json_print_pretty and a newline, to @f piece by piece. @lazy may be NULL. */
void json_write_pretty(FILE *f, const json_t *v, const JsonLazy *lazy);

/* The keys of object @o in that order, ended by NULL; owned by @o. Caller frees the array. */
const char **json_visible_keys(const json_t *o);

/*
 * Readers: the value at @key of object @o, or @def when it is absent (or @o is NULL). The type
 * must be right: whoever built @o checked it. String results are owned by @o.
 */
const char *json_get_str(const json_t *o, const char *key, const char *def);
int64_t json_get_int(const json_t *o, const char *key, int64_t def);
bool json_get_bool(const json_t *o, const char *key, bool def);
json_t *json_get(const json_t *o, const char *key);   /* borrowed; NULL when absent */
bool json_has(const json_t *o, const char *key);

/*
 * Jansson's integers end at INT64_MAX: a larger @v is a real, as exact as a double is, which
 * json_print writes as an integer. UINT64_MAX is written exactly.
 */
json_t *json_uint64(uint64_t v);

/* Setters, replacing what is there. */
void json_put_str(json_t *o, const char *key, const char *value);
void json_put_int(json_t *o, const char *key, int64_t value);
void json_put_bool(json_t *o, const char *key, bool value);
void json_put(json_t *o, const char *key, json_t *value);   /* takes the reference of @value */

#endif
