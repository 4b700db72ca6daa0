/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/postcopy-source.h"
#include "migration/page-bits.h"
#include "migration/wire.h"
#include <string.h>

enum { RANGES_MAX = 12 };

static CO void command(MigSource *s, unsigned number, unsigned len)
{
    output_u8(&s->out, ELEMENT_COMMAND);
    output_u16(&s->out, number);
    output_u16(&s->out, len);
}

static CO void ping(MigSource *s, uint32_t value)
{
    command(s, COMMAND_PING, sizeof(value));
    output_u32(&s->out, value);
}

CO void postcopy_source_ping(MigSource *s, uint32_t value)
{
    ping(s, value);
    output_flush(&s->out);
}

CO void postcopy_source_advise(MigSource *s)
{
    ping(s, 1);
    command(s, COMMAND_POSTCOPY_ADVISE, 2 * sizeof(uint64_t));
    output_u64(&s->out, RAM_PAGE_SIZE);
    output_u64(&s->out, RAM_PAGE_SIZE);
}

/* ---- what the target shall forget ------------------------------------------------------------ */

typedef struct {
    uint64_t start, len; /* bytes */
} Range;

static CO void discard(MigSource *s, const RamBlock *b, const Range *ranges, unsigned n)
{
    unsigned name = strlen(b->name);

    if (!n)
        return;
    command(s, COMMAND_POSTCOPY_DISCARD, 1 + 1 + name + 1 + n * sizeof(Range));
    output_u8(&s->out, 0); /* the version */
    output_name(&s->out, b->name);
    output_u8(&s->out, 0);
    for (unsigned i = 0; i < n; i++) {
        output_u64(&s->out, ranges[i].start);
        output_u64(&s->out, ranges[i].len);
    }
}

/* The first page from @at on that is pending (@set) or is not; @end: there is none. */
static size_t find_page(const unsigned long *pending, size_t at, size_t end, bool set)
{
    while (at < end) {
        unsigned long word = (set ? pending[at / WORD] : ~pending[at / WORD]) >> at % WORD;

        if (word)
            return MIN(at + __builtin_ctzl(word), end);
        at += WORD - at % WORD;
    }
    return end;
}

CO void postcopy_source_discard(MigSource *s)
{
    for (guint i = 0; i < s->ram->blocks->len; i++) {
        const RamBlock *b = s->ram->blocks->pdata[i];
        size_t end = b->size / RAM_PAGE_SIZE, at = find_page(s->pending[i], 0, end, true);
        Range ranges[RANGES_MAX];
        unsigned n = 0;

        while (at < end) {
            size_t after = find_page(s->pending[i], at, end, false);

            ranges[n++] = (Range){ at * RAM_PAGE_SIZE, (after - at) * RAM_PAGE_SIZE };
            if (n == RANGES_MAX) {
                discard(s, b, ranges, n);
                n = 0;
            }
            at = find_page(s->pending[i], after, end, true);
        }
        discard(s, b, ranges, n);
    }
    ping(s, 2);
}

/* ---- the guest ------------------------------------------------------------------------------- */

CO int postcopy_source_put_package(MigSource *s, const GPtrArray *sections)
{
    g_autoptr(json_t) unused = json_array();

    command(s, COMMAND_POSTCOPY_LISTEN, 0);
    source_devices(s, sections, unused);
    ping(s, POSTCOPY_PING_RUN);
    command(s, COMMAND_POSTCOPY_RUN, 0);
    return output_flush(&s->out);
}

CO int postcopy_source_announce_package(MigSource *s, uint32_t len)
{
    command(s, COMMAND_PACKAGED, sizeof(len));
    output_u32(&s->out, len);
    return output_flush(&s->out);
}

/* ---- another connection ---------------------------------------------------------------------- */

CO int postcopy_source_ask_received(MigSource *s, const RamBlock *b)
{
    command(s, COMMAND_RECV_BITMAP, 1 + strlen(b->name));
    output_name(&s->out, b->name);
    return output_flush(&s->out);
}

void postcopy_source_set_received(MigSource *s, guint n, const uint8_t *map)
{
    const RamBlock *b = s->ram->blocks->pdata[n];

    for (size_t page = 0; page < b->size / RAM_PAGE_SIZE; page++) {
        unsigned long *word = &s->pending[n][page / WORD], bit = 1UL << page % WORD;
        bool was = *word & bit, is = !(map[page / 8] >> page % 8 & 1);

        *word = is ? *word | bit : *word & ~bit;
        s->pending_pages += is - was;
    }
}

CO int postcopy_source_resume(MigSource *s)
{
    /* Records say anew whose pages they are, and the target asks anew for what it waits for. */
    s->last = NULL;
    g_array_set_size(s->wanted, 0);
    command(s, COMMAND_POSTCOPY_RESUME, 0);
    return output_flush(&s->out);
}

/* ---------------------------------------------------------------------------------------------- */

CO int postcopy_source_end(MigSource *s)
{
    source_ram(s, 0, true);
    output_u8(&s->out, ELEMENT_EOF);
    return output_flush(&s->out);
}
