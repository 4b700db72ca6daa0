/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files of this machine: regular files (file) and block or character devices (host_device).
 *
 * Every byte is read and written where it stands. What others do to the file is their business as
 * far as the image locks allow it. So "this is data", which never misleads, is remembered until our
 * own writes of zeroes, discards and cuts; "this is a hole" only while the locks keep other writers
 * away, and until our own writes end.
 */
#include "block/driver.h"
#include "block/protocols/file-dirty.h"
#include "block/protocols/file-lock.h"
#include "block/protocols/file-space.h"
#include "gen/schema.h"
#include "util/given-fd.h"
#include "io/aio.h"
#include "io/loop.h"
#include "io/own-mount.h"
#include "io/pool.h"
#include "util/fd.h"
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

enum { IOV_AT_ONCE = 64, SECTOR = 512 };

/* A range of the file that is all data, or all a hole; empty: nothing is known. */
typedef struct {
    uint64_t start, end;
    bool hole;
} Alike;

typedef struct {
    int fd;
    AioMode aio;
    bool locking;
    bool is_device;      /* block or character device: fixed size, no holes to see */
    bool is_block;
    bool sync_failed;    /* what was written before may be lost: no later flush can promise it */
    bool no_zero_range;  /* the file system refused it once */
    bool no_punch_hole;
    unsigned growing;    /* requests in flight after the known end; home loop only */
    FileLock lock;
    FileDirty dirty;     /* home loop only */
    Alike known;         /* home loop only */
} File;

/* ---- opening -------------------------------------------------------------------------------- */

/* A file that this process shows itself cannot be opened by the loop that has to answer for it. */
static bool file_check_foreign(const char *name, GError **err)
{
    return !own_mount_has(name) ||
           err_set(err, EDEADLK, "'%s' is an export of this process itself, which cannot open it: "
                   "use the exported node", name);
}

/*
 * Opens without ever waiting, as a FIFO would make us, and only what the driver is for. *@st is the
 * file's. A negative errno with @err.
 */
static int file_open_fd(const char *name, int flags, bool want_device, struct stat *st,
                        GError **err)
{
    autofd int fd = fdset_open(name, flags | O_NONBLOCK | O_NOCTTY);
    int mode;

    if (fd < 0) {
        int e = errno;

        if (e == EINVAL && flags & O_DIRECT)
            err_set_errno(err, e,
                          "Could not open '%s': its file system does not know O_DIRECT, which "
                          "cache modes none and directsync need",
                          name);
        else
            err_set_errno(err, e, "Could not open '%s'", name);
        return -e;
    }
    if (fstat(fd, st) < 0) {
        int e = errno;

        err_set_errno(err, e, "Could not look at '%s'", name);
        return -e;
    }
    if (want_device && !S_ISBLK(st->st_mode) && !S_ISCHR(st->st_mode)) {
        err_set(err, EINVAL, "'%s' is no device; use driver 'file'", name);
        return -EINVAL;
    }
    if (!want_device && !S_ISREG(st->st_mode)) {
        err_set(err, EINVAL, "'%s' is not a regular file", name);
        return -EINVAL;
    }
    mode = fcntl(fd, F_GETFL);
    if (mode < 0 || fcntl(fd, F_SETFL, mode & ~O_NONBLOCK) < 0) {
        err_set_errno(err, errno, "Could not set up '%s'", name);
        return -EIO;
    }
    return fd_steal(&fd);
}

/* The path that @filename, with or without our prefix, means. */
static const char *file_path(const char *filename)
{
    return filename_has_protocol(filename) ? strchr(filename, ':') + 1 : filename;
}

/* A block device has many names; its number is what they have in common. */
static FileIdentity identity_of(const struct stat *st)
{
    return S_ISBLK(st->st_mode) ? (FileIdentity){ .device = st->st_rdev }
                                : (FileIdentity){ .device = st->st_dev, .inode = st->st_ino };
}

/* That of open file @fd, with its birth if its file system keeps that. */
static FileIdentity identity_of_open(int fd, const struct stat *st)
{
    FileIdentity id = identity_of(st);
    struct statx x;

    if (S_ISREG(st->st_mode) && statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &x) == 0 &&
        x.stx_mask & STATX_BTIME)
        id.born_ns = (int64_t)((uint64_t)x.stx_btime.tv_sec * 1000000000 + x.stx_btime.tv_nsec);
    return id;
}

static bool file_identify(const char *filename, FileIdentity *id)
{
    struct stat st;

    if (own_mount_has(file_path(filename)) || stat(file_path(filename), &st) < 0)
        return false;
    *id = identity_of(&st);
    return true;
}

static bool file_parse_filename(const char *filename, json_t *o, GError **err)
{
    json_put_str(o, "filename", file_path(filename));
    return true;
}

static int file_open_flags(OpenFlags flags)
{
    return (flags & OPEN_RDWR ? O_RDWR : O_RDONLY) | (flags & OPEN_DIRECT ? O_DIRECT : 0);
}

static AioMode file_fastest_aio(const File *s, OpenFlags flags)
{
    return s->is_device || flags & OPEN_DIRECT ? AIO_AUTO : AIO_CACHED;
}

static bool file_aio_mode(File *s, const char *name, OpenFlags flags, GError **err)
{
    const char *why;

    if (!name)
        name = flags & OPEN_AIO_THREADS ? "threads" :
               flags & OPEN_AIO_NATIVE  ? "native" :
               flags & OPEN_AIO_URING   ? "io_uring" : NULL;
    s->aio = file_fastest_aio(s, flags);
    if (!name)
        return true;
    if (!strcmp(name, "threads")) {
        s->aio = AIO_THREADS;
        return true;
    }
    if (!strcmp(name, "native") && !(flags & OPEN_DIRECT))
        return err_set(err, EINVAL, "aio=native was given without cache.direct=on, which it needs");
    if (loop_has_uring(&why))
        s->aio = AIO_RING;
    else if (!strcmp(name, "io_uring"))
        return err_set(err, ENOSYS, "aio=%s is not to be had here: %s", name, why);
    return true;
}

/* For all files of this loop: they share its queue. */
static void file_limit_batch(int64_t max)
{
    if (max > 0)
        loop_limit_batch((unsigned)MIN(max, UINT_MAX));
}

static bool file_wants_locks(int fd, const json_t *o)
{
    const char *locking = json_get_str(o, "locking", "auto");

    return !strcmp(locking, "on") || (!strcmp(locking, "auto") && file_lock_is_supported(fd));
}

/* In whole sectors, as everywhere above: what the last one lacks reads as zeroes. */
static uint64_t file_size(const File *s, const struct stat *st)
{
    uint64_t size = 0;

    if (s->is_block && ioctl(s->fd, BLKGETSIZE64, &size) == 0)
        return size;
    return s->is_device ? 0 : round_up(st->st_size, SECTOR);
}

/* What O_DIRECT asks of offsets and memory; the file system tells, else a page is safe. */
static void file_direct_limits(const File *s, Limits *l)
{
    uint32_t page = sysconf(_SC_PAGESIZE), memory = page, offset = page;
    int sector;

#ifdef STATX_DIOALIGN
    struct statx sx;

    if (statx(s->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 &&
        sx.stx_mask & STATX_DIOALIGN && sx.stx_dio_offset_align) {
        memory = sx.stx_dio_mem_align;
        offset = sx.stx_dio_offset_align;
    } else
#endif
    if (s->is_block && ioctl(s->fd, BLKSSZGET, &sector) == 0 && sector > 0)
        memory = offset = sector;
    l->request_alignment = offset;
    l->memory_alignment = memory;
}

static CO bool file_open_common(Node *n, const json_t *o, OpenFlags flags, bool device,
                                GError **err)
{
    File *s = node_state(n);
    const char *name = json_get_str(o, "filename", "");
    struct stat st;

    if (json_has(o, "pr-manager"))
        return err_set(err, ENOTSUP, "There are no managers of persistent reservations here");
    if (!file_check_foreign(name, err))
        return false;
    s->is_device = device;
    if (!file_aio_mode(s, json_get_str(o, "aio", NULL), flags, err))
        return false;
    s->fd = file_open_fd(name, file_open_flags(flags), device, &st, err);
    if ((s->fd == -EACCES || s->fd == -EROFS) && flags & OPEN_RDWR && flags & OPEN_AUTO_RDONLY) {
        g_clear_error(err);
        node_fall_back_read_only(n, "", NULL);
        s->fd = file_open_fd(name, file_open_flags(node_flags(n)), device, &st, err);
    }
    if (s->fd < 0)
        return false;
    file_limit_batch(json_get_int(o, "aio-max-batch", 0));
    s->is_block = S_ISBLK(st.st_mode);
    s->locking = file_wants_locks(s->fd, o);
    node_set_size(n, file_size(s, &st));
    node_set_identity(n, identity_of_open(s->fd, &st));
    return true;
}

static CO bool file_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    return file_open_common(n, o, flags, false, err);
}

static CO bool device_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    return file_open_common(n, o, flags, true, err);
}

/* Somebody else may have written the file, cut it or let it grow. */
static CO bool file_activate(Node *n, GError **err)
{
    File *s = node_state(n);
    struct stat st;

    if (fstat(s->fd, &st) < 0)
        return err_set_errno(err, errno, "Could not look at '%s' again", node_filename(n));
    s->known = (Alike){ 0 };
    node_set_size(n, file_size(s, &st));
    return true;
}

static CO void file_close(Node *n)
{
    File *s = node_state(n);

    if (s->locking)
        file_lock_drop(s->fd);
    close(s->fd);
}

static void file_refresh_limits(Node *n)
{
    File *s = node_state(n);
    Limits *l = node_limits(n);

    *l = (Limits){ .request_alignment = 1, .memory_alignment = 1 };
    if (node_flags(n) & OPEN_DIRECT)
        file_direct_limits(s, l);
}

static bool file_lock(Node *n, unsigned needs, unsigned shares, GError **err)
{
    File *s = node_state(n);

    if (!s->locking)
        return true;
    return file_lock_change(s->fd, &s->lock, needs, ACCESS_ALL & ~shares, node_filename(n), err);
}

/* ---- reopening ------------------------------------------------------------------------------ */

/* For machines without /proc: opens the file by its name, if that still means the same file. */
static int file_open_by_name(const File *s, const char *name, int flags)
{
    struct stat old, new;
    autofd int fd = open(name, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0 || fstat(s->fd, &old) < 0 || fstat(fd, &new) < 0)
        return -1;
    if (old.st_dev != new.st_dev || old.st_ino != new.st_ino) {
        errno = ESTALE;
        return -1;
    }
    return fcntl(fd, F_SETFL, flags) < 0 ? -1 : fd_steal(&fd);
}

/*
 * A descriptor of the open file with other @flags, or -1 with errno. If the present one allows all
 * of them it is duplicated, which also works where nothing can be opened: in a sandbox. Both then
 * share locks.
 */
static int file_fd_again(const File *s, const char *name, int flags, bool *is_duplicate)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", s->fd);
    int now = fcntl(s->fd, F_GETFL), fd;

    *is_duplicate = now >= 0 && !((now ^ flags) & O_DIRECT) &&
                    ((now & O_ACCMODE) == O_RDWR || (flags & O_ACCMODE) == O_RDONLY);
    if (*is_duplicate)
        return fcntl(s->fd, F_DUPFD_CLOEXEC, 0);
    fd = open(path, flags | O_CLOEXEC);
    return fd >= 0 || errno != ENOENT ? fd : file_open_by_name(s, name, flags);
}

/* A second descriptor with other flags, from prepare until commit or abort. */
typedef struct {
    int fd;              /* the one that is not in use */
    AioMode aio;
    bool is_swapped;     /* @fd is the old one */
    bool is_duplicate;   /* both have the same locks */
} Reconfigure;

/* Closes the descriptor that is not in use. */
static void reconfigure_close(const File *s, const Reconfigure *c)
{
    if (s->locking && !c->is_duplicate)
        file_lock_drop(c->fd);
    close(c->fd);
}

static void reconfigure_swap(File *s, Reconfigure *c)
{
    int fd = s->fd;
    AioMode aio = s->aio;

    s->fd = c->fd;
    s->aio = c->aio;
    c->fd = fd;
    c->aio = aio;
    c->is_swapped = !c->is_swapped;
}

/* Opens the file as it shall be into @c. On failure it has no descriptor. */
static bool file_open_again(Node *n, const json_t *o, OpenFlags flags, Reconfigure *c, GError **err)
{
    const File *s = node_state(n);
    File next = *s;

    if (s->aio == AIO_AUTO || s->aio == AIO_CACHED)
        next.aio = file_fastest_aio(s, flags);
    if (json_has(o, "aio") && !file_aio_mode(&next, json_get_str(o, "aio", NULL), flags, err))
        return false;
    c->aio = next.aio;
    c->fd = file_fd_again(s, json_get_str(o, "filename", ""), file_open_flags(flags),
                          &c->is_duplicate);
    if (c->fd < 0 && errno == EINVAL && flags & OPEN_DIRECT)
        return err_set_errno(err, errno,
                             "The file system of '%s' does not know O_DIRECT, which cache "
                             "modes none and directsync need",
                             node_filename(n));
    if (c->fd < 0)
        return err_set_errno(err, errno, "Could not open '%s' again", node_filename(n));
    if (!s->locking || file_lock_copy(c->fd, &s->lock, node_filename(n), err))
        return true;
    reconfigure_close(s, c);
    return false;
}

/*
 * A descriptor that can write serves at once, since parents may have to write when they prepare;
 * one that cannot, only when all is settled.
 */
static CO bool file_reconfigure_prepare(Node *n, const json_t *o, OpenFlags flags, void **change,
                                        GError **err)
{
    File *s = node_state(n);
    g_autofree Reconfigure *c = g_new0(Reconfigure, 1);

    if (file_wants_locks(s->fd, o) != s->locking)
        return err_set(err, EINVAL, "Locking of '%s' cannot change while it is open",
                       node_filename(n));
    if (!file_open_again(n, o, flags, c, err))
        return false;
    if (flags & OPEN_RDWR)
        reconfigure_swap(s, c);
    *change = g_steal_pointer(&c);
    return true;
}

static CO void file_reconfigure_commit(Node *n, void *change)
{
    g_autofree Reconfigure *c = change;

    if (!c->is_swapped)
        reconfigure_swap(node_state(n), c);
    reconfigure_close(node_state(n), c);
}

static CO void file_reconfigure_abort(Node *n, void *change)
{
    g_autofree Reconfigure *c = change;

    if (c->is_swapped)
        reconfigure_swap(node_state(n), c);
    reconfigure_close(node_state(n), c);
}

/* ---- what is known of the holes -------------------------------------------------------------- */

static void file_forget(File *s, bool hole, uint64_t off, uint64_t len)
{
    if (s->known.hole == hole && off < s->known.end && s->known.start < off + len)
        s->known = (Alike){ 0 };
}

/* Where the next hole (or data) at or after @off begins; -1 with errno. */
static int64_t file_seek(const File *s, uint64_t off, int whence)
{
    int64_t at = lseek(s->fd, off, whence);

    /* Some file systems answer with what lies before: take it for no answer. */
    if (at >= 0 && (uint64_t)at < off) {
        errno = EINVAL;
        return -1;
    }
    return at;
}

/* What begins at @off. */
static Alike file_look(const File *s, uint64_t off)
{
    int64_t at = file_seek(s, off, SEEK_DATA);

    if (at < 0)
        return errno == ENXIO ? (Alike){ off, UINT64_MAX, true } : (Alike){ 0 };
    if ((uint64_t)at > off)
        return (Alike){ off, at, true };
    at = file_seek(s, off, SEEK_HOLE);
    return at > (int64_t)off ? (Alike){ off, at, false } : (Alike){ 0 };
}

/* ---- reading and writing -------------------------------------------------------------------- */

static CO int file_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    File *s = node_state(n);
    uint32_t block = node_limits(n)->request_alignment;

    while (buf.len) {
        struct iovec iov[IOV_AT_ONCE];
        int niov = span_to_iov(buf, iov, IOV_AT_ONCE, NULL);
        ssize_t r = aio_preadv(s->aio, s->fd, iov, niov, off);

        if (r < 0)
            return r;
        off += r;
        buf = span_slice(buf, r, buf.len - r);
        if (r == 0 || r % block) {
            /*
             * The file got shorter, or ends inside an aligned block. O_DIRECT cannot go on there
             * even if the file has grown meanwhile.
             */
            span_zero(buf);
            return 0;
        }
    }
    return 0;
}

static CO int file_write_all(File *s, uint64_t off, Span buf, ReqFlags flags)
{
    while (buf.len) {
        struct iovec iov[IOV_AT_ONCE];
        int niov = span_to_iov(buf, iov, IOV_AT_ONCE, NULL);
        ssize_t r = aio_pwritev(s->aio, s->fd, iov, niov, off, flags & REQ_FUA ? RWF_DSYNC : 0);

        if (r < 0)
            return r;
        if (r == 0)
            return -ENOSPC;
        off += r;
        buf = span_slice(buf, r, buf.len - r);
    }
    return 0;
}

static CO int file_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    File *s = node_state(n);
    bool grows = off + buf.len > node_size(n);
    int r;

    s->growing += grows;
    r = file_write_all(s, off, buf, flags);
    s->growing -= grows;
    /* Whoever asked meanwhile may have seen the hole. */
    file_forget(s, true, off, buf.len);
    if (r == 0 && !(node_flags(n) & OPEN_DIRECT) && !(flags & REQ_FUA)) {
        r = file_dirty_add(&s->dirty, s->fd, buf.len);
        s->sync_failed |= r < 0;
    }
    return r;
}

static CO int file_sync(Node *n)
{
    File *s = node_state(n);
    int r = s->sync_failed ? -EIO : aio_fdatasync(s->aio, s->fd);

    if (r < 0)
        s->sync_failed = true;
    return r;
}

/* ---- space ---------------------------------------------------------------------------------- */

/* fallocate with errors that mean "not here" told apart. */
static CO int file_fallocate(File *s, int mode, uint64_t off, uint64_t len)
{
    int r = aio_fallocate(s->aio, s->fd, mode, off, len);

    return r == -EOPNOTSUPP || r == -ENOSYS || r == -EINVAL || r == -ENODEV || r == -EPERM
               ? -ENOTSUP : r;
}

/*
 * Zeroes past the end of the file: growing it is enough. But the file may be longer than the node
 * knows, and setting its length while other requests grow it would cut off what they wrote.
 */
static int file_zero_past_end(File *s, uint64_t off, uint64_t end)
{
    struct stat st;

    if (s->growing || fstat(s->fd, &st) < 0 || (uint64_t)st.st_size > off)
        return -ENOTSUP;
    return ftruncate(s->fd, end) < 0 ? -errno : 0;
}

/*
 * What ZERO_RANGE does, for file systems without it (tmpfs): a hole, and then space for it again.
 */
static CO int file_zero_anew(File *s, uint64_t off, uint64_t len)
{
    int r = file_fallocate(s, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);

    if (r == -ENOTSUP)
        s->no_punch_hole = true;
    return r < 0 ? r : file_fallocate(s, 0, off, len);
}

/* Writes zeroes in one of the ways that never make the file shorter. */
static CO int file_zero_in_place(File *s, uint64_t off, uint64_t len, bool unmap)
{
    int r = -ENOTSUP;

    if (unmap && !s->no_punch_hole) {
        r = file_fallocate(s, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
        s->no_punch_hole = r == -ENOTSUP;
    }
    if (r == -ENOTSUP && !s->no_zero_range) {
        r = file_fallocate(s, FALLOC_FL_ZERO_RANGE | (s->is_device ? FALLOC_FL_KEEP_SIZE : 0), off,
                           len);
        s->no_zero_range = r == -ENOTSUP;
    }
    if (r == -ENOTSUP && !s->is_device && !s->no_punch_hole)
        r = file_zero_anew(s, off, len);
    return r;
}

static CO int file_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    File *s = node_state(n);
    bool grows = !s->is_device && off + len > node_size(n);
    int r = -ENOTSUP;

    file_forget(s, false, off, len);
    if (grows && off >= node_size(n) && flags & REQ_MAY_UNMAP)
        r = file_zero_past_end(s, off, off + len);
    if (r != -ENOTSUP)
        return r;
    s->growing += grows;
    r = file_zero_in_place(s, off, len, flags & REQ_MAY_UNMAP && !grows);
    s->growing -= grows;
    return r;
}

static CO int file_discard(Node *n, uint64_t off, uint64_t len)
{
    File *s = node_state(n);

    file_forget(s, false, off, len);
    return file_fallocate(s, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
}

static CO int file_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    File *s = node_state(n);
    Alike a = s->known;

    *e = (Extent){
        .len = len,
        .flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_HOST,
        .host = n,
        .host_off = off,
    };
    if (s->is_device || !precise)
        return 0;
    if (off < a.start || off >= a.end) {
        a = file_look(s, off);
        s->known = a.hole && !(s->lock.unshared & ACCESS_WRITE) ? (Alike){ 0 } : a;
    }
    if (a.hole)
        e->flags = EXTENT_ZERO | EXTENT_ALLOCATED | EXTENT_HOST;
    if (a.end)
        e->len = MIN(len, a.end - off);
    return 0;
}

static CO int file_copy(Node *n, uint64_t off, Node *src, uint64_t src_off, uint64_t len,
                        ReqFlags flags)
{
    File *s = node_state(n), *from;
    bool grows = off + len > node_size(n);
    int r;

    if (node_driver(src) != node_driver(n) || s->is_device)
        return -ENOTSUP;
    from = node_state(src);
    s->growing += grows;
    r = file_space_copy(from->fd, src_off, s->fd, off, len, flags & REQ_NO_FALLBACK);
    s->growing -= grows;
    file_forget(s, true, off, len);
    return r;
}

static CO bool file_resize(Node *n, uint64_t size, bool exact, Prealloc prealloc, ReqFlags flags,
                           GError **err)
{
    File *s = node_state(n);

    if (s->is_device) {
        if (prealloc != PREALLOC_OFF)
            return err_set(err, ENOTSUP, "Unsupported preallocation mode '%s': device '%s' has its "
                           "space already", prealloc_name(prealloc), node_filename(n));
        if (exact ? size == node_size(n) : size <= node_size(n))
            return true;
        return err_set(err, ENOTSUP, "Device '%s' has %" PRIu64 " bytes, which cannot change",
                       node_filename(n), node_size(n));
    }
    s->known = (Alike){ 0 };
    if (!file_space_resize(s->fd, node_filename(n), node_size(n), size, prealloc, err))
        return false;
    node_set_size(n, round_up(size, SECTOR));
    return true;
}

static uint64_t file_allocated(Node *n, bool *known)
{
    const File *s = node_state(n);
    struct stat st;

    *known = fstat(s->fd, &st) == 0;
    return *known ? (uint64_t)st.st_blocks * 512 : 0;
}

static bool file_has_zero_init(Node *n)
{
    const File *s = node_state(n);

    return !s->is_device;
}

static CO int file_info(Node *n, NodeInfo *info)
{
    return 0;
}

/* ---- creating ------------------------------------------------------------------------------- */

static CO bool file_create_file(const char *filename, json_t *opts, GError **err)
{
    return file_check_foreign(file_path(filename), err) &&
           file_space_create(file_path(filename), opts, err);
}

static uint64_t file_stamp(const char *filename)
{
    struct stat st;
    uint64_t changed;

    if (own_mount_has(file_path(filename)) || stat(file_path(filename), &st) < 0)
        return 0;
    /* Writing to a device does not change its node. */
    if (!S_ISREG(st.st_mode))
        return 1;
    changed = (uint64_t)st.st_ctim.tv_sec * 1000000000 + (uint64_t)st.st_ctim.tv_nsec;
    return (changed ^ (uint64_t)st.st_size << 32) | 1;
}

static CO int file_remove(const char *filename)
{
    return unlink(file_path(filename)) < 0 ? -errno : 0;
}

static CO bool device_create(const char *filename, json_t *opts, GError **err)
{
    return protocol_create_existing("host_device", file_path(filename), opts, err);
}

static const char *const file_fixed_options[] = { "filename", "locking", "aio", "aio-max-batch",
                                                 NULL };

/* What a file and a device have in common. */
#define FILE_OPERATIONS                                                                            \
    .kind = BLK_PROTOCOL,                                                                          \
    .any_loop = true,                                                                              \
    .state_size = sizeof(File),                                                                    \
    .write_flags = REQ_FUA,                                                                        \
    .zero_flags = REQ_MAY_UNMAP,                                                                   \
    .parse_filename = file_parse_filename,                                                         \
    .close = file_close,                                                                           \
    .activate = file_activate,                                                                     \
    .reconfigure_prepare = file_reconfigure_prepare,                                               \
    .reconfigure_commit = file_reconfigure_commit,                                                 \
    .reconfigure_abort = file_reconfigure_abort,                                                   \
    .fixed_options = file_fixed_options,                                                           \
    .identify = file_identify,                                                                     \
    .file_stamp = file_stamp,                                                                      \
    .pread = file_pread,                                                                           \
    .pwrite = file_pwrite,                                                                         \
    .zero = file_zero,                                                                             \
    .discard = file_discard,                                                                       \
    .counts_discards = true,                                                                       \
    .sync = file_sync,                                                                             \
    .extent = file_extent,                                                                         \
    .resize = file_resize,                                                                         \
    .info = file_info,                                                                             \
    .allocated = file_allocated,                                                                   \
    .has_zero_init = file_has_zero_init,                                                           \
    .lock = file_lock,                                                                             \
    .refresh_limits = file_refresh_limits

const BlockDriver block_file = {
    FILE_OPERATIONS,
    .name = "file",
    .prefix = "file",
    .open = file_open,
    .create_opts = create_opts_file,
    .create = file_create_file,
    .remove = file_remove,
    .copy = file_copy,
};

const BlockDriver block_host_device = {
    FILE_OPERATIONS,
    .name = "host_device",
    .prefix = "host_device",
    .open = device_open,
    .create_opts = create_opts_host_device,
    .create = device_create,
};
