/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stream-optimized image written front to back, as the format was made for:
 *
 *     0      header, which says that the directory comes at the end; descriptor
 *     128    grains: marker and stream each; after those of a grain table, its marker and the table
 *            marker, grain directory; marker, footer (the header again, with the place of the
 *            directory); end-of-stream marker
 *
 * Grains are collected, deflated side by side and written in order.
 */
#include "block/formats/vmdk/vmdk.h"
#include "block/pipe.h"
#include "block/zlib-stream.h"
#include "io/loop.h"
#include <string.h>

enum {
    GRAIN = 64 << 10,       /* bytes */
    TABLE_LEN = 512,        /* entries */
    TABLE_SECTORS = TABLE_LEN * 4 / VMDK_SECTOR,
    BATCH = 32,             /* grains in memory */
    HEADER_DIR_AT = 56,
};

typedef struct {
    ZlibStreams *streams;
    uint64_t index;
    uint8_t *data;          /* of GRAIN bytes */
    uint8_t *out;           /* marker, stream, padding; there is room for any stream */
    size_t len;
    int result;
} Grain;

typedef struct {
    Handle *pipe;
    uint8_t header[VMDK_SECTOR];
    ZlibStreams *streams;
    Grain batch[BATCH];
    unsigned grains;        /* of the batch that have data; the last one may not be complete */
    uint64_t at;            /* bytes; offsets only grow */
    uint64_t table;         /* number of the one that is being filled */
    le32 entries[TABLE_LEN];
    bool has_entries;
    uint64_t tables;
    le32 *dir;              /* whole sectors */
} Stream;

static CO void grain_deflate(void *arg)
{
    Grain *g = arg;
    size_t room = zlib_stream_bound(GRAIN), made = 0;

    g->result = zlib_stream_deflate(g->streams, g->data, GRAIN, g->out + VMDK_GRAIN_MARKER_LEN,
                                    room, &made);
    le64_put(g->out, g->index * (GRAIN / VMDK_SECTOR));
    le32_put(g->out + 8, (uint32_t)made);
    g->len = round_up(VMDK_GRAIN_MARKER_LEN + made, VMDK_SECTOR);
    memset(g->out + VMDK_GRAIN_MARKER_LEN + made, 0, g->len - VMDK_GRAIN_MARKER_LEN - made);
}

/* Writes a marker, and after it @sectors sectors of metadata. */
static CO int metadata_put(Stream *s, VmdkMarkerType type, const void *data, uint64_t sectors)
{
    VmdkMarker marker = { .value = le64_of(sectors), .type = le32_of(type) };
    int r = pipe_append(s->pipe, &marker, sizeof(marker));

    return r < 0 || !sectors ? r : pipe_append(s->pipe, data, sectors * VMDK_SECTOR);
}

/* Sets @entry to the sector that is @ahead sectors after the end of what was written. */
static int place_set(const Stream *s, le32 *entry, unsigned ahead)
{
    uint64_t sector = pipe_length(s->pipe) / VMDK_SECTOR + ahead;

    if (sector > UINT32_MAX)
        return -EFBIG;
    le32_set(entry, (uint32_t)sector);
    return 0;
}

/* Writes the table that is being filled, unless it is empty. */
static CO int table_put(Stream *s)
{
    int r = s->has_entries ? place_set(s, &s->dir[s->table], 1) : 0;

    if (r < 0 || !s->has_entries)
        return r;
    r = metadata_put(s, VMDK_MARKER_TABLE, s->entries, TABLE_SECTORS);
    memset(s->entries, 0, sizeof(s->entries));
    s->has_entries = false;
    return r;
}

static CO int grain_put(Stream *s, const Grain *g)
{
    int r = g->result;

    if (r == 0 && g->index / TABLE_LEN != s->table) {
        r = table_put(s);
        s->table = g->index / TABLE_LEN;
    }
    if (r == 0)
        r = place_set(s, &s->entries[g->index % TABLE_LEN], 0);
    s->has_entries = true;
    return r < 0 ? r : pipe_append(s->pipe, g->out, g->len);
}

/* Deflates and writes all collected grains. */
static CO int batch_put(Stream *s)
{
    CoGroup group = {};
    int r = 0;

    for (unsigned i = 0; i < s->grains; i++)
        co_group_start(&group, grain_deflate, &s->batch[i]);
    co_group_wait(&group);
    for (unsigned i = 0; i < s->grains && r == 0; i++)
        r = grain_put(s, &s->batch[i]);
    s->grains = 0;
    return r;
}

/* Finds grain @index in memory, or adds it, zeroed; makes room by writing the others. */
static CO int grain_take(Stream *s, uint64_t index, Grain **grain)
{
    Grain *g = s->grains ? &s->batch[s->grains - 1] : NULL;
    int r = 0;

    if (!g || g->index != index) {
        r = s->grains == BATCH ? batch_put(s) : 0;
        g = &s->batch[s->grains++];
        memset(g->data, 0, GRAIN);
        g->index = index;
    }
    *grain = g;
    return r;
}

static CO int stream_write(void *state, uint64_t off, Span buf)
{
    Stream *s = state;
    int r = off < s->at ? -ESPIPE : 0;

    s->at = off + buf.len;
    while (buf.len && r == 0) {
        uint64_t within = off % GRAIN, len = MIN(buf.len, GRAIN - within);
        Grain *g;

        r = grain_take(s, off / GRAIN, &g);
        if (r == 0)
            span_read(span_slice(buf, 0, len), g->data + within);
        off += len;
        buf = span_slice(buf, len, buf.len - len);
    }
    return r;
}

static CO int stream_finish(void *state)
{
    Stream *s = state;
    uint64_t dir_sectors = div_round_up(s->tables * sizeof(le32), VMDK_SECTOR);
    int r = batch_put(s);

    if (r == 0)
        r = table_put(s);
    if (r < 0)
        return r;
    le64_put(s->header + HEADER_DIR_AT, pipe_length(s->pipe) / VMDK_SECTOR + 1);
    r = metadata_put(s, VMDK_MARKER_DIRECTORY, s->dir, dir_sectors);
    if (r == 0)
        r = metadata_put(s, VMDK_MARKER_FOOTER, s->header, 1);
    return r < 0 ? r : metadata_put(s, VMDK_MARKER_END, NULL, 0);
}

static void stream_free(void *state)
{
    Stream *s = state;

    for (unsigned i = 0; i < BATCH; i++) {
        g_free(s->batch[i].data);
        g_free(s->batch[i].out);
    }
    zlib_streams_free(s->streams);
    g_free(s->dir);
    g_free(s);
}

static const PipeFormat stream_format = {
    .write = stream_write,
    .finish = stream_finish,
    .free = stream_free,
};

bool vmdk_pipe_start(Handle *pipe, uint64_t size, const uint8_t header[VMDK_SECTOR], GError **err)
{
    Stream *s = g_new0(Stream, 1);
    bool ok;

    s->pipe = pipe;
    s->tables = div_round_up(div_round_up(size, GRAIN), TABLE_LEN);
    memcpy(s->header, header, VMDK_SECTOR);
    s->streams = zlib_streams_new();
    s->dir = g_try_malloc0(round_up(MAX(s->tables, 1) * sizeof(le32), VMDK_SECTOR));
    ok = s->dir;
    for (unsigned i = 0; i < BATCH && ok; i++) {
        Grain *g = &s->batch[i];

        g->streams = s->streams;
        g->data = g_try_malloc(GRAIN);
        g->out = g_try_malloc(VMDK_GRAIN_MARKER_LEN + zlib_stream_bound(GRAIN) + VMDK_SECTOR);
        ok = g->data && g->out;
    }
    pipe_set_format(pipe, &stream_format, s);
    return ok || err_set(err, ENOMEM, "There is not enough memory to compress %d grains of %d "
                         "bytes at a time", BATCH, GRAIN);
}
