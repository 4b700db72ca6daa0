/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A client (front-end) of an export, and its queues. Inside of the room; one loop. */
#ifndef VHOST_USER_INTERNAL_H
#define VHOST_USER_INTERNAL_H

#include "io/channel.h"
#include "io/co-lock.h"
#include "vhost-user/memory.h"
#include "virtio/blk/disk.h"

enum { VHOST_QUEUES_MAX = VHOST_INDEX_MASK + 1 };

typedef struct VhostSession VhostSession;

typedef struct {
    VhostSession *session;
    Ring ring;                  /* .ready: it runs */
    uint16_t base;              /* of the available ring, when it starts */
    Channel *kick;              /* NULL: none */
    int call, err;              /* -1: none */
    bool enabled, stopping;
    bool serving, owes_call;    /* calls wait for the end of serving */
    CoGroup worker;
    CoQueue idle;               /* woken when the last request is done */
    unsigned in_flight;
    struct VhostRequest *spare; /* memory of requests that are done */
} VhostQueue;

struct VhostSession {
    Channel *channel;
    VirtioDisk *disk;
    const char *name;           /* of the export, for messages */
    VhostMemory *memory;        /* what new requests use */
    VhostMap *log;              /* pages written are noted here; NULL: nowhere */
    uint64_t log_size;          /* bytes */
    RingMemory ring_memory;
    uint64_t features;          /* accepted: those of virtio */
    uint32_t protocol;          /* and of the protocol */
    VhostQueue *queues;
    unsigned count;
    bool warned;
};

/* Tells once for each client what is wrong with it. */
void vhost_session_warn(VhostSession *s, const char *message);

/* ---- queue.c --------------------------------------------------------------------------------- */

void vhost_queue_init(VhostQueue *q, VhostSession *s);
/* Stops it and lets go of all it has. */
CO void vhost_queue_end(VhostQueue *q);
/* Starts with @kick, which is the queue's from now on, in any case. */
CO bool vhost_queue_start(VhostQueue *q, int kick, GError **err);
/* Returns when all its requests are done. Not running: nothing happens. */
CO void vhost_queue_stop(VhostQueue *q);
void vhost_queue_enable(VhostQueue *q, bool enabled);

/* ---- session.c ------------------------------------------------------------------------------- */

/* Serves the client at @channel until it leaves or is cut off by channel_shutdown. */
CO void vhost_session_run(VirtioDisk *disk, const char *name, Channel *channel);

#endif
