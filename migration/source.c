/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/source.h"
#include "migration/page-bits.h"
#include "migration/fields.h"
#include "migration/stream.h"
#include "migration/wire.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Numbers of sections; memory comes first. */
enum { RAM_ID = 2, FIRST_ID = 4, WANTED_MAX = 4096 };

typedef struct {
    guint block;
    size_t page;
} WantedPage;

void source_init(MigSource *s, RamBlocks *ram,
                 CO int (*write)(void *opaque, const struct iovec *iov, int niov), void *opaque)
{
    *s = (MigSource){
        .ram = ram, .wanted = g_array_new(FALSE, FALSE, sizeof(WantedPage)),
        .pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC),
    };
    output_init(&s->out, write, opaque);
}

void source_clear(MigSource *s)
{
    for (guint i = 0; s->pending && i < s->ram->blocks->len; i++)
        g_free(s->pending[i]);
    g_free(s->pending);
    g_array_unref(s->wanted);
    if (s->pagemap >= 0)
        close(s->pagemap);
    output_clear(&s->out);
}

static size_t pages_of(const RamBlock *b)
{
    return b->size / RAM_PAGE_SIZE;
}

static size_t words_of(const RamBlock *b)
{
    return (pages_of(b) + WORD - 1) / WORD;
}

uint64_t source_bytes(const MigSource *s)
{
    return s->out.total + (s->multifd ? multifd_send_bytes(s->multifd) : 0);
}

/* All pages of a part are on their way before its end mark is. */
static CO void end_part(MigSource *s)
{
    int r = s->multifd ? multifd_send_sync(s->multifd) : 0;

    if (r < 0 && !s->out.error)
        s->out.error = r;
    ram_write_end_mark(&s->out);
    stream_write_footer(&s->out, RAM_ID);
    /* The target's channels wait for this mark: unsent, it would stop the next part. */
    if (s->multifd)
        output_flush(&s->out);
}

CO void source_begin(MigSource *s, const char *machine, const uint8_t *uuid)
{
    stream_write_header(&s->out, machine, uuid);
}

CO void source_open_return_path(MigSource *s)
{
    output_u8(&s->out, ELEMENT_COMMAND);
    output_u16(&s->out, COMMAND_OPEN_RETURN_PATH);
    output_u16(&s->out, 0);
}

CO void source_begin_ram(MigSource *s)
{
    SectionHead ram = { .id = RAM_ID, .name = "ram", .version = RAM_VERSION };

    s->pending = g_new0(unsigned long *, s->ram->blocks->len);
    for (guint i = 0; i < s->ram->blocks->len; i++) {
        const RamBlock *b = s->ram->blocks->pdata[i];
        size_t words = words_of(b);

        s->pending[i] = g_new(unsigned long, words);
        memset(s->pending[i], 0xff, words * sizeof(unsigned long));
        if (pages_of(b) % WORD)
            s->pending[i][words - 1] = (1UL << pages_of(b) % WORD) - 1;
        s->pending_pages += pages_of(b);
    }
    s->is_first_pass = true;
    stream_write_section_start(&s->out, ELEMENT_START, &ram);
    ram_write_start(&s->out, s->ram);
    end_part(s);
}

void source_begin_pass(MigSource *s)
{
    s->is_first_pass = false;
}

void source_add_pending(MigSource *s, size_t page)
{
    unsigned long *word = &s->pending[0][page / WORD], bit = 1UL << page % WORD;

    s->pending_pages += !(*word & bit);
    *word |= bit;
}

void source_drop_pending(MigSource *s, size_t page, size_t count)
{
    for (size_t end = page + count; page < end;) {
        size_t n = MIN(WORD - page % WORD, end - page);
        unsigned long bits = (n == WORD ? ~0UL : (1UL << n) - 1) << page % WORD;
        unsigned long *word = &s->pending[0][page / WORD];

        s->pending_pages -= __builtin_popcountl(*word & bits);
        *word &= ~bits;
        page += n;
    }
}

/* ---- memory that was never touched ----------------------------------------------------------- */

/* Of the next WORD pages at @host those that the kernel has given no memory: they are zero. */
static unsigned long untouched(int pagemap, const uint8_t *host)
{
    uint64_t entries[WORD];
    off_t at = (uintptr_t)host / RAM_PAGE_SIZE * sizeof(entries[0]);
    unsigned long set = 0;

    if (pagemap < 0 || pread(pagemap, entries, sizeof(entries), at) != sizeof(entries))
        return 0;
    for (unsigned i = 0; i < WORD; i++)
        if (!(entries[i] >> 62)) /* neither present nor swapped out */
            set |= 1UL << i;
    return set;
}

/* True if it had other than zeroes. */
static CO bool send_page(MigSource *s, const RamBlock *b, uint64_t off)
{
    bool is_zero = ram_is_zero(b->host + off, RAM_PAGE_SIZE);

    if (s->xbzrle && is_zero)
        xbzrle_forget(s->xbzrle, b, off);
    if (is_zero)
        ram_write_zero_page(&s->out, b, off, &s->last);
    else if (s->multifd)
        multifd_send_page(s->multifd, b, off);
    else if (s->xbzrle && !s->is_first_pass)
        xbzrle_write_page(s->xbzrle, &s->out, b, off, &s->last, !s->is_last_pass);
    else
        ram_write_whole_page(&s->out, b, off, &s->last);
    return !is_zero;
}

static CO void send_word(MigSource *s, const RamBlock *b, size_t first, unsigned long set,
                         unsigned long zero)
{
    while (set) {
        unsigned i = __builtin_ctzl(set);
        uint64_t off = (first + i) * RAM_PAGE_SIZE;

        set &= set - 1;
        s->pending_pages--;
        if (zero >> i & 1) {
            if (s->xbzrle)
                xbzrle_forget(s->xbzrle, b, off);
            ram_write_zero_page(&s->out, b, off, &s->last);
        }
        if (zero >> i & 1 || !send_page(s, b, off))
            s->zero_pages++;
        else
            s->pages++;
    }
}

/* ---- pages that the target waits for --------------------------------------------------------- */

bool source_want(MigSource *s, const char *name, uint64_t off, uint32_t len)
{
    const RamBlock *b = *name ? ram_block_find(s->ram, name)
                              : s->ram->blocks->pdata[s->wanted_block];

    if (!b || off % RAM_PAGE_SIZE || off > b->size || len > b->size - off)
        return false;
    g_ptr_array_find(s->ram->blocks, b, &s->wanted_block);
    for (uint64_t at = off; at < off + len; at += RAM_PAGE_SIZE) {
        WantedPage w = { s->wanted_block, at / RAM_PAGE_SIZE };

        s->requests++;
        /*
         * Everything pending comes in any case; a target that floods us only loses its precedence.
         */
        if (s->wanted->len < WANTED_MAX && s->pending[w.block][w.page / WORD] >> w.page % WORD & 1)
            g_array_append_val(s->wanted, w);
    }
    return true;
}

/* The pass goes on behind them: the guest is likely to need what lies there next. */
static CO void send_wanted(MigSource *s)
{
    for (guint i = 0; i < s->wanted->len; i++) {
        WantedPage w = g_array_index(s->wanted, WantedPage, i);
        size_t word = w.page / WORD;
        unsigned long bit = 1UL << w.page % WORD;

        if (!(s->pending[w.block][word] & bit))
            continue;
        s->pending[w.block][word] &= ~bit;
        send_word(s, s->ram->blocks->pdata[w.block], word * WORD, bit, 0);
        s->at_block = w.block;
        s->at_word = word;
    }
    g_array_set_size(s->wanted, 0);
    output_flush(&s->out);
}

/* ---- passes ---------------------------------------------------------------------------------- */

/* True: the end of memory is reached. */
static CO bool send_pending(MigSource *s, uint64_t limit)
{
    uint64_t start = source_bytes(s);

    if (s->wanted->len)
        send_wanted(s);

    for (; s->at_block < s->ram->blocks->len; s->at_block++, s->at_word = 0) {
        const RamBlock *b = s->ram->blocks->pdata[s->at_block];
        unsigned long *pending = s->pending[s->at_block];

        for (size_t words = words_of(b); s->at_word < words; s->at_word++) {
            size_t w = s->at_word;
            unsigned long set = pending[w];

            if (!set)
                continue;
            if (source_bytes(s) - start >= limit || s->out.error)
                return false;
            /* A page that is written from now on has to come again. */
            pending[w] = 0;
            send_word(s, b, w * WORD, set,
                      untouched(s->pagemap, b->host + w * WORD * RAM_PAGE_SIZE));
        }
    }
    s->at_block = s->at_word = 0;
    return true;
}

CO bool source_ram(MigSource *s, uint64_t limit, bool is_last)
{
    bool is_through;

    stream_write_section_part(&s->out, is_last ? ELEMENT_END : ELEMENT_PART, RAM_ID);
    s->is_last_pass = is_last;
    if (is_last)
        s->at_block = s->at_word = 0;
    is_through = send_pending(s, is_last ? UINT64_MAX : limit);
    end_part(s);
    return is_through;
}

/* ---- devices --------------------------------------------------------------------------------- */

static CO void send_section(MigSource *s, const MigSection *m, uint32_t id, json_t *devices)
{
    g_autofree void *image = g_malloc0(m->layout->size);
    SectionHead head = { .id = id, .instance = m->instance, .version = m->layout->version };
    json_t *o;

    m->save(m->opaque, m->n, image);
    g_strlcpy(head.name, m->name, sizeof(head.name));
    stream_write_section_start(&s->out, ELEMENT_FULL, &head);
    fields_write(&s->out, m->layout, image);
    stream_write_footer(&s->out, id);
    o = fields_describe(m->layout, image);
    json_put_str(o, "name", m->name);
    json_put_int(o, "instance_id", m->instance);
    json_put_str(o, "vmsd_name", m->layout->name);
    json_put_int(o, "version", m->layout->version);
    json_array_append_new(devices, o);
    if (s->stages)
        stages_mark(s->stages, "device", m->name);
}

CO void source_devices(MigSource *s, const GPtrArray *sections, json_t *devices)
{
    for (guint i = 0; i < sections->len; i++)
        send_section(s, sections->pdata[i], FIRST_ID + i, devices);
}

CO int source_finish(MigSource *s, const GPtrArray *sections)
{
    g_autoptr(json_t) description = json_object();
    json_t *devices = json_array();

    json_put_int(description, "page_size", RAM_PAGE_SIZE);
    json_put(description, "devices", devices);
    source_devices(s, sections, devices);
    s->end = s->out.total;
    stream_write_end(&s->out, description);
    return output_flush(&s->out);
}
