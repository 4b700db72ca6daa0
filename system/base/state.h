/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tables that tell what the state of a device is, in the order and widths in which streams carry it
 * (docs/spec/migration-stream.md). One table serves writing, reading with its checks, and
 * describing.
 *
 * The members are those of an *image*: a struct that the device fills in for the purpose and takes
 * its state from, so that what streams of others look like does not dictate how a device is
 * written.
 */
#ifndef SYSTEM_BASE_STATE_H
#define SYSTEM_BASE_STATE_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    STATE_UINT,   /* of the host, .size 1, 2, 4 or 8 */
    STATE_INT,
    STATE_BOOL,   /* a byte, 0 or 1 */
    STATE_TIME,   /* int64_t, nanoseconds; -1: not set */
    STATE_BUFFER, /* .size bytes */
    STATE_FILLER, /* .size bytes that mean nothing; no member */
    STATE_STRUCT, /* .inner */
} StateKind;

typedef struct StateLayout StateLayout;

/* @count members, every @stride bytes. */
typedef struct {
    const char *name; /* NULL ends a table */
    StateKind kind;
    size_t offset;
    unsigned size, count, stride;
    const StateLayout *inner;
    uint64_t max; /* the greatest value of a STATE_UINT; 0: any */
    /* How many of @count are there in @image, as fields before this one say; NULL: all. */
    uint32_t (*present)(const void *image);
} StateField;

struct StateLayout {
    const char *name;
    unsigned version, oldest; /* the oldest that is understood; same fields */
    size_t size;              /* of the image; subsections share it */
    const StateField *fields;
    const StateLayout *const *subsections; /* NULL-ended; NULL: none */
    /* Of a subsection: the bool of the image that says it is to be written, and has been read. */
    size_t present;
};

#define STATE_SIZE(type, member) sizeof(((type *)0)->member)
#define STATE_ONE(kind, name, type, member)                                                        \
    { name, kind, offsetof(type, member), STATE_SIZE(type, member), 1, 0, NULL, 0 }
#define STATE_MANY(kind, name, type, member)                                                       \
    { name, kind, offsetof(type, member), STATE_SIZE(type, member[0]),                             \
      G_N_ELEMENTS(((type *)0)->member), STATE_SIZE(type, member[0]), NULL, 0 }

#define STATE_U(name, type, member) STATE_ONE(STATE_UINT, name, type, member)
#define STATE_U_UP_TO(name, type, member, max)                                                     \
    { name, STATE_UINT, offsetof(type, member), STATE_SIZE(type, member), 1, 0, NULL, max }
#define STATE_S(name, type, member) STATE_ONE(STATE_INT, name, type, member)
#define STATE_T(name, type, member) STATE_ONE(STATE_TIME, name, type, member)
#define STATE_B(name, type, member) STATE_ONE(STATE_BOOL, name, type, member)
#define STATE_BYTES(name, type, member) STATE_ONE(STATE_BUFFER, name, type, member)
#define STATE_US(name, type, member) STATE_MANY(STATE_UINT, name, type, member)
/* As many of the array @member as @count says. */
#define STATE_SOME(kind, name, type, member, layout, count)                                        \
    { name, kind, offsetof(type, member), STATE_SIZE(type, member[0]),                             \
      G_N_ELEMENTS(((type *)0)->member), STATE_SIZE(type, member[0]), layout, 0, count }
#define STATE_SKIP(name, bytes) { name, STATE_FILLER, 0, bytes, 1, 0, NULL, 0 }
#define STATE_INNER(name, type, member, layout)                                                    \
    { name, STATE_STRUCT, offsetof(type, member), STATE_SIZE(type, member), 1, 0, layout, 0 }
#define STATE_INNERS(name, type, member, layout)                                                   \
    { name, STATE_STRUCT, offsetof(type, member), STATE_SIZE(type, member[0]),                     \
      G_N_ELEMENTS(((type *)0)->member), STATE_SIZE(type, member[0]), layout, 0 }

#endif
