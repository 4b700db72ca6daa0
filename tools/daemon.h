/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Going on in the background: the parent leaves once the program does what it is for. */
#ifndef TOOLS_DAEMON_H
#define TOOLS_DAEMON_H

#include <signal.h>
#include <stdbool.h>

/*
 * Goes on in a child; the parent waits for daemon_ready and exits with 0, or for our end and exits
 * as we. To be called before anything that may start threads. False: complained.
 */
bool daemon_fork(void);
/*
 * The parent may leave, and with it our terminal; standard error goes on only with @keep_stderr.
 * Does nothing without daemon_fork.
 */
void daemon_ready(bool keep_stderr);

/*
 * Blocks those of @signals (0-ended) that whoever started us neither ignores nor blocks, as
 * nohup(1) does, and puts them into *@taken, to be read from a signalfd. Before anything that may
 * start threads.
 */
void daemon_take_signals(const int *signals, sigset_t *taken);

#endif
