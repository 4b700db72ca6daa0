/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Space-efficient sparse extents of ESX 6.5 and newer, read only. All numbers have 64 bits.
 *
 *     header           where everything is, in sectors
 *     volatile header  whether a journal has to be replayed
 *     directory        an entry per table: PRESENT and the table's index
 *     tables           4096 entries each
 *     grains           of 4 KiB
 */
#include "block/formats/vmdk/vmdk.h"
#include <inttypes.h>

enum { SE_GRAIN = 8, SE_TABLE = 64 /* sectors */, SE_TABLE_LEN = SE_TABLE * VMDK_SECTOR / 8 };
#define SE_MAGIC UINT64_C(0xcafebabe)
#define SE_VERSION UINT64_C(0x200000001)
#define SE_VOLATILE_MAGIC UINT64_C(0xcafecafe)

typedef struct {
    le64 magic, version, capacity, grain, table, flags, reserved[4];
    le64 volatile_at, volatile_len;
    le64 journal_head_at, journal_head_len, journal_at, journal_len;
    le64 dir_at, dir_len;
    le64 tables_at, tables_len;
    le64 free_at, free_len, back_at, back_len;
    le64 grains_at, grains_len;
    uint8_t pad[304];
} SeHeader;
G_STATIC_ASSERT(sizeof(SeHeader) == VMDK_SECTOR);

typedef struct {
    le64 magic, free_table, sequence, replay;
    uint8_t pad[480];
} SeVolatile;
G_STATIC_ASSERT(sizeof(SeVolatile) == VMDK_SECTOR);

static CO bool se_read(VmdkExtent *e, uint64_t sector, void *to, size_t len, const char *what,
                       GError **err)
{
    uint64_t at;
    int r;

    if (!size_mul(sector, VMDK_SECTOR, &at) || at > edge_size(e->file) ||
        len > edge_size(e->file) - at)
        return err_set(err, EINVAL, "The %s of '%s' reaches past the end of the file", what,
                       e->filename);
    r = edge_pread_buf(e->file, at, to, len);
    return r >= 0 || err_set_errno(err, r, "Could not read the %s of '%s'", what, e->filename);
}

/* An entry of the directory: four bits say whether there is a table, the lowest 32 which. */
static bool dir_entry(uint64_t v, uint64_t tables_at, uint64_t *at)
{
    *at = 0;
    if (!v)
        return true;
    *at = tables_at + (v & UINT32_MAX) * (SE_TABLE * VMDK_SECTOR);
    return v >> 32 == 1u << 28;
}

static CO bool se_dir(VmdkExtent *e, const SeHeader *h, GError **err)
{
    uint64_t tables_at, room = le64_get(h->dir_len);
    g_autofree le64 *raw = NULL;

    if (!size_mul(le64_get(h->tables_at), VMDK_SECTOR, &tables_at) ||
        tables_at > edge_size(e->file) ||
        !size_mul(le64_get(h->grains_at), VMDK_SECTOR, &e->base) || e->base > INT64_MAX)
        return err_set(err, EINVAL, "The tables of '%s' are at an impossible place", e->filename);
    if (room < div_round_up(e->tables * sizeof(le64), VMDK_SECTOR) ||
        e->tables > edge_size(e->file) / sizeof(le64))
        return err_set(err, EINVAL, "The grain directory of '%s' is too small", e->filename);
    raw = g_try_malloc(MAX(e->tables * sizeof(le64), 1));
    e->dir = raw ? g_try_new(uint64_t, MAX(e->tables, 1)) : NULL;
    if (!e->dir)
        return err_set_errno(err, ENOMEM, "Could not read '%s'", e->filename);
    if (!se_read(e, le64_get(h->dir_at), raw, e->tables * sizeof(le64), "grain directory", err))
        return false;
    for (uint64_t i = 0; i < e->tables; i++)
        if (!dir_entry(le64_get(raw[i]), tables_at, &e->dir[i]))
            return err_set(err, EINVAL,
                           "Entry %" PRIu64 " of the grain directory of '%s' makes no sense", i,
                           e->filename);
    vmdk_end_find(e);
    return true;
}

CO bool vmdk_se_load(VmdkExtent *e, bool head_only, GError **err)
{
    SeHeader h;
    SeVolatile v;

    if (!se_read(e, 0, &h, sizeof(h), "header", err))
        return false;
    if (le64_get(h.magic) != SE_MAGIC)
        return err_set(err, EINVAL, "'%s' is no space-efficient sparse extent", e->filename);
    if (le64_get(h.version) != SE_VERSION)
        return err_set(err, ENOTSUP,
                       "'%s' has version 0x%" PRIx64 " of the format, which is unknown",
                       e->filename, le64_get(h.version));
    if (le64_get(h.grain) != SE_GRAIN || le64_get(h.table) != SE_TABLE)
        return err_set(err, ENOTSUP,
                       "'%s' has grains of %" PRIu64 " and tables of %" PRIu64 " sectors; "
                       "%d and %d can be read",
                       e->filename, le64_get(h.grain), le64_get(h.table), SE_GRAIN, SE_TABLE);
    if (!se_read(e, le64_get(h.volatile_at), &v, sizeof(v), "volatile header", err))
        return false;
    if (le64_get(v.magic) != SE_VOLATILE_MAGIC)
        return err_set(err, EINVAL, "The volatile header of '%s' is damaged", e->filename);
    if (le64_get(v.replay))
        return err_set(err, ENOTSUP,
                       "'%s' was not closed cleanly: its journal has to be replayed by ESX",
                       e->filename);
    if (!size_mul(le64_get(h.capacity), VMDK_SECTOR, &e->len) || e->len > INT64_MAX)
        return err_set(err, EFBIG, "'%s' has an impossible size of %" PRIu64 " sectors",
                       e->filename, le64_get(h.capacity));
    e->table_len = SE_TABLE_LEN;
    e->entry = sizeof(le64);
    e->grain = SE_GRAIN * VMDK_SECTOR;
    e->read_only = true;
    e->tables = div_round_up(e->len, e->grain * e->table_len);
    return head_only || se_dir(e, &h, err);
}

/*
 * Four bits for the kind; then the index, its lowest twelve bits first and the others after them.
 */
VmdkRunKind vmdk_se_entry(const VmdkExtent *e, uint64_t entry, uint64_t *host)
{
    enum { NONE, UNMAPPED, ZERO, DATA };
    uint64_t index = (entry & UINT64_C(0x0fff000000000000)) >> 48 |
                     (entry & UINT64_C(0x0000ffffffffffff)) << 12;

    *host = 0;
    switch (entry >> 60) {
    case NONE:
        return VMDK_RUN_NONE;
    case UNMAPPED:  /* by the guest: not what is below */
    case ZERO:
        return VMDK_RUN_ZERO;
    default:
        /* An offset that is none fails when it is read, as one past the end of the file. */
        if (entry >> 60 != DATA || !size_mul(index, e->grain, host) ||
            !size_add(*host, e->base, host) || *host > INT64_MAX)
            *host = INT64_MAX - e->grain;
        return VMDK_RUN_DATA;
    }
}
