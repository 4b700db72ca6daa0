/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * --pidfile: a file with our process id, locked as long as we live. Whoever finds it locked knows
 * that the process is there.
 */
#include "control/control.h"
#include "tools/complain.h"
#include "util/fd.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int lock_fd = -1;
static char *written; /* absolute, since we may leave our folder; NULL: none */

/*
 * Another daemon may have removed the file between our opening and locking it: is @fd still @path?
 */
static bool is_file_at(int fd, const char *path)
{
    struct stat a, b;

    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

/* A locked descriptor of file @path, or -1 with errno set. */
static int open_locked(const char *path)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

    for (;;) {
        autofd int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

        if (fd < 0 || fcntl(fd, F_SETLK, &lock) < 0)
            return -1;
        if (is_file_at(fd, path))
            return fd_steal(&fd);
    }
}

bool pid_file_write(const char *path)
{
    g_autofree char *text = g_strdup_printf("%d\n", getpid());

    lock_fd = open_locked(path);
    if (lock_fd < 0 && (errno == EAGAIN || errno == EACCES))
        return complain("The process of pid file '%s' is still there, or the file cannot be "
                        "written", path);
    if (lock_fd < 0 || ftruncate(lock_fd, 0) < 0 ||
        write(lock_fd, text, strlen(text)) != (ssize_t)strlen(text))
        return complain_errno(errno, "Cannot write pid file '%s'", path);
    written = realpath(path, NULL);
    return true;
}

void pid_file_remove(void)
{
    if (written)
        unlink(written);
    free(written);
    written = NULL;
    fd_cleanup(&lock_fd);
    lock_fd = -1;
}
