/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Space of regular files. */
#include "block/protocols/file-space.h"
#include "block/driver.h"
#include "block/protocols/file-lock.h"
#include "io/pool.h"
#include "util/err.h"
#include "util/fd.h"
#include "util/size.h"
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>

/*
 * Zeroes are written in chunks, each from the same few pages again and again; a job of the pool
 * writes some of them.
 */
enum {
    ZEROES = 64 << 10, FILL_PARTS = 64, FILL_CHUNK = FILL_PARTS * ZEROES, FILL_JOB = 64 << 20,
    DIRECT_ALIGN = 4096
};

/* ---- growing -------------------------------------------------------------------------------- */

typedef struct {
    int fd;
    uint64_t off, len;
} FillJob;

static int job_fallocate(void *arg)
{
    const FillJob *j = arg;
    int r = posix_fallocate(j->fd, j->off, j->len);

    return -r;
}

/* The file once more, for writes past the page cache; -1: it cannot be had. */
static int direct_open(int fd)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, O_WRONLY | O_CLOEXEC | O_DIRECT);
}

static ssize_t pwrite_zeroes(int fd, uint64_t len, uint64_t off)
{
    static uint8_t zeroes[ZEROES] __attribute__((aligned(DIRECT_ALIGN)));
    struct iovec parts[FILL_PARTS];
    int n = 0;

    for (; len; len -= parts[n++].iov_len)
        parts[n] = (struct iovec){ zeroes, MIN(len, ZEROES) };
    return pwritev(fd, parts, n, off);
}

/*
 * Nobody will read these zeroes soon, so they need not go through the page cache: that saves most
 * of the CPU time. What is not aligned, or what direct I/O refuses, goes through it all the same.
 */
static int job_write_zeroes(void *arg)
{
    const FillJob *j = arg;
    autofd int direct = direct_open(j->fd);

    for (uint64_t done = 0; done < j->len;) {
        uint64_t off = j->off + done, len = MIN(FILL_CHUNK - off % DIRECT_ALIGN, j->len - done);
        bool fits = direct >= 0 && is_aligned(off | len, DIRECT_ALIGN);
        ssize_t r = pwrite_zeroes(fits ? direct : j->fd, len, off);

        if (r < 0 && fits && errno == EINVAL) {
            close(direct);
            direct = -1;
        } else if (r < 0 && errno != EINTR) {
            return -errno;
        }
        done += MAX(r, 0);
    }
    return 0;
}

static int job_sync(void *arg)
{
    const FillJob *j = arg;

    return fsync(j->fd) < 0 ? -errno : 0;
}

static CO int write_zeroes(const FillJob *all)
{
    FillJob job = *all;
    int r = 0;

    for (uint64_t done = 0; done < all->len && r == 0; done += job.len) {
        job.off = all->off + done;
        job.len = MIN(all->len - done, FILL_JOB);
        r = pool_run(job_write_zeroes, &job);
        work_tell(done + job.len, all->len);
    }
    return r < 0 ? r : pool_run(job_sync, &job);
}

static CO bool space_grow(int fd, const char *name, uint64_t old, uint64_t size,
                          Prealloc prealloc, GError **err)
{
    FillJob job = { .fd = fd, .off = old, .len = size - old };
    int r = 0;

    if (prealloc == PREALLOC_METADATA)
        return err_set(err, ENOTSUP, "Unsupported preallocation mode 'metadata' for the plain file "
                       "'%s'", name);
    if (prealloc == PREALLOC_FALLOC)
        r = pool_run(job_fallocate, &job);
    else if (prealloc == PREALLOC_FULL)
        r = write_zeroes(&job);
    if (r == 0 && ftruncate(fd, size) < 0)
        r = -errno;
    if (r == 0)
        return true;
    err_set_errno(err, r, "Could not grow '%s' to %" PRIu64 " bytes", name, size);
    if (prealloc != PREALLOC_OFF && ftruncate(fd, old) < 0)
        err_prefix(err, "(and what was gained could not be given back) ");
    return false;
}

CO bool file_space_resize(int fd, const char *name, uint64_t old, uint64_t size, Prealloc prealloc,
                          GError **err)
{
    if (size > old)
        return space_grow(fd, name, old, size, prealloc, err);
    if (size < old && prealloc != PREALLOC_OFF)
        return err_set(err, ENOTSUP, "Preallocation is for growing; '%s' would shrink", name);
    if (ftruncate(fd, size) < 0)
        return err_set_errno(err, errno, "Could not set the size of '%s' to %" PRIu64 " bytes",
                             name, size);
    return true;
}

/* ---- creating ------------------------------------------------------------------------------- */

static bool prealloc_option(const json_t *opts, Prealloc *out, GError **err)
{
    const char *text = json_get_str(opts, "preallocation", "off");

    return (prealloc_parse(text, out) && *out != PREALLOC_METADATA) ||
           err_set(err, EINVAL, "Unsupported preallocation mode '%s': that of a plain file is off, "
                   "falloc or full", text);
}

/* btrfs: no copy on write. Other file systems have nothing to turn off. */
static void set_nocow(int fd)
{
    int attr;

    if (ioctl(fd, FS_IOC_GETFLAGS, &attr) == 0) {
        attr |= FS_NOCOW_FL;
        ioctl(fd, FS_IOC_SETFLAGS, &attr);
    }
}

static bool set_extent_size(int fd, uint64_t hint, const char *filename, GError **err)
{
    struct fsxattr attr;

    if (hint > UINT32_MAX)
        return err_set(err, EINVAL, "extent_size_hint %" PRIu64 " is larger than 4 GiB", hint);
    if (!hint)
        return true;
    /* A hint: file systems without it do without it. */
    if (ioctl(fd, FS_IOC_FSGETXATTR, &attr) == 0) {
        attr.fsx_xflags |= FS_XFLAG_EXTSIZE;
        attr.fsx_extsize = hint;
        if (ioctl(fd, FS_IOC_FSSETXATTR, &attr) == 0)
            return true;
    }
    block_warn("The file system of '%s' takes no extent size hint: %s", filename, strerror(errno));
    return true;
}

/* Empties the locked file and gives it its size. */
static CO bool space_fill_in(int fd, const char *filename, const json_t *opts, GError **err)
{
    Prealloc prealloc = PREALLOC_OFF;

    if (!prealloc_option(opts, &prealloc, err))
        return false;
    if (ftruncate(fd, 0) < 0)
        return err_set_errno(err, errno, "Could not empty '%s'", filename);
    if (json_get_bool(opts, "nocow", false))
        set_nocow(fd);
    if (!set_extent_size(fd, json_get_int(opts, "extent_size_hint", 0), filename, err))
        return false;
    return file_space_resize(fd, filename, 0, json_get_int(opts, "size", 0), prealloc, err);
}

CO bool file_space_create(const char *filename, json_t *opts, GError **err)
{
    bool was_there = access(filename, F_OK) == 0;
    autofd int fd = open(filename, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0644);
    FileLock lock = { 0 };
    struct stat st;

    if (fd < 0)
        return err_set_errno(err, errno, "Could not create '%s'", filename);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return err_set(err, EINVAL, "'%s' is there already and is not a regular file", filename);
    if (file_lock_is_supported(fd) &&
        !file_lock_change(fd, &lock, ACCESS_WRITE | ACCESS_RESIZE, ACCESS_WRITE | ACCESS_RESIZE,
                          filename, err))
        return false;
    if (space_fill_in(fd, filename, opts, err))
        return true;
    if (!was_there && unlink(filename) < 0)
        err_prefix(err, "(and the empty '%s' could not be removed) ", filename);
    return false;
}

/* ---- copying -------------------------------------------------------------------------------- */

typedef struct {
    int from, to;
    uint64_t from_off, to_off, len;
} CopyJob;

static int job_copy(void *arg)
{
    CopyJob *j = arg;

    while (j->len) {
        off_t in = j->from_off, out = j->to_off;
        ssize_t r = copy_file_range(j->from, &in, j->to, &out, j->len, 0);

        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return r == 0 || errno == EXDEV || errno == EINVAL || errno == ENOSYS ||
                           errno == EOPNOTSUPP ? -ENOTSUP : -errno;
        j->from_off += r;
        j->to_off += r;
        j->len -= r;
    }
    return 0;
}

static int job_share(void *arg)
{
    const CopyJob *j = arg;
    struct file_clone_range range = { .src_fd = j->from, .src_offset = j->from_off,
                                      .src_length = j->len, .dest_offset = j->to_off };

    if (ioctl(j->to, FICLONERANGE, &range) == 0)
        return 0;
    return errno == EXDEV || errno == EOPNOTSUPP || errno == ENOTTY ? -ENOTSUP : -errno;
}

/*
 * False where sharing can be ruled out at once, which saves the way to the pool: a range of one
 * byte is refused as such only by those who could share others.
 */
static bool may_share(int from, int to)
{
    struct file_clone_range range = { .src_fd = from, .src_offset = 1, .src_length = 1,
                                      .dest_offset = 1 };

    return ioctl(to, FICLONERANGE, &range) < 0 && errno == EINVAL;
}

CO int file_space_copy(int from, uint64_t from_off, int to, uint64_t to_off, uint64_t len,
                       bool share)
{
    CopyJob job = { from, to, from_off, to_off, len };

    if (share && !may_share(from, to))
        return -ENOTSUP;
    return pool_run(share ? job_share : job_copy, &job);
}
