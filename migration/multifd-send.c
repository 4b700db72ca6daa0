/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "io/co-lock.h"
#include "io/loop.h"
#include "migration/multifd-codec.h"
#include "migration/wire.h"
#include "util/err.h"

/* Pages of one packet. */
typedef struct {
    const RamBlock *block; /* NULL: there are none */
    unsigned pages;
    bool sync;
    uint64_t number;
    uint64_t off[MULTIFD_PAGES];
} Batch;

/* While one is busy its thread owns everything below .is_busy. */
typedef struct {
    MultifdSend *all;
    LoopThread *thread;
    bool is_busy;
    Channel *channel;
    MultifdCodec *codec;   /* NULL: pages go as they are */
    uint8_t *plain, *body; /* with a codec: copies of the pages, and what they became */
    Batch batch;
    uint64_t bytes;        /* of the batch, sent */
    int error;
} Sender;

struct MultifdSend {
    Loop *main;
    MultifdConfig config;
    GPtrArray *senders;
    Batch batch;           /* that is being filled */
    uint64_t packets, bytes;
    int error;             /* the first one, negative */
    bool is_interrupted;
    CoQueue freed;
};

/* ---- in a sender's thread -------------------------------------------------------------------- */

static void fill_header(const Sender *s, MultifdPacket *p, size_t size)
{
    const Batch *b = &s->batch;

    *p = (MultifdPacket){
        .magic = be32_of(MULTIFD_MAGIC), .version = be32_of(MULTIFD_VERSION),
        .flags = be32_of(s->all->config.compression << MULTIFD_COMPRESSION_SHIFT |
                         (b->sync ? MULTIFD_SYNC : 0)),
        .pages_alloc = be32_of(MULTIFD_PAGES), .pages = be32_of(b->pages), .size = be32_of(size),
        .number = be64_of(b->number),
    };
    if (b->block)
        g_strlcpy(p->block, b->block->name, sizeof(p->block));
    for (unsigned i = 0; i < b->pages; i++)
        p->off[i] = be64_of(b->off[i]);
}

/* Adds the pages of @b to @iov, those that lie side by side as one. Returns its new length. */
static unsigned add_pages(const Batch *b, struct iovec *iov, unsigned n)
{
    for (unsigned i = 0; i < b->pages; i++) {
        uint8_t *page = b->block->host + b->off[i];

        if (i && b->off[i] == b->off[i - 1] + RAM_PAGE_SIZE)
            iov[n - 1].iov_len += RAM_PAGE_SIZE;
        else
            iov[n++] = (struct iovec){ page, RAM_PAGE_SIZE };
    }
    return n;
}

/* The guest goes on writing, and no compressor reads each byte just once: it gets a copy. */
static size_t pack(Sender *s)
{
    const Batch *b = &s->batch;

    for (unsigned i = 0; i < b->pages; i++)
        memcpy(s->plain + i * RAM_PAGE_SIZE, b->block->host + b->off[i], RAM_PAGE_SIZE);
    return multifd_compress(s->codec, s->plain, (size_t)b->pages * RAM_PAGE_SIZE, s->body);
}

static CO void send_batch(Sender *s)
{
    struct iovec iov[1 + MULTIFD_PAGES];
    MultifdPacket head;
    size_t size = (size_t)s->batch.pages * RAM_PAGE_SIZE;
    unsigned n = 1;

    if (s->codec && size) {
        size = pack(s);
        iov[n++] = (struct iovec){ s->body, size };
        if (!size) {
            s->error = -EIO;
            return;
        }
    } else {
        n = add_pages(&s->batch, iov, n);
    }
    fill_header(s, &head, size);
    iov[0] = (struct iovec){ &head, sizeof(head) };
    s->error = channel_writev_all(s->channel, iov, n);
    s->bytes = sizeof(head) + size;
}

static CO void sender_freed(void *arg);

static CO void sender_run(void *arg)
{
    Sender *s = arg;

    send_batch(s);
    loop_call(s->all->main, sender_freed, s);
}

static CO void sender_shut(void *arg)
{
    channel_shutdown(((Sender *)arg)->channel);
}

/* ---- on the main loop ------------------------------------------------------------------------ */

static CO void sender_freed(void *arg)
{
    Sender *s = arg;
    MultifdSend *all = s->all;

    s->is_busy = false;
    all->bytes += s->bytes;
    if (!all->error)
        all->error = s->error;
    co_queue_wake_all(&all->freed);
}

static Sender *find_free(const MultifdSend *m)
{
    for (guint i = 0; i < m->senders->len; i++)
        if (!((Sender *)m->senders->pdata[i])->is_busy)
            return m->senders->pdata[i];
    return NULL;
}

static void start(Sender *s, const Batch *b)
{
    s->batch = *b;
    s->batch.number = s->all->packets++;
    s->is_busy = true;
    loop_call(loop_thread_loop(s->thread), sender_run, s);
}

static CO void send_filled(MultifdSend *m)
{
    Sender *s;

    if (!m->batch.pages)
        return;
    while (!(s = find_free(m)))
        co_queue_wait(&m->freed);
    if (!m->error)
        start(s, &m->batch);
    m->batch.block = NULL;
    m->batch.pages = 0;
}

CO void multifd_send_page(MultifdSend *m, const RamBlock *b, uint64_t off)
{
    if (m->batch.pages == MULTIFD_PAGES || (m->batch.pages && m->batch.block != b))
        send_filled(m);
    m->batch.block = b;
    m->batch.off[m->batch.pages++] = off;
}

static CO void await_all(MultifdSend *m)
{
    for (guint i = 0; i < m->senders->len; i++)
        while (((Sender *)m->senders->pdata[i])->is_busy)
            co_queue_wait(&m->freed);
}

CO int multifd_send_sync(MultifdSend *m)
{
    static const Batch sync = { .sync = true };

    send_filled(m);
    await_all(m);
    for (guint i = 0; i < m->senders->len && !m->error; i++)
        start(m->senders->pdata[i], &sync);
    await_all(m);
    return m->error;
}

uint64_t multifd_send_bytes(const MultifdSend *m)
{
    return m->bytes;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void sender_free(gpointer p)
{
    Sender *s = p;

    if (s->thread)
        loop_thread_stop(s->thread);
    channel_free(s->channel);
    multifd_codec_free(s->codec);
    g_free(s->plain);
    g_free(s->body);
    g_free(s);
}

static CO bool greet(MultifdSend *m, const Sender *s, unsigned id, GError **err)
{
    MultifdHello h = {
        .magic = be32_of(MULTIFD_MAGIC), .version = be32_of(MULTIFD_VERSION), .id = id,
    };
    int r;

    memcpy(h.uuid, m->config.uuid, sizeof(h.uuid));
    r = channel_write_all(s->channel, &h, sizeof(h));
    return r >= 0 || err_set_errno(err, r, "Multifd channel %u cannot be written", id);
}

MultifdSend *multifd_send_new(const MultifdConfig *config)
{
    MultifdSend *m = g_new0(MultifdSend, 1);

    m->main = loop_self();
    m->config = *config;
    m->senders = g_ptr_array_new_with_free_func(sender_free);
    return m;
}

CO bool multifd_send_add(MultifdSend *m, Channel *c, GError **err)
{
    Sender *s = g_new0(Sender, 1);
    unsigned id = m->senders->len;
    g_autofree char *name = g_strdup_printf("multifdsend_%u", id);

    *s = (Sender){ .all = m, .channel = c };
    g_ptr_array_add(m->senders, s);
    if (m->config.compression != MULTIFD_NONE) {
        s->codec = multifd_codec_new(m->config.compression, m->config.level, true, err);
        if (!s->codec)
            return false;
        s->plain = g_malloc(MULTIFD_PAGES * RAM_PAGE_SIZE);
        s->body = g_malloc(MULTIFD_BODY_MAX);
    }
    if (!greet(m, s, id, err))
        return false;
    s->thread = loop_thread_start(name, err);
    return s->thread;
}

void multifd_send_interrupt(MultifdSend *m)
{
    if (m->is_interrupted)
        return;
    m->is_interrupted = true;
    if (!m->error)
        m->error = -ECANCELED;
    for (guint i = 0; i < m->senders->len; i++) {
        Sender *s = m->senders->pdata[i];

        if (s->thread)
            loop_call(loop_thread_loop(s->thread), sender_shut, s);
    }
}

CO void multifd_send_free(MultifdSend *m)
{
    if (!m)
        return;
    await_all(m);
    g_ptr_array_unref(m->senders);
    g_free(m);
}
