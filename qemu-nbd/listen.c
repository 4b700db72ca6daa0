/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where clients may connect: a TCP port, a Unix socket, or sockets that a service manager opened.
 */
#include "io/net.h"
#include "qemu-nbd/job.h"
#include "tools/complain.h"
#include "util/fd.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum {
    FIRST_INHERITED = 3,
    INHERITED_MAX = 64,
    BACKLOG = 128, /* at least; with -e more clients wait there */
};

static struct stat socket_file; /* of our own, as it was made; st_ino 0: there is none */

unsigned listen_inherited(void)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    uint64_t n;

    if (!pid || !fds || !g_ascii_string_to_unsigned(pid, 10, 1, INT_MAX, &n, NULL) ||
        n != (uint64_t)getpid() ||
        !g_ascii_string_to_unsigned(fds, 10, 1, INHERITED_MAX, &n, NULL))
        return 0;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return n;
}

static bool inherited_add(unsigned count, GArray *fds)
{
    for (unsigned i = 0; i < count; i++) {
        int fd = FIRST_INHERITED + i, listening = 0;
        socklen_t len = sizeof(listening);

        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0 || !listening)
            return complain("Descriptor %d from the service manager is no listening socket", fd);
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        g_array_append_val(fds, fd);
    }
    return true;
}

/*
 * Makes the sockets that are opened next carry SELinux label @label; NULL ends that. The kernel's
 * interface is a file, so that no library is needed.
 */
static bool set_socket_label(const char *label)
{
    autofd int fd = open("/proc/thread-self/attr/sockcreate", O_WRONLY | O_CLOEXEC);
    size_t len = label ? strlen(label) + 1 : 0;

    if (fd < 0 || write(fd, label, len) != (ssize_t)len)
        return complain_errno(errno, "Cannot give sockets the SELinux label '%s'",
                              label ? label : "");
    return true;
}

CO bool listen_open(const Job *j, GArray *fds)
{
    g_autoptr(GError) err = NULL;
    NetAddress a = {
        .kind = j->socket ? NET_UNIX : NET_INET,
        .path = (char *)j->socket,
        .host = (char *)(j->bind ? j->bind : "0.0.0.0"),
        .port = (char *)(j->port ? j->port : "10809"),
    };

    if (j->inherited)
        return inherited_add(j->inherited, fds);
    if (j->device && !j->socket && !j->bind && !j->port)
        return true;
    if (j->selinux_label && !set_socket_label(j->selinux_label))
        return false;
    if (!net_listen(&a, MAX(BACKLOG, j->shared), fds, &err))
        return complain_err(err);
    if (j->socket && lstat(j->socket, &socket_file) < 0)
        return complain_errno(errno, "Socket '%s' is gone", j->socket);
    return !j->selinux_label || set_socket_label(NULL);
}

void listen_end(const Job *j)
{
    struct stat now;

    /* Another server may listen at the same path by now. */
    if (j->socket && lstat(j->socket, &now) == 0 && now.st_dev == socket_file.st_dev &&
        now.st_ino == socket_file.st_ino)
        unlink(j->socket);
}
