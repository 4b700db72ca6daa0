/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kinds ringbuf and memory (its older name): what is sent is kept in memory, the last of it. */
#include "monitor/backend.h"
#include "util/err.h"
#include "util/size.h"
#include <inttypes.h>

enum { SIZE_DEFAULT = 64 << 10 };

/* Positions count bytes written and read so far; they differ by @size at most. */
typedef struct {
    uint8_t *at;
    uint64_t size, written, read;
} Ring;

static CO bool ringbuf_open(Chardev *c, const json_t *data, GError **err)
{
    Ring *r = c->state;
    int64_t size = json_get_int(data, "size", SIZE_DEFAULT);

    if (size <= 0 || !is_power_of_2(size))
        return err_set(err, EINVAL, "size of %s chardev must be power of two", "ringbuf");
    r->at = g_try_malloc0(size);
    if (!r->at)
        return err_set(err, ENOMEM, "No memory for a ring buffer of %" PRId64 " bytes", size);
    r->size = size;
    chardev_connected(c, NULL, NULL);
    return true;
}

static void ringbuf_close(Chardev *c)
{
    Ring *r = c->state;

    g_free(r->at);
}

static void ringbuf_write(Chardev *c, const void *buf, size_t len)
{
    Ring *r = c->state;

    for (size_t i = 0; i < len; i++)
        r->at[r->written++ & (r->size - 1)] = ((const uint8_t *)buf)[i];
    r->read = MAX(r->read, r->written > r->size ? r->written - r->size : 0);
}

static bool is_ring(const Chardev *c, GError **err)
{
    return c->drv->write == ringbuf_write ||
           err_set(err, EINVAL, "%s is not a ringbuf device", c->id);
}

bool chardev_ring_write(Chardev *c, const void *buf, size_t len, GError **err)
{
    if (!is_ring(c, err))
        return false;
    ringbuf_write(c, buf, len);
    return true;
}

bool chardev_ring_read(Chardev *c, size_t len, GByteArray **out, GError **err)
{
    Ring *r = c->state;

    if (!is_ring(c, err))
        return false;
    len = MIN(len, r->written - r->read);
    *out = g_byte_array_sized_new(len);
    for (size_t i = 0; i < len; i++)
        g_byte_array_append(*out, &r->at[r->read++ & (r->size - 1)], 1);
    return true;
}

const ChardevDriver backend_ringbuf = {
    .name = "ringbuf",
    .state_size = sizeof(Ring),
    .open = ringbuf_open,
    .close = ringbuf_close,
    .write = ringbuf_write,
};

const ChardevDriver backend_memory = {
    .name = "memory",
    .state_size = sizeof(Ring),
    .open = ringbuf_open,
    .close = ringbuf_close,
    .write = ringbuf_write,
};
