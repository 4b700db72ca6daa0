/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages to the kernel: a header, a generic header, and attributes, each a length, a type and its
 * bytes, in the machine's order and padded to 4. Source: linux/nbd-netlink.h, linux/genetlink.h.
 */
#include "nbd/netlink.h"
#include "util/fd.h"
#include <errno.h>
#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

/* ---- writing --------------------------------------------------------------------------------- */

typedef struct {
    uint8_t *buf;
    size_t len;
} Message;

static void *message_room(Message *m, size_t len)
{
    void *p = m->buf + m->len;

    g_assert(m->len + NLMSG_ALIGN(len) <= NBD_NETLINK_MAX);
    memset(p, 0, NLMSG_ALIGN(len));
    m->len += NLMSG_ALIGN(len);
    return p;
}

static Message message_begin(void *buf, uint16_t family, uint8_t command)
{
    Message m = { .buf = buf };
    struct nlmsghdr *head = message_room(&m, sizeof(*head));
    struct genlmsghdr *generic = message_room(&m, sizeof(*generic));

    head->nlmsg_type = family;
    head->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    generic->cmd = command;
    generic->version = 1;
    return m;
}

static size_t message_end(Message *m)
{
    ((struct nlmsghdr *)m->buf)->nlmsg_len = m->len;
    return m->len;
}

static void put_attribute(Message *m, uint16_t type, const void *data, size_t len)
{
    struct nlattr *a = message_room(m, NLA_HDRLEN + len);

    a->nla_type = type;
    a->nla_len = NLA_HDRLEN + len;
    memcpy((uint8_t *)a + NLA_HDRLEN, data, len);
}

static void put_u32(Message *m, uint16_t type, uint32_t v)
{
    put_attribute(m, type, &v, sizeof(v));
}

static void put_u64(Message *m, uint16_t type, uint64_t v)
{
    put_attribute(m, type, &v, sizeof(v));
}

/* An attribute made of others: what is put until nest_end is inside of it. */
static size_t nest_begin(Message *m, uint16_t type)
{
    size_t at = m->len;
    struct nlattr *a = message_room(m, NLA_HDRLEN);

    a->nla_type = type | NLA_F_NESTED;
    return at;
}

static void nest_end(Message *m, size_t at)
{
    ((struct nlattr *)(m->buf + at))->nla_len = m->len - at;
}

size_t nbd_netlink_connect(void *buf, uint16_t family, uint32_t index, int sock,
                           const NbdKernelExport *e)
{
    Message m = message_begin(buf, family, NBD_CMD_CONNECT);
    size_t sockets, item;

    put_u32(&m, NBD_ATTR_INDEX, index);
    put_u64(&m, NBD_ATTR_SIZE_BYTES, e->size);
    put_u64(&m, NBD_ATTR_BLOCK_SIZE_BYTES, e->block);
    put_u64(&m, NBD_ATTR_SERVER_FLAGS, e->flags);
    sockets = nest_begin(&m, NBD_ATTR_SOCKETS);
    item = nest_begin(&m, NBD_SOCK_ITEM);
    put_u32(&m, NBD_SOCK_FD, sock);
    nest_end(&m, item);
    nest_end(&m, sockets);
    return message_end(&m);
}

size_t nbd_netlink_disconnect(void *buf, uint16_t family, uint32_t index)
{
    Message m = message_begin(buf, family, NBD_CMD_DISCONNECT);

    put_u32(&m, NBD_ATTR_INDEX, index);
    return message_end(&m);
}

/* ---- asking ---------------------------------------------------------------------------------- */

typedef union {
    struct nlmsghdr head;
    uint8_t room[4096];
} Answer;

/*
 * Sends @len bytes at @buf; receives messages into @a until @want or an error: as nbd_netlink_ask.
 */
static int exchange(const void *buf, size_t len, uint16_t want, Answer *a, size_t *got)
{
    struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
    autofd int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);

    if (fd < 0 || sendto(fd, buf, len, 0, (void *)&kernel, sizeof(kernel)) < 0)
        return -errno;
    for (;;) {
        ssize_t n = recv(fd, a, sizeof(*a), 0);
        const struct nlmsgerr *e = NLMSG_DATA(&a->head);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n < (ssize_t)sizeof(a->head) || a->head.nlmsg_len > n)
            return -EPROTO;
        *got = a->head.nlmsg_len;
        if (a->head.nlmsg_type == NLMSG_ERROR)
            return *got < NLMSG_LENGTH(sizeof(*e)) ? -EPROTO : e->error;
        if (a->head.nlmsg_type == want)
            return 0;
    }
}

int nbd_netlink_ask(const void *buf, size_t len)
{
    Answer a;
    size_t got;

    /* What else the kernel tells, as the index it has chosen, comes before its acknowledgement. */
    return exchange(buf, len, NLMSG_ERROR, &a, &got);
}

/* The 16-bit attribute @type among those of @a; 0 if there is none. */
static uint16_t find_u16(const Answer *a, size_t len, uint16_t type)
{
    size_t at = NLMSG_LENGTH(GENL_HDRLEN);

    while (at + NLA_HDRLEN <= len) {
        struct nlattr attribute;
        uint16_t v;

        memcpy(&attribute, a->room + at, sizeof(attribute));
        if (attribute.nla_len < NLA_HDRLEN || attribute.nla_len > len - at)
            return 0;
        if (attribute.nla_type == type && attribute.nla_len >= NLA_HDRLEN + sizeof(v)) {
            memcpy(&v, a->room + at + NLA_HDRLEN, sizeof(v));
            return v;
        }
        at += NLA_ALIGN(attribute.nla_len);
    }
    return 0;
}

int nbd_netlink_family(uint16_t *family)
{
    uint8_t buf[NBD_NETLINK_MAX];
    Message m = message_begin(buf, GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
    Answer a;
    size_t got, len;
    int r;

    put_attribute(&m, CTRL_ATTR_FAMILY_NAME, NBD_GENL_FAMILY_NAME, sizeof(NBD_GENL_FAMILY_NAME));
    len = message_end(&m);
    r = exchange(buf, len, GENL_ID_CTRL, &a, &got);
    if (r < 0)
        return r;
    *family = find_u16(&a, got, CTRL_ATTR_FAMILY_ID);
    return *family ? 0 : -ENOENT;
}
