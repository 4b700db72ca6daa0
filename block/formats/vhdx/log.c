/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log: a ring of entries. An entry is a header and descriptors in whole sectors of 4 KiB, then
 * a sector of data for each descriptor of data.
 *
 * Writing: each entry stands for itself. The next one is written when what the last one says is
 * durable in its place, and after it, so that at any moment one of both is whole. Sequence numbers
 * have gaps, which keeps readers from taking the two for one sequence.
 *
 * Reading: entries of others may build on each other.
 */
#include "block/formats/vhdx/vhdx.h"
#include "util/crc32c.h"
#include <inttypes.h>
#include <string.h>

typedef struct {
    uint8_t magic[4];       /* "loge" */
    le32 checksum;          /* of the whole entry with this field zero */
    le32 len;
    le32 tail;              /* where in the log the sequence begins */
    le64 sequence;
    le32 count;             /* of descriptors */
    le32 pad;
    VhdxGuid log;
    le64 flushed_end;       /* the file has been this long */
    le64 last_end;          /* it has to be this long */
} EntryHeader;

typedef struct {
    uint8_t magic[4];       /* "desc" or "zero" */
    uint8_t last[4];        /* data: the last four bytes */
    uint8_t first[8];       /* data: the first eight bytes; zeroes: the length */
    le64 at;
    le64 sequence;
} Descriptor;

typedef struct {
    uint8_t magic[4];       /* "data" */
    le32 sequence_high;
    uint8_t data[4084];
    le32 sequence_low;
} DataSector;

enum { IN_FIRST = (VHDX_SECTOR - sizeof(EntryHeader)) / sizeof(Descriptor), GAP = 2 };
G_STATIC_ASSERT(sizeof(EntryHeader) == 64 && sizeof(Descriptor) == 32 &&
                sizeof(DataSector) == VHDX_SECTOR);

/* ---- reading -------------------------------------------------------------------------------- */

/* Reads @len bytes at @at of the ring. */
static CO int ring_read(Vhdx *v, uint64_t at, uint8_t *to, uint64_t len)
{
    uint64_t now = MIN(len, v->log.len - at);
    int r = edge_pread_buf(v->file, v->log.at + at, to, now);

    return r < 0 || now == len ? r : edge_pread_buf(v->file, v->log.at, to + now, len - now);
}

static uint64_t descriptor_sectors(uint32_t count)
{
    return div_round_up(sizeof(EntryHeader) + (uint64_t)count * sizeof(Descriptor), VHDX_SECTOR);
}

/* Does @e make sense but for its checksum? */
static bool header_is_sound(const Vhdx *v, const EntryHeader *e)
{
    uint32_t len = le32_get(e->len), tail = le32_get(e->tail);

    return !memcmp(e->magic, "loge", 4) && len && len % VHDX_SECTOR == 0 && len <= v->log.len &&
           tail % VHDX_SECTOR == 0 && tail < v->log.len && le64_get(e->sequence) &&
           descriptor_sectors(le32_get(e->count)) * VHDX_SECTOR <= len &&
           !memcmp(&e->log, &v->header.log, sizeof(e->log));
}

static const Descriptor *descriptor_of(const uint8_t *entry, uint32_t i)
{
    return (const Descriptor *)(const void *)(entry + sizeof(EntryHeader) + i * sizeof(Descriptor));
}

/* Are descriptors and sectors those of this entry, and as many as it has room for? */
static bool entry_is_whole(const uint8_t *entry)
{
    const EntryHeader *e = (const EntryHeader *)(const void *)entry;
    uint64_t sector = descriptor_sectors(le32_get(e->count)), end = le32_get(e->len) / VHDX_SECTOR;
    uint64_t sequence = le64_get(e->sequence);

    for (uint32_t i = 0; i < le32_get(e->count); i++) {
        const Descriptor *d = descriptor_of(entry, i);
        const DataSector *s = (const DataSector *)(const void *)(entry + sector * VHDX_SECTOR);

        if (le64_get(d->sequence) != sequence || le64_get(d->at) % VHDX_SECTOR)
            return false;
        if (!memcmp(d->magic, "zero", 4))
            continue;
        if (memcmp(d->magic, "desc", 4) || sector++ >= end || memcmp(s->magic, "data", 4) ||
            le32_get(s->sequence_high) != sequence >> 32 ||
            le32_get(s->sequence_low) != (uint32_t)sequence)
            return false;
    }
    return true;
}

/* The entry at @at, or NULL if there is no valid one; the caller frees. 0 or a negative errno. */
static CO int entry_read(Vhdx *v, uint64_t at, uint8_t **entry)
{
    EntryHeader e;
    g_autofree uint8_t *all = NULL;
    int r = ring_read(v, at, (uint8_t *)&e, sizeof(e));

    *entry = NULL;
    if (r < 0 || !header_is_sound(v, &e))
        return r;
    all = g_try_malloc(le32_get(e.len));
    if (!all)
        return -ENOMEM;
    r = ring_read(v, at, all, le32_get(e.len));
    if (r == 0 && header_is_sound(v, (EntryHeader *)(void *)all) &&
        le32_get(e.checksum) == vhdx_checksum(all, le32_get(e.len)) && entry_is_whole(all))
        *entry = g_steal_pointer(&all);
    return r;
}

typedef struct {
    uint64_t head_sequence; /* 0: there is none */
    uint64_t tail;          /* bytes, in the log */
    uint64_t entries;       /* from the tail on */
} Sequence;

/*
 * The sequence that begins at @at, or the rest of it from where its last entry says. *@next: where
 * to look for another one.
 */
static CO int sequence_find(Vhdx *v, uint64_t at, Sequence *s, uint64_t *next)
{
    uint64_t pos = at, seen = 0, last = 0, tail = 0, tail_entry = 0;
    g_autofree uint64_t *starts = NULL;

    *s = (Sequence){ 0 };
    starts = g_new(uint64_t, v->log.len / VHDX_SECTOR);
    for (uint64_t taken = 0; taken < v->log.len;) {
        g_autofree uint8_t *entry = NULL;
        const EntryHeader *e;
        int r = entry_read(v, pos, &entry);

        if (r < 0)
            return r;
        e = (const EntryHeader *)(const void *)entry;
        if (!entry || (seen && le64_get(e->sequence) != last + 1))
            break;
        last = le64_get(e->sequence);
        tail = le32_get(e->tail);
        starts[seen++] = pos;
        taken += le32_get(e->len);
        pos = (pos + le32_get(e->len)) % v->log.len;
    }
    *next = seen && pos > at ? pos : at + VHDX_SECTOR;
    while (tail_entry < seen && starts[tail_entry] != tail)
        tail_entry++;
    if (tail_entry < seen)
        *s = (Sequence){ last, tail, seen - tail_entry };
    return 0;
}

/* The valid sequence with the highest number. */
static CO int sequence_current(Vhdx *v, Sequence *best)
{
    uint64_t at = 0;

    *best = (Sequence){ 0 };
    while (at < v->log.len) {
        Sequence s;
        int r = sequence_find(v, at, &s, &at);

        if (r < 0)
            return r;
        if (s.head_sequence > best->head_sequence)
            *best = s;
    }
    return 0;
}

/* ---- replaying ------------------------------------------------------------------------------ */

/* Only what the file has can be zeroed: past its end there are zeroes. */
static CO int zero_replay(Vhdx *v, const Descriptor *d)
{
    uint64_t at = le64_get(d->at), len = le64_at(d->first), size = edge_size(v->file);

    if (len % VHDX_SECTOR)
        return -EINVAL;
    return at >= size ? 0 : edge_zero(v->file, at, MIN(len, size - at), 0);
}

static CO int data_replay(Vhdx *v, const Descriptor *d, const DataSector *s)
{
    uint8_t sector[VHDX_SECTOR];

    memcpy(sector, d->first, 8);
    memcpy(sector + 8, s->data, sizeof(s->data));
    memcpy(sector + 8 + sizeof(s->data), d->last, 4);
    return edge_pwrite_buf(v->file, le64_get(d->at), sector, sizeof(sector));
}

/* Sectors of data must lie in the file as it has to be after the entry. */
static CO bool entry_replay(Vhdx *v, const uint8_t *entry, GError **err)
{
    const EntryHeader *e = (const EntryHeader *)(const void *)entry;
    uint64_t sector = descriptor_sectors(le32_get(e->count)), end = le64_get(e->last_end);
    int r = 0;

    if (edge_size(v->file) < le64_get(e->flushed_end))
        return err_set(err, EINVAL,
                       "The file is shorter than the log says, %" PRIu64 " bytes: it was cut off",
                       le64_get(e->flushed_end));
    if (end > 2 * VHDX_SIZE_MAX)
        return err_set(err, EINVAL, "The log says that the file has to be %" PRIu64 " bytes long",
                       end);
    if (edge_size(v->file) < end && !edge_resize(v->file, end, false, PREALLOC_OFF, 0, err))
        return false;
    for (uint32_t i = 0; i < le32_get(e->count) && r == 0; i++) {
        const Descriptor *d = descriptor_of(entry, i);

        if (!memcmp(d->magic, "zero", 4)) {
            r = zero_replay(v, d);
            continue;
        }
        if (le64_get(d->at) > edge_size(v->file) - VHDX_SECTOR)
            return err_set(err, EINVAL, "The log writes at %" PRIu64 ", past the end of the file",
                           le64_get(d->at));
        r = data_replay(v, d, (const DataSector *)(const void *)(entry + sector++ * VHDX_SECTOR));
    }
    return r >= 0 || err_set_errno(err, r, "The log could not be replayed");
}

CO bool vhdx_log_replay(Vhdx *v, GError **err)
{
    Sequence s;
    int r = sequence_current(v, &s);
    uint64_t at = s.tail;

    if (r < 0)
        return err_set_errno(err, r, "Could not read the log");
    if (!s.head_sequence)
        return err_set(err, EINVAL,
                       "The image was not closed cleanly, and its log has no valid entry");
    for (uint64_t i = 0; i < s.entries; i++) {
        g_autofree uint8_t *entry = NULL;

        r = entry_read(v, at, &entry);
        if (r < 0 || !entry)
            return err_set_errno(err, r < 0 ? r : EIO, "Could not read the log");
        if (!entry_replay(v, entry, err))
            return false;
        at = (at + le32_get(((EntryHeader *)(void *)entry)->len)) % v->log.len;
    }
    r = edge_flush(v->file);
    if (r == 0) {
        memset(&v->header.log, 0, sizeof(v->header.log));
        r = vhdx_header_write(v);
    }
    return r >= 0 || err_set_errno(err, r, "The replay of the log could not be finished");
}

/* ---- writing -------------------------------------------------------------------------------- */

/* A copy of sectors of the BAT, and where they go. */
typedef struct {
    uint64_t at;
    uint8_t data[VHDX_SECTOR];
} Sector;

static void sector_log(const Vhdx *v, const Sector *from, uint8_t *entry, uint32_t i)
{
    Descriptor *d = (Descriptor *)(void *)(entry + sizeof(EntryHeader) + i * sizeof(Descriptor));
    DataSector *s = (DataSector *)(void *)(entry + (1 + i) * (size_t)VHDX_SECTOR);

    memcpy(d->magic, "desc", 4);
    memcpy(d->first, from->data, 8);
    memcpy(d->last, from->data + VHDX_SECTOR - 4, 4);
    le64_set(&d->at, from->at);
    le64_set(&d->sequence, v->log_sequence);
    memcpy(s->magic, "data", 4);
    le32_set(&s->sequence_high, (uint32_t)(v->log_sequence >> 32));
    le32_set(&s->sequence_low, (uint32_t)v->log_sequence);
    memcpy(s->data, from->data + 8, sizeof(s->data));
}

/* Writes an entry with @n sectors, at most IN_FIRST, and makes it durable. */
static CO int entry_write(Vhdx *v, const Sector *sectors, uint32_t n)
{
    uint64_t len = (1 + n) * (uint64_t)VHDX_SECTOR;
    g_autofree uint8_t *entry = g_try_malloc0(len);
    EntryHeader *e = (EntryHeader *)(void *)entry;
    int r;

    if (!entry)
        return -ENOMEM;
    if (v->log_next + len > v->log.len)
        v->log_next = 0;
    memcpy(e->magic, "loge", 4);
    le32_set(&e->len, (uint32_t)len);
    le32_set(&e->tail, (uint32_t)v->log_next);
    le64_set(&e->sequence, v->log_sequence);
    le32_set(&e->count, n);
    e->log = v->log_guid;
    le64_set(&e->flushed_end, edge_size(v->file));
    le64_set(&e->last_end, edge_size(v->file));
    for (uint32_t i = 0; i < n; i++)
        sector_log(v, &sectors[i], entry, i);
    le32_set(&e->checksum, vhdx_checksum(entry, len));
    r = edge_pwrite_buf(v->file, v->log.at + v->log_next, entry, len);
    if (r == 0)
        r = edge_flush(v->file);
    if (r == 0) {
        v->log_next += len;
        v->log_sequence += GAP;
    }
    return r;
}

/* The header names the log, in which there is an entry now. */
static CO int log_announce(Vhdx *v)
{
    int r;

    if (v->log_in_use)
        return 0;
    v->header.log = v->log_guid;
    r = vhdx_header_write(v);
    v->log_in_use = r == 0;
    return r;
}

/*
 * Up to IN_FIRST changed sectors from sector *@from on; they count as written. Two such entries fit
 * the log.
 */
static uint32_t sectors_take(Vhdx *v, uint64_t *from, Sector *sectors)
{
    uint64_t all = round_up(v->bat_entries * sizeof(le64), VHDX_SECTOR) / VHDX_SECTOR;
    uint32_t n = 0;

    for (; *from < all && n < IN_FIRST; ++*from)
        if (v->bat_dirty[*from]) {
            v->bat_dirty[*from] = 0;
            sectors[n].at = v->bat_range.at + *from * VHDX_SECTOR;
            memcpy(sectors[n++].data, (uint8_t *)v->bat + *from * VHDX_SECTOR, VHDX_SECTOR);
        }
    return n;
}

/*
 * Data, and what the last entry of the log says, are durable after the first flush; then a new
 * entry may be written, and after that the BAT.
 */
static CO int sectors_write(Vhdx *v, const Sector *sectors, uint32_t n)
{
    int r = edge_flush(v->file);

    if (r == 0)
        r = entry_write(v, sectors, n);
    if (r == 0)
        r = log_announce(v);
    for (uint32_t i = 0; i < n && r == 0; i++)
        r = edge_pwrite_buf(v->file, sectors[i].at, sectors[i].data, VHDX_SECTOR);
    return r;
}

CO int vhdx_bat_write(Vhdx *v)
{
    CO_LOCKED(&v->lock);
    g_autofree Sector *sectors = NULL;
    uint64_t from = 0;
    uint32_t n;
    int r = 0;

    if (!v->is_dirty)
        return 0;
    sectors = g_try_new(Sector, IN_FIRST);
    if (!sectors)
        return -ENOMEM;
    if (!v->log_sequence) {
        v->log_guid = vhdx_guid_new();
        v->log_sequence = 1;
    }
    v->is_dirty = false;
    while (r == 0 && (n = sectors_take(v, &from, sectors))) {
        r = sectors_write(v, sectors, n);
        for (uint32_t i = 0; r < 0 && i < n; i++)
            v->bat_dirty[(sectors[i].at - v->bat_range.at) / VHDX_SECTOR] = 1;
    }
    v->is_dirty |= r < 0;
    return r;
}

CO int vhdx_log_close(Vhdx *v)
{
    CO_LOCKED(&v->lock);
    int r;

    if (!v->log_in_use)
        return 0;
    r = edge_flush(v->file);
    if (r < 0)
        return r;
    memset(&v->header.log, 0, sizeof(v->header.log));
    r = vhdx_header_write(v);
    if (r == 0) {
        v->log_in_use = false;
        v->log_sequence = 0;
        v->log_next = 0;
    }
    return r;
}
