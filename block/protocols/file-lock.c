/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Image locks with open-file-description locks. */
#include "block/protocols/file-lock.h"
#include "block/block.h"
#include "block/protocols/lock-holder.h"
#include "util/err.h"
#include "util/printable.h"
#include "util/trace.h"
#include <fcntl.h>

enum { LOCK_NEEDED = 100, LOCK_UNSHARED = 200 };

static const char *const lock_names[] = { "consistent read", "write", "write unchanged",
                                          "resize" };

static int lock_set(int fd, int byte, int type)
{
    struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

    return fcntl(fd, F_OFD_SETLK, &l) < 0 ? -errno : 0;
}

/* 0 if nobody else has @byte locked, -EAGAIN if somebody has. */
static int lock_test(int fd, int byte)
{
    struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

    if (fcntl(fd, F_OFD_GETLK, &l) < 0)
        return -errno;
    return l.l_type == F_UNLCK ? 0 : -EAGAIN;
}

static int locks_set(int fd, int base, unsigned bits, int type)
{
    for (; bits; bits &= bits - 1) {
        int r = lock_set(fd, base + __builtin_ctz(bits), type);

        if (r < 0)
            return r;
    }
    return 0;
}

/* Tells that @byte, which stands for @access, is locked by somebody else. */
static bool lock_refused(int fd, int byte, const char *kind, const char *access, const char *name,
                         GError **err)
{
    g_autofree char *holder = lock_holder(fd, byte), *shown = printable(name);

    err_set(err, EAGAIN, "Failed to get %s\"%s\" lock on '%s'%s%s", kind, access, name,
            holder ? ", which is in use by " : "", holder ? holder : "");
    err_hint(err, "Commands that only read can share it all the same: -U (--force-share).");
    return err_line(err, "Is another process using the image [%s]?", shown);
}

/* Fails if another process has one of @bits above @base locked. */
static bool locks_test(int fd, int base, unsigned bits, const char *kind, const char *name,
                       GError **err)
{
    for (; bits; bits &= bits - 1) {
        int i = __builtin_ctz(bits);

        if (lock_test(fd, base + i) < 0)
            return lock_refused(fd, base + i, kind, lock_names[i], name, err);
    }
    return true;
}

static bool lock_take(int fd, unsigned needs, unsigned unshared, const char *name, GError **err)
{
    int r = locks_set(fd, LOCK_NEEDED, needs, F_RDLCK);

    if (r == 0)
        r = locks_set(fd, LOCK_UNSHARED, unshared, F_RDLCK);
    if (r < 0)
        return err_set_errno(err, r, "Could not lock '%s'", name);
    return true;
}

bool file_lock_change(int fd, FileLock *held, unsigned needs, unsigned unshared, const char *name,
                      GError **err)
{
    unsigned new_needs = needs & ~held->needs, new_unshared = unshared & ~held->unshared;

    TRACE(file_lock, "'%s' needs=0x%x unshared=0x%x", name, needs, unshared);
    if (!lock_take(fd, new_needs, new_unshared, name, err) ||
        !locks_test(fd, LOCK_UNSHARED, new_needs, "", name, err) ||
        !locks_test(fd, LOCK_NEEDED, new_unshared, "shared ", name, err)) {
        locks_set(fd, LOCK_NEEDED, new_needs, F_UNLCK);
        locks_set(fd, LOCK_UNSHARED, new_unshared, F_UNLCK);
        return false;
    }
    locks_set(fd, LOCK_NEEDED, held->needs & ~needs, F_UNLCK);
    locks_set(fd, LOCK_UNSHARED, held->unshared & ~unshared, F_UNLCK);
    *held = (FileLock){ .needs = needs, .unshared = unshared };
    return true;
}

bool file_lock_copy(int fd, const FileLock *held, const char *name, GError **err)
{
    return lock_take(fd, held->needs, held->unshared, name, err);
}

void file_lock_drop(int fd)
{
    struct flock l = {
        .l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = LOCK_NEEDED,
        .l_len = 2 * (LOCK_UNSHARED - LOCK_NEEDED),
    };

    fcntl(fd, F_OFD_SETLK, &l);
}

bool file_lock_is_supported(int fd)
{
    struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

    return fcntl(fd, F_OFD_GETLK, &l) == 0;
}
