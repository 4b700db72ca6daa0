/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that dump the guest's memory. Messages are the reference's. */
#include "system/dump.h"
#include "system/dump-kdump.h"
#include "system/migration.h"
#include "util/err.h"
#include "util/given-fd.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static bool check_range(const QmpDumpGuestMemoryArgs *a, GError **err)
{
    if (a->has_begin != a->has_length)
        return err_set(err, EINVAL, "Parameter '%s' is missing", a->has_begin ? "length" : "begin");
    if (a->has_begin && a->begin < 0)
        return err_set(err, EINVAL, "Invalid parameter 'begin'");
    if (a->has_length && (a->length <= 0 || a->begin > INT64_MAX - a->length))
        return err_set(err, EINVAL, "Invalid parameter 'length'");
    return true;
}

/* It can be written. */
static bool is_there(DumpGuestMemoryFormat f)
{
    return f == DUMP_GUEST_MEMORY_FORMAT_ELF || kdump_packer(f);
}

static bool check_format(const QmpDumpGuestMemoryArgs *a, GError **err)
{
    if (a->format != DUMP_GUEST_MEMORY_FORMAT_ELF && (a->paging || a->has_begin))
        return err_set(err, EINVAL, "kdump-compressed format doesn't support paging or filter");
    if (!is_there(a->format))
        return err_set(err, ENOTSUP, "%s is not available now",
                       schema_enum_name(&dump_guest_memory_format_enum, a->format));
    return !a->paging || err_set(err, ENOTSUP, "Parameter 'paging' is not supported: memory is "
                                 "dumped by physical addresses");
}

static int open_target(const char *protocol, GError **err)
{
    const char *name;
    int fd;

    if (g_str_has_prefix(protocol, "fd:")) {
        name = protocol + strlen("fd:");
        fd = named_fd_take(name);
        if (fd < 0)
            err_set(err, ENOENT, "File descriptor named '%s' has not been found", name);
    } else if (g_str_has_prefix(protocol, "file:")) {
        name = protocol + strlen("file:");
        /* A pipe that nobody reads is an error, and nothing to wait for. */
        fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_CLOEXEC, S_IRUSR);
        if (fd < 0)
            err_set_errno(err, errno, "Could not open '%s'", name);
    } else {
        err_set(err, EINVAL, "Invalid parameter 'protocol'");
        fd = -1;
    }
    return fd;
}

CO bool qmp_dump_guest_memory(const QmpDumpGuestMemoryArgs *a, GError **err)
{
    DumpArgs args = { .begin = a->begin, .length = a->length, .format = a->format,
                      .detach = a->detach };
    int fd;

    if (run_state() == STATE_INMIGRATE)
        return err_set(err, EBUSY, "Dump not allowed during incoming migration.");
    if (dump_is_active())
        return err_set(err, EBUSY, "There is a dump in process, please wait.");
    if (migration_is_active())
        return err_set(err, EBUSY, "There's a migration process in progress");
    if (!check_range(a, err) || !check_format(a, err))
        return false;
    fd = open_target(a->protocol, err);
    return fd >= 0 && dump_start(&args, fd, err);
}

CO bool qmp_query_dump(DumpQueryResult **ret, GError **err)
{
    *ret = dump_result();
    return true;
}

CO bool qmp_query_dump_guest_memory_capability(DumpGuestMemoryCapability **ret, GError **err)
{
    *ret = g_new0(DumpGuestMemoryCapability, 1);
    (*ret)->formats = g_array_new(FALSE, FALSE, sizeof(int));
    for (int f = 0; dump_guest_memory_format_enum.names[f]; f++)
        if (is_there(f))
            g_array_append_val((*ret)->formats, f);
    return true;
}
