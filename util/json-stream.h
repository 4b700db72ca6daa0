/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stream of JSON values, as QMP clients send them, with nothing or blanks in between.
 *
 * Bytes are fed in pieces of any size; values come out one at a time. After an error the rest of
 * what looked like one value is dropped: input goes on at the next structural character or at the
 * end of the line. Strings may also be in single quotes. Integers of 64 bits that int64_t does not
 * hold are real numbers. Messages are those of the reference, which clients see.
 */
#ifndef UTIL_JSON_STREAM_H
#define UTIL_JSON_STREAM_H

#include "util/json.h"

/* Bounds of one value: its text in bytes, its tokens, how deep it is nested. */
enum {
    JSON_STREAM_TEXT_MAX = 64 << 20,
    JSON_STREAM_TOKENS_MAX = 2 << 20,
    JSON_STREAM_DEPTH_MAX = 1024,
};

typedef struct JsonStream JsonStream;

JsonStream *json_stream_new(void);
/* Wipes what is left. NULL is fine. */
void json_stream_free(JsonStream *s);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(JsonStream, json_stream_free)

/* Copies @len bytes behind those not looked at yet. */
void json_stream_feed(JsonStream *s, const char *bytes, size_t len);

typedef enum { JSON_STREAM_MORE, JSON_STREAM_VALUE, JSON_STREAM_ERROR } JsonStreamResult;

/*
 * Looks at bytes until a value or an error is complete: a new reference in *@value, or @err set.
 * MORE: all bytes have been looked at.
 */
JsonStreamResult json_stream_next(JsonStream *s, json_t **value, GError **err);

#endif
