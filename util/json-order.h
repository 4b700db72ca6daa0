/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The reference's order of the keys of an object, as far as it is known. */
#ifndef UTIL_JSON_ORDER_H
#define UTIL_JSON_ORDER_H

#include <limits.h>

enum { JSON_RANK_UNKNOWN = INT_MAX };

/*
 * The rank of @key, JSON_RANK_UNKNOWN if it was never learnt. Lower ranks are printed first; among
 * equal ranks the key that was added last is.
 */
int json_key_rank(const char *key);

#endif
