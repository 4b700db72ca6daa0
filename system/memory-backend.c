/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/memory-backend.h"
#include "util/err.h"
#include "util/size.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

enum { HUGETLBFS = 0x958458f6, THREADS_MAX = 64 };

/* What properties are that were not given. */
#define COMMON_DEFAULTS "'dump': true, 'merge': true, 'reserve': true, 'prealloc-threads': 1, " \
                        "'policy': 'default'"
#define DEFAULTS "{" COMMON_DEFAULTS "}"
#define MEMFD_DEFAULTS "{" COMMON_DEFAULTS ", 'share': true, 'seal': true}"

/* All properties: @given, else @defaults. New reference. */
static json_t *complete(const char *defaults, const json_t *given)
{
    json_t *all = json_parse(defaults, strlen(defaults), NULL);

    json_object_update(all, (json_t *)given);
    return all;
}

static bool on(const json_t *props, const char *name)
{
    return json_is_true(json_object_get(props, name));
}

/* ---- preallocation --------------------------------------------------------------------------- */

typedef struct {
    uint8_t *at;
    uint64_t len, page_size;
    int error; /* negative errno */
} Part;

static gpointer populate(gpointer opaque)
{
    Part *p = opaque;

    if (!p->len || !madvise(p->at, p->len, MADV_POPULATE_WRITE))
        return NULL;
    if (errno != EINVAL) {
        p->error = -errno;
        return NULL;
    }
    /* An older kernel. Nobody else has the memory yet. */
    for (uint64_t i = 0; i < p->len; i += p->page_size)
        *(volatile uint8_t *)(p->at + i) = p->at[i];
    return NULL;
}

static bool preallocate(MemoryBackend *b, unsigned threads, GError **err)
{
    uint64_t each = round_up(b->size / threads, b->page_size);
    GThread *thread[THREADS_MAX];
    Part part[THREADS_MAX];
    int error = 0;

    for (unsigned i = 0; i < threads; i++) {
        uint64_t from = MIN(i * each, b->size);

        part[i] = (Part){ b->host + from, i + 1 < threads ? MIN(each, b->size - from)
                                                          : b->size - from, b->page_size, 0 };
        thread[i] = g_thread_new("prealloc", populate, &part[i]);
    }
    for (unsigned i = 0; i < threads; i++) {
        g_thread_join(thread[i]);
        error = error ? error : part[i].error;
    }
    return !error || err_set_errno(err, -error, "Cannot preallocate the memory of '%s'", b->id);
}

/* ---- mapping --------------------------------------------------------------------------------- */

static bool map(MemoryBackend *b, GError **err)
{
    int flags = (b->is_shared ? MAP_SHARED : MAP_PRIVATE) | (b->fd < 0 ? MAP_ANONYMOUS : 0) |
                (b->is_reserved ? 0 : MAP_NORESERVE);
    void *p;

    p = mmap(NULL, b->size, PROT_READ | PROT_WRITE, flags, b->fd, 0);
    if (p == MAP_FAILED)
        return err_set_errno(err, errno, b->fd < 0 ? "cannot set up guest memory '%s'"
                             : "unable to map backing store for guest RAM '%s'", b->id);
    b->host = p;
    if (b->fd < 0)
        madvise(p, b->size, MADV_HUGEPAGE);
    if (b->is_merged)
        madvise(p, b->size, MADV_MERGEABLE);
    if (!b->is_dumped)
        madvise(p, b->size, MADV_DONTDUMP);
    return true;
}

static uint64_t page_size_of(int fd)
{
    struct statfs s;

    if (fd >= 0 && !fstatfs(fd, &s) && s.f_type == HUGETLBFS)
        return s.f_bsize;
    return getpagesize();
}

/* What the file @b->fd, or -1, has for pages; the size has to be so many of them. */
static bool set_page_size(MemoryBackend *b, GError **err)
{
    b->page_size = page_size_of(b->fd);
    return b->size % b->page_size == 0 ||
           err_set(err, EINVAL, "The size of '%s' has to be a multiple of 0x%" PRIx64
                   ", the page size of the memory behind it", b->id, b->page_size);
}

/* ---- what all have --------------------------------------------------------------------------- */

/* NUMA of the host, and what depends on it. */
static bool check_policy(const json_t *props, GError **err)
{
    const char *policy = json_get_str(props, "policy", NULL);
    bool has_nodes = json_array_size(json_object_get(props, "host-nodes")) > 0;

    if (!strcmp(policy, "default"))
        return !has_nodes || err_set(err, EINVAL,
                                     "host-nodes must be empty for policy default, or you "
                                     "should explicitly specify a policy other than default");
    if (!has_nodes)
        return err_set(err, EINVAL, "host-nodes must be set for policy %s", policy);
    return err_set(err, ENOTSUP, "NUMA nodes of the host cannot be chosen (host-nodes, policy)");
}

static bool check_common(const json_t *props, GError **err)
{
    int64_t threads = json_get_int(props, "prealloc-threads", 0);

    if (json_has(props, "prealloc-context"))
        return err_set(err, ENOTSUP, "The property 'prealloc-context' is not there");
    if (threads < 1 || threads > THREADS_MAX)
        return err_set(err, EINVAL, "prealloc-threads must be 1 to %d", THREADS_MAX);
    if (json_get_int(props, "size", 0) <= 0)
        return err_set(err, EINVAL, "property 'size' doesn't take value '%" PRId64 "'",
                       json_get_int(props, "size", 0));
    if (on(props, "prealloc") && !on(props, "reserve"))
        return err_set(err, EINVAL, "'prealloc=on' and 'reserve=off' are incompatible");
    return check_policy(props, err);
}

static void set_common(MemoryBackend *b, const char *id, const json_t *props)
{
    bool by_path = on(props, "x-use-canonical-path-for-ramblock-id");

    b->id = g_strdup(id);
    b->block_name = g_strconcat(by_path ? "/objects/" : "", id, NULL);
    b->size = json_get_int(props, "size", 0);
    b->is_shared = on(props, "share");
    b->is_preallocated = on(props, "prealloc");
    b->is_dumped = on(props, "dump");
    b->is_merged = on(props, "merge");
    b->is_reserved = on(props, "reserve");
    b->fd = -1;
}

/* Maps the memory. @b->fd is the file behind it, or -1; its page size is known. */
static bool finish(MemoryBackend *b, const json_t *props, GError **err)
{
    return map(b, err) && (!b->is_preallocated ||
                           preallocate(b, json_get_int(props, "prealloc-threads", 0), err));
}

static void clear(void *state)
{
    MemoryBackend *b = state;

    if (b->host && b->is_discarded)
        madvise(b->host, b->size, MADV_REMOVE);
    if (b->host)
        munmap(b->host, b->size);
    if (b->id && b->fd >= 0)
        close(b->fd);
    g_free(b->id);
    g_free(b->block_name);
}

static bool is_used(const void *state)
{
    return ((const MemoryBackend *)state)->is_used;
}

/* ---- memory-backend-ram ---------------------------------------------------------------------- */

static bool ram_create(void *state, const char *id, json_t *given, GError **err)
{
    g_autoptr(json_t) props = complete(DEFAULTS, given);

    if (!check_common(props, err))
        return false;
    set_common(state, id, props);
    return set_page_size(state, err) && finish(state, props, err);
}

/* ---- memory-backend-file --------------------------------------------------------------------- */

/* A file of our own in the folder @path, without a name. */
static int open_in(const char *path)
{
    g_autofree char *name = g_strdup_printf("%s/ferry-memory.XXXXXX", path);
    int fd = g_mkstemp_full(name, O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0)
        unlink(name);
    return fd;
}

static bool open_file(MemoryBackend *b, const char *path, GError **err)
{
    struct stat s;

    b->fd = g_file_test(path, G_FILE_TEST_IS_DIR) ? open_in(path)
                                                  : open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (b->fd < 0 || fstat(b->fd, &s) < 0)
        return err_set_errno(err, errno, "can't open backing store %s for guest RAM", path);
    if (!set_page_size(b, err))
        return false;
    if (S_ISREG(s.st_mode) && !s.st_size)
        return !ftruncate(b->fd, b->size) ||
               err_set_errno(err, errno, "Cannot grow '%s' to 0x%" PRIx64 " bytes", path, b->size);
    if (S_ISREG(s.st_mode) && (uint64_t)s.st_size < b->size)
        return err_set(err, EINVAL,
                       "backing store size 0x%" PRIx64 " does not match 'size' option 0x%" PRIx64,
                       (uint64_t)s.st_size, b->size);
    return true;
}

static bool file_create(void *state, const char *id, json_t *given, GError **err)
{
    static const char *const absent[] = { "pmem", "readonly" };
    g_autoptr(json_t) props = complete(DEFAULTS, given);
    MemoryBackend *b = state;

    for (size_t i = 0; i < G_N_ELEMENTS(absent); i++)
        if (on(props, absent[i]))
            return err_set(err, ENOTSUP, "'%s=on' is not there", absent[i]);
    if (json_get_int(props, "align", 0) > getpagesize())
        return err_set(err, ENOTSUP, "'align' can only be the host's page size, %d", getpagesize());
    if (!check_common(props, err))
        return false;
    set_common(b, id, props);
    b->is_discarded = on(props, "discard-data");
    return open_file(b, json_get_str(props, "mem-path", ""), err) && finish(b, props, err);
}

/* ---- memory-backend-memfd -------------------------------------------------------------------- */

static bool memfd_create_backend(void *state, const char *id, json_t *given, GError **err)
{
    g_autoptr(json_t) props = complete(MEMFD_DEFAULTS, given);
    bool seals = on(props, "seal"), huge = on(props, "hugetlb");
    int64_t page = json_get_int(props, "hugetlbsize", 0);
    unsigned flags = MFD_CLOEXEC | (seals ? MFD_ALLOW_SEALING : 0);
    MemoryBackend *b = state;

    if (page & (page - 1) || page < 0)
        return err_set(err, EINVAL, "hugetlbsize has to be a power of two, not %" PRId64, page);
    if (huge)
        flags |= MFD_HUGETLB | (page ? (unsigned)__builtin_ctzll(page) << MAP_HUGE_SHIFT : 0);
    if (!check_common(props, err))
        return false;
    set_common(b, id, props);
    b->fd = memfd_create("memory-backend-memfd", flags);
    if (b->fd < 0)
        return err_set_errno(err, errno, "Cannot make the memory of '%s'", id);
    if (!set_page_size(b, err))
        return false;
    if (ftruncate(b->fd, b->size) < 0)
        return err_set_errno(err, errno, "Cannot make 0x%" PRIx64 " bytes of memory for '%s'",
                             b->size, id);
    if (seals && fcntl(b->fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        return err_set_errno(err, errno, "Cannot seal the memory of '%s'", id);
    return finish(b, props, err);
}

/* ---- the classes ----------------------------------------------------------------------------- */

const ObjectClass object_memory_backend_ram = {
    .name = "memory-backend-ram",
    .state_size = sizeof(MemoryBackend),
    .props = "MemoryBackendProperties",
    .defaults = DEFAULTS,
    .create = ram_create,
    .destroy = clear,
    .is_used = is_used,
};

const ObjectClass object_memory_backend_file = {
    .name = "memory-backend-file",
    .state_size = sizeof(MemoryBackend),
    .props = "MemoryBackendFileProperties",
    .defaults = DEFAULTS,
    .create = file_create,
    .destroy = clear,
    .is_used = is_used,
};

const ObjectClass object_memory_backend_memfd = {
    .name = "memory-backend-memfd",
    .state_size = sizeof(MemoryBackend),
    .props = "MemoryBackendMemfdProperties",
    .defaults = MEMFD_DEFAULTS,
    .create = memfd_create_backend,
    .destroy = clear,
    .is_used = is_used,
};

static const ObjectClass *const classes[] = {
    &object_memory_backend_ram, &object_memory_backend_file, &object_memory_backend_memfd, NULL,
};

MemoryBackend *memory_backend_find(const char *id, GError **err)
{
    MemoryBackend *b = object_find_any(id, classes, "memory backend", NULL, NULL);

    if (!b)
        err_set(err, ENOENT, "Memory backend '%s' not found", id);
    return b;
}

typedef struct {
    void (*fn)(const MemoryBackend *b, void *arg);
    void *arg;
} Each;

static void call_each(const char *id, const ObjectClass *cls, void *state, void *arg)
{
    const Each *e = arg;

    for (unsigned i = 0; classes[i]; i++)
        if (cls == classes[i])
            e->fn(state, e->arg);
}

void memory_backend_foreach(void (*fn)(const MemoryBackend *b, void *arg), void *arg)
{
    object_foreach(call_each, &(Each){ fn, arg });
}

MemoryBackend *memory_backend_new(const char *id, uint64_t size, const char *path, bool preallocate,
                                  GError **err)
{
    g_autoptr(json_t) props = json_pack("{s:I,s:b}", "size", (json_int_t)size, "prealloc",
                                        preallocate);
    MemoryBackend *b = g_new0(MemoryBackend, 1);
    bool ok;

    if (path)
        json_put_str(props, "mem-path", path);
    ok = path ? file_create(b, id, props, err) : ram_create(b, id, props, err);
    if (ok)
        return b;
    memory_backend_free(b);
    return NULL;
}

void memory_backend_free(MemoryBackend *b)
{
    if (b)
        clear(b);
    g_free(b);
}
