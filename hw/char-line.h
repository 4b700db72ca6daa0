/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What joins a device of the guest to a character device of the host: bytes both ways, across
 * threads. Both sides are bounded: a guest that writes faster than the host takes is told to wait,
 * and nothing is read from the host that the guest has no room for.
 */
#ifndef HW_CHAR_LINE_H
#define HW_CHAR_LINE_H

#include "io/co.h"
#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the device does; all are called with the machine's lock held, on the main loop. */
typedef struct {
    size_t (*room)(void *opaque);                                  /* bytes it would take now */
    void (*receive)(void *opaque, const uint8_t *buf, size_t len); /* at most so many */
    void (*sent)(void *opaque);                                    /* there is room to send again */
    void (*opened)(void *opaque, bool open); /* somebody came or left; NULL: does not matter */
} CharLineOps;

typedef struct CharLine CharLine;

/*
 * Main loop only, without the lock. Claims the character device called @id, which is called so
 * outside; NULL with @err. It starts at once.
 */
CharLine *char_line_new(const char *id, const CharLineOps *ops, void *opaque, GError **err);
/* Sends what is left, waits for the host a short time at most, and gives the device up. */
CO void char_line_free(CharLine *line);

/*
 * On the character device @id, Ctrl-A x calls @quit, and Ctrl-A Ctrl-A means Ctrl-A: for a terminal
 * all of whose keys go to the guest. Before the line is made; @id lives on.
 */
void char_line_set_escape(const char *id, void (*quit)(void));

/* ---- with the machine's lock held, any thread ------------------------------------------------ */

/* How many of @len bytes are taken; the rest may be offered again after .sent. */
size_t char_line_send(CharLine *line, const void *buf, size_t len);
/* .room has grown. */
void char_line_accept(CharLine *line);

#endif
