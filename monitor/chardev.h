/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Character devices: by what a monitor is reached. Each has an id and a way to the outside, over
 * which one connection at a time comes and goes. Main loop only.
 */
#ifndef MONITOR_CHARDEV_H
#define MONITOR_CHARDEV_H

#include "io/co.h"
#include "util/json.h"

typedef struct Chardev Chardev;

/* ---- making them ----------------------------------------------------------------------------- */

/*
 * Makes the device @id of @backend, a checked ChardevBackend, which has no id of another. May wait
 * for a first client, if the options say so. Messages leave out which device. NULL with @err.
 */
CO Chardev *chardev_add(const char *id, const json_t *backend, GError **err);
/* The same in the place of device @id, which is kept if that fails. Nobody may use it. */
CO Chardev *chardev_change(const char *id, const json_t *backend, GError **err);
/* Nobody may use it. */
CO void chardev_remove(Chardev *c);

/*
 * What the command line says, "BACKEND,id=ID,key=value,...", as id and ChardevBackend. False with
 * @err.
 */
bool chardev_parse(const char *text, char **id, json_t **backend, GError **err);
/* A line for each kind on standard output. */
void chardev_print_kinds(void);
/* The program runs in the background: standard input and output are not to be had. */
void chardev_forbid_stdio(void);

/* Waiting for a first client (wait=on) fails from now on. */
void chardev_wait_for_nobody(void);
/* Ends a device, or all: connections are cut, and every wait for a connection returns. */
void chardev_shutdown(Chardev *c);
void chardev_shutdown_all(void);
/* Removes all; nobody may use them. */
CO void chardev_remove_all(void);

/* ---- looking at them ------------------------------------------------------------------------- */

Chardev *chardev_find(const char *id);
/* In the order they were made; NULL behind the last. */
Chardev *chardev_at(unsigned i);
const char *chardev_id(const Chardev *c);
/* "socket" */
const char *chardev_kind(const Chardev *c);
/* Where it leads: "unix:PATH,server=on". Caller frees. */
char *chardev_filename(const Chardev *c);
/* The name of a pseudoterminal, or NULL. */
const char *chardev_pty_name(const Chardev *c);
bool chardev_is_used(const Chardev *c);
/* The kinds there are, "socket" and so on; NULL behind the last. */
const char *chardev_kind_at(unsigned i);

/* Memory that a device of kind ringbuf keeps; false with @err if @c is something else. */
bool chardev_ring_write(Chardev *c, const void *buf, size_t len, GError **err);
/* At most @len bytes, taken out. */
bool chardev_ring_read(Chardev *c, size_t len, GByteArray **out, GError **err);

/* ---- using one ------------------------------------------------------------------------------- */

/* One user at a time: false with @err if there is one. */
bool chardev_claim(Chardev *c, GError **err);
void chardev_release(Chardev *c);

/* After the end of a connection there may be another one. */
bool chardev_comes_again(const Chardev *c);
/* Waits until somebody is at the other end. False: never again. */
CO bool chardev_wait_open(Chardev *c);
/* Some bytes; 0 at the end of the connection; or a negative errno. */
CO ssize_t chardev_read(Chardev *c, void *buf, size_t len);
/* All of @buf: 0 or a negative errno. */
CO int chardev_write(Chardev *c, const void *buf, size_t len);
/* A descriptor that came with what was read, the caller's then; -1: there is none. */
int chardev_take_fd(Chardev *c);
/* Ends reading and writing, now and later, of this connection. */
void chardev_cut(Chardev *c);
/* Closes this connection, so that the next can come. Nobody may be reading or writing. */
void chardev_hang_up(Chardev *c);

#endif
