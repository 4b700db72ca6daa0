/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-rng-device: random bytes of the host's kernel, at once and as many as are asked for. */
#include "hw/virtio/section.h"
#include <sys/random.h>

enum { ID = 4, QUEUE_SIZE = 8, CHUNK = 256, MOST = 1 << 16 };

typedef struct {
    VirtioDevice virtio;
} VirtioRng;

static const Property rng_properties[] = { VIRTIO_PROPERTIES, {} };

static uint64_t rng_features(const VirtioDevice *d)
{
    return 0;
}

/* Fills what the driver gives, MOST bytes at most. How many it were. */
static uint32_t fill(VirtioDevice *d, const RingChain *c)
{
    uint8_t bytes[CHUNK];
    uint32_t done = 0, want = MIN(c->in_len, MOST);

    while (done < want) {
        size_t n = MIN(want - done, CHUNK);

        if (getrandom(bytes, n, 0) != (ssize_t)n)
            break;
        done += ring_chain_write(c, &d->memory, done, bytes, n);
    }
    return done;
}

/*
 * The driver may add chains meanwhile, from another processor, and kicks again for them: more than
 * fit into the queue are not done at once.
 */
static void rng_kick(VirtioDevice *d, unsigned queue)
{
    g_autofree RingChain *c = g_new(RingChain, 1);

    virtio_want_kicks(d, queue, true);
    for (unsigned i = 0; i < QUEUE_SIZE && virtio_pop(d, queue, c); i++) {
        if (c->out || !c->in) {
            virtio_fail(d);
            return;
        }
        virtio_push(d, queue, c, fill(d, c));
        virtio_want_kicks(d, queue, true);
    }
}

static const VirtioPart rng_part = { .name = "virtio-rng", .version = 1 };

static const VirtioType rng_type = {
    .part = &rng_part,
    .id = ID,
    .queues = 1,
    .features = rng_features,
    .kick = rng_kick,
};

static bool rng_realize(Device *d, GError **err)
{
    virtio_init((VirtioDevice *)d, &rng_type, QUEUE_SIZE);
    return true;
}

const DeviceClass device_virtio_rng = {
    .name = "virtio-rng-device",
    .bus = "virtio-bus",
    .size = sizeof(VirtioRng),
    .is_stateless = true,
    .properties = rng_properties,
    .realize = rng_realize,
};
