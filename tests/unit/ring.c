/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Virtqueues in memory that is still to come: nothing of it is touched before it is here. */
#include "tests/lib/harness.h"
#include "util/endian.h"
#include "virtio/ring.h"
#include <string.h>
#include <sys/mman.h>

enum {
    PAGE = 4096, PAGES = 10, SIZE = 8, DESC_SIZE = 16,
    /* pages */
    DESC = 1, AVAIL = 2, USED = 3, FIRST = 4, SECOND = 5, TABLE = 6, INNER = 7, ELSEWHERE = 8,
    WRITE = 2, NEXT = 1, INDIRECT = 4, PACKED_AVAIL = 1 << 7,
};

/* A bit for each page. */
typedef struct {
    uint8_t *host;
    unsigned here, asked;
} Fixture;

static void *range(void *opaque, uint64_t at, uint64_t len, bool write)
{
    Fixture *f = opaque;

    return at < PAGES * PAGE && len <= PAGES * PAGE - at ? f->host + at : NULL;
}

static bool here(void *opaque, uint64_t at, uint64_t len)
{
    Fixture *f = opaque;
    bool all = true;

    for (uint64_t page = at / PAGE; page <= (at + len - 1) / PAGE; page++) {
        f->asked |= ~f->here & 1u << page;
        all &= f->here >> page & 1;
    }
    return all;
}

static void written(void *opaque, uint64_t at, uint64_t len)
{
}

static RingMemory memory_of(Fixture *f)
{
    return (RingMemory){ range, here, written, f };
}

/* From here on @page can be touched. */
static void arrive(Fixture *f, unsigned page)
{
    g_assert_cmpint(mprotect(f->host + page * PAGE, PAGE, PROT_READ | PROT_WRITE), ==, 0);
    f->here |= 1u << page;
}

static void expect_missing(Fixture *f, Ring *r, RingChain *c, unsigned asked)
{
    RingMemory m = memory_of(f);

    f->asked = 0;
    g_assert_cmpint(ring_peek(r, &m, c), ==, RING_MISSING);
    g_assert_cmphex(f->asked, ==, asked);
}

static void put_descriptor(const Fixture *f, unsigned page, unsigned i, unsigned to, unsigned len,
                           uint16_t third, uint16_t fourth)
{
    uint8_t *d = f->host + page * PAGE + DESC_SIZE * i;

    le64_put(d, to * PAGE);
    le32_put(d + 8, len);
    le16_put(d + 12, third);
    le16_put(d + 14, fourth);
}

/*
 * A chain of two buffers, and one by a table; each of a whole page, so that only there it is
 * noticed.
 */
static void fill(const Fixture *f, bool packed)
{
    uint16_t flags[] = { NEXT, WRITE, INDIRECT, WRITE };

    if (packed) {
        for (unsigned i = 0; i < 3; i++)
            put_descriptor(f, DESC, i, FIRST + i, i == 2 ? DESC_SIZE : PAGE, i,
                           flags[i] | PACKED_AVAIL);
        put_descriptor(f, TABLE, 0, INNER, PAGE, 0, WRITE);
        return;
    }
    for (unsigned i = 0; i < 3; i++)
        put_descriptor(f, DESC, i, FIRST + i, i == 2 ? DESC_SIZE : PAGE, flags[i], i + 1);
    put_descriptor(f, TABLE, 0, INNER, PAGE, WRITE, 0);
    le16_put(f->host + AVAIL * PAGE + 2, 2);
    le16_put(f->host + AVAIL * PAGE + 4, 0);
    le16_put(f->host + AVAIL * PAGE + 6, 2);
}

static Fixture setup(bool packed)
{
    Fixture f = { .host = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) };

    g_assert_true(f.host != MAP_FAILED);
    fill(&f, packed);
    g_assert_cmpint(mprotect(f.host, PAGES * PAGE, PROT_NONE), ==, 0);
    return f;
}

static void check(bool packed)
{
    Fixture f = setup(packed);
    RingMemory m = memory_of(&f);
    Ring r = { .desc = DESC * PAGE, .avail = AVAIL * PAGE, .used = USED * PAGE, .size = SIZE,
               .ready = true, .indirect = true, .packed = packed };
    RingChain c;

    g_assert_true(ring_start(&r, &m));
    expect_missing(&f, &r, &c, 1 << DESC | 1 << AVAIL | 1 << USED);
    arrive(&f, DESC);
    arrive(&f, USED);
    expect_missing(&f, &r, &c, 1 << AVAIL);
    arrive(&f, AVAIL);
    expect_missing(&f, &r, &c, 1 << FIRST | 1 << SECOND);
    arrive(&f, FIRST);
    expect_missing(&f, &r, &c, 1 << SECOND);
    arrive(&f, SECOND);
    g_assert_cmpint(ring_pop(&r, &m, &c), ==, RING_CHAIN);
    g_assert_cmpuint(c.out_len, ==, PAGE);
    g_assert_cmpuint(c.in_len, ==, PAGE);
    ring_push(&r, &m, &c, PAGE);

    expect_missing(&f, &r, &c, 1 << TABLE);
    arrive(&f, TABLE);
    expect_missing(&f, &r, &c, 1 << INNER);
    arrive(&f, INNER);
    g_assert_cmpint(ring_pop(&r, &m, &c), ==, RING_CHAIN);
    g_assert_cmpuint(c.in_len, ==, PAGE);

    /* A driver that moves the ring in between does not make us touch what is not here. */
    r.used = ELSEWHERE * PAGE;
    ring_push(&r, &m, &c, PAGE);
    g_assert_true(r.broken);
    g_assert_false(ring_wants_interrupt(&r, &m));
    munmap(f.host, PAGES * PAGE);
}

/* Segments of a queue that only names memory may be missing; what is read may not. */
static void check_untouched(bool packed)
{
    Fixture f = setup(packed);
    RingMemory m = memory_of(&f);
    Ring r = { .desc = DESC * PAGE, .avail = AVAIL * PAGE, .used = USED * PAGE, .size = SIZE,
               .ready = true, .indirect = true, .packed = packed, .untouched = true };
    RingChain c;

    g_assert_true(ring_start(&r, &m));
    arrive(&f, DESC);
    arrive(&f, AVAIL);
    arrive(&f, USED);
    expect_missing(&f, &r, &c, 1 << FIRST);
    arrive(&f, FIRST);
    f.asked = 0;
    g_assert_cmpint(ring_pop(&r, &m, &c), ==, RING_CHAIN);
    g_assert_cmpuint(c.in_len, ==, PAGE);
    expect_missing(&f, &r, &c, 1 << TABLE);
    arrive(&f, TABLE);
    f.asked = 0;
    g_assert_cmpint(ring_pop(&r, &m, &c), ==, RING_CHAIN);
    g_assert_cmpuint(c.at[0], ==, INNER * PAGE);
    g_assert_cmphex(f.asked, ==, 0);
    munmap(f.host, PAGES * PAGE);
}

static void test_untouched_split(void)
{
    check_untouched(false);
}

static void test_untouched_packed(void)
{
    check_untouched(true);
}

static void test_split(void)
{
    check(false);
}

static void test_packed(void)
{
    check(true);
}

const Test tests[] = {
    { "/ring/missing-memory/split", test_split },
    { "/ring/missing-memory/packed", test_packed },
    { "/ring/missing-memory/untouched-split", test_untouched_split },
    { "/ring/missing-memory/untouched-packed", test_untouched_packed },
    {}
};
