/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server of gdb's remote protocol ("Debugging with GDB", appendix "Remote Serial Protocol"):
 * packets.c takes packets apart, commands.c does what they ask. A thread of gdb's is a processor;
 * thread 1 is processor 0. Main loop only.
 */
#ifndef SYSTEM_GDB_GDB_H
#define SYSTEM_GDB_GDB_H

#include "monitor/chardev.h"
#include "system/vcpu.h"

/* Serves whoever comes on @c. The guest stops when somebody comes. False with @err. */
bool gdb_start(Chardev *c, GError **err);
CO void gdb_end(void);

/* ---- between the two files ------------------------------------------------------------------- */

/* Sends a packet with @text, framed. */
CO void gdb_send(const char *text, size_t len);
/* Somebody has come, or left. False: the guest cannot be stopped now. */
CO bool gdb_attach(void);
CO void gdb_detach(void);
/* A packet, ended by NUL; @len bytes. */
CO void gdb_command(char *text, size_t len);
/* The key that interrupts the guest. */
CO void gdb_interrupt(void);
/* No packets are acknowledged from now on. */
void gdb_no_acks(void);

#endif
