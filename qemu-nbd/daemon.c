/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --pid-file. */
#include "qemu-nbd/job.h"
#include "tools/complain.h"
#include "util/fd.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

bool daemon_write_pid(const Job *j)
{
    g_autofree char *text = g_strdup_printf("%d\n", getpid());
    autofd int fd = -1;

    if (!j->pid_file)
        return true;
    fd = open(j->pid_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        return complain_errno(errno, "Cannot write pid file '%s'", j->pid_file);
    return true;
}
