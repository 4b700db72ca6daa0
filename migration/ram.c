/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/ram.h"
#include "migration/wire.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <zlib.h>

/* What is announced is added up; nothing real comes near. */
#define TOTAL_MAX (UINT64_C(1) << 52)

void ram_blocks_init(RamBlocks *r)
{
    *r = (RamBlocks){ .blocks = g_ptr_array_new_with_free_func(g_free) };
}

void ram_blocks_clear(RamBlocks *r)
{
    if (r->blocks)
        g_ptr_array_unref(r->blocks);
}

RamBlock *ram_block_add(RamBlocks *r, const char *name, uint8_t *host, uint64_t size,
                        uint64_t size_max)
{
    RamBlock *b = g_new0(RamBlock, 1);

    g_strlcpy(b->name, name, sizeof(b->name));
    b->host = host;
    b->size = size;
    b->size_max = size_max;
    g_ptr_array_add(r->blocks, b);
    return b;
}

RamBlock *ram_block_find(const RamBlocks *r, const char *name)
{
    for (guint i = 0; i < r->blocks->len; i++)
        if (!strcmp(((RamBlock *)r->blocks->pdata[i])->name, name))
            return r->blocks->pdata[i];
    return NULL;
}

bool ram_is_zero(const void *p, size_t len)
{
    const uint64_t *q = p;

    for (size_t i = 0; i < len / 8; i += 8)
        if (q[i] | q[i + 1] | q[i + 2] | q[i + 3] | q[i + 4] | q[i + 5] | q[i + 6] | q[i + 7])
            return false;
    return true;
}

/* ---- the list of blocks ---------------------------------------------------------------------- */

static bool announce(RamBlocks *r, Input *in, const char *name, uint64_t size)
{
    RamBlock *b = ram_block_find(r, name);

    if (!b && r->unknown)
        b = r->unknown(r, in, name, size);
    if (!b)
        return input_fail(in, ENOENT, "There is no memory '%s' here", name);
    if (b->announced)
        return input_fail(in, EINVAL, "Memory '%s' comes twice", name);
    if (size != b->size && (size > b->size_max || size % RAM_PAGE_SIZE))
        return input_fail(in, EINVAL,
                          "Memory '%s' has %" PRIu64 " bytes, but %" PRIu64 " bytes here",
                          name, size, b->size);
    b->size = size;
    b->announced = true;
    return true;
}

static CO bool read_list(Input *in, RamBlocks *r, uint64_t total)
{
    char name[256];

    if (total > TOTAL_MAX)
        return input_fail(in, EINVAL, "All memory is %" PRIu64 " bytes", total);
    while (total) {
        uint64_t size;

        if (!input_name(in, name))
            return false;
        size = input_u64(in);
        if (!input_ok(in))
            return false;
        if (!size || size > total)
            return input_fail(in, EINVAL,
                              "Memory '%s' has %" PRIu64 " of the last %" PRIu64 " bytes", name,
                              size, total);
        if (!announce(r, in, name, size))
            return false;
        total -= size;
    }
    return true;
}

/* ---- pages ----------------------------------------------------------------------------------- */

/* Where a page belongs. */
typedef struct {
    RamBlock *block;
    uint64_t off;
    uint8_t *to; /* NULL: nowhere */
} Place;

static CO bool put_page(Input *in, RamBlocks *r, const Place *at, const uint8_t *page)
{
    if (r->place)
        return r->place(r, in, at->block, at->off, page);
    if (at->to)
        memcpy(at->to, page, RAM_PAGE_SIZE);
    return true;
}

static CO bool read_zero(Input *in, RamBlocks *r, const Place *at)
{
    uint8_t fill = input_u8(in), *to = at->to;

    r->zero_pages++;
    if (input_ok(in) && r->place)
        return fill ? input_fail(in, ENOTSUP, "A page is filled with 0x%02x, not zeroes", fill)
                    : r->place(r, in, at->block, at->off, NULL);
    /* Memory that was never touched stays so. */
    if (input_ok(in) && to && (fill || !ram_is_zero(to, RAM_PAGE_SIZE)))
        memset(to, fill, RAM_PAGE_SIZE);
    return input_ok(in);
}

static CO bool read_compressed(Input *in, RamBlocks *r, const Place *at)
{
    uint8_t page[RAM_PAGE_SIZE];
    uint32_t len = input_u32(in);
    uLongf out = sizeof(page);
    const uint8_t *p;

    if (input_ok(in) && (!len || len > 2 * RAM_PAGE_SIZE))
        return input_fail(in, EINVAL, "A compressed page has %" PRIu32 " bytes", len);
    p = input_take(in, len);
    if (!p)
        return false;
    if (uncompress(page, &out, p, len) != Z_OK || out != sizeof(page))
        return input_fail(in, EINVAL, "A compressed page is damaged");
    r->compressed_pages++;
    return put_page(in, r, at, page);
}

/* A number of one or two bytes at *@p; false: there is none. */
static bool take_uleb(const uint8_t **p, const uint8_t *end, unsigned *v)
{
    if (*p == end)
        return false;
    *v = *(*p)++;
    if (*v < 0x80)
        return true;
    if (*p == end || **p >= 0x80)
        return false;
    *v = (*v & 0x7f) | *(*p)++ << 7;
    return true;
}

/* Runs of bytes that stay and bytes that come, in turn. */
static bool apply_delta(const uint8_t *p, const uint8_t *end, uint8_t page[RAM_PAGE_SIZE])
{
    unsigned at = 0, stay, come;

    for (bool first = true; p < end; first = false) {
        if (!take_uleb(&p, end, &stay) || (!stay && !first) || stay > RAM_PAGE_SIZE - at)
            return false;
        at += stay;
        if (!take_uleb(&p, end, &come) || !come || come > RAM_PAGE_SIZE - at || come > end - p)
            return false;
        memcpy(page + at, p, come);
        p += come;
        at += come;
    }
    return true;
}

static CO bool read_delta(Input *in, RamBlocks *r, const Place *at)
{
    uint8_t page[RAM_PAGE_SIZE] = { 0 };
    uint8_t encoding = input_u8(in);
    uint16_t len = input_u16(in);
    const uint8_t *p;

    if (input_ok(in) && r->place)
        return input_fail(in, EINVAL, "A page comes as changes to a page that is missing");
    if (input_ok(in) && (encoding != 1 || len > RAM_PAGE_SIZE))
        return input_fail(in, EINVAL, "A changed page has encoding %u and %u bytes", encoding, len);
    p = input_take(in, len);
    if (!p)
        return false;
    if (at->to)
        memcpy(page, at->to, sizeof(page));
    if (!apply_delta(p, p + len, page))
        return input_fail(in, EINVAL, "A changed page is damaged");
    r->delta_pages++;
    return put_page(in, r, at, page);
}

static CO bool read_page(Input *in, RamBlocks *r, const Place *at)
{
    const uint8_t *p = input_take(in, RAM_PAGE_SIZE);

    if (!p)
        return false;
    r->pages++;
    return put_page(in, r, at, p);
}

static CO RamBlock *read_block(Input *in, RamBlocks *r, uint64_t flags)
{
    char name[256];

    if (flags & RAM_CONTINUE) {
        if (!r->last)
            input_fail(in, EINVAL, "The first page does not say whose it is");
        return r->last;
    }
    if (!input_name(in, name))
        return NULL;
    r->last = ram_block_find(r, name);
    if (!r->last || !r->last->announced) {
        r->last = NULL;
        input_fail(in, ENOENT, "A page is of memory '%s', which was not announced", name);
    }
    return r->last;
}

static CO bool read_record(Input *in, RamBlocks *r, uint64_t word)
{
    uint64_t off = word & ~(uint64_t)(RAM_PAGE_SIZE - 1), flags = word & (RAM_PAGE_SIZE - 1);
    RamBlock *b = read_block(in, r, flags);
    Place at;

    if (!b)
        return false;
    if (off >= b->size || b->size - off < RAM_PAGE_SIZE)
        return input_fail(
            in, ERANGE, "A page is at 0x%" PRIx64 " of memory '%s', which has 0x%" PRIx64 " bytes",
            off, b->name, b->size);
    at = (Place){ b, off, b->host ? b->host + off : NULL };
    switch (flags & ~(uint64_t)RAM_CONTINUE) {
    case RAM_ZERO:
        return read_zero(in, r, &at);
    case RAM_PAGE:
        return read_page(in, r, &at);
    case RAM_XBZRLE:
        return read_delta(in, r, &at);
    default:
        return read_compressed(in, r, &at);
    }
}

static bool is_page_record(uint64_t flags)
{
    flags &= ~(uint64_t)RAM_CONTINUE;
    return flags == RAM_ZERO || flags == RAM_PAGE || flags == RAM_XBZRLE || flags == RAM_COMPRESSED;
}

CO bool ram_read(Input *in, RamBlocks *r, bool is_start)
{
    bool has_list = false;

    while (input_ok(in)) {
        uint64_t word = input_u64(in), flags = word & (RAM_PAGE_SIZE - 1);

        if (!input_ok(in))
            return false;
        if (word == RAM_EOS && is_start && !has_list)
            return input_fail(in, EINVAL, "It has no list of memory");
        if (word == RAM_EOS)
            return !r->part_ended || r->part_ended(r, in);
        if (flags == RAM_MEM_SIZE && is_start && !has_list) {
            if (!read_list(in, r, word - flags))
                return false;
            has_list = true;
        } else if (!is_page_record(flags)) {
            return input_fail(in, EINVAL, "A record has the flags 0x%" PRIx64, flags);
        } else if (!read_record(in, r, word)) {
            return false;
        }
    }
    return false;
}

/* ---- writing --------------------------------------------------------------------------------- */

CO void ram_write_start(Output *out, const RamBlocks *r)
{
    uint64_t total = 0;

    for (guint i = 0; i < r->blocks->len; i++)
        total += ((const RamBlock *)r->blocks->pdata[i])->size;
    output_u64(out, total | RAM_MEM_SIZE);
    for (guint i = 0; i < r->blocks->len; i++) {
        const RamBlock *b = r->blocks->pdata[i];

        output_name(out, b->name);
        output_u64(out, b->size);
    }
}

CO void ram_write_end_mark(Output *out)
{
    output_u64(out, RAM_EOS);
}

CO void ram_write_record(Output *out, const RamBlock *b, uint64_t off, uint64_t flags,
                         const RamBlock **last)
{
    output_u64(out, off | flags | (b == *last ? RAM_CONTINUE : 0));
    if (b != *last)
        output_name(out, b->name);
    *last = b;
}

CO void ram_write_zero_page(Output *out, const RamBlock *b, uint64_t off, const RamBlock **last)
{
    ram_write_record(out, b, off, RAM_ZERO, last);
    output_u8(out, 0);
}

CO void ram_write_whole_page(Output *out, const RamBlock *b, uint64_t off, const RamBlock **last)
{
    ram_write_record(out, b, off, RAM_PAGE, last);
    output_uncopied(out, b->host + off, RAM_PAGE_SIZE);
}
