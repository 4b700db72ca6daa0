/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A network interface of the host (TUN/TAP), made here or given as an open descriptor. */
#include "io/aio.h"
#include "io/channel.h"
#include "io/pool.h"
#include "net/backend.h"
#include "util/err.h"
#include "util/given-fd.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long a wait for room may go on after the end. */
enum { LOOK_NS = 50 * 1000 * 1000 };

typedef struct {
    Channel *channel;
    char name[IFNAMSIZ];
    char *down_script;     /* NULL: none */
    bool was_full;
    CoQueue full;          /* woken when the device has taken nothing, or all ends */
} Tap;

/* ---- packets --------------------------------------------------------------------------------- */

static bool tap_send(Netdev *n, Span packet)
{
    Tap *s = n->state;
    struct iovec iov[300];
    size_t covered;
    int count = span_to_iov(packet, iov, G_N_ELEMENTS(iov), &covered);

    if (covered < packet.len || writev(channel_fd(s->channel), iov, count) >= 0 || errno != EAGAIN)
        return true;
    s->was_full = true;
    co_queue_wake_all(&s->full);
    return false;
}

/* Tells the device when there is room again. */
static CO void wait_room(void *arg)
{
    Netdev *n = arg;
    Tap *s = n->state;

    while (!n->closing) {
        if (!s->was_full) {
            co_queue_wait(&s->full);
            continue;
        }
        s->was_full = false;
        while (!n->closing && aio_poll(channel_fd(s->channel), POLLOUT,
                                       clock_now_ns() + LOOK_NS) == -ETIMEDOUT)
            ;
        netdev_writable(n);
    }
}

static CO void receive(void *arg)
{
    Netdev *n = arg;
    Tap *s = n->state;
    g_autofree uint8_t *buf = g_malloc(NET_PACKET_MAX);

    while (!n->closing && channel_wait_readable(s->channel, 0) >= 0) {
        ssize_t len;

        while (!n->closing && (len = read(channel_fd(s->channel), buf, NET_PACKET_MAX)) > 0)
            if (!netdev_deliver_wait(n, span_of(buf, len)))
                return;
    }
}

static void tap_set_offloads(Netdev *n, unsigned offloads)
{
    Tap *s = n->state;
    unsigned flags = 0;

    if (offloads & NET_RECEIVES_UNSUMMED)
        flags |= TUN_F_CSUM;
    if (offloads & NET_RECEIVES_TSO4)
        flags |= TUN_F_TSO4;
    if (offloads & NET_RECEIVES_TSO6)
        flags |= TUN_F_TSO6;
    if (offloads & NET_RECEIVES_ECN)
        flags |= TUN_F_TSO_ECN;
    if (n->has_header)
        ioctl(channel_fd(s->channel), TUNSETOFFLOAD, flags);
}

/* ---- scripts --------------------------------------------------------------------------------- */

typedef struct {
    const char *script, *name;
} Script;

static int run_script(void *arg)
{
    const Script *s = arg;
    char *argv[] = { (char *)s->script, (char *)s->name, NULL };
    int status = 0;

    if (!g_spawn_sync(NULL, argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, NULL, NULL, &status, NULL))
        return -ENOENT;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

/* The script that an option names; NULL: none. */
static const char *script_of(const json_t *options, const char *key)
{
    const char *script = json_get_str(options, key, "no");

    return *script && strcmp(script, "no") ? script : NULL;
}

static CO bool call_script(const char *script, const char *name, GError **err)
{
    Script s = { script, name };

    return pool_run(run_script, &s) == 0 ||
           err_set(err, EIO, "network script %s failed", script);
}

/* ---- the netdev ------------------------------------------------------------------------------ */

static bool set_header(Netdev *n, int fd, GError **err)
{
    int size = NET_VIRTIO_HEADER;

    return !n->has_header || ioctl(fd, TUNSETVNETHDRSZ, &size) == 0 ||
           err_set_errno(err, errno, "The interface has no headers; vnet_hdr=off does without");
}

static bool make_interface(Netdev *n, const json_t *options, GError **err)
{
    const char *name = json_get_str(options, "ifname", "");
    Tap *s = n->state;
    struct ifreq r = { .ifr_flags = IFF_TAP | IFF_NO_PI };
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return err_set_errno(err, errno, "could not open /dev/net/tun");
    s->channel = channel_new_fd(fd);
    if (strlen(name) >= IFNAMSIZ)
        return err_set(err, EINVAL, "'%s' is too long for the name of an interface", name);
    strcpy(r.ifr_name, name);
    if (json_get_bool(options, "vnet_hdr", true))
        r.ifr_flags |= IFF_VNET_HDR;
    if (ioctl(fd, TUNSETIFF, &r) < 0)
        return err_set_errno(err, errno, "could not configure /dev/net/tun (%s)", name);
    n->has_header = json_get_bool(options, "vnet_hdr", true);
    memcpy(s->name, r.ifr_name, sizeof(s->name));
    return true;
}

static bool take_interface(Netdev *n, const json_t *options, GError **err)
{
    Tap *s = n->state;
    struct ifreq r = { 0 };
    const char *text = json_get_str(options, "fd", "");
    int fd = g_ascii_isdigit(*text) ? fcntl(atoi(text), F_DUPFD_CLOEXEC, 3) : named_fd_take(text);

    if (fd < 0)
        return err_set(err, EBADF, "There is no open descriptor '%s'", text);
    s->channel = channel_new_fd(fd);
    if (ioctl(fd, TUNGETIFF, &r) < 0)
        return err_set_errno(err, errno, "The descriptor is no TAP interface");
    n->has_header = r.ifr_flags & IFF_VNET_HDR;
    memcpy(s->name, r.ifr_name, sizeof(s->name));
    return true;
}

static bool limit_buffer(int fd, const json_t *options, GError **err)
{
    int size = MIN(json_get_int(options, "sndbuf", 0), INT_MAX);

    return !size || ioctl(fd, TUNSETSNDBUF, &size) == 0 ||
           err_set_errno(err, errno, "The interface takes no 'sndbuf'");
}

static CO bool tap_open(Netdev *n, const json_t *options, GError **err)
{
    Tap *s = n->state = g_new0(Tap, 1);
    const char *up = script_of(options, "script");

    if (json_has(options, "fd") && (json_has(options, "ifname") || json_has(options, "script") ||
                                    json_has(options, "vnet_hdr")))
        return err_set(err, EINVAL, "ifname=, script= and vnet_hdr= are invalid with fd=");
    if (!(json_has(options, "fd") ? take_interface(n, options, err)
                                  : make_interface(n, options, err)))
        return false;
    if (!set_header(n, channel_fd(s->channel), err) ||
        !limit_buffer(channel_fd(s->channel), options, err))
        return false;
    n->takes_long = n->has_header;
    if (up && !call_script(up, s->name, err))
        return false;
    s->down_script = g_strdup(script_of(options, "downscript"));
    co_group_start(&n->running, receive, n);
    co_group_start(&n->running, wait_room, n);
    return true;
}

static void tap_interrupt(Netdev *n)
{
    Tap *s = n->state;

    if (s->channel)
        channel_interrupt_wait(s->channel);
    co_queue_wake_all(&s->full);
}

static CO void tap_close(Netdev *n)
{
    Tap *s = n->state;

    if (s->down_script)
        call_script(s->down_script, s->name, NULL);
    g_free(s->down_script);
    channel_free(s->channel);
    g_free(s);
}

const NetdevDriver netdev_tap = {
    .type = "tap",
    .open = tap_open,
    .send = tap_send,
    .set_offloads = tap_set_offloads,
    .interrupt = tap_interrupt,
    .close = tap_close,
};
