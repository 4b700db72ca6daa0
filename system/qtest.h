/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qtest protocol: a test reads and writes ports and memory, and steps the clock, by lines of
 * text, each of which is answered by a line. Main loop only.
 *
 *     inb outb inw outw inl outl PORT [VALUE]        OK [0xVALUE]
 *     readb writeb ... readq writeq ADDRESS [VALUE]
 *     read ADDRESS SIZE        write ADDRESS SIZE 0xHEX        memset ADDRESS SIZE VALUE
 *     b64read ADDRESS SIZE     b64write ADDRESS SIZE BASE64    endianness
 *     clock_step [NS]          clock_set NS                    with -accel qtest
 *     irq_intercept_in PATH    IRQ raise N, IRQ lower N are sent from now on
 *     set_irq_in PATH NAME N LEVEL
 *
 * A failure is answered by FAIL and a reason. See docs/spec/qtest.md.
 */
#ifndef SYSTEM_QTEST_H
#define SYSTEM_QTEST_H

#include "monitor/chardev.h"
#include "system/machine.h"

/*
 * Serves the clients of @c, and logs commands and answers in the file @log; "none": nowhere; NULL:
 * on standard error. False with @err.
 */
bool qtest_start(Machine *m, Chardev *c, const char *log, GError **err);
CO void qtest_end(void);

#endif
