/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The operations of a file system of one file, which is its root: the content of an image.
 * (libfuse, fuse_lowlevel.h; fallocate(2), lseek(2).)
 *
 * Each is called in the coroutine of its request, may wait, and answers exactly once. That runs
 * where the image lives, so whatever is more than requests of the handle is done on the main loop.
 */
#include "block/driver.h"
#include "block/home.h"
#include "fuse/modules/fuse/internal.h"
#include "util/size.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Where a format cannot have the size that a write wants, it gets the next multiple of this. */
enum { SECTOR = 512 };

static FuseFile *file_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

/* ---- attributes ------------------------------------------------------------------------------ */

/*
 * How long the kernel may take what it knows of the file for true; others may change it meanwhile.
 */
#define ATTR_SECONDS 1.0

typedef struct {
    Handle *handle;
    uint64_t bytes;
    bool known;
} Allocated;

/* Where its nodes are, which stay there meanwhile. */
static CO void allocated_look(void *arg)
{
    Allocated *a = arg;

    a->bytes = node_allocated(handle_node(a->handle), &a->known);
}

static CO void allocated_ask(void *arg)
{
    home_work(((Allocated *)arg)->handle, allocated_look, arg);
}

static CO void answer_attr(fuse_req_t req)
{
    FuseFile *f = file_of(req);
    Allocated allocated = { f->config.handle };
    time_t now = time(NULL);
    struct stat st = {
        .st_ino = FUSE_ROOT_ID,
        .st_mode = f->mode,
        .st_nlink = 1,
        .st_uid = f->uid,
        .st_gid = f->gid,
        .st_blksize = FUSE_DATA_MAX,
        /* Nobody keeps times of an image. New ones also tell the kernel not to trust its cache. */
        .st_atime = now,
        .st_mtime = now,
        .st_ctime = now,
    };

    loop_call_wait(f->own, allocated_ask, &allocated);
    st.st_size = handle_size(f->config.handle); /* others may have changed it while we waited */
    st.st_blocks = (allocated.known ? allocated.bytes : (uint64_t)st.st_size) / SECTOR;
    fuse_reply_attr(req, &st, ATTR_SECONDS);
}

static CO void file_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    answer_attr(req);
}

typedef struct {
    Handle *handle;
    uint64_t size;
    Prealloc prealloc;
    int result;
} Resize;

/* Without growable, others may resize the image too, and we do only for as long as it takes. */
static CO void resize_run(void *arg)
{
    Resize *r = arg;
    g_autoptr(GError) err = NULL;
    g_autoptr(Handle) h = handle_new_beside(r->handle, HANDLE_USER, ACCESS_RESIZE, ACCESS_ALL,
                                            &err);

    r->result = !h ? -EBUSY
              : handle_resize(h, r->size, true, r->prealloc, &err) ? 0 : -err->code;
}

/* Makes the image @size bytes long; 0, or a negative errno. */
static CO int file_resize(FuseFile *f, uint64_t size, Prealloc prealloc)
{
    Resize r = { f->config.handle, size, prealloc };

    if (!f->config.writable)
        return -EACCES;
    if (size > NODE_SIZE_MAX)
        return -EFBIG;
    loop_call_wait(f->own, resize_run, &r);
    return r.result;
}

/* Changes of permissions that make no sense on an image that nobody may write are refused. */
static int file_chmod(FuseFile *f, mode_t mode)
{
    if (!f->config.writable && mode & (S_IWUSR | S_IWGRP | S_IWOTH))
        return -EROFS;
    f->mode = S_IFREG | (mode & ~(mode_t)S_IFMT);
    return 0;
}

/* Times cannot be set, but a change of the size may come with those that it implies. */
static CO void file_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int what,
                            struct fuse_file_info *fi)
{
    FuseFile *f = file_of(req);
    int times = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_CTIME |
                FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW;
    int known = FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID;
    int r = 0;

    if (what & FUSE_SET_ATTR_SIZE)
        known |= FUSE_SET_ATTR_SIZE | times;
    if (what & ~known)
        r = -ENOTSUP;
    if (r == 0 && what & FUSE_SET_ATTR_SIZE) {
        CO_LOCKED(&f->growth);
        r = file_resize(f, attr->st_size, PREALLOC_OFF);
    }
    if (r == 0 && what & FUSE_SET_ATTR_MODE)
        r = file_chmod(f, attr->st_mode);
    if (r < 0) {
        fuse_reply_err(req, -r);
        return;
    }
    if (what & FUSE_SET_ATTR_UID)
        f->uid = attr->st_uid;
    if (what & FUSE_SET_ATTR_GID)
        f->gid = attr->st_gid;
    answer_attr(req);
}

/* ---- content --------------------------------------------------------------------------------- */

static void file_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (!file_of(req)->config.writable && (fi->flags & O_ACCMODE) != O_RDONLY)
        fuse_reply_err(req, EACCES);
    else
        fuse_reply_open(req, fi);
}

static CO void file_read(fuse_req_t req, fuse_ino_t ino, size_t len, off_t off,
                         struct fuse_file_info *fi)
{
    FuseFile *f = file_of(req);
    char *data = f->entered->data;
    uint64_t size = handle_size(f->config.handle);
    int r = 0;

    len = off < 0 || off >= size ? 0 : MIN(MIN(len, FUSE_DATA_MAX), size - off);
    if (len)
        r = handle_pread(f->config.handle, off, span_of(data, len), 0);
    if (r < 0)
        fuse_reply_err(req, -r);
    else
        fuse_reply_buf(req, data, len);
}

/* Makes the image long enough for what ends at @end, if it may grow; 0, or a negative errno. */
static CO int file_grow(FuseFile *f, uint64_t end)
{
    int r;

    if (!f->config.growable || end <= handle_size(f->config.handle))
        return 0;
    CO_LOCKED(&f->growth);
    if (end <= handle_size(f->config.handle))
        return 0;
    r = file_resize(f, end, PREALLOC_OFF);
    return r == -EINVAL ? file_resize(f, round_up(end, SECTOR), PREALLOC_OFF) : r;
}

static CO void file_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t len, off_t off,
                          struct fuse_file_info *fi)
{
    FuseFile *f = file_of(req);
    int r = off < 0 || off > NODE_SIZE_MAX - len ? -EFBIG : file_grow(f, off + len);
    uint64_t size = handle_size(f->config.handle);

    if (r == 0 && off >= size)
        r = -EIO;
    if (r == 0) {
        len = MIN(len, size - off);
        r = handle_pwrite(f->config.handle, off, span_of_const(data, len), 0);
    }
    if (r < 0)
        fuse_reply_err(req, -r);
    else
        fuse_reply_write(req, len);
}

static CO void file_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    fuse_reply_err(req, -handle_flush(file_of(req)->config.handle));
}

/* Zeroes [@off, @off + @len) as far as the image goes; 0, or a negative errno. */
static CO int file_zero(FuseFile *f, uint64_t off, uint64_t len, ReqFlags flags)
{
    uint64_t end = MIN(off + len, handle_size(f->config.handle));

    while (off < end) {
        uint64_t n = MIN(end - off, REQ_LEN_MAX);
        int r = handle_zero(f->config.handle, off, n, flags);

        if (r < 0)
            return r;
        off += n;
    }
    return 0;
}

/* Space behind the end of the image is what it gets, zeroes included. */
static CO int file_extend(FuseFile *f, uint64_t off, uint64_t len, Prealloc prealloc)
{
    CO_LOCKED(&f->growth);
    if (prealloc != PREALLOC_OFF && off < handle_size(f->config.handle))
        return -EOPNOTSUPP;
    return off + len <= handle_size(f->config.handle) ? 0 : file_resize(f, off + len, prealloc);
}

static CO int file_allocate(FuseFile *f, int mode, uint64_t off, uint64_t len)
{
    int r = 0;

    switch (mode) {
    case 0:
        return file_extend(f, off, len, PREALLOC_FALLOC);
    case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
        return file_zero(f, off, len, REQ_MAY_UNMAP);
    case FALLOC_FL_ZERO_RANGE:
        r = file_extend(f, off, len, PREALLOC_OFF);
        return r < 0 ? r : file_zero(f, off, len, 0);
    case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
        return file_zero(f, off, len, 0);
    default:
        return -EOPNOTSUPP;
    }
}

static CO void file_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                              struct fuse_file_info *fi)
{
    FuseFile *f = file_of(req);
    int r = !f->config.writable ? -EACCES
          : off < 0 || len <= 0 ? -EINVAL
          : off > NODE_SIZE_MAX - len ? -EFBIG
          : file_allocate(f, mode, off, len);

    fuse_reply_err(req, -r);
}

/* The first byte from @off on that is data, or with @hole that is none; a negative errno. */
static CO int64_t file_seek(FuseFile *f, uint64_t off, bool hole)
{
    uint64_t size = handle_size(f->config.handle);

    if (off >= size)
        return -ENXIO;
    while (off < size) {
        Extent e;
        int r = handle_extent_above(f->config.handle, off, MIN(size - off, EXTENT_LEN_MAX), true,
                                    &e, NULL);

        if (r < 0)
            return r;
        if (hole == !!(e.flags & EXTENT_ZERO))
            return off;
        off += e.len;
    }
    return hole ? (int64_t)size : -ENXIO;
}

static CO void file_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
                          struct fuse_file_info *fi)
{
    int64_t r = -EINVAL;

    if (whence == SEEK_DATA || whence == SEEK_HOLE)
        r = off < 0 ? -ENXIO : file_seek(file_of(req), off, whence == SEEK_HOLE);
    if (r < 0)
        fuse_reply_err(req, -r);
    else
        fuse_reply_lseek(req, r);
}

/* ---- the file system ------------------------------------------------------------------------- */

static void file_init(void *opaque, struct fuse_conn_info *conn)
{
    conn->max_write = MIN(conn->max_write, FUSE_DATA_MAX);
    conn->max_read = FUSE_DATA_MAX;
    conn->max_background = 64;
    conn->congestion_threshold = 48;
    /* Requests are received as bytes in memory of ours. */
    conn->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
}

const struct fuse_lowlevel_ops fuse_ops = {
    .init = file_init,
    .getattr = file_getattr,
    .setattr = file_setattr,
    .open = file_open,
    .read = file_read,
    .write = file_write,
    .fsync = file_fsync,
    .fallocate = file_fallocate,
    .lseek = file_lseek,
};
