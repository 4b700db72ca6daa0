/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exports as block devices of the kernel (/dev/nbd0): its module nbd is a client that is handed a
 * socket on which transmission has begun.
 *
 * The kernel is told by netlink (family "nbd", Linux 4.12 and later) or, where that is refused, by
 * ioctl. These functions block: they are for a worker of the pool when anything else has to go on.
 */
#ifndef NBD_KERNEL_H
#define NBD_KERNEL_H

#include "nbd/client-handshake.h"

/* A device being attached or detached. */
typedef struct {
    const char *path;      /* /dev/nbd3 */
    uint32_t index;        /* 3 */
    int fd;                /* while it is used by ioctl; else -1: netlink wants it closed */
} NbdDevice;

/* Looks at device @path, which must be a whole device of module nbd. */
bool nbd_device_find(NbdDevice *d, const char *path, GError **err);
/* After everything else. */
void nbd_device_close(NbdDevice *d);

/* What the kernel has to know of an export. */
typedef struct {
    uint64_t size;         /* bytes, whole blocks */
    uint32_t block;        /* bytes */
    uint16_t flags;        /* NBD_FLAG_* of transmission */
} NbdKernelExport;

/* What of @offer the kernel can use: blocks are 512 to 4096 bytes. */
bool nbd_kernel_export(const NbdOffer *offer, NbdKernelExport *e, GError **err);

/*
 * Attaches @d to socket @sock. With netlink it is attached when this returns true; the kernel keeps
 * the socket. Where netlink is not there, *@serve is set: nbd_device_serve must be called then.
 */
bool nbd_device_attach(NbdDevice *d, int sock, const NbdKernelExport *e, bool *serve,
                       GError **err);
/* Lives for as long as the device is attached by ioctl. In a thread of its own. */
bool nbd_device_serve(const NbdDevice *d, GError **err);
/* Makes the kernel look for partitions, once it serves the device. Reads from it. */
void nbd_device_scan(const NbdDevice *d);
/* Detaches @d; requests under way fail. */
bool nbd_device_detach(NbdDevice *d, GError **err);

/* ---- netlink, apart for its tests ------------------------------------------------------------ */

enum { NBD_NETLINK_MAX = 512 };

/*
 * Write the netlink messages of attaching and detaching into @buf (NBD_NETLINK_MAX bytes); @family
 * is the number the kernel gave to "nbd". Return their lengths.
 */
size_t nbd_netlink_connect(void *buf, uint16_t family, uint32_t index, int sock,
                           const NbdKernelExport *e);
size_t nbd_netlink_disconnect(void *buf, uint16_t family, uint32_t index);

#endif
