/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blklogwrites: keeps a log of everything that changes its file, in the format of the kernel's
 * dm-log-writes, so that a crash at any point can be replayed.
 *
 *     0         super block: how many entries there are
 *     sector 1  entry header, one sector
 *               the data written, whole sectors; nothing for a discard
 *               next entry header, ...
 *
 * Entries stand in the order in which the requests ended. See docs/spec/blklogwrites.md.
 */
#include "block/driver.h"
#include "util/endian.h"
#include <inttypes.h>
#include <string.h>

enum {
    LOG_VERSION = 1,
    LOG_FLUSH = 1 << 0,
    LOG_DISCARD = 1 << 2,
    SECTOR_DEFAULT = 512,
    INTERVAL_DEFAULT = 4096,
};
#define LOG_MAGIC UINT64_C(0x6a736677736872)
#define SECTOR_MAX (8 * MiB)

typedef struct {
    le64 magic;
    le64 version;
    le64 entries;     /* in the whole log */
    le32 sector_size; /* bytes; the unit of everything in the log */
} LogSuper;

typedef struct {
    le64 sector;   /* where the request starts */
    le64 sectors;  /* how long it is */
    le64 flags;    /* LOG_* */
    le64 data_len; /* of marks only */
} LogEntry;

typedef struct {
    Edge *log;
    uint32_t sector;   /* bytes */
    uint64_t interval; /* entries between two updates of the super block */
    uint64_t next;     /* sector of the log where the next entry goes */
    uint64_t entries;
    CoMutex lock;      /* held while an entry is appended */
} LogWrites;

/* ---- opening -------------------------------------------------------------------------------- */

static bool log_sector_is_valid(uint64_t size)
{
    return is_power_of_2(size) && size >= sizeof(LogEntry) && size <= SECTOR_MAX;
}

/* Finds the end of a log that is there already: walks over its entries. */
static CO bool log_find_end(LogWrites *s, uint64_t entries, const char *name, GError **err)
{
    uint64_t sectors = edge_size(s->log) / s->sector;

    s->next = 1;
    for (s->entries = 0; s->entries < entries; s->entries++) {
        LogEntry e;
        uint64_t data, end;
        int r;

        if (s->next >= sectors)
            return err_set(err, EINVAL, "Log '%s' has %" PRIu64 " entries by its super block, but "
                           "ends after %" PRIu64, name, entries, s->entries);
        r = edge_pread_buf(s->log, s->next * s->sector, &e, sizeof(e));
        if (r < 0)
            return err_set_errno(err, r, "Could not read entry %" PRIu64 " of log '%s'", s->entries,
                                 name);
        data = le64_get(e.flags) & LOG_DISCARD ? 0 : le64_get(e.sectors);
        if (!size_add(s->next + 1, data, &end) || end > sectors)
            return err_set(err, EINVAL, "Entry %" PRIu64 " of log '%s' claims %" PRIu64
                           " sectors, which is past its end", s->entries, name, data);
        s->next = end;
    }
    return true;
}

/* Takes over the log that is there. An empty file is an empty log. */
static CO bool log_continue(LogWrites *s, GError **err)
{
    const char *name = node_filename(edge_node(s->log));
    LogSuper super;
    int r;

    if (!edge_size(s->log))
        return true;
    r = edge_pread_buf(s->log, 0, &super, sizeof(super));
    if (r < 0)
        return err_set_errno(err, r, "Could not read the super block of log '%s'", name);
    if (le64_get(super.magic) != LOG_MAGIC)
        return err_set(err, EINVAL, "'%s' is no log of writes", name);
    if (le64_get(super.version) != LOG_VERSION)
        return err_set(err, ENOTSUP, "Log '%s' is of version %" PRIu64 ", not %d", name,
                       le64_get(super.version), LOG_VERSION);
    if (!log_sector_is_valid(le32_get(super.sector_size)))
        return err_set(err, EINVAL, "Log '%s' has sectors of %" PRIu32 " bytes", name,
                       le32_get(super.sector_size));
    s->sector = le32_get(super.sector_size);
    return log_find_end(s, le64_get(super.entries), name, err);
}

static CO bool logwrites_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    LogWrites *s = node_state(n);
    int64_t sector = json_get_int(o, "log-sector-size", SECTOR_DEFAULT);
    bool append = json_get_bool(o, "log-append", false);
    Edge *file = node_open_child(n, "file", NULL, o, ROLE_FILTERED, false, err);

    if (!file)
        return false;
    s->log = node_open_child(n, "log", NULL, o, ROLE_METADATA, false, err);
    if (!s->log)
        return false;
    s->interval = json_get_int(o, "log-super-update-interval", INTERVAL_DEFAULT);
    if (json_get_int(o, "log-super-update-interval", INTERVAL_DEFAULT) < 1)
        return err_set(err, EINVAL, "'log-super-update-interval' is 1 or more");
    if (append && json_has(o, "log-sector-size"))
        return err_set(err, EINVAL, "'log-append' and 'log-sector-size' exclude each other: the "
                       "log that is there has its size");
    if (sector < 0 || !log_sector_is_valid(sector))
        return err_set(err, EINVAL, "'log-sector-size' is a power of two up to 8 MiB, not %" PRId64,
                       sector);
    s->sector = sector;
    s->next = 1;
    if (append && !log_continue(s, err))
        return false;
    node_set_size(n, edge_size(file));
    return true;
}

static void logwrites_child_access(Node *n, Role role, unsigned parent_needs,
                                   unsigned parent_shares, unsigned *needs, unsigned *shares)
{
    *needs = parent_needs;
    *shares = parent_shares;
    if (role == ROLE_METADATA) {
        *needs = ACCESS_READ | (node_is_read_only(n) ? 0 : ACCESS_WRITE | ACCESS_RESIZE);
        *shares = ACCESS_READ | ACCESS_UNCHANGED;
    }
}

static void logwrites_refresh_limits(Node *n)
{
    const LogWrites *s = node_state(n);

    if (s->sector)
        node_limits(n)->request_alignment = s->sector;
}

/* ---- the log -------------------------------------------------------------------------------- */

static CO int log_write_super(LogWrites *s)
{
    g_autofree uint8_t *block = g_malloc0(s->sector);
    LogSuper super;

    le64_set(&super.magic, LOG_MAGIC);
    le64_set(&super.version, LOG_VERSION);
    le64_set(&super.entries, s->entries);
    le32_set(&super.sector_size, s->sector);
    memcpy(block, &super, sizeof(super));
    return edge_pwrite_buf(s->log, 0, block, s->sector);
}

/*
 * Appends the entry of a request at [@off, @off + @len). @data NULL: zeroes, or nothing for @flags.
 */
static CO int log_append(Node *n, uint64_t off, uint64_t len, unsigned flags, const Span *data)
{
    LogWrites *s = node_state(n);
    CO_LOCKED(&s->lock);
    g_autofree uint8_t *block = g_malloc0(s->sector);
    uint64_t at = s->next * s->sector, data_len = flags & LOG_DISCARD ? 0 : len;
    LogEntry e = {};
    int r;

    le64_set(&e.sector, off / s->sector);
    le64_set(&e.sectors, len / s->sector);
    le64_set(&e.flags, flags);
    memcpy(block, &e, sizeof(e));
    r = edge_pwrite_buf(s->log, at, block, s->sector);
    if (r == 0 && data)
        r = edge_pwrite(s->log, at + s->sector, *data, 0);
    else if (r == 0 && data_len)
        r = edge_zero(s->log, at + s->sector, data_len, 0);
    if (r < 0)
        return r;
    s->next += 1 + data_len / s->sector;
    s->entries++;
    if (!(flags & LOG_FLUSH) && s->entries % s->interval)
        return 0;
    r = log_write_super(s);
    return r == 0 && flags & LOG_FLUSH ? edge_flush(s->log) : r;
}

/* ---- requests ------------------------------------------------------------------------------- */

static CO int logwrites_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    return edge_pread(node_edge(n, ROLE_FILTERED), off, buf, flags);
}

static CO int logwrites_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    int r = edge_pwrite(node_edge(n, ROLE_FILTERED), off, buf, flags);

    return r < 0 ? r : log_append(n, off, buf.len, 0, &buf);
}

static CO int logwrites_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    int r = edge_zero(node_edge(n, ROLE_FILTERED), off, len, flags);

    return r < 0 ? r : log_append(n, off, len, 0, NULL);
}

/* What follows the last whole sector of the file is left alone: the log cannot say it. */
static CO int logwrites_discard(Node *n, uint64_t off, uint64_t len)
{
    const LogWrites *s = node_state(n);
    int r;

    len = round_down(len, s->sector);
    r = len ? edge_discard(node_edge(n, ROLE_FILTERED), off, len) : 0;
    return r < 0 || !len ? r : log_append(n, off, len, LOG_DISCARD, NULL);
}

static CO int logwrites_sync(Node *n)
{
    int r = edge_flush(node_edge(n, ROLE_FILTERED));

    return r < 0 ? r : log_append(n, 0, 0, LOG_FLUSH, NULL);
}

static const char *const logwrites_strong_options[] = {
    "log-sector-size", "log-append", NULL,
};

const BlockDriver block_blklogwrites = {
    .name = "blklogwrites",
    .kind = BLK_FILTER,
    .state_size = sizeof(LogWrites),
    .write_flags = REQ_UNCHANGED | REQ_SERIALISE,
    .zero_flags = REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    .strong_options = logwrites_strong_options,
    .open = logwrites_open,
    .child_access = logwrites_child_access,
    .refresh_limits = logwrites_refresh_limits,
    .pread = logwrites_pread,
    .pwrite = logwrites_pwrite,
    .zero = logwrites_zero,
    .discard = logwrites_discard,
    .sync = logwrites_sync,
};
