/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parallels expandable images, of both kinds.
 *
 *     0      header, 64 bytes
 *     64     table: a le32 per cluster of the disk, 0 for none, else where it is: in clusters of
 *            the file ("WithouFreSpacExt") or in sectors ("WithoutFreeSpace")
 *     data   clusters
 *
 * While the image is open for writing, the header says that it is in use. The table is in memory
 * while there is I/O; what changes of it is written by flushes, when the data is durable. See
 * docs/spec/parallels.md.
 */
#include "block/formats/mapped.h"
#include "block/formats/parallels.h"
#include "gen/schema.h"
#include "io/co-lock.h"
#include "util/endian.h"
#include <inttypes.h>
#include <string.h>

enum {
    SECTOR = 512,
    PARALLELS_VERSION = 2,
    PARALLELS_TRACKS_MAX = INT32_MAX / 513,
    PARALLELS_ENTRIES_MAX = INT32_MAX / 4,
    PARALLELS_HEADS = 16,
    PARALLELS_CYLINDER = 32 * PARALLELS_HEADS,  /* sectors */
};

#define PARALLELS_IN_USE 0x746F6E59u

typedef struct {
    char magic[16];
    le32 version, heads, cylinders;
    le32 tracks;        /* sectors of a cluster */
    le32 entries;       /* of the table */
    le64 sectors;       /* of the disk */
    le32 in_use;
    le32 data_off;      /* sectors; 0: behind the table */
    le32 flags;
    le64 ext_off;       /* sectors; 0: no extension */
} ParallelsHeader;
G_STATIC_ASSERT(sizeof(ParallelsHeader) == 64);

typedef struct {
    ParallelsHeader header;
    uint64_t cluster;       /* bytes */
    uint64_t unit;          /* bytes; of the table's entries */
    uint32_t entries;
    uint64_t table_end;     /* bytes */
    uint64_t data;          /* bytes; where clusters begin */
    le32 *table;            /* NULL without I/O */
    uint64_t end;           /* bytes; the next cluster */
    uint64_t fresh;         /* bytes; the file has nothing from here on but what we wrote */
    uint32_t dirty, dirty_end; /* entries that the file does not have yet */
    bool was_in_use;        /* and is not repaired: the header goes on saying so */
    CoMutex lock;           /* allocation, and writing the table */
} Parallels;

static bool is_ext(const char magic[16])
{
    return !memcmp(magic, "WithouFreSpacExt", 16);
}

static int parallels_probe(const uint8_t *head, size_t len, const char *filename)
{
    const char *magic = (const char *)head;

    return len >= 20 && (is_ext(magic) || !memcmp(magic, "WithoutFreeSpace", 16)) &&
           le32_at(head + 16) == PARALLELS_VERSION ? 100 : 0;
}

/* ---- opening -------------------------------------------------------------------------------- */

static bool parallels_check_header(Parallels *s, uint64_t have, uint64_t *size, GError **err)
{
    const ParallelsHeader *h = &s->header;
    uint32_t tracks = le32_get(h->tracks);
    uint64_t sectors = le64_get(h->sectors);

    if (!parallels_probe((const uint8_t *)h, sizeof(*h), NULL))
        return err_set(err, EINVAL, "This is no Parallels image of version %d", PARALLELS_VERSION);
    if (!tracks || tracks > PARALLELS_TRACKS_MAX)
        return err_set(err, EINVAL, "The Parallels image has clusters of %u sectors, not 1 to %d",
                       tracks, PARALLELS_TRACKS_MAX);
    s->cluster = (uint64_t)tracks * SECTOR;
    s->unit = is_ext(h->magic) ? s->cluster : SECTOR;
    s->entries = le32_get(h->entries);
    s->table_end = sizeof(*h) + UINT64_C(4) * s->entries;
    if (s->entries > PARALLELS_ENTRIES_MAX || s->table_end > have)
        return err_set(err, EINVAL,
                       "The Parallels image has a table of %u entries, which the file of %" PRIu64
                       " bytes has not",
                       s->entries, have);
    if (!is_ext(h->magic))
        sectors &= UINT32_MAX;
    if (!size_mul(sectors, SECTOR, size) || *size > s->entries * s->cluster)
        return err_set(err, EINVAL,
                       "The disk of the Parallels image has %" PRIu64 " sectors, more than its "
                       "%u clusters of %u",
                       sectors, s->entries, tracks);
    s->data = MAX((uint64_t)le32_get(h->data_off) * SECTOR, round_up(s->table_end, SECTOR));
    if (is_ext(h->magic))
        s->data = div_round_up(s->data, s->cluster) * s->cluster;
    return true;
}

static CO bool parallels_read_extension(Node *n, GError **err)
{
    const Parallels *s = node_state(n);
    uint64_t sector = le64_get(s->header.ext_off), off;
    ParallelsDisk disk = { .sectors = le64_get(s->header.sectors), .cluster = s->cluster };

    if (!sector)
        return true;
    if (!size_mul(sector, SECTOR, &off) || off < s->table_end)
        return err_set(err, EINVAL, "The extension at sector %" PRIu64 " is not inside the file",
                       sector);
    return parallels_extension_read(n, &disk, off,
                                    node_is_read_only(n) && !(node_flags(n) & OPEN_NO_IO), err);
}

static uint64_t entry_off(const Parallels *s, uint32_t i)
{
    return le32_get(s->table[i]) * s->unit;
}

/* Where the next cluster goes if the last one ends at @end. */
static uint64_t place_after(const Parallels *s, uint64_t end)
{
    return s->data + div_round_up(end - s->data, s->cluster) * s->cluster;
}

static CO bool parallels_read_table(Node *n, Edge *file, GError **err)
{
    Parallels *s = node_state(n);
    uint64_t have = edge_size(file);
    size_t len = s->entries * sizeof(le32);
    int r;

    s->table = g_try_malloc(MAX(len, 1));
    r = s->table ? edge_pread_buf(file, sizeof(s->header), s->table, len) : -ENOMEM;
    if (r < 0)
        return err_set_errno(err, r, "Could not read the table of '%s'", node_filename(n));
    s->end = s->data;
    for (uint32_t i = 0; i < s->entries; i++) {
        uint64_t off = entry_off(s, i);

        if (off >= s->data && off < have)
            s->end = MAX(s->end, place_after(s, off + s->cluster));
    }
    s->fresh = have;
    return true;
}

static CO int parallels_write_header(Node *n)
{
    Parallels *s = node_state(n);

    return edge_pwrite_buf(node_edge(n, ROLE_STORAGE), 0, &s->header, sizeof(s->header));
}

/* From now on whoever opens the image after a crash knows that it was not closed. */
static CO bool parallels_open_for_writing(Node *n, OpenFlags flags, GError **err)
{
    Edge *file = node_edge(n, ROLE_STORAGE);
    Parallels *s = node_state(n);
    int r;

    if (s->was_in_use && !(flags & OPEN_CHECK))
        return err_set(err, EACCES, "'%s' was not closed; 'check -r all' repairs it",
                       node_filename(n));
    if (s->data > edge_size(file) && s->entries)
        return err_set(err, EINVAL, "'%s' ends before its data at byte %" PRIu64, node_filename(n),
                       s->data);
    le32_set(&s->header.in_use, PARALLELS_IN_USE);
    if (le64_get(s->header.ext_off))
        block_warn("'%s' has an extension, which is lost: its bitmaps could not be kept up to date",
                   node_filename(edge_node(file)));
    s->header.ext_off = le64_of(0);
    r = parallels_write_header(n);
    if (r >= 0)
        r = edge_flush(file);
    return r >= 0 || err_set_errno(err, r, "Could not write the header of '%s'", node_filename(n));
}

/* Reads all that the file says; what is in memory of an earlier time counts no more. */
static CO bool parallels_load(Node *n, OpenFlags flags, GError **err)
{
    Edge *file = node_edge(n, ROLE_STORAGE);
    Parallels *s = node_state(n);
    uint64_t size = 0;
    int r;

    g_free(s->table);
    *s = (Parallels){};
    r = edge_pread_buf(file, 0, &s->header, sizeof(s->header));
    if (r < 0)
        return err_set_errno(err, r, "Could not read the header of '%s'", node_filename(n));
    if (!parallels_check_header(s, edge_size(file), &size, err))
        return err_prefix(err, "Image '%s': ", node_filename(n));
    node_set_size(n, size);
    if (!parallels_read_extension(n, err))
        return err_prefix(err, "Image '%s': ", node_filename(n));
    s->was_in_use = le32_get(s->header.in_use) == PARALLELS_IN_USE;
    return flags & OPEN_NO_IO ||
           (parallels_read_table(n, file, err) &&
            (node_is_read_only(n) || parallels_open_for_writing(n, flags, err)));
}

static CO bool parallels_activate(Node *n, GError **err)
{
    return parallels_load(n, node_flags(n), err);
}

static CO void parallels_close(Node *n)
{
    Parallels *s = node_state(n);

    g_clear_pointer(&s->table, g_free);
}

static CO bool parallels_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    if (node_open_child(n, "file", NULL, o, ROLE_STORAGE, false, err) &&
        parallels_load(n, flags, err))
        return true;
    parallels_close(n);
    return false;
}

/* ---- the table ------------------------------------------------------------------------------ */

/* Is there a cluster at @off? Of the last one the file may lack the end. */
static bool is_inside(const Parallels *s, uint64_t off)
{
    return off >= s->table_end && off < MAX(s->fresh, s->end);
}

static CO int parallels_extent(Node *n, uint64_t off, uint64_t len, bool precise, Extent *e)
{
    Parallels *s = node_state(n);
    uint64_t first = off / s->cluster, i = first, host;
    uint64_t run = s->cluster - off % s->cluster;

    if (!s->table)
        return -EPERM;
    host = entry_off(s, first);
    if (host && !is_inside(s, host))
        return -EIO;
    while (run < len) {
        uint64_t next = entry_off(s, ++i);

        if (host ? next != host + (i - first) * s->cluster || !is_inside(s, next) : next != 0)
            break;
        run += s->cluster;
    }
    e->len = MIN(run, len);
    if (host) {
        e->flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_HOST;
        e->host = edge_node(node_edge(n, ROLE_STORAGE));
        e->host_off = host + off % s->cluster;
    }
    return 0;
}

/* ---- writing -------------------------------------------------------------------------------- */

static CO int parallels_allocate_cluster(Node *n, uint32_t i)
{
    Parallels *s = node_state(n);
    int r = 0;

    if (s->end / s->unit > UINT32_MAX)
        return -ENOSPC;
    if (s->end < s->fresh)
        r = edge_zero(node_edge(n, ROLE_STORAGE), s->end, MIN(s->cluster, s->fresh - s->end),
                      REQ_MAY_UNMAP);
    if (r < 0)
        return r;
    le32_set(&s->table[i], s->end / s->unit);
    s->end += s->cluster;
    s->dirty = s->dirty == s->dirty_end ? i : MIN(s->dirty, i);
    s->dirty_end = MAX(s->dirty_end, i + 1);
    return 0;
}

static CO int parallels_allocate(Node *n, uint64_t off, uint64_t len)
{
    Parallels *s = node_state(n);
    uint32_t end = div_round_up(off + len, s->cluster);
    int r = 0;

    CO_LOCKED(&s->lock);
    for (uint32_t i = off / s->cluster; i < end && r >= 0; i++)
        if (!le32_get(s->table[i]))
            r = parallels_allocate_cluster(n, i);
    return r;
}

static CO int parallels_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    return mapped_pwrite(n, off, buf, flags, parallels_allocate);
}

static CO int parallels_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    return mapped_zero(n, off, len, flags, parallels_allocate);
}

static CO int parallels_flush(Node *n)
{
    Edge *file = node_edge(n, ROLE_STORAGE);
    Parallels *s = node_state(n);
    g_autoptr(GError) err = NULL;
    int r;

    CO_LOCKED(&s->lock);
    if (s->dirty == s->dirty_end)
        return 0;
    if (edge_size(file) < s->end && !edge_resize(file, s->end, false, PREALLOC_OFF, 0, &err))
        return err_errno(err);
    r = edge_flush(file);
    if (r >= 0)
        r = edge_pwrite_buf(file, sizeof(s->header) + UINT64_C(4) * s->dirty, s->table + s->dirty,
                            (s->dirty_end - s->dirty) * UINT64_C(4));
    if (r >= 0)
        s->dirty = s->dirty_end = 0;
    return r;
}

/* The image is closed; one that was found open and was not repaired goes on saying that. */
static CO bool parallels_inactivate(Node *n, GError **err)
{
    Edge *file = node_edge(n, ROLE_STORAGE);
    Parallels *s = node_state(n);
    int r = parallels_flush(n);

    if (r >= 0)
        r = edge_flush(file);
    if (r >= 0 && !s->was_in_use) {
        le32_set(&s->header.in_use, 0);
        r = parallels_write_header(n);
        if (r >= 0)
            r = edge_flush(file);
    }
    return r >= 0 ||
           err_set_errno(err, r, "The table of '%s' could not be written", node_filename(n));
}

static CO void parallels_resume(Node *n)
{
    g_autoptr(GError) err = NULL;

    if (!parallels_open_for_writing(n, OPEN_CHECK, &err))
        block_warn("%s", err->message);
}

/* ---- check ---------------------------------------------------------------------------------- */

static const char *verb(bool fix)
{
    return fix ? "Repairing" : "ERROR";
}

static void count_error(CheckResult *r, bool fix)
{
    if (fix)
        r->corruptions_fixed++;
    else
        r->corruptions++;
}

/* Clusters that are used twice, or by the table itself. */
static bool parallels_check_use(const Parallels *s, uint64_t have, CheckResult *result, FILE *out)
{
    uint64_t clusters = have / s->cluster + 1;
    g_autofree uint8_t *used = g_try_malloc0(clusters / 8 + 1);

    if (!used)
        return false;
    for (uint32_t i = 0; i < s->entries; i++) {
        uint64_t off = entry_off(s, i), number = off / s->cluster;

        if (!off || off > have)
            continue;
        if (off < s->table_end) {
            fprintf(out, "ERROR cluster %u is inside the table\n", i);
            result->corruptions++;
        } else if (used[number / 8] & 1u << number % 8) {
            fprintf(out, "ERROR cluster %u is used twice\n", i);
            result->corruptions++;
        }
        used[number / 8] |= 1u << number % 8;
    }
    return true;
}

static CO int parallels_check_clusters(Node *n, CheckResult *result, bool fix, FILE *out)
{
    Parallels *s = node_state(n);
    uint64_t have = round_up(edge_size(node_edge(n, ROLE_STORAGE)), SECTOR), last = 0;
    uint64_t end = s->data;
    bool changed = false;

    for (uint32_t i = 0; i < s->entries; i++) {
        uint64_t off = entry_off(s, i);

        if (off > have) {
            fprintf(out, "%s cluster %u is outside image\n", verb(fix), i);
            count_error(result, fix);
            if (fix) {
                s->table[i] = le32_of(0);
                changed = true;
                off = 0;
            }
        }
        if (off) {
            result->clusters.allocated++;
            result->clusters.fragmented += last && off != last + s->cluster;
            end = MAX(end, off + s->cluster);
        }
        last = off;
    }
    result->clusters.total = s->entries;
    result->clusters_known = true;
    result->image_end_offset = (int64_t)end;
    if (!parallels_check_use(s, have, result, out))
        return -ENOMEM;
    return changed ? edge_pwrite_buf(node_edge(n, ROLE_STORAGE), sizeof(s->header), s->table,
                                     s->entries * UINT64_C(4)) : 0;
}

static CO int parallels_check_end(Node *n, CheckResult *result, bool fix, FILE *out, GError **err)
{
    Edge *file = node_edge(n, ROLE_STORAGE);
    uint64_t have = round_up(edge_size(file), SECTOR), end = (uint64_t)result->image_end_offset;
    Parallels *s = node_state(n);

    if (have <= end)
        return 0;
    fprintf(out, "%s space leaked at the end of the image %" PRIu64 "\n", verb(fix), have - end);
    if (!fix) {
        result->leaks += div_round_up(have - end, s->cluster);
        return 0;
    }
    if (!edge_resize(file, end, true, PREALLOC_OFF, 0, err))
        return err && *err ? err_errno(*err) : -EIO;
    s->fresh = MIN(s->fresh, end);
    result->leaks_fixed += div_round_up(have - end, s->cluster);
    return 0;
}

static CO int parallels_check(Node *n, CheckResult *result, CheckFix fix, FILE *out, GError **err)
{
    Parallels *s = node_state(n);
    int r = parallels_flush(n);

    if (r < 0)
        return r;
    CO_LOCKED(&s->lock);
    if (s->was_in_use) {
        fprintf(out, "%s image was not closed correctly\n", verb(fix & CHECK_FIX_ERRORS));
        count_error(result, fix & CHECK_FIX_ERRORS);
    }
    r = parallels_check_clusters(n, result, fix & CHECK_FIX_ERRORS, out);
    if (r >= 0)
        r = parallels_check_end(n, result, fix & CHECK_FIX_LEAKS, out, err);
    if (r >= 0 && fix & CHECK_FIX_ERRORS && !result->corruptions)
        s->was_in_use = false;
    return r;
}

/* ---- creating ------------------------------------------------------------------------------- */

static bool parallels_has_zero_init(Node *n)
{
    return true;
}

static CO bool parallels_create(const char *filename, json_t *opts, GError **err)
{
    uint64_t sectors = div_round_up((uint64_t)json_get_int(opts, "size", 0), SECTOR), entries, data;
    uint64_t tracks = div_round_up((uint64_t)json_get_int(opts, "cluster_size", MiB), SECTOR);
    ParallelsHeader h = { .version = le32_of(PARALLELS_VERSION),
                          .heads = le32_of(PARALLELS_HEADS) };
    g_autoptr(Handle) file = NULL;
    int r;

    if (!tracks || tracks > PARALLELS_TRACKS_MAX)
        return err_set(err, EINVAL, "Option 'cluster_size' is between 1 and %" PRIu64,
                       (uint64_t)PARALLELS_TRACKS_MAX * SECTOR);
    entries = div_round_up(sectors, tracks);
    if (entries > PARALLELS_ENTRIES_MAX)
        return err_set(err, EFBIG,
                       "A Parallels image with clusters of %" PRIu64 " bytes has at most %" PRIu64
                       " bytes",
                       tracks * SECTOR, PARALLELS_ENTRIES_MAX * tracks * SECTOR);
    data = div_round_up(sizeof(h) + entries * 4, tracks * SECTOR) * tracks;
    memcpy(h.magic, "WithouFreSpacExt", sizeof(h.magic));
    h.cylinders = le32_of(MIN(div_round_up(sectors, PARALLELS_CYLINDER), UINT32_MAX));
    h.tracks = le32_of(tracks);
    h.entries = le32_of(entries);
    h.sectors = le64_of(sectors);
    h.data_off = le32_of(data);
    file = file_create(filename, opts, 0, err);
    if (!file || !handle_resize(file, data * SECTOR, false, PREALLOC_OFF, err))
        return false;
    r = handle_pwrite(file, 0, span_of(&h, sizeof(h)), 0);
    if (r >= 0)
        r = handle_flush(file);
    return r >= 0 || err_set_errno(err, r, "Could not write the new image '%s'", filename);
}

const BlockDriver block_parallels = {
    .name = "parallels",
    .stays = "Parallels",
    .kind = BLK_FORMAT,
    .any_loop = true,
    .state_size = sizeof(Parallels),
    .takes_backing = true, /* what it has not is not allocated, though nothing can be below */
    .zero_flags = REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    .probe = parallels_probe,
    .open = parallels_open,
    .inactivate = parallels_inactivate,
    .resume = parallels_resume,
    .activate = parallels_activate,
    .close = parallels_close,
    .create_opts = create_opts_parallels,
    .create = parallels_create,
    .pread = mapped_pread,
    .pwrite = parallels_pwrite,
    .zero = parallels_zero,
    .flush = parallels_flush,
    .extent = parallels_extent,
    .check = parallels_check,
    .has_zero_init = parallels_has_zero_init,
};
