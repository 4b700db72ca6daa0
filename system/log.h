/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The log of what processors do (-d). Main loop, while they stand still, unless noted. */
#ifndef SYSTEM_LOG_H
#define SYSTEM_LOG_H

#include "system/accel.h"

/* "in_asm,int": these and no others from now on; "none" or "": nothing. False with @err. */
bool log_choose(const char *items, GError **err);
/* Names of chosen ones of which nothing will be seen, no processors being emulated; NULL: none. */
char *log_unseen(const Accel *accel);
/* Prints which items there are. */
void log_print_items(void);
void log_describe_items(GString *out);

/* Writes to the file @path from now on. False with @err. */
bool log_open(const char *path, GError **err);
/* "START+LEN,START-LEN,START..END": code elsewhere is not logged. False with @err. */
bool log_filter(const char *ranges, GError **err);

/* With the machine's lock: @v is about to be reset. */
void log_reset(Vcpu *v);

/* The registers as text; floating point if @wide. */
void cpu_describe(GString *out, const X86Cpu *c, bool wide);

#endif
