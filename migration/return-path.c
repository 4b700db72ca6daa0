/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/return-path.h"
#include "migration/wire.h"
#include "util/endian.h"
#include "util/err.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>

typedef struct {
    be16 message, len;
} Head;

typedef struct {
    be64 start;
    be32 len;
} Request;

static CO bool read_all(CO ssize_t (*read)(void *opaque, void *buf, size_t len), void *opaque,
                        void *buf, size_t len, GError **err)
{
    for (size_t have = 0; have < len;) {
        ssize_t n = read(opaque, (uint8_t *)buf + have, len - have);

        if (n <= 0)
            return err_set(err, EPIPE, "The target does not say that it has got everything");
        have += n;
    }
    return true;
}

/* False: @len bytes are no such message. */
static bool take_apart(ReturnMessage *m, const uint8_t *p, unsigned len)
{
    switch (m->message) {
    case RETURN_SHUT:
    case RETURN_PONG:
    case RETURN_RESUMED:
        m->value = len == sizeof(be32) ? be32_at(p) : 0;
        return len == sizeof(be32);
    case RETURN_REQUEST_NAMED:
        if (len <= sizeof(Request) || len != sizeof(Request) + 1 + p[sizeof(Request)])
            return false;
        memcpy(m->block, p + sizeof(Request) + 1, p[sizeof(Request)]);
        m->block[p[sizeof(Request)]] = 0;
        break;
    case RETURN_RECEIVED:
        if (!len || len != 1u + p[0])
            return false;
        memcpy(m->block, p + 1, p[0]);
        m->block[p[0]] = 0;
        return true;
    case RETURN_REQUEST:
        if (len != sizeof(Request))
            return false;
        break;
    default:
        return false;
    }
    m->start = be64_at(p);
    m->len = be32_at(p + sizeof(be64));
    return true;
}

CO bool return_message_read(CO ssize_t (*read)(void *opaque, void *buf, size_t len), void *opaque,
                            ReturnMessage *m, GError **err)
{
    uint8_t body[RETURN_LEN_MAX];
    unsigned len;
    Head head;

    if (!read_all(read, opaque, &head, sizeof(head), err))
        return false;
    *m = (ReturnMessage){ .message = be16_get(head.message) };
    len = be16_get(head.len);
    if (len > sizeof(body))
        return err_set(err, EINVAL, "The target sends a message of %u bytes", len);
    return read_all(read, opaque, body, len, err) &&
           (take_apart(m, body, len) ||
            err_set(err, EINVAL, "The target sends message %u of %u bytes", m->message, len));
}

CO uint8_t *return_map_read(CO ssize_t (*read)(void *opaque, void *buf, size_t len), void *opaque,
                            uint64_t pages, GError **err)
{
    size_t len = (pages + 63) / 64 * sizeof(uint64_t);
    g_autofree uint8_t *map = NULL;
    be64 size, end;

    if (!read_all(read, opaque, &size, sizeof(size), err))
        return NULL;
    if (be64_get(size) != len) {
        err_set(err, EINVAL, "The target's map of memory has %" PRIu64 " bytes, not %zu",
                be64_get(size), len);
        return NULL;
    }
    map = g_malloc(len);
    if (!read_all(read, opaque, map, len, err) || !read_all(read, opaque, &end, sizeof(end), err))
        return NULL;
    if (be64_get(end) == RECEIVED_END)
        return g_steal_pointer(&map);
    err_set(err, EINVAL, "The target's map of memory has no end");
    return NULL;
}
