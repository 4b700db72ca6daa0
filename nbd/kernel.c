/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Devices of module nbd, by ioctl. The netlink part is in netlink.c. */
#include "nbd/kernel.h"
#include "nbd/netlink.h"
#include "nbd/proto.h"
#include "util/err.h"
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* linux/nbd.h, whose names are those of proto.h. */
enum {
    DEVICE_SET_SOCK = _IO(0xab, 0),
    DEVICE_SET_BLOCK = _IO(0xab, 1),
    DEVICE_SERVE = _IO(0xab, 3),
    DEVICE_CLEAR_SOCK = _IO(0xab, 4),
    DEVICE_SET_BLOCKS = _IO(0xab, 7),
    DEVICE_DISCONNECT = _IO(0xab, 8),
    DEVICE_SET_FLAGS = _IO(0xab, 10),
};

enum { NBD_MAJOR = 43, BLOCK_MIN = 512, BLOCK_MAX = 4096, SCAN_PATIENCE_MS = 2000 };

/* ---- devices --------------------------------------------------------------------------------- */

/* The number of whole device @st, by its name in /sys. */
static bool device_index(const struct stat *st, const char *path, uint32_t *index, GError **err)
{
    g_autofree char *link = g_strdup_printf("/sys/dev/block/%u:%u", major(st->st_rdev),
                                            minor(st->st_rdev));
    g_autofree char *target = g_file_read_link(link, NULL);
    g_autofree char *name = g_path_get_basename(target ? target : path);
    char rest;

    if (sscanf(name, "nbd%" SCNu32 "%c", index, &rest) != 1)
        return err_set(err, EINVAL, "'%s' is not a whole NBD device such as /dev/nbd0", path);
    return true;
}

bool nbd_device_find(NbdDevice *d, const char *path, GError **err)
{
    struct stat st;

    *d = (NbdDevice){ .path = path, .fd = -1 };
    if (stat(path, &st) < 0) {
        int code = errno;

        err_set_errno(err, code, "Cannot find '%s'", path);
        if (code == ENOENT)
            err_hint(err, "'modprobe nbd' makes the kernel's NBD devices appear.");
        return false;
    }
    if (!S_ISBLK(st.st_mode) || major(st.st_rdev) != NBD_MAJOR)
        return err_set(err, ENODEV, "'%s' is not an NBD device of the kernel", path);
    return device_index(&st, path, &d->index, err);
}

/* Opens @d for ioctl, once. */
static bool device_open(NbdDevice *d, GError **err)
{
    if (d->fd < 0)
        d->fd = open(d->path, O_RDWR | O_CLOEXEC);
    return d->fd >= 0 || err_set_errno(err, errno, "Cannot open '%s'", d->path);
}

void nbd_device_close(NbdDevice *d)
{
    if (d->fd >= 0)
        close(d->fd);
    d->fd = -1;
}

/* ---- attaching ------------------------------------------------------------------------------- */

bool nbd_kernel_export(const NbdOffer *offer, NbdKernelExport *e, GError **err)
{
    uint16_t known = NBD_FLAG_HAS_FLAGS | NBD_FLAG_READ_ONLY | NBD_FLAG_SEND_FLUSH |
                     NBD_FLAG_SEND_FUA | NBD_FLAG_ROTATIONAL | NBD_FLAG_SEND_TRIM |
                     NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_CAN_MULTI_CONN;

    e->block = MAX(offer->block_min, BLOCK_MIN);
    if (e->block > BLOCK_MAX)
        return err_set(err, ENOTSUP, "The export's blocks of %" PRIu32 " bytes are too large for "
                       "the kernel, which takes up to %d", e->block, BLOCK_MAX);
    e->size = offer->size - offer->size % e->block;
    e->flags = offer->flags & known;
    return true;
}

static bool device_ioctl(const NbdDevice *d, unsigned long request, unsigned long arg,
                         const char *what, GError **err)
{
    if (ioctl(d->fd, request, arg) == 0)
        return true;
    if (errno == EBUSY)
        return err_set(err, EBUSY, "Device '%s' is in use already", d->path);
    return err_set_errno(err, errno, "Cannot set the %s of '%s'", what, d->path);
}

/* All of attaching but nbd_device_serve. */
static bool attach_by_ioctl(NbdDevice *d, int sock, const NbdKernelExport *e, GError **err)
{
    if (!device_open(d, err) || !device_ioctl(d, DEVICE_SET_SOCK, sock, "socket", err))
        return false;
    if (device_ioctl(d, DEVICE_SET_BLOCK, e->block, "block size", err) &&
        device_ioctl(d, DEVICE_SET_BLOCKS, e->size / e->block, "size", err) &&
        device_ioctl(d, DEVICE_SET_FLAGS, e->flags, "flags", err))
        return true;
    ioctl(d->fd, DEVICE_CLEAR_SOCK);
    return false;
}

bool nbd_device_attach(NbdDevice *d, int sock, const NbdKernelExport *e, bool *serve,
                       GError **err)
{
    uint8_t message[NBD_NETLINK_MAX];
    uint16_t family;
    int r = nbd_netlink_family(&family);

    *serve = r < 0;
    if (r < 0)
        return attach_by_ioctl(d, sock, e, err);
    r = nbd_netlink_ask(message, nbd_netlink_connect(message, family, d->index, sock, e));
    if (r == -EBUSY)
        return err_set(err, EBUSY, "Device '%s' is in use already", d->path);
    return r == 0 || err_set_errno(err, r, "Cannot attach '%s'", d->path);
}

bool nbd_device_serve(const NbdDevice *d, GError **err)
{
    int r = ioctl(d->fd, DEVICE_SERVE);

    /* EPIPE: the server's side ended, as it does when the device is detached. */
    if (r < 0 && errno != EPIPE)
        err_set_errno(err, errno, "Device '%s' failed", d->path);
    ioctl(d->fd, DEVICE_CLEAR_SOCK);
    return r == 0 || errno == EPIPE;
}

/* False while the kernel has not begun to serve @d: whatever is read from it fails then. */
static bool device_has_size(const NbdDevice *d)
{
    g_autofree char *path = g_strdup_printf("/sys/block/nbd%u/size", d->index);
    g_autofree char *text = NULL;

    return !g_file_get_contents(path, &text, NULL, NULL) || g_ascii_strtoull(text, NULL, 10);
}

void nbd_device_scan(const NbdDevice *d)
{
    int fd;

    for (int ms = 0; ms < SCAN_PATIENCE_MS && !device_has_size(d); ms++)
        g_usleep(1000);
    /* Opening a device whose size is new is what makes the kernel read its partition table. */
    fd = open(d->path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        close(fd);
}

bool nbd_device_detach(NbdDevice *d, GError **err)
{
    uint8_t message[NBD_NETLINK_MAX];
    uint16_t family;

    if (nbd_netlink_family(&family) == 0 &&
        nbd_netlink_ask(message, nbd_netlink_disconnect(message, family, d->index)) == 0)
        return true;
    if (!device_open(d, err))
        return false;
    if (ioctl(d->fd, DEVICE_DISCONNECT) < 0)
        return err_set_errno(err, errno, "Cannot detach '%s'", d->path);
    ioctl(d->fd, DEVICE_CLEAR_SOCK);
    return true;
}
