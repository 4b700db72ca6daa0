/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Locks of open files have no process of their own, so the kernel names none. But /proc/PID/fdinfo
 * lists the locks of each descriptor, with the inode. Only a descriptor with such a lock is asked
 * for the file's attributes: any other one may be of a file system whose server does not answer.
 */
#include "block/protocols/lock-holder.h"
#include <dirent.h>
#include <fcntl.h>
#include <glib.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC(DIR, closedir)

/* Does a line "lock: 1: OFDLCK ADVISORY READ -1 00:01:2 100 103" of @text hold @byte of inode 2? */
static bool text_has_lock(const char *text, unsigned long long inode, int byte)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (char **l = lines; *l; l++) {
        unsigned long long of, start, end = G_MAXUINT64;

        if (g_str_has_prefix(*l, "lock:") &&
            sscanf(*l, "lock: %*s OFDLCK %*s %*s %*s %*[^:]:%*[^:]:%llu %llu %llu", &of, &start,
                   &end) >= 2 &&
            of == inode && start <= (unsigned)byte && (unsigned)byte <= end)
            return true;
    }
    return false;
}

/* True if descriptor @name of process @pid has @byte of the file that @file tells of locked. */
static bool fd_has_lock(const char *pid, int fds, const char *name, const struct stat *file,
                        int byte)
{
    g_autofree char *path = g_strdup_printf("/proc/%s/fdinfo/%s", pid, name), *text = NULL;
    struct stat st;

    return g_file_get_contents(path, &text, NULL, NULL) &&
           text_has_lock(text, file->st_ino, byte) && fstatat(fds, name, &st, 0) == 0 &&
           st.st_dev == file->st_dev && st.st_ino == file->st_ino;
}

/* The same for any descriptor but @own, which is ours. */
static bool process_has_lock(const char *pid, int own, const struct stat *file, int byte)
{
    g_autofree char *path = g_strdup_printf("/proc/%s/fd", pid);
    g_autoptr(DIR) dir = opendir(path);
    bool is_us = atoi(pid) == getpid();
    struct dirent *e;

    while (dir && (e = readdir(dir)))
        if (g_ascii_isdigit(e->d_name[0]) && !(is_us && atoi(e->d_name) == own) &&
            fd_has_lock(pid, dirfd(dir), e->d_name, file, byte))
            return true;
    return false;
}

char *lock_holder(int fd, int byte)
{
    g_autoptr(DIR) proc = opendir("/proc");
    struct dirent *e;
    struct stat file;

    if (fstat(fd, &file) < 0)
        return NULL;
    while (proc && (e = readdir(proc))) {
        g_autofree char *path = NULL, *name = NULL;

        if (!g_ascii_isdigit(e->d_name[0]) || !process_has_lock(e->d_name, fd, &file, byte))
            continue;
        if (atoi(e->d_name) == getpid())
            return g_strdup("this program itself");
        path = g_strdup_printf("/proc/%s/comm", e->d_name);
        if (!g_file_get_contents(path, &name, NULL, NULL))
            continue;
        return g_strdup_printf("%s (process %s)", g_strchomp(name), e->d_name);
    }
    return NULL;
}
