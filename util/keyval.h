/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * key=value,key=value option strings, as on command lines.
 *
 * A value may hold commas when doubled (,,). All values are strings: a schema gives them types
 * later. There are two dialects. The strict one is for --object. The lenient one is for -o and
 * --image-opts: a key without value is "on" (noKEY: "off"), and keys are free text.
 *
 * Dotted keys are paths: a.b=1 stands for {"a": {"b": "1"}}, a.0=x,a.1=y for {"a": ["x", "y"]}.
 */
#ifndef UTIL_KEYVAL_H
#define UTIL_KEYVAL_H

#include "util/json.h"

/*
 * The lenient dialect, flat: keys stay dotted (keyval_nest moves them), a repeated key keeps its
 * last value. Merges into @into (an object). Fails on a doubled comma where a key should be.
 */
bool keyval_parse_flat(const char *text, const char *implied_key, json_t *into, GError **err);

/*
 * The lenient dialect, nested. New reference, or NULL with @err on what keyval_parse_flat or
 * keyval_nest refuse.
 */
json_t *keyval_parse(const char *text, const char *implied_key, GError **err);

/*
 * The strict dialect, nested: every item has a '=' and every component of a key is an index or a
 * name (letters, digits, '-', '_', starting with a letter or "__"). @implied_key, unless NULL,
 * names a first value without '='. A repeated key keeps its last value. Fails on a malformed key,
 * on a key that is both a value and a group, and on list indexes that leave gaps.
 * New reference, or NULL with @err.
 */
json_t *keyval_parse_strict(const char *text, const char *implied_key, GError **err);

/*
 * The items of a lenient @text that have no '=', spelt out ("read-only=on"), for warnings: the
 * reference calls the form deprecated where image options are concerned. Caller frees.
 */
char **keyval_short_forms(const char *text, const char *implied_key);

/*
 * Moves dotted keys of @o, at any level, into nested objects, and makes lists of objects whose
 * keys are all indexes. {"a.b": 1, "a": {"c": 2}} becomes {"a": {"b": 1, "c": 2}}. False with @err,
 * @o untouched, on a clash, an empty component, a gap in a list, or too deep a nest.
 */
bool keyval_nest(json_t *o, GError **err);

/*
 * The reverse, for merging: {"a": {"b": [1]}} becomes {"a.b.0": 1}. Empty objects and lists stay
 * as values. New reference.
 */
json_t *keyval_flatten(const json_t *o);

/* @text with every comma doubled. Caller frees. */
char *keyval_escape(const char *text);

#endif
