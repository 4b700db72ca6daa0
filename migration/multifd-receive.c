/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "io/co-lock.h"
#include "io/loop.h"
#include "migration/multifd-codec.h"
#include "migration/wire.h"
#include "util/err.h"
#include <inttypes.h>

/* How long a client that has connected may take to greet. */
#define GREETING_NS INT64_C(10000000000)

typedef enum { RUNNING, SYNCED, ENDED } State;

/* While one runs its thread owns everything below .state. */
typedef struct {
    MultifdReceive *all;
    unsigned n;            /* in the order of arrival */
    LoopThread *thread;
    State state;
    Channel *channel;
    bool is_greeted;
    bool may_have_pages;   /* the memory has been announced in the main stream */
    bool has_synced;       /* the round has ended */
    MultifdCodec *codec;   /* NULL: pages come as they are */
    uint8_t *body;         /* with a codec: one that has been read */
    uint64_t packets, bytes;
    GError *err;
} Receiver;

struct MultifdReceive {
    Loop *main;
    MultifdConfig config;
    RamBlocks *ram;
    GPtrArray *receivers;
    GError *err;           /* the first one */
    bool is_interrupted;
    CoQueue changed;
    void (*failed)(void *opaque);
    void *opaque;
};

/* ---- in a receiver's thread: checks ---------------------------------------------------------- */

static bool refuse(Receiver *r, const char *field, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

static bool refuse(Receiver *r, const char *field, const char *fmt, ...)
{
    g_autofree char *what = NULL;
    va_list ap;

    va_start(ap, fmt);
    what = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return err_set(&r->err, EINVAL, "Multifd channel %u, packet %" PRIu64 ", field '%s': %s", r->n,
                   r->packets, field, what);
}

static bool check_start(Receiver *r, be32 magic, be32 version)
{
    if (be32_get(magic) != MULTIFD_MAGIC)
        return refuse(r, "magic", "0x%08" PRIx32 " instead of 0x%08x", be32_get(magic),
                      MULTIFD_MAGIC);
    if (be32_get(version) != MULTIFD_VERSION)
        return refuse(r, "version", "%" PRIu32 " is not understood", be32_get(version));
    return true;
}

static bool is_zero(const uint8_t *p, size_t len)
{
    while (len && !*p)
        p++, len--;
    return !len;
}

static bool check_flags(Receiver *r, const MultifdPacket *p)
{
    uint32_t flags = be32_get(p->flags);
    uint32_t compression = (flags & MULTIFD_COMPRESSION_MASK) >> MULTIFD_COMPRESSION_SHIFT;

    if (flags & ~(uint32_t)(MULTIFD_SYNC | MULTIFD_COMPRESSION_MASK))
        return refuse(r, "flags", "0x%" PRIx32 " has a bit that means nothing", flags);
    /* Packets without pages may tell nothing of compression. */
    if (compression != r->all->config.compression && (be32_get(p->pages) || compression))
        return refuse(r, "flags", "Compression %" PRIu32 " instead of %u (0 none, 1 zlib, 2 zstd): "
                      "set the same multifd-compression at both sides",
                      compression, r->all->config.compression);
    return true;
}

static bool check_size(Receiver *r, const MultifdPacket *p)
{
    uint32_t pages = be32_get(p->pages), size = be32_get(p->size);

    if (pages > MULTIFD_PAGES)
        return refuse(r, "normal_pages", "%" PRIu32 " of at most %u", pages, MULTIFD_PAGES);
    if (be32_get(p->pages_alloc) < pages || be32_get(p->pages_alloc) > MULTIFD_PAGES)
        return refuse(r, "pages_alloc", "%" PRIu32 ", with %" PRIu32 " pages of at most %u",
                      be32_get(p->pages_alloc), pages, MULTIFD_PAGES);
    if (!pages)
        return true;
    if (r->codec ? !size || size > MULTIFD_BODY_MAX : size != pages * RAM_PAGE_SIZE)
        return refuse(r, "next_packet_size", "%" PRIu32 " bytes for %" PRIu32 " pages", size,
                      pages);
    return true;
}

/* The block whose pages come, all of them in its bounds; NULL: they are refused. */
static RamBlock *check_pages(Receiver *r, const MultifdPacket *p)
{
    bool is_name = memchr(p->block, 0, sizeof(p->block));
    RamBlock *b = is_name ? ram_block_find(r->all->ram, p->block) : NULL;

    if (!r->may_have_pages) {
        refuse(r, "normal_pages", "%" PRIu32 " before the memory was announced",
               be32_get(p->pages));
        return NULL;
    }
    if (!b || !b->announced) {
        refuse(r, "ramblock", "There is no memory '%.*s' here", (int)sizeof(p->block) - 1,
               p->block);
        return NULL;
    }
    for (uint32_t i = 0; i < be32_get(p->pages); i++) {
        uint64_t off = be64_get(p->off[i]);

        if (off % RAM_PAGE_SIZE || off >= b->size || b->size - off < RAM_PAGE_SIZE) {
            refuse(r, "offset", "0x%" PRIx64 " of memory '%s', which has 0x%" PRIx64 " bytes", off,
                   b->name, b->size);
            return NULL;
        }
    }
    return b;
}

/* ---- in a receiver's thread: reading --------------------------------------------------------- */

/* False at the end of the stream too, then without an error. */
static CO bool read_all(Receiver *r, void *buf, size_t len, bool may_end)
{
    int n = channel_read_all(r->channel, buf, len);

    r->bytes += len;
    if (n >= 0 || (n == -EPIPE && may_end))
        return n >= 0;
    return err_set_errno(&r->err, n, "Multifd channel %u cannot be read, packet %" PRIu64, r->n,
                         r->packets);
}

static CO bool read_hello(Receiver *r)
{
    MultifdHello h;

    if (!read_all(r, &h, sizeof(h), false) || !check_start(r, h.magic, h.version))
        return false;
    if (memcmp(h.uuid, r->all->config.uuid, sizeof(h.uuid)))
        return refuse(r, "uuid", "It is not this guest's: start both sides with the same -uuid");
    if (h.id >= r->all->config.channels)
        return refuse(r, "id", "%u, but there are %u channels: set the same multifd-channels at "
                      "both sides", h.id, r->all->config.channels);
    channel_set_deadline(r->channel, 0);
    r->is_greeted = r->has_synced = true;
    return true;
}

static CO bool read_body(Receiver *r, const MultifdPacket *p, RamBlock *b)
{
    uint32_t pages = be32_get(p->pages);

    if (r->codec) {
        if (!read_all(r, r->body, be32_get(p->size), false))
            return false;
        multifd_expand_begin(r->codec, r->body, be32_get(p->size));
    }
    for (uint32_t i = 0, n; i < pages; i += n) {
        uint64_t off = be64_get(p->off[i]);
        uint8_t *to = b->host + off;

        /* What lies side by side comes at once. */
        for (n = 1; i + n < pages && be64_get(p->off[i + n]) == off + n * RAM_PAGE_SIZE; n++)
            ;
        if (!r->codec && !read_all(r, to, (size_t)n * RAM_PAGE_SIZE, false))
            return false;
        if (r->codec && !multifd_expand(r->codec, to, (size_t)n * RAM_PAGE_SIZE))
            return refuse(r, "body", "The compressed pages are damaged");
    }
    return !r->codec || multifd_expand_end(r->codec) ||
           refuse(r, "body", "It has more than the %" PRIu32 " pages of the header", pages);
}

/* True: more packets of the round follow. */
static CO bool read_packet(Receiver *r)
{
    MultifdPacket p;
    RamBlock *b;

    if (!read_all(r, &p, sizeof(p), true))
        return false;
    if (!check_start(r, p.magic, p.version) || !check_flags(r, &p) ||
        !check_size(r, &p))
        return false;
    if (!is_zero(p.reserved, sizeof(p.reserved)))
        return refuse(r, "reserved", "It is not zero: the source sends what is not known here");
    if (be32_get(p.pages)) {
        b = check_pages(r, &p);
        if (!b || !read_body(r, &p, b))
            return false;
    }
    r->packets++;
    r->has_synced = be32_get(p.flags) & MULTIFD_SYNC;
    return !r->has_synced;
}

static CO void receiver_stopped(void *arg);

/* Reads the packets of a round. The first round is the greeting. */
static CO void receiver_run(void *arg)
{
    Receiver *r = arg;

    if (!r->is_greeted)
        read_hello(r);
    else
        while (read_packet(r))
            co_yield(); /* there may be data always: who interrupts has to run, too */
    loop_call(r->all->main, receiver_stopped, r);
}

static CO void receiver_shut(void *arg)
{
    channel_shutdown(((Receiver *)arg)->channel);
}

/* ---- on the main loop ------------------------------------------------------------------------ */

static CO void receiver_stopped(void *arg)
{
    Receiver *r = arg;
    MultifdReceive *m = r->all;

    r->state = r->has_synced && !r->err ? SYNCED : ENDED;
    if (r->err && !m->is_interrupted) {
        m->err = g_steal_pointer(&r->err);
        multifd_receive_interrupt(m);
        m->failed(m->opaque);
    }
    co_queue_wake_all(&m->changed);
}

static void run(Receiver *r)
{
    r->state = RUNNING;
    r->has_synced = false;
    loop_call(loop_thread_loop(r->thread), receiver_run, r);
}

static CO void await_all(MultifdReceive *m)
{
    for (guint i = 0; i < m->receivers->len; i++) {
        const Receiver *r = m->receivers->pdata[i];

        while (r->thread && r->state == RUNNING)
            co_queue_wait(&m->changed);
    }
}

static CO bool next_round(MultifdReceive *m, Input *in, bool may_have_pages)
{
    await_all(m);
    for (guint i = 0; i < m->receivers->len; i++)
        if (((Receiver *)m->receivers->pdata[i])->state != SYNCED)
            return input_fail(in, EINVAL, "Multifd channel %u has ended", i);
    for (guint i = 0; i < m->receivers->len; i++) {
        ((Receiver *)m->receivers->pdata[i])->may_have_pages = may_have_pages;
        run(m->receivers->pdata[i]);
    }
    return true;
}

CO bool multifd_receive_greeted(MultifdReceive *m, Input *in)
{
    return next_round(m, in, false);
}

CO bool multifd_receive_sync(MultifdReceive *m, Input *in)
{
    return next_round(m, in, true);
}

void multifd_receive_error(MultifdReceive *m, GError **err)
{
    if (!m->err)
        return;
    g_clear_error(err);
    g_propagate_error(err, g_steal_pointer(&m->err));
}

/* ---- life ------------------------------------------------------------------------------------ */

static void receiver_free(gpointer p)
{
    Receiver *r = p;

    if (r->thread)
        loop_thread_stop(r->thread);
    channel_free(r->channel);
    multifd_codec_free(r->codec);
    g_free(r->body);
    g_clear_error(&r->err);
    g_free(r);
}

MultifdReceive *multifd_receive_new(const MultifdConfig *config, RamBlocks *ram,
                                    void (*failed)(void *opaque), void *opaque)
{
    MultifdReceive *m = g_new0(MultifdReceive, 1);

    *m = (MultifdReceive){
        .main = loop_self(), .config = *config, .ram = ram, .failed = failed, .opaque = opaque,
        .receivers = g_ptr_array_new_with_free_func(receiver_free),
    };
    return m;
}

bool multifd_receive_add(MultifdReceive *m, Channel *c, GError **err)
{
    Receiver *r = g_new0(Receiver, 1);
    g_autofree char *name = g_strdup_printf("multifdrecv_%u", m->receivers->len);

    *r = (Receiver){ .all = m, .n = m->receivers->len, .channel = c };
    channel_set_deadline(c, clock_now_ns() + GREETING_NS);
    g_ptr_array_add(m->receivers, r);
    if (m->config.compression != MULTIFD_NONE) {
        r->codec = multifd_codec_new(m->config.compression, 0, false, err);
        if (!r->codec)
            return false;
        r->body = g_malloc(MULTIFD_BODY_MAX);
    }
    r->thread = loop_thread_start(name, err);
    if (r->thread)
        run(r);
    return r->thread;
}

void multifd_receive_interrupt(MultifdReceive *m)
{
    if (m->is_interrupted)
        return;
    m->is_interrupted = true;
    for (guint i = 0; i < m->receivers->len; i++) {
        Receiver *r = m->receivers->pdata[i];

        if (r->thread)
            loop_call(loop_thread_loop(r->thread), receiver_shut, r);
    }
}

CO void multifd_receive_free(MultifdReceive *m)
{
    if (!m)
        return;
    multifd_receive_interrupt(m);
    await_all(m);
    g_ptr_array_unref(m->receivers);
    g_clear_error(&m->err);
    g_free(m);
}
