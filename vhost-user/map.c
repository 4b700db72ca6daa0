/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mappings of files that belong to others. Touching what lies behind a file's end raises
 * SIGBUS: the handler then puts zeroes in the place of the whole mapping and notes that it is lost.
 */
#include "util/err.h"
#include "util/size.h"
#include "vhost-user/memory.h"
#include <errno.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

enum { MAPS_MAX = 1024 };

struct VhostMap {
    uint8_t *start;
    size_t len;
    uint64_t skip; /* of the first byte that was asked for */
    bool lost;     /* any thread, atomic */
    VhostMap *next; /* of those that are free */
};

/* Held to change what follows: exports may be on several loops. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Never freed, at most MAPS_MAX + 1 each: a handler in another thread may still look at one. */
static VhostMap *free_maps;

/* What the handler looks at, in any thread, without the lock. */
static VhostMap *maps[MAPS_MAX];

/* ---- the signal ------------------------------------------------------------------------------ */

static VhostMap *map_at(const uint8_t *at)
{
    for (unsigned i = 0; i < MAPS_MAX; i++) {
        VhostMap *m = __atomic_load_n(&maps[i], __ATOMIC_ACQUIRE);

        if (m && at >= m->start && at < m->start + m->len)
            return m;
    }
    return NULL;
}

/* Returning repeats the access. */
static void bus_error(int sig, siginfo_t *info, void *context)
{
    int saved = errno;
    VhostMap *m = info->si_code == BUS_ADRALN ? NULL : map_at(info->si_addr);

    if (!m || mmap(m->start, m->len, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
        signal(sig, SIG_DFL);
    else
        __atomic_store_n(&m->lost, true, __ATOMIC_RELEASE);
    errno = saved;
}

static bool enter(VhostMap *m)
{
    static bool is_handled;
    struct sigaction action = { .sa_sigaction = bus_error, .sa_flags = SA_SIGINFO };

    if (!is_handled)
        is_handled = sigaction(SIGBUS, &action, NULL) == 0;
    for (unsigned i = 0; is_handled && i < MAPS_MAX; i++)
        if (!maps[i]) {
            __atomic_store_n(&maps[i], m, __ATOMIC_RELEASE);
            return true;
        }
    return false;
}

/* A copy of @map that the handler knows of. NULL: there are too many. */
static VhostMap *map_enter(const VhostMap *map)
{
    VhostMap *m;
    bool is_in;

    pthread_mutex_lock(&lock);
    m = free_maps ? free_maps : g_new0(VhostMap, 1);
    free_maps = m->next;
    *m = *map;
    is_in = enter(m);
    if (!is_in) {
        *m = (VhostMap){ .next = free_maps };
        free_maps = m;
    }
    pthread_mutex_unlock(&lock);
    return is_in ? m : NULL;
}

static void leave(VhostMap *m)
{
    for (unsigned i = 0; i < MAPS_MAX; i++)
        if (maps[i] == m)
            __atomic_store_n(&maps[i], NULL, __ATOMIC_RELEASE);
}

/* ---- mapping --------------------------------------------------------------------------------- */

/* Mappings begin at multiples of this. */
static uint64_t page_size(int fd)
{
    struct statfs fs;

    return fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize
                                                                : (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Are there @len bytes from @offset on? */
static bool check_file(int fd, uint64_t offset, uint64_t len, GError **err)
{
    struct stat st;
    uint64_t end;

    if (!len || !size_add(offset, len, &end) || end > INT64_MAX)
        return err_set(err, EINVAL, "A region of %" PRIu64 " bytes at %" PRIu64 " of its file is "
                       "not possible", len, offset);
    if (fstat(fd, &st) < 0)
        return err_set_errno(err, -errno, "Cannot look at the file of a region");
    return end <= (uint64_t)st.st_size ||
           err_set(err, EINVAL, "A region ends at %" PRIu64 " of its file, which has %" PRIu64
                   " bytes", end, (uint64_t)st.st_size);
}

VhostMap *vhost_map(int fd, uint64_t offset, uint64_t len, GError **err)
{
    VhostMap map, *m;
    uint64_t page;
    void *p;

    if (!check_file(fd, offset, len, err))
        return NULL;
    page = page_size(fd);
    map = (VhostMap){ .skip = offset % page };
    map.len = round_up(map.skip + len, page);
    p = mmap(NULL, map.len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
             offset - map.skip);
    if (p == MAP_FAILED) {
        err_set_errno(err, -errno, "Cannot map a region of %" PRIu64 " bytes", len);
        return NULL;
    }
    map.start = p;
    madvise(p, map.len, MADV_DONTDUMP);
    m = map_enter(&map);
    if (m)
        return m;
    munmap(p, map.len);
    err_set(err, EMFILE, "More than %d regions are mapped", MAPS_MAX);
    return NULL;
}

void *vhost_map_data(const VhostMap *m)
{
    return m->start + m->skip;
}

bool vhost_map_is_lost(const VhostMap *m)
{
    return __atomic_load_n(&m->lost, __ATOMIC_ACQUIRE);
}

void vhost_unmap(VhostMap *m)
{
    if (!m)
        return;
    pthread_mutex_lock(&lock);
    leave(m);
    munmap(m->start, m->len);
    m->len = 0; /* nothing lies in it */
    m->next = free_maps;
    free_maps = m;
    pthread_mutex_unlock(&lock);
}
