/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migration/missing.h"
#include "migration/page-bits.h"
#include "io/channel.h"
#include "io/co-lock.h"
#include "migration/wire.h"
#include "util/err.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>


/* Of a block: a bit for each page. .missing is cleared by the loop, and .asked set beside it. */
typedef struct {
    RamBlock *block;
    unsigned long *missing, *told, *asked;
} Map;

struct Missing {
    Channel *faults;   /* of the userfaultfd */
    Blocktime *blocktime; /* NULL: nobody asks */
    bool is_stopped, is_silent; /* missing_stop, missing_hush */
    GArray *wanted;    /* of uint64_t, addresses to be told */
    guint next_wanted; /* in it */
    CoQueue telling;   /* wakes whoever waits for more of them */
    bool has_arrived;  /* a page that missing_is_here was asked for */
    bool has_begun;
    GArray *maps;      /* of Map */
    uint64_t pages;    /* that are missing */
};

/* ---- bits ------------------------------------------------------------------------------------ */

static bool has_bit(const unsigned long *bits, size_t n)
{
    return __atomic_load_n(&bits[n / WORD], __ATOMIC_ACQUIRE) >> n % WORD & 1;
}

/* True if it was not set. */
static bool set_bit(unsigned long *bits, size_t n)
{
    unsigned long bit = 1UL << n % WORD;

    return !(__atomic_fetch_or(&bits[n / WORD], bit, __ATOMIC_SEQ_CST) & bit);
}

/* Sets those from @at up to @end; how many were not set. */
static size_t set_bits(unsigned long *bits, size_t at, size_t end)
{
    size_t n = 0;

    while (at < end) {
        size_t len = MIN(WORD - at % WORD, end - at);
        unsigned long mask = ~0UL >> (WORD - len) << at % WORD;

        n += __builtin_popcountl(mask & ~bits[at / WORD]);
        bits[at / WORD] |= mask;
        at += len;
    }
    return n;
}

static void clear_bit(unsigned long *bits, size_t n)
{
    __atomic_fetch_and(&bits[n / WORD], ~(1UL << n % WORD), __ATOMIC_SEQ_CST);
}

static Map *map_of(const Missing *m, const RamBlock *b)
{
    for (guint i = 0; i < m->maps->len; i++) {
        Map *map = &g_array_index(m->maps, Map, i);

        if (map->block == b)
            return map;
    }
    g_assert_not_reached();
}

/* ---- making it ------------------------------------------------------------------------------- */

static void map_clear(gpointer p)
{
    Map *map = p;

    g_free(map->missing);
    g_free(map->told);
    g_free(map->asked);
}

static int open_faults(bool tells_threads, GError **err)
{
    struct uffdio_api api = { .api = UFFD_API,
                              .features = tells_threads ? UFFD_FEATURE_THREAD_ID : 0 };
    int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) {
        err_set_errno(err, errno, "Postcopy needs userfaultfd(2) (see the sysctl "
                      "vm.unprivileged_userfaultfd)");
        return -1;
    }
    if (ioctl(fd, UFFDIO_API, &api) == 0)
        return fd;
    err_set_errno(err, errno, "Postcopy needs a userfaultfd(2) of version %u", (unsigned)UFFD_API);
    close(fd);
    return -1;
}

Missing *missing_new(RamBlocks *r, Blocktime *b, GError **err)
{
    int fd = open_faults(b, err);
    Missing *m;

    if (fd < 0)
        return NULL;
    m = g_new0(Missing, 1);
    m->faults = channel_new_fd(fd);
    m->blocktime = b;
    m->maps = g_array_new(FALSE, FALSE, sizeof(Map));
    m->wanted = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    g_array_set_clear_func(m->maps, map_clear);
    for (guint i = 0; i < r->blocks->len; i++) {
        RamBlock *block = r->blocks->pdata[i];
        size_t words = MAX(block->size, block->size_max) / RAM_PAGE_SIZE / WORD + 1;
        Map map = { block, g_new0(unsigned long, words), g_new0(unsigned long, words),
                    g_new0(unsigned long, words) };

        g_array_append_val(m->maps, map);
    }
    return m;
}

void missing_free(Missing *m)
{
    if (!m)
        return;
    channel_free(m->faults);
    g_array_unref(m->maps);
    g_array_unref(m->wanted);
    g_free(m);
}

/* ---- before threads wait --------------------------------------------------------------------- */

bool missing_forget(Missing *m, Input *in, RamBlock *b, uint64_t off, uint64_t len)
{
    Map *map = map_of(m, b);

    if ((off | len) % RAM_PAGE_SIZE || off > b->size || len > b->size - off)
        return input_fail(in, ERANGE,
                          "0x%" PRIx64 " bytes at 0x%" PRIx64 " of memory '%s', which has "
                          "0x%" PRIx64 " bytes, cannot be discarded",
                          len, off, b->name, b->size);
    /* A huge page would bring zeroes to where pages are missing. */
    if (madvise(b->host, b->size, MADV_NOHUGEPAGE) < 0 && errno != EINVAL)
        return input_fail(in, errno, "Huge pages cannot be turned off for memory '%s': %s", b->name,
                          g_strerror(errno));
    if (len && madvise(b->host + off, len, MADV_DONTNEED) < 0)
        return input_fail(in, errno, "Memory '%s' cannot be discarded: %s", b->name,
                          g_strerror(errno));
    m->pages += set_bits(map->missing, off / RAM_PAGE_SIZE, (off + len) / RAM_PAGE_SIZE);
    return true;
}

/* Whoever looked at missing memory meanwhile has put zeroes there; from now on they wait. */
static bool drop_missing(const Map *map, Input *in)
{
    const RamBlock *b = map->block;
    size_t end = b->size / RAM_PAGE_SIZE, after;

    for (size_t at = find_bit(map->missing, 0, end, true); at < end;
         at = find_bit(map->missing, after, end, true)) {
        after = find_bit(map->missing, at, end, false);
        if (madvise(b->host + at * RAM_PAGE_SIZE, (after - at) * RAM_PAGE_SIZE, MADV_DONTNEED) < 0)
            return input_fail(in, errno, "Memory '%s' cannot be discarded: %s", b->name,
                              g_strerror(errno));
    }
    return true;
}

bool missing_begin(Missing *m, Input *in)
{
    for (guint i = 0; i < m->maps->len; i++) {
        const Map *map = &g_array_index(m->maps, Map, i);
        const RamBlock *b = map->block;
        struct uffdio_register r = {
            .range = { (uintptr_t)b->host, b->size }, .mode = UFFDIO_REGISTER_MODE_MISSING,
        };

        if (!b->announced)
            continue;
        if (ioctl(channel_fd(m->faults), UFFDIO_REGISTER, &r) < 0)
            return input_fail(in, errno, "userfaultfd(2) cannot watch memory '%s': %s", b->name,
                              g_strerror(errno));
        if (!drop_missing(map, in))
            return false;
    }
    m->has_begun = true;
    return true;
}

/* ---- while they do --------------------------------------------------------------------------- */

/* 0 or a negative errno; -EEXIST: there is a page already. */
static int fill(Missing *m, uint8_t *to, const uint8_t *page)
{
    struct uffdio_copy copy = { (uintptr_t)to, (uintptr_t)page, RAM_PAGE_SIZE };
    struct uffdio_zeropage zero = { .range = { (uintptr_t)to, RAM_PAGE_SIZE } };
    int fd = channel_fd(m->faults), r;

    do {
        r = page ? ioctl(fd, UFFDIO_COPY, &copy) : ioctl(fd, UFFDIO_ZEROPAGE, &zero);
        copy.copy = zero.zeropage = 0;
    } while (r < 0 && errno == EAGAIN);
    return r < 0 ? -errno : 0;
}

bool missing_place(Missing *m, Input *in, RamBlock *b, uint64_t off, const uint8_t *page)
{
    Map *map = map_of(m, b);
    int r;

    /* The guest may have written what came before. */
    if (!has_bit(map->missing, off / RAM_PAGE_SIZE))
        return true;
    r = fill(m, b->host + off, page);
    if (r < 0)
        return input_fail(in, -r, "The page at 0x%" PRIx64 " of memory '%s' cannot be placed: %s",
                          off, b->name, g_strerror(-r));
    if (m->blocktime)
        blocktime_end(m->blocktime, (uintptr_t)b->host + off);
    clear_bit(map->missing, off / RAM_PAGE_SIZE);
    m->pages--;
    m->has_arrived |= has_bit(map->asked, off / RAM_PAGE_SIZE);
    return true;
}

uint64_t missing_pages(const Missing *m)
{
    return m->pages;
}

/* Where @at is; NULL: nowhere in the guest's memory. */
static Map *map_at(const Missing *m, uint64_t at)
{
    for (guint i = 0; i < m->maps->len; i++) {
        Map *map = &g_array_index(m->maps, Map, i);

        if (at - (uintptr_t)map->block->host < map->block->size)
            return map;
    }
    return NULL;
}

static uint64_t page_address(const Map *map, size_t page)
{
    return (uintptr_t)map->block->host + page * RAM_PAGE_SIZE;
}

/* Lets missing_next_wanted tell of it, if it has not. */
static void want(Missing *m, Map *map, size_t page)
{
    uint64_t at = page_address(map, page);

    if (!set_bit(map->told, page))
        return;
    g_array_append_val(m->wanted, at);
    co_queue_wake_one(&m->telling);
}

/* An address that a thread waits at, and its number. False: missing_stop. */
static CO bool next_fault(Missing *m, uint64_t *at, int *thread)
{
    struct uffd_msg msg;
    ssize_t n;

    for (;;) {
        n = channel_try_read(m->faults, &msg, sizeof(msg));
        if (m->is_stopped || (n != sizeof(msg) && n != -EAGAIN))
            return false;
        if (n == -EAGAIN)
            channel_wait_readable(m->faults, 0);
        else if (msg.event == UFFD_EVENT_PAGEFAULT)
            break;
    }
    *at = msg.arg.pagefault.address & ~(uint64_t)(RAM_PAGE_SIZE - 1);
    *thread = msg.arg.pagefault.feat.ptid;
    return true;
}

CO void missing_watch(Missing *m)
{
    uint64_t at;
    int thread;

    while (next_fault(m, &at, &thread)) {
        Map *map = map_at(m, at);
        size_t page;

        if (!map)
            continue;
        page = (at - (uintptr_t)map->block->host) / RAM_PAGE_SIZE;
        if (!has_bit(map->missing, page)) {
            /* It never had a page at the source, or has one by now. */
            fill(m, map->block->host + page * RAM_PAGE_SIZE, NULL);
            continue;
        }
        if (m->blocktime && thread)
            blocktime_begin(m->blocktime, thread, at);
        want(m, map, page);
    }
}

void missing_stop(Missing *m)
{
    m->is_stopped = true;
    channel_interrupt_wait(m->faults);
}

static void forget_wanted(Missing *m)
{
    g_array_set_size(m->wanted, 0);
    m->next_wanted = 0;
}

CO bool missing_next_wanted(Missing *m, RamBlock **b, uint64_t *off)
{
    Map *map;
    uint64_t at;

    while (!m->is_silent && m->next_wanted == m->wanted->len)
        co_queue_wait(&m->telling);
    if (m->is_silent)
        return false;
    at = g_array_index(m->wanted, uint64_t, m->next_wanted++);
    if (m->next_wanted == m->wanted->len)
        forget_wanted(m);
    map = map_at(m, at);
    *b = map->block;
    *off = at - (uintptr_t)map->block->host;
    return true;
}

void missing_hush(Missing *m)
{
    m->is_silent = true;
    co_queue_wake_all(&m->telling);
}

void missing_tell_again(Missing *m)
{
    m->is_silent = false;
    forget_wanted(m);
    for (guint i = 0; i < m->maps->len; i++) {
        Map *map = &g_array_index(m->maps, Map, i);
        size_t end = map->block->size / RAM_PAGE_SIZE;

        for (size_t page = find_bit(map->told, 0, end, true); page < end;
             page = find_bit(map->told, page + 1, end, true)) {
            clear_bit(map->told, page);
            if (has_bit(map->missing, page))
                want(m, map, page);
        }
    }
}

/*
 * ---- for those who must not wait in the kernel -------------------------------------------------
 */

bool missing_is_here(Missing *m, const uint8_t *at, uint64_t len, MissingAskFn *ask, void *opaque)
{
    const Map *map = map_at(m, (uintptr_t)at);
    size_t first, end, page, after;

    if (!map || !len)
        return true;
    first = (at - map->block->host) / RAM_PAGE_SIZE;
    end = (at - map->block->host + len - 1) / RAM_PAGE_SIZE + 1;
    page = find_bit(map->missing, first, end, true);
    if (page == end)
        return true;
    /* So has what follows, or it will be when this page has come: no guest makes us look far. */
    if (has_bit(map->asked, page))
        return false;
    for (; page < end; page = find_bit(map->missing, after, end, true)) {
        after = page;
        while (after < end && has_bit(map->missing, after) && set_bit(map->asked, after))
            after++;
        if (after > page)
            ask(opaque, page_address(map, page), (after - page) * RAM_PAGE_SIZE);
        else
            after++;
    }
    /* Those of which nobody was told that they are asked for may have come meanwhile. */
    return find_bit(map->missing, first, end, true) == end;
}

void missing_ask(Missing *m, uint64_t at, uint64_t len)
{
    Map *map = map_at(m, at);
    size_t first = (at - (uintptr_t)map->block->host) / RAM_PAGE_SIZE;

    for (size_t page = first; page < first + len / RAM_PAGE_SIZE; page++)
        if (has_bit(map->missing, page))
            want(m, map, page);
        else
            m->has_arrived = true; /* between the question and the request */
}

bool missing_take_arrived(Missing *m)
{
    bool has_arrived = m->has_arrived;

    m->has_arrived = false;
    return has_arrived;
}

/*
 * ---- recovery and the end ----------------------------------------------------------------------
 */

GByteArray *missing_received(const Missing *m, const RamBlock *b)
{
    const Map *map = map_of(m, b);
    size_t pages = b->size / RAM_PAGE_SIZE, len = (pages + WORD - 1) / WORD * sizeof(uint64_t);
    GByteArray *bytes = g_byte_array_sized_new(len);

    g_byte_array_set_size(bytes, len);
    memset(bytes->data, 0, len);
    for (size_t page = 0; page < pages; page++)
        if (!has_bit(map->missing, page))
            bytes->data[page / 8] |= 1 << page % 8;
    return bytes;
}

void missing_end(Missing *m)
{
    for (guint i = 0; m->has_begun && i < m->maps->len; i++) {
        const RamBlock *b = g_array_index(m->maps, Map, i).block;
        struct uffdio_range r = { (uintptr_t)b->host, b->size };

        if (!b->announced)
            continue;
        ioctl(channel_fd(m->faults), UFFDIO_UNREGISTER, &r);
        madvise(b->host, b->size, MADV_HUGEPAGE);
    }
    m->has_begun = false;
}
