/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which memory of the host is given back for pages in a balloon. */
#include "tests/lib/harness.h"
#include "balloon/discard.h"
#include "balloon/hints.h"
#include "balloon/pages.h"
#include "util/size.h"
#include <string.h>
#include <sys/mman.h>

enum { PAGES = 64, SIZE = PAGES * 4096, HOST_PAGE = 16 * 4096, START = 0x100 };

typedef struct {
    MemoryMap *map;
    uint8_t *host;
    BalloonPages *pages;
} Fixture;

typedef enum { ANONYMOUS, SHARED, COPY } Kind;

/* Memory at guest page START, full of ones; hosts with larger pages are played by @page_size. */
static Fixture setup(uint64_t page_size, Kind kind)
{
    Fixture f = { .map = memory_map_new() };

    f.host = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
                  (kind == SHARED ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
    g_assert_true(f.host != MAP_FAILED);
    memset(f.host, 0xff, SIZE);
    memory_map_add_ram(f.map, START << BALLOON_PAGE_BITS, SIZE, f.host);
    f.pages = balloon_pages_new(f.map, &(BalloonMemory){ f.host, SIZE, page_size, kind == SHARED,
                                                        kind == COPY });
    return f;
}

static void teardown(Fixture *f)
{
    balloon_pages_free(f->pages);
    memory_map_free(f->map);
    munmap(f->host, SIZE);
}

static unsigned put(Fixture *f, uint32_t first, unsigned count)
{
    uint32_t numbers[PAGES], bad;

    for (unsigned i = 0; i < count; i++)
        numbers[i] = START + first + count - 1 - i; /* drivers often go downwards */
    return balloon_pages_put(f->pages, numbers, count, &bad);
}

/* Exactly the pages [@first, @first + @count) have been given back. */
static void expect_gone(const Fixture *f, unsigned first, unsigned count)
{
    for (unsigned i = 0; i < PAGES; i++)
        g_assert_cmphex(f->host[i * 4096 + 17], ==, i >= first && i < first + count ? 0 : 0xff);
}

static void test_a_large_page_goes_when_all_of_it_is_in(void)
{
    Fixture f = setup(HOST_PAGE, ANONYMOUS);

    g_assert_cmpint(put(&f, 8, 16), ==, 0); /* half of one, half of the next */
    expect_gone(&f, 0, 0);
    g_assert_cmpint(put(&f, 24, 7), ==, 0);
    expect_gone(&f, 0, 0);
    g_assert_cmpint(put(&f, 31, 1), ==, 0);
    expect_gone(&f, 16, 16);
    g_assert_cmpint(balloon_pages_count(f.pages), ==, 24);
    g_assert_cmpint(balloon_pages_kept(f.pages), ==, 8);
    g_assert_cmpint(put(&f, 0, 8), ==, 0);
    expect_gone(&f, 0, 32);
    g_assert_cmpint(balloon_pages_kept(f.pages), ==, 0);
    teardown(&f);
}

static void test_shared_memory_is_given_back_too(void)
{
    Fixture f = setup(4096, SHARED);

    put(&f, 3, 5);
    expect_gone(&f, 3, 5);
    g_assert_true(balloon_pages_report(f.pages, (START + 10) << BALLOON_PAGE_BITS, 2 * 4096));
    for (unsigned i = 10; i < 12; i++)
        g_assert_cmphex(f.host[i * 4096], ==, 0);
    teardown(&f);
}

static void test_what_is_no_memory_is_refused(void)
{
    Fixture f = setup(4096, ANONYMOUS);
    uint32_t numbers[] = { START, 0, START + PAGES, UINT32_MAX, START }, bad = 1;

    g_assert_cmpint(balloon_pages_put(f.pages, numbers, G_N_ELEMENTS(numbers), &bad), ==, 4);
    g_assert_cmphex(bad, ==, 0);
    g_assert_cmpint(balloon_pages_count(f.pages), ==, 1);
    expect_gone(&f, 0, 1);
    g_assert_false(balloon_pages_report(f.pages, 0, 4096));
    g_assert_false(balloon_pages_report(f.pages, (START + PAGES - 1) << BALLOON_PAGE_BITS, 8192));
    g_assert_false(balloon_pages_report(f.pages, UINT64_MAX - 4095, 8192));
    teardown(&f);
}

/* While discarding is denied pages are accepted and stay; afterwards they go. */
static void test_denied_pages_wait(void)
{
    Fixture f = setup(HOST_PAGE, ANONYMOUS);
    Hold *a = discard_deny("a", "pins memory"), *b = discard_deny("b", "too");
    uint32_t numbers[] = { START + 20 }, bad;

    g_assert_cmpint(put(&f, 0, 48), ==, 0);
    g_assert_true(balloon_pages_report(f.pages, START << BALLOON_PAGE_BITS, SIZE));
    expect_gone(&f, 0, 0);
    discard_allow(a);
    g_assert_false(balloon_pages_catch_up(f.pages));
    expect_gone(&f, 0, 0);
    g_assert_cmpint(discard_denials()->length, ==, 1);
    discard_allow(b);
    g_assert_cmpint(balloon_pages_take(f.pages, numbers, 1, &bad), ==, 0);
    while (balloon_pages_catch_up(f.pages))
        ;
    for (unsigned i = 0; i < PAGES; i++)
        g_assert_cmphex(f.host[i * 4096], ==, i < 16 || (i >= 32 && i < 48) ? 0 : 0xff);
    g_assert_cmpint(balloon_pages_kept(f.pages), ==, 15);
    balloon_pages_clear(f.pages);
    g_assert_cmpint(balloon_pages_count(f.pages), ==, 0);
    teardown(&f);
}

/*
 * Any operations in any order: the counts stay right, and what is not in the balloon keeps its
 * content.
 */
static void test_random_operations(void)
{
    Fixture f = setup(HOST_PAGE, ANONYMOUS);
    g_autoptr(GRand) r = g_rand_new_with_seed(15);
    bool in[PAGES] = { false };

    for (unsigned n = 0; n < 200000; n++) {
        uint32_t number = g_rand_int_range(r, START - 2, START + PAGES + 2), bad, given = number;
        unsigned page = number - START;
        bool is_memory = page < PAGES, take = g_rand_boolean(r);

        if (take) {
            g_assert_cmpint(balloon_pages_take(f.pages, &given, 1, &bad), ==, !is_memory);
        } else {
            g_assert_cmpint(balloon_pages_put(f.pages, &given, 1, &bad), ==,
                            !is_memory || in[page]);
        }
        if (is_memory && take && in[page])
            f.host[page * 4096 + 17] = 0xff; /* the guest uses it again */
        if (is_memory)
            in[page] = !take;
        if (is_memory && take)
            g_assert_cmphex(f.host[page * 4096 + 17], ==, 0xff);
    }
    for (unsigned i = 0; i < PAGES; i++)
        if (!in[i])
            g_assert_cmphex(f.host[i * 4096 + 17], ==, 0xff);
    teardown(&f);
}

/* The file's content, not zeroes, would be there. */
static void test_a_copy_of_a_file_stays(void)
{
    Fixture f = setup(4096, COPY);

    g_assert_cmpint(put(&f, 0, 8), ==, 0);
    g_assert_true(balloon_pages_report(f.pages, START << BALLOON_PAGE_BITS, SIZE));
    expect_gone(&f, 0, 0);
    g_assert_cmpint(balloon_pages_count(f.pages), ==, 8);
    g_assert_cmpint(balloon_pages_kept(f.pages), ==, 8);
    teardown(&f);
}

/* ---- hints ----------------------------------------------------------------------------------- */

typedef struct {
    unsigned runs;
    uint64_t pages;
} Taken;

static void count_run(void *opaque, uint64_t first, uint64_t count)
{
    Taken *t = opaque;

    t->runs++;
    t->pages += count;
}

static void expect_taken(BalloonHints *h, unsigned runs, uint64_t pages)
{
    Taken t = { 0 };

    hints_take(h, count_run, &t);
    g_assert_cmpint(t.runs, ==, runs);
    g_assert_cmpint(t.pages, ==, pages);
}

enum { HINTING = 1 << 20 };  /* pages of the guest that hints */

static void test_only_hints_of_the_round_count(void)
{
    BalloonHints h;
    uint32_t old;

    hints_init(&h, HINTING);
    hints_take_number(&h, HINTS_STOP);
    hints_add(&h, 0, 8);
    expect_taken(&h, 0, 0);

    hints_begin_round(&h);
    hints_add(&h, 0, 8);
    expect_taken(&h, 0, 0);
    hints_take_number(&h, h.command);
    hints_add(&h, 0, 8);
    hints_add(&h, 8, 8);
    hints_add(&h, 32, 8);
    expect_taken(&h, 2, 24);
    expect_taken(&h, 0, 0);

    /* What comes late, or was not taken in time, is void. */
    hints_add(&h, 64, 8);
    old = h.command;
    hints_begin_round(&h);
    g_assert_cmpint(h.command, !=, old);
    hints_add(&h, 0, 8);
    hints_take_number(&h, old);
    hints_add(&h, 0, 8);
    expect_taken(&h, 0, 0);

    hints_take_number(&h, h.command);
    hints_take_number(&h, HINTS_STOP);
    hints_add(&h, 0, 8);
    expect_taken(&h, 0, 0);
    hints_take_number(&h, h.command);
    hints_end_round(&h, HINTS_DONE);
    hints_take_number(&h, HINTS_DONE);
    hints_add(&h, 0, 8);
    expect_taken(&h, 0, 0);
    hints_clear(&h);
}

static void test_rounds_are_numbered_again_after_the_last_number(void)
{
    BalloonHints h;

    hints_init(&h, HINTING);
    h.round = UINT32_MAX;
    hints_begin_round(&h);
    g_assert_cmpint(h.command, ==, HINTS_FIRST_ROUND);
    hints_clear(&h);
}

/* 16 times as many as are kept. */
static void test_a_flood_of_hints_is_bounded(void)
{
    BalloonHints h;
    Taken t = { 0 };

    hints_init(&h, HINTING);
    hints_begin_round(&h);
    hints_take_number(&h, h.command);
    for (uint64_t i = 0; i < 65536; i++)
        hints_add(&h, 2 * i, 1);
    hints_take(&h, count_run, &t);
    g_assert_cmpint(t.runs, ==, 4096);
    /* All of memory again and again. */
    t = (Taken){ 0 };
    for (int i = 0; i < 16; i++)
        hints_add(&h, 0, HINTING);
    hints_take(&h, count_run, &t);
    g_assert_cmpint(t.pages, ==, HINTING);
    hints_clear(&h);
}

static void test_partial_pages_are_not_hinted_at(void)
{
    Fixture f = setup(4096, ANONYMOUS);
    uint64_t first, count, at = START << BALLOON_PAGE_BITS;

    g_assert_true(balloon_pages_find(f.pages, at + 1, 3 * 4096, &first, &count));
    g_assert_cmpint(first, ==, 1);
    g_assert_cmpint(count, ==, 2);
    g_assert_true(balloon_pages_find(f.pages, at + 1, 4095, &first, &count));
    g_assert_cmpint(count, ==, 0);
    g_assert_true(balloon_pages_find(f.pages, at, SIZE, &first, &count));
    g_assert_cmpint(first, ==, 0);
    g_assert_cmpint(count, ==, PAGES);
    g_assert_false(balloon_pages_find(f.pages, at, SIZE + 1, &first, &count));
    g_assert_false(balloon_pages_find(f.pages, at - 1, 2, &first, &count));
    teardown(&f);
}

const Test tests[] = {
    { "/balloon/a-large-page-goes-when-all-of-it-is-in",
      test_a_large_page_goes_when_all_of_it_is_in },
    { "/balloon/shared-memory-is-given-back-too", test_shared_memory_is_given_back_too },
    { "/balloon/a-copy-of-a-file-stays", test_a_copy_of_a_file_stays },
    { "/balloon/what-is-no-memory-is-refused", test_what_is_no_memory_is_refused },
    { "/balloon/denied-pages-wait", test_denied_pages_wait },
    { "/balloon/random-operations", test_random_operations },
    { "/balloon/only-hints-of-the-round-count", test_only_hints_of_the_round_count },
    { "/balloon/rounds-are-numbered-again-after-the-last-number",
      test_rounds_are_numbered_again_after_the_last_number },
    { "/balloon/a-flood-of-hints-is-bounded", test_a_flood_of_hints_is_bounded },
    { "/balloon/partial-pages-are-not-hinted-at", test_partial_pages_are_not_hinted_at },
    {}
};
