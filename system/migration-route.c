/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/migration-route.h"
#include "gen/schema.h"
#include "io/net.h"
#include "migration/check.h"
#include "migration/sockets.h"
#include "migration/wire.h"
#include "system/migration-channels.h"
#include "system/migration-settings.h"
#include "system/migration-info.h"
#include "system/run-state.h"
#include "util/err.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static bool skip_prefix(const char *uri, const char *prefix, const char **rest)
{
    if (!g_str_has_prefix(uri, prefix))
        return false;
    *rest = uri + strlen(prefix);
    return true;
}

static bool is_address(const char *uri)
{
    const char *unused;

    return skip_prefix(uri, "tcp:", &unused) || skip_prefix(uri, "unix:", &unused) ||
           skip_prefix(uri, "vsock:", &unused);
}

/* ---- files ----------------------------------------------------------------------------------- */

/* What a stream has at least: pages that are not zero. Untouched memory is not looked at. */
static CO uint64_t bytes_of_memory(const Machine *m)
{
    enum { LOOK = 16 << 20 };
    size_t page = sysconf(_SC_PAGESIZE);
    g_autofree unsigned char *resident = g_malloc(LOOK / page);
    uint64_t bytes = 0;

    for (uint64_t at = 0; at < m->config.ram_size; at += LOOK) {
        size_t len = MIN(m->config.ram_size - at, LOOK);

        if (mincore(m->ram + at, len, resident) < 0)
            return 0;
        for (size_t off = 0; off < len; off += RAM_PAGE_SIZE)
            if (resident[off / page] & 1 && !ram_is_zero(m->ram + at + off, RAM_PAGE_SIZE))
                bytes += RAM_PAGE_SIZE;
        co_yield();
    }
    return bytes;
}

/* The space of a file that is there is free, too: it will be cut to nothing. */
static CO void check_space(const char *path, const char *folder, json_t *reasons)
{
    uint64_t needed = bytes_of_memory(run_state_machine()), there;
    struct statvfs fs;
    struct stat st;

    if (statvfs(folder, &fs) < 0)
        return;
    there = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
        there += (uint64_t)st.st_blocks * 512;
    if (needed > there)
        migration_reason_add(reasons, "space", "'%s' has room for %" PRIu64 " bytes, the guest's "
                             "memory takes %" PRIu64 " at least", path, there, needed);
}

static CO void check_file(const char *path, bool is_incoming, json_t *reasons)
{
    g_autofree char *folder = g_path_get_dirname(path);
    bool is_there = access(path, F_OK) == 0;
    struct stat st;
    int r = is_incoming ? access(path, R_OK) : access(is_there ? path : folder, W_OK);

    if (r < 0) {
        migration_reason_add(reasons, "uri", "'%s' cannot be %s: %s", path,
                             is_incoming ? "read" : "written", g_strerror(errno));
        return;
    }
    if (!is_incoming && (!is_there || (stat(path, &st) == 0 && S_ISREG(st.st_mode))))
        check_space(path, folder, reasons);
}

/* ---- addresses ------------------------------------------------------------------------------- */

/* Connecting would take the place of the source, so only what needs no connection is looked at. */
static void check_socket_file(const char *path, bool is_incoming, json_t *reasons)
{
    g_autofree char *folder = g_path_get_dirname(path);
    struct stat st;
    int r = is_incoming ? access(folder, W_OK) : stat(path, &st);

    if (r < 0)
        migration_reason_add(reasons, "uri", is_incoming ? "The socket '%s' cannot be created: %s"
                                                         : "There is no socket '%s': %s", path,
                             g_strerror(errno));
    else if (!is_incoming && !S_ISSOCK(st.st_mode))
        migration_reason_add(reasons, "uri", "'%s' is no socket", path);
}

/* Whether the port is free, by listening there for a moment. */
static CO void check_port(NetKind kind, const char *text, json_t *reasons)
{
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));
    g_auto(NetAddress) a = { 0 };
    g_autoptr(GError) err = NULL;

    if (!mig_address_read(kind, text, &a, &err) || !net_listen(&a, 1, fds, &err))
        migration_reason_add(reasons, "uri", "The target cannot listen at '%s': %s", text,
                             err->message);
    for (guint i = 0; i < fds->len; i++)
        close(g_array_index(fds, int, i));
}

static CO void check_address(const char *uri, bool is_incoming, json_t *reasons)
{
    const char *rest;

    if (skip_prefix(uri, "unix:", &rest))
        check_socket_file(rest, is_incoming, reasons);
    else if (is_incoming && skip_prefix(uri, "tcp:", &rest))
        check_port(NET_INET, rest, reasons);
    else if (is_incoming && skip_prefix(uri, "vsock:", &rest))
        check_port(NET_VSOCK, rest, reasons);
}

/* ---- all ------------------------------------------------------------------------------------- */

static bool listens_already(void)
{
    g_autoptr(json_t) info = migration_info();

    return json_has(info, "status");
}

/* TLS needs credentials, of the right kind, and a socket. */
static CO void check_tls(const char *uri, bool is_incoming, json_t *reasons)
{
    g_autoptr(GError) err = NULL;
    Transport *t = migration_transport_new(uri, !is_incoming, &err);

    if (!t)
        migration_reason_add(reasons, "parameter", "TLS at the %s: %s",
                             is_incoming ? "target" : "source", err->message);
    else if (*migration_text("tls-creds") && transport_lead(uri) == TRANSPORT_ONE_WAY)
        migration_reason_add(reasons, "uri", "'%s' leads to no socket, and TLS needs one", uri);
    transport_free(t);
}

/* The target's answers need a socket. */
static void check_answers(const char *uri, json_t *reasons)
{
    static const MigrationCapability answered[] = {
        MIGRATION_CAPABILITY_RETURN_PATH, MIGRATION_CAPABILITY_POSTCOPY_RAM,
    };

    if (transport_lead(uri) != TRANSPORT_ONE_WAY)
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(answered); i++)
        if (migration_has(answered[i]))
            migration_reason_add(reasons, "capability", "'%s' leads to no socket, and '%s' needs "
                                 "one", uri,
                                 schema_enum_name(&migration_capability_enum, answered[i]));
}

CO void migration_route_check(const char *uri, bool is_incoming, json_t *reasons)
{
    g_autoptr(GError) err = NULL;
    const char *rest;

    /* What it has opened, it will not open again. */
    if (is_incoming && listens_already())
        return;
    if (!migration_check_uri(uri, &err)) {
        migration_reason_add(reasons, "uri", "The %s cannot use '%s': %s",
                             is_incoming ? "target" : "source", uri, err->message);
        return;
    }
    check_tls(uri, is_incoming, reasons);
    if (!is_incoming)
        check_answers(uri, reasons);
    if (transport_lead(uri) == TRANSPORT_ABSENT)
        migration_reason_add(reasons, "uri", "The %s has no file descriptor '%s'",
                             is_incoming ? "target" : "source", uri + strlen("fd:"));
    if (skip_prefix(uri, "file:", &rest))
        check_file(rest, is_incoming, reasons);
    else if (is_address(uri))
        check_address(uri, is_incoming, reasons);
}
