/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/postcopy-target.h"
#include "io/co-lock.h"
#include "migration/missing.h"
#include "migration/wire.h"
#include "util/endian.h"
#include "util/err.h"
#include <inttypes.h>
#include <string.h>

struct PostcopyTarget {
    RamBlocks *ram;
    Missing *missing;
    Loop *main;
    LoopThread *thread;     /* NULL: none yet. While it runs it has everything down to .watching */
    StreamReader *reader;
    bool ok;
    CO int (*reply)(void *opaque, const void *buf, size_t len);
    void (*interrupt)(void *opaque);
    void *opaque;
    CoGroup asking;
    bool is_asking;
    CoGroup watching;

    bool is_started, ended; /* main loop */
    CoQueue waiting;        /* main loop: for .ended */
    void (*arrived)(void *opaque); /* main loop */
    bool is_telling;        /* with atomic access: a call of tell_arrived is on its way */
    void (*resumed)(void *opaque); /* main loop */
};

PostcopyTarget *postcopy_target_new(RamBlocks *ram, Blocktime *b, GError **err)
{
    Missing *m = missing_new(ram, b, err);
    PostcopyTarget *p;

    if (!m)
        return NULL;
    p = g_new0(PostcopyTarget, 1);
    *p = (PostcopyTarget){ .ram = ram, .missing = m, .main = loop_self() };
    return p;
}

/* In the thread. */
static CO void stop_watching(void *arg)
{
    PostcopyTarget *p = arg;

    missing_stop(p->missing);
    co_group_wait(&p->watching);
}

CO void postcopy_target_free(PostcopyTarget *p)
{
    if (!p)
        return;
    postcopy_target_wait(p);
    if (p->thread) {
        loop_call_wait(loop_thread_loop(p->thread), stop_watching, p);
        loop_thread_stop(p->thread);
    }
    missing_free(p->missing);
    g_free(p);
}

CO void postcopy_target_give_up(PostcopyTarget *p)
{
    postcopy_target_wait(p);
    missing_end(p->missing);
}

Loop *postcopy_target_loop(const PostcopyTarget *p)
{
    return p->thread ? loop_thread_loop(p->thread) : NULL;
}

/* ---- before the guest runs ------------------------------------------------------------------- */

/*
 * A version, the name of a block with its length and a zero, and ranges: start and length, u64
 * each.
 */
CO bool postcopy_target_discard(PostcopyTarget *p, Input *in, const uint8_t *data, unsigned len)
{
    enum { VERSION = 0, RANGE = 16 };
    unsigned name_len = len > 2 ? data[1] : 0, head = 2 + name_len + 1;
    char name[256] = { 0 };
    RamBlock *b;

    if (!name_len || data[0] != VERSION || head > len || data[head - 1] ||
        (len - head) % RANGE)
        return input_fail(in, EINVAL, "A list of memory to discard has %u bytes and version %u",
                          len,
                          len ? data[0] : 0);
    memcpy(name, data + 2, name_len);
    b = ram_block_find(p->ram, name);
    if (!b || !b->announced)
        return input_fail(in, ENOENT, "Memory '%s' was not announced", name);
    for (unsigned at = head; at < len; at += RANGE) {
        if (!missing_forget(p->missing, in, b, be64_at(data + at), be64_at(data + at + 8)))
            return false;
        /* There may be many, of much memory. */
        co_yield();
    }
    return true;
}

/* ---- in the thread --------------------------------------------------------------------------- */

static CO void tell_arrived(void *arg)
{
    PostcopyTarget *p = arg;

    __atomic_store_n(&p->is_telling, false, __ATOMIC_SEQ_CST);
    p->arrived(p->opaque);
}

/* One call on its way is enough for all that arrives before it gets there. */
static void check_arrived(PostcopyTarget *p)
{
    if (missing_take_arrived(p->missing) &&
        !__atomic_exchange_n(&p->is_telling, true, __ATOMIC_SEQ_CST))
        loop_call(p->main, tell_arrived, p);
}

static CO bool place(RamBlocks *ram, Input *in, RamBlock *b, uint64_t off, const uint8_t *page)
{
    PostcopyTarget *p = ram->opaque;
    bool ok = missing_place(p->missing, in, b, off, page);

    check_arrived(p);
    return ok;
}

static CO int ask_for(PostcopyTarget *p, const RamBlock *b, uint64_t off)
{
    struct {
        be16 message, len;
        be64 start;
        be32 size;
        uint8_t name_len;
        char name[255];
    } m;
    size_t name = strlen(b->name), len = sizeof(be64) + sizeof(be32) + 1 + name;

    m.message = be16_of(RETURN_REQUEST_NAMED);
    m.len = be16_of(len);
    m.start = be64_of(off);
    m.size = be32_of(RAM_PAGE_SIZE);
    m.name_len = name;
    memcpy(m.name, b->name, name);
    return p->reply(p->opaque, &m, 2 * sizeof(be16) + len);
}

static CO void ask(void *arg)
{
    PostcopyTarget *p = arg;
    RamBlock *b;
    uint64_t off;

    /* If the source does not hear us, reading from it fails too. */
    while (missing_next_wanted(p->missing, &b, &off) && ask_for(p, b, off) >= 0)
        ;
}

static bool reply_failed(Input *in, int r)
{
    return r >= 0 || input_fail(in, -r, "The source cannot be answered: %s", g_strerror(-r));
}

/* The message, and after it the length of the map, the map, and RECEIVED_END. */
CO bool postcopy_target_tell_received(PostcopyTarget *p, Input *in, const uint8_t *data,
                                      unsigned len)
{
    g_autoptr(GByteArray) map = NULL, m = g_byte_array_new();
    char name[256] = { 0 };
    be16 head[2] = { be16_of(RETURN_RECEIVED), be16_of(len) };
    be64 end = be64_of(RECEIVED_END), size;
    const RamBlock *b;

    if (!p->reader)
        return input_fail(in, EINVAL, "It comes too early");
    if (!len || len != 1u + data[0])
        return input_fail(in, EINVAL, "The name of memory has %u bytes", len);
    memcpy(name, data + 1, data[0]);
    b = ram_block_find(p->ram, name);
    if (!b || !b->announced)
        return input_fail(in, ENOENT, "Memory '%s' was not announced", name);
    map = missing_received(p->missing, b);
    size = be64_of(map->len);
    g_byte_array_append(m, (const uint8_t *)head, sizeof(head));
    g_byte_array_append(m, data, len);
    g_byte_array_append(m, (const uint8_t *)&size, sizeof(size));
    g_byte_array_append(m, map->data, map->len);
    g_byte_array_append(m, (const uint8_t *)&end, sizeof(end));
    return reply_failed(in, p->reply(p->opaque, m->data, m->len));
}

static CO void tell_resumed(void *arg)
{
    PostcopyTarget *p = arg;

    p->resumed(p->opaque);
}

CO bool postcopy_target_go_on(PostcopyTarget *p, Input *in)
{
    struct {
        be16 message, len;
        be32 value;
    } m = { be16_of(RETURN_RESUMED), be16_of(sizeof(be32)), be32_of(RESUMED) };

    if (!p->resumed || p->is_asking)
        return input_fail(in, EINVAL, "Nothing was paused");
    if (!reply_failed(in, p->reply(p->opaque, &m, sizeof(m))))
        return false;
    loop_call(p->main, tell_resumed, p);
    missing_tell_again(p->missing);
    p->is_asking = true;
    co_group_start(&p->asking, ask, p);
    return true;
}

static CO void thread_ended(void *arg)
{
    PostcopyTarget *p = arg;

    p->ended = true;
    co_queue_wake_all(&p->waiting);
}

/* Reads up to the end of the stream, or of the connection. */
static CO void read_rest(PostcopyTarget *p)
{
    uint64_t lacking;

    p->ok = stream_read_rest(p->reader);
    lacking = missing_pages(p->missing);
    if (p->ok && lacking)
        p->ok = input_fail(p->reader->in, EINVAL, "%" PRIu64 " pages of memory are missing",
                           lacking);
    if (p->ok)
        missing_end(p->missing);
    else
        p->interrupt(p->opaque); /* who asks may wait for a source that does not read */
    missing_hush(p->missing);
    co_group_wait(&p->asking);
    p->is_asking = false;
    loop_call(p->main, thread_ended, p);
}

/* Goes on while the connection is broken. */
static CO void watch(void *arg)
{
    missing_watch(((PostcopyTarget *)arg)->missing);
}

static CO void listen_run(void *arg)
{
    PostcopyTarget *p = arg;

    co_group_start(&p->watching, watch, p);
    p->is_asking = true;
    co_group_start(&p->asking, ask, p);
    read_rest(p);
}

static CO void resume_run(void *arg)
{
    read_rest(arg);
}

/* ---- for devices ----------------------------------------------------------------------------- */

typedef struct {
    PostcopyTarget *target;
    uint64_t at, len;
} Pages;

static CO void ask_pages(void *arg)
{
    Pages *pages = arg;

    missing_ask(pages->target->missing, pages->at, pages->len);
    check_arrived(pages->target);
    g_free(pages);
}

static void send_pages(void *opaque, uint64_t at, uint64_t len)
{
    PostcopyTarget *p = opaque;
    Pages *pages = g_new(Pages, 1);

    *pages = (Pages){ p, at, len };
    loop_call(loop_thread_loop(p->thread), ask_pages, pages);
}

bool postcopy_target_here(void *opaque, const uint8_t *at, uint64_t len)
{
    PostcopyTarget *p = opaque;

    return missing_is_here(p->missing, at, len, send_pages, p);
}

/* ---- while the guest runs -------------------------------------------------------------------- */

bool postcopy_target_listen(PostcopyTarget *p, Input *in)
{
    g_autoptr(GError) why = NULL;

    if (p->thread)
        return input_fail(in, EINVAL, "It comes twice");
    if (!missing_begin(p->missing, in))
        return false;
    p->thread = loop_thread_start("postcopy/listen", &why);
    return p->thread || input_fail(in, EAGAIN, "%s", why->message);
}

void postcopy_target_start(PostcopyTarget *p, StreamReader *r,
                           CO int (*reply)(void *opaque, const void *buf, size_t len),
                           void (*interrupt)(void *opaque), void (*arrived)(void *opaque),
                           void *opaque)
{
    p->reader = r;
    p->reply = reply;
    p->interrupt = interrupt;
    p->arrived = arrived;
    p->opaque = opaque;
    p->ram->part_ended = NULL;
    p->ram->place = place;
    p->ram->opaque = p;
    p->is_started = true;
    loop_call(loop_thread_loop(p->thread), listen_run, p);
}

CO bool postcopy_target_wait(PostcopyTarget *p)
{
    while (p->is_started && !p->ended)
        co_queue_wait(&p->waiting);
    return p->ok;
}

void postcopy_target_resume(PostcopyTarget *p, void (*resumed)(void *opaque))
{
    p->ended = false;
    p->resumed = resumed;
    /* The source forgets it too, and ends the section of memory again. */
    p->ram->last = NULL;
    p->reader->ram_ended = false;
    loop_call(loop_thread_loop(p->thread), resume_run, p);
}
