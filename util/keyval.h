/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * key=value,key=value option strings, as on command lines.
 *
 * A value may hold commas when doubled (,,). Keys are dotted paths: a.b=1 makes {"a": {"b": "1"}},
 * a.0=x,a.1=y makes {"a": ["x", "y"]}. All values are strings: a schema gives them types later.
 */
#ifndef UTIL_KEYVAL_H
#define UTIL_KEYVAL_H

#include "util/json.h"

/*
 * Parses @text into a nested object. @implied_key, unless NULL, names the first value when it has
 * no '='. Keys given without a value become "on" (noFOO is not special). Fails on an empty or
 * malformed key, on a key that is both a value and a group, and on list indexes that leave gaps.
 * New reference, or NULL with @err.
 */
json_t *keyval_parse(const char *text, const char *implied_key, GError **err);

/*
 * The same without nesting: keys stay dotted, a repeated key keeps its last value. For -o.
 * Merges into @into (an object).
 */
bool keyval_parse_flat(const char *text, const char *implied_key, json_t *into, GError **err);

/* Moves dotted keys of flat object @o into nested objects and lists. False with @err on a clash. */
bool keyval_nest(json_t *o, GError **err);

/* The reverse, for merging: {"a": {"b": 1}} becomes {"a.b": 1}. New reference. */
json_t *keyval_flatten(const json_t *o);

/* @text with every comma doubled. Caller frees. */
char *keyval_escape(const char *text);

#endif
