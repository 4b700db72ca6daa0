/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Generic netlink, as much of it as module nbd needs. For kernel.c. */
#ifndef NBD_NETLINK_H
#define NBD_NETLINK_H

#include "nbd/kernel.h"

/* The number of family "nbd": 0, or a negative errno where the kernel has none or refuses us. */
int nbd_netlink_family(uint16_t *family);
/* Sends the message of @len bytes at @buf and takes the answer: 0 or a negative errno. */
int nbd_netlink_ask(const void *buf, size_t len);

#endif
