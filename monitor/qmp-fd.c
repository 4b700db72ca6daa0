/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about descriptors that clients send. Messages are those of the reference. */
#include "gen/qmp.h"
#include "monitor/session.h"
#include "util/err.h"
#include "util/given-fd.h"
#include <inttypes.h>
#include <unistd.h>

/* The descriptor that came with the request, or -1 with @err. */
static int sent_fd(GError **err)
{
    int fd = chardev_take_fd(session_current()->chardev);

    if (fd < 0)
        err_set(err, EINVAL, "No file descriptor supplied via SCM_RIGHTS");
    return fd;
}

CO bool qmp_getfd(const QmpGetfdArgs *args, GError **err)
{
    int fd = sent_fd(err);

    if (fd < 0)
        return false;
    if (g_ascii_isdigit(args->fdname[0])) {
        close(fd);
        return err_set(err, EINVAL, "Parameter 'fdname' expects a name not starting with a digit");
    }
    named_fd_put(args->fdname, fd);
    return true;
}

CO bool qmp_closefd(const QmpClosefdArgs *args, GError **err)
{
    int fd = named_fd_take(args->fdname);

    if (fd < 0)
        return err_set(err, ENOENT, "File descriptor named '%s' not found", args->fdname);
    close(fd);
    return true;
}

CO bool qmp_add_fd(const QmpAddFdArgs *args, AddfdInfo **ret, GError **err)
{
    int fd = sent_fd(err);

    if (fd < 0)
        return false;
    if (args->has_fdset_id && args->fdset_id < 0) {
        close(fd);
        return err_set(err, EINVAL, "Parameter 'fdset-id' expects a non-negative value");
    }
    *ret = g_new0(AddfdInfo, 1);
    (*ret)->fdset_id = fdset_add(args->has_fdset_id ? args->fdset_id : -1, fd, args->opaque)->id;
    (*ret)->fd = fd;
    return true;
}

CO bool qmp_remove_fd(const QmpRemoveFdArgs *args, GError **err)
{
    bool one = args->has_fd;

    if ((!one || (args->fd >= 0 && args->fd <= INT_MAX)) &&
        fdset_remove(args->fdset_id, one ? (int)args->fd : -1))
        return true;
    if (one)
        return err_set(err, ENOENT, "File descriptor named 'fdset-id:%" PRId64 ", fd:%" PRId64
                       "' not found", args->fdset_id, args->fd);
    return err_set(err, ENOENT, "File descriptor named 'fdset-id:%" PRId64 "' not found",
                   args->fdset_id);
}

CO bool qmp_query_fdsets(GPtrArray **ret, GError **err)
{
    const FdSet *s;

    *ret = g_ptr_array_new_with_free_func((GDestroyNotify)fdset_info_free);
    for (unsigned i = 0; (s = fdset_at(i)); i++) {
        FdsetInfo *info = g_new0(FdsetInfo, 1);

        info->fdset_id = s->id;
        info->fds = g_ptr_array_new_with_free_func((GDestroyNotify)fdset_fd_info_free);
        for (guint m = 0; m < s->members->len; m++) {
            const FdSetMember *member = &g_array_index(s->members, FdSetMember, m);
            FdsetFdInfo *fd = g_new0(FdsetFdInfo, 1);

            fd->fd = member->fd;
            fd->opaque = g_strdup(member->opaque);
            g_ptr_array_add(info->fds, fd);
        }
        g_ptr_array_add(*ret, info);
    }
    return true;
}
