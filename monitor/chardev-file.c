/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kinds file and pipe: what is sent goes into one file, what comes is from another, or the same. */
#include "monitor/backend.h"
#include "util/err.h"
#include "util/fd.h"
#include <errno.h>
#include <fcntl.h>

/* A descriptor, or -1 with @err. */
static int open_or_err(const char *path, int flags, GError **err)
{
    int fd = open(path, flags | O_CLOEXEC | O_NOCTTY, 0666);

    if (fd < 0)
        err_set_errno(err, errno, "Could not open '%s'", path);
    return fd;
}

static CO bool file_open(Chardev *c, const json_t *data, GError **err)
{
    const char *in_path = json_get_str(data, "in", NULL);
    bool append = json_get_bool(data, "append", false);
    autofd int out = open_or_err(json_get_str(data, "out", ""),
                                 O_WRONLY | O_CREAT | (append ? O_APPEND : O_TRUNC), err);
    autofd int in = out >= 0 && in_path ? open_or_err(in_path, O_RDONLY, err) : -1;

    if (out < 0 || (in_path && in < 0))
        return false;
    chardev_connected(c, in_path ? channel_new_fd(fd_steal(&in)) : NULL,
                      channel_new_fd(fd_steal(&out)));
    return true;
}

/* A fifo for each direction, PATH.in and PATH.out, or one file for both. */
static CO bool pipe_open(Chardev *c, const json_t *data, GError **err)
{
    const char *path = json_get_str(data, "device", "");
    g_autofree char *in_path = g_strconcat(path, ".in", NULL);
    g_autofree char *out_path = g_strconcat(path, ".out", NULL);
    autofd int in = open_or_err(in_path, O_RDWR | O_NONBLOCK, NULL);
    autofd int out = open_or_err(out_path, O_RDWR | O_NONBLOCK, NULL);
    Channel *both;

    if (in >= 0 && out >= 0) {
        chardev_connected(c, channel_new_fd(fd_steal(&in)), channel_new_fd(fd_steal(&out)));
        return true;
    }
    fd_cleanup(&in);
    in = open_or_err(path, O_RDWR | O_NONBLOCK, err);
    if (in < 0)
        return false;
    both = channel_new_fd(fd_steal(&in));
    chardev_connected(c, both, both);
    return true;
}

const ChardevDriver backend_file = {
    .name = "file",
    .open = file_open,
};

const ChardevDriver backend_pipe = {
    .name = "pipe",
    .open = pipe_open,
};
