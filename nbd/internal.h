/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server from inside: what its files share. Everything belongs to the server's loop but for
 * what is said to belong to the loop on which a client is served.
 *
 *     server.c     listening, life of clients, stopping    loops.c  where clients are served
 *     handshake.c  options of a client            meta.c     its metadata contexts
 *     receive.c    requests as they come in       task.c     one request: checked and carried out
 *     reply.c      answers as they go out         status.c   block status
 *     read.c       reads that leave out holes     export.c   what is offered
 *     buffer.c     memory for data            ledger.c   how much of it clients hold
 *
 * A client is greeted on the server's loop and served on the one where the nodes of its export
 * live. It goes there, and on to another when the nodes have done so, by way of the server's loop,
 * between two requests of its own: when all that it asked for is answered.
 *
 * A client has one coroutine that receives and one for each request under way. Whichever of these
 * finds nobody sending becomes the sender of all answers that are ready.
 */
#ifndef NBD_INTERNAL_H
#define NBD_INTERNAL_H

#include "block/dirty.h"
#include "io/channel.h"
#include "io/co-lock.h"
#include "io/detached-call.h"
#include "io/iothread.h"
#include "nbd/proto.h"
#include "nbd/server.h"
#include <pthread.h>

enum {
    NBD_SCRATCH_LEN = 256 << 10, /* what one system call receives at most, of small requests ... */
    NBD_SCRATCH_MIN = 4 << 10,   /* ... and at least, if so much is there */
    NBD_HEADER_MAX = sizeof(NbdExtendedRequest),
    /*
     * Answers ready and not sent: beyond it no more are prepared, since they would only get cold.
     */
    NBD_UNSENT_MAX = 512 << 10,
    NBD_STATUS_MAX = 128 << 10, /* extents in answer to BLOCK_STATUS, in bytes */
};

/* ---- memory for data ------------------------------------------------------------------------- */

enum { NBD_BUFFER_CLASSES = 14 }; /* 4 KiB << class, the last 32 MiB */

typedef struct NbdFreeBuffer NbdFreeBuffer;

/* Buffers that wait to be used again. */
typedef struct {
    NbdFreeBuffer *free[NBD_BUFFER_CLASSES];
    size_t bytes;          /* in all of them */
    size_t may_keep;       /* what that may be, taken from ... */
    _Atomic size_t *left;  /* ... what all loops of the server may keep besides */
} NbdBuffers;

/* Page-aligned memory for @len (at most NBD_PAYLOAD_MAX) bytes; NULL if there is none. */
void *nbd_buffer_take(NbdBuffers *b, size_t len);
/* Gives back what nbd_buffer_take gave for @len. NULL is fine. */
void nbd_buffer_give(NbdBuffers *b, void *p, size_t len);
void nbd_buffers_trim(NbdBuffers *b);

/* ---- the objects ----------------------------------------------------------------------------- */

typedef struct NbdClient NbdClient;
typedef struct NbdTask NbdTask;
typedef struct NbdMemoryWait NbdMemoryWait;

/* What the clients share that are served on one loop. Belongs to that loop but for .refs. */
typedef struct {
    NbdServer *server;
    Loop *loop;
    LoopThread *thread;     /* a reference; NULL: the server's own loop */
    unsigned refs;          /* of clients and exports */
    unsigned n_clients;     /* served here now */
    NbdBuffers buffers;
    NbdTask *free_tasks;
    uint8_t *scratch;       /* NBD_SCRATCH_LEN bytes; used by who does not suspend */
} NbdLoop;

/* Numbers of metadata contexts on the wire, and bits of NbdClient.contexts. */
enum { NBD_ID_ALLOCATION = 0, NBD_ID_DEPTH = 1, NBD_ID_BITMAP = 2 /* and on */ };

struct NbdExport {
    unsigned refs;          /* the server's, and one for each client */
    NbdServer *server;
    char *name, *description;
    Handle *handle;
    char *who;              /* "NBD export 'NAME'" */
    bool read_only;
    bool depth;
    _Atomic bool removed;   /* no longer the server's; requests fail */
    NbdLoop *at;            /* where its clients are to be served; a reference */
    GPtrArray *bitmaps;     /* of DirtyBitmap, busy with us */
    GPtrArray *holders;     /* of Handle: they keep nodes of bitmaps on the main loop */
    void (*gone)(void *opaque); /* as NbdExportConfig says */
    void *opaque;
};

typedef enum { NBD_SIMPLE, NBD_STRUCTURED, NBD_EXTENDED } NbdReplyStyle;

/* What the server may have to wait for a client to take or to give. */
typedef struct {
    _Atomic int64_t since_ns; /* since when it waits; 0: it does not. The client's loop sets it */
    uint64_t moved;         /* bytes at @seen_ns. These two belong to the server's loop */
    int64_t seen_ns;        /* when it last saw that much had been moved */
} NbdAwaited;

/* Belongs to the loop that serves it, but for the first part. */
struct NbdClient {
    NbdServer *server;
    NbdClient *prev, *next; /* in the server's list */
    NbdLoop *at;            /* a reference; another one only while nothing of it runs */
    NbdExport *told;        /* whose size it was told, below which that does not go; NULL: none */
    uint64_t size;          /* bytes of that; constant while it is served */
    unsigned orders;        /* nbd_client_order() that are under way */
    bool runs;              /* its coroutines do, on any loop */
    Mail has_paused;        /* says that they do not */
    int64_t cut_ns;         /* when it was cut off, for it kept others waiting for memory; 0: not */

    Channel *channel;
    char *peer;
    int64_t since_ns;
    DetachedCall *admission;      /* asks whether to let it in; NULL: not now */
    NbdExport *export;      /* NULL during the handshake */
    NbdReplyStyle style;
    bool fixed, no_zeroes;  /* the client's handshake flags */
    unsigned refusals_left; /* not authorised: so many more options get that answer; 0: it is */
    bool served;            /* the handshake has succeeded */
    bool stop_receiving;    /* no more requests: the client has left, or is to leave */
    _Atomic bool broken;    /* nothing can be sent any more */
    bool must_move;         /* it is to be served on another loop */
    bool moves;             /* and has received nothing that is not carried out, nor will */
    bool awaits;            /* the receiver waits for the next request */
    NbdExport *context_export; /* that @contexts were chosen for, or NULL; a reference */
    uint64_t contexts;      /* a bit for each chosen one */

    /* Received and not yet used: in the server's scratch memory, or in @kept. */
    const uint8_t *in;
    size_t in_len;
    uint8_t *kept;          /* while the receiver waits with bytes left; NULL: none */
    size_t kept_len;        /* bytes allocated there */
    uint8_t head[NBD_HEADER_MAX]; /* the same for less than a header */
    bool sends_much;        /* its last write was large: do not receive far past the header */
    bool drained;           /* the last system call got all that was there */

    unsigned in_flight;     /* tasks */
    size_t bytes;           /* of their buffers */
    _Atomic size_t held;    /* bytes of all that is kept for it */
    CoQueue room;           /* the receiver waits here for those to fall, or sending to end */
    NbdTask *done, **done_tail; /* answers that wait to be sent */
    size_t unsent;          /* bytes of answers that are not sent yet */
    bool sending;
    NbdAwaited answers;     /* that are being sent, which it has to take */
    NbdAwaited data;        /* that it has announced and has to send */
    size_t answered;        /* bytes of answers since the receiver last let others go first */
    uint64_t requests, bytes_read, bytes_written;
};

/* Room for the header of a reply and what precedes data in its first chunk. */
enum { NBD_REPLY_HEAD = sizeof(NbdExtendedReply) + 16 };

struct NbdTask {
    NbdTask *next;          /* free, or waiting to be sent */
    NbdClient *client;
    uint16_t type, flags;
    uint32_t payload;       /* bytes that follow the request */
    uint64_t cookie, offset, length;
    size_t answer;          /* bytes of the reply */
    int refusal;            /* negative errno found on receipt, with its reason */
    const char *reason;     /* static */
    void *buf;
    size_t buf_len;
    size_t held;            /* bytes of the client's that are this task's */
    struct iovec few[2], *iov; /* the reply; @iov is @few or allocated */
    int niov;
    uint8_t *more;          /* allocated memory that @iov points to; NULL: none */
    uint8_t head[NBD_REPLY_HEAD];
};

struct NbdServer {
    NbdServerConfig config;
    char *authz;
    GPtrArray *exports;     /* of NbdExport */
    GPtrArray *listeners;   /* of Channel */
    CoGroup accepting;
    NbdClient *clients;
    unsigned n_clients;
    CoQueue room;           /* listeners that wait for n_clients to fall */
    Co *stopper;            /* who waits for all clients to leave; NULL: nobody */
    CoGroup closing;        /* images being closed */
    bool stopping;
    bool flush_failed;
    NbdLoop *own;           /* its own loop */
    GPtrArray *loops;       /* of NbdLoop: others */
    _Atomic uint64_t held;  /* bytes kept for all clients ... */
    uint64_t held_max;      /* ... and what that may be, but for what is there already */
    pthread_mutex_t memory; /* protects the list of those who wait for .held to fall */
    NbdMemoryWait *waits, **waits_tail;
    _Atomic unsigned n_waits; /* how many those are */
    /* bytes of free buffers that loops may keep, beyond what they do */
    _Atomic size_t buffers_left;
    _Atomic uint64_t inboxes; /* bytes of .held that were received and wait */
    uint64_t inboxes_max;   /* from there on little is received at once */
    int64_t looked_ns;      /* when it last looked who keeps others waiting */
    size_t bytes_max;       /* of the buffers of one client */
    size_t task_cost;       /* bytes that a task takes, without data */
    unsigned clients_max;   /* more wait */
};

/* ---- server.c -------------------------------------------------------------------------------- */

/* Tells whoever wants to know, with the client's address in front. */
void nbd_report(NbdClient *c, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* When its handshake has to be over, monotonic; 0: never. */
int64_t nbd_handshake_deadline(const NbdClient *c);
/* Ends both directions: receiver and sender find out. On its loop or the server's. */
void nbd_client_cut(NbdClient *c);
/* It is to be served where its export says. On the server's loop. */
void nbd_client_follow(NbdClient *c);
/* Serves @c, or ends it, if nothing of it runs any more. On the server's loop. */
void nbd_client_go_on(NbdClient *c);

/* ---- loops.c: on the server's loop ----------------------------------------------------------- */

void nbd_loops_init(NbdServer *s);
void nbd_loops_clear(NbdServer *s);
/* A reference to the loop of @thread (NULL: the server's own). */
NbdLoop *nbd_loop_of(NbdServer *s, IoThread *thread);
NbdLoop *nbd_loop_ref(NbdLoop *l);
void nbd_loop_unref(NbdLoop *l);
/*
 * Calls @fn, which does not suspend, on the loop where @c is served: at once on that loop, and
 * from the server's some time later, but before @c leaves it or ends.
 */
void nbd_client_order(NbdClient *c, void (*fn)(NbdClient *c));

/* ---- export.c -------------------------------------------------------------------------------- */

NbdExport *nbd_export_ref(NbdExport *e);
void nbd_export_unref(NbdExport *e);
/*
 * @c is about to be told the size of @e, which is c->size and what it keeps, until it forgets it.
 */
void nbd_client_tell_size(NbdClient *c, NbdExport *e);
void nbd_client_forget_size(NbdClient *c);
/* Transmission flags for a client of that style. */
uint16_t nbd_export_flags(const NbdExport *e, NbdReplyStyle style);
uint32_t nbd_export_preferred_block(const NbdExport *e);
/* The export called @name, @len bytes, no NUL needed; NULL if there is none. */
NbdExport *nbd_export_lookup(NbdServer *s, const char *name, size_t len);

/* ---- ledger.c -------------------------------------------------------------------------------- */

/* Finds out what there is for clients. */
void nbd_ledger_init(NbdServer *s);
void nbd_ledger_clear(NbdServer *s);
/* Bytes to receive at once from a client that may have to keep them: from ..._MIN to ..._LEN. */
size_t nbd_inbox_max(const NbdServer *s);
/* Lets @c hold @n bytes more if it may now, at once. */
bool nbd_memory_try(NbdClient *c, size_t n);
/* Waits until @c may hold @n bytes more. False: it is to leave instead. */
CO bool nbd_memory_take(NbdClient *c, size_t n);
void nbd_memory_give(NbdClient *c, size_t n);
/* The same for @n bytes that were received already and wait: @c need not wait to hold them. */
void nbd_memory_add_inbox(NbdClient *c, size_t n);
void nbd_memory_give_inbox(NbdClient *c, size_t n);

/* ---- handshake.c, meta.c --------------------------------------------------------------------- */

/* From the greeting to an agreed export (true), or the end of it. */
CO bool nbd_handshake(NbdClient *c, GError **err);

/* Reads the data of an option piece by piece; every length is checked. */
typedef struct {
    const uint8_t *at;
    size_t left;
} NbdData;

bool nbd_data_u16(NbdData *d, uint16_t *v);
bool nbd_data_u32(NbdData *d, uint32_t *v);
/* A be32 length and that many bytes, which stay where they are. */
bool nbd_data_string(NbdData *d, const char **s, uint32_t *len);

/* One reply to option @option. 0 or a negative errno. */
CO int nbd_option_reply(NbdClient *c, uint32_t option, uint32_t type, const void *data, size_t len);
/* The same with a text for people; @type is an error. */
CO int nbd_option_refuse(NbdClient *c, uint32_t option, uint32_t type, const char *fmt, ...)
    G_GNUC_PRINTF(4, 5);
/* Chosen so far: nothing. */
void nbd_contexts_forget(NbdClient *c);
/* Answers LIST_META_CONTEXT or SET_META_CONTEXT. 0 or a negative errno: drop the client. */
CO int nbd_option_meta(NbdClient *c, uint32_t option, NbdData d);

/* ---- receive.c ------------------------------------------------------------------------------- */

/* Receives and starts requests until the client, or an error, ends it. */
CO void nbd_receive(NbdClient *c);

/* ---- task.c, read.c, status.c ---------------------------------------------------------------- */

/* A task of @c with nothing in it. */
NbdTask *nbd_task_take(NbdClient *c);
/* Refuses what need not be carried out, by setting @t->refusal. Before its payload is received. */
void nbd_task_check(NbdTask *t);
/* Bytes of memory that @t needs besides its payload. */
uint64_t nbd_task_room(const NbdTask *t);
/* The same of an answer that is made up. */
size_t nbd_task_answer_max(const NbdTask *t);
/* Says why @t is not carried out. @reason is static. */
void nbd_task_refuse(NbdTask *t, int error, const char *reason);
/* Carries it out and answers. Takes @t over. */
CO void nbd_task_start(NbdTask *t);
/*
 * To be called between pieces of long work, which may be of exabytes and never wait for the image:
 * others have their turn. 0, or -ESHUTDOWN if the client has left or is to leave.
 */
CO int nbd_task_pause(const NbdTask *t);
/*
 * What the export is from byte @at of the range of @t on, at most to its end: as
 * handle_extent_above. 0, or a negative errno, also if the image has become smaller.
 */
CO int nbd_task_extent(const NbdTask *t, uint64_t at, bool precise, Extent *e, int *above);
/* Back to where it was taken from, with its memory. */
void nbd_task_give(NbdTask *t);
/* A READ without the flag DF in a structured reply. 0 or a negative errno. */
CO int nbd_task_read_sparse(NbdTask *t);
/* A BLOCK_STATUS for the contexts of @wanted, which may be none. 0 or a negative errno. */
CO int nbd_task_status(NbdTask *t, uint64_t wanted);

/* ---- reply.c --------------------------------------------------------------------------------- */

/* Make the whole reply of @t: success without data, an error, data that is @t->buf. */
void nbd_reply_done(NbdTask *t);
void nbd_reply_error(NbdTask *t, int error, const char *text);
void nbd_reply_data(NbdTask *t);
/* One piece of a structured or extended reply in @head; returns its length. */
size_t nbd_chunk_head(const NbdTask *t, uint8_t *head, uint16_t type, bool last, uint64_t payload);
/* Sends @t's reply, together with others that are ready, and gives @t back. */
CO void nbd_reply_send(NbdTask *t);

#endif
