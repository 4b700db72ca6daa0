/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk in memory with a log. */
#include "tests/lib/memdisk.h"
#include "block/internal.h"
#include <inttypes.h>
#include <string.h>

typedef struct {
    MemdiskImage now, origin;
    GArray *log;  /* of MemdiskEntry; NULL: none is kept */
    bool beside;  /* the log is another disk's */
    uint64_t max; /* bytes it may grow to */
} Memdisk;

/* ---- images --------------------------------------------------------------------------------- */

static void image_resize(MemdiskImage *m, size_t len)
{
    if (len > m->room) {
        m->room = MAX(len, m->room * 2);
        m->data = g_realloc(m->data, m->room);
    }
    if (len > m->len)
        memset(m->data + m->len, 0, len - m->len);
    m->len = len;
}

void memdisk_image_set(MemdiskImage *m, const uint8_t *data, size_t len)
{
    m->len = 0;
    image_resize(m, len);
    if (len)
        memcpy(m->data, data, len);
}

static void image_put(MemdiskImage *m, uint64_t off, const uint8_t *data, size_t len)
{
    if (off + len > m->len)
        image_resize(m, off + len);
    if (data)
        memcpy(m->data + off, data, len);
    else
        memset(m->data + off, 0, len);
}

void memdisk_image_apply(MemdiskImage *m, const MemdiskEntry *e,
                         bool (*keep)(void *arg, size_t sector), void *arg)
{
    if (e->op == MEMDISK_RESIZE)
        image_resize(m, e->len);
    if (e->op != MEMDISK_WRITE && e->op != MEMDISK_ZERO)
        return;
    for (uint64_t at = e->off; at < e->off + e->len;) {
        uint64_t n = MIN(e->off + e->len - at, 512 - at % 512);

        if (!keep || keep(arg, (at - e->off) / 512))
            image_put(m, at, e->data ? e->data + (at - e->off) : NULL, n);
        at += n;
    }
}

void memdisk_image_clear(MemdiskImage *m)
{
    g_free(m->data);
    *m = (MemdiskImage){ 0 };
}

/* ---- the driver ----------------------------------------------------------------------------- */

/* Does it, and remembers it if there is a log. -ENOSPC: the disk would grow too large. */
static int memdisk_do(Node *n, MemdiskOp op, uint64_t off, uint64_t len, Span data)
{
    Memdisk *d = node_state(n);
    MemdiskEntry e = { op, off, len, NULL, n };

    if (off > d->max || len > d->max - off)
        return -ENOSPC;
    if (op == MEMDISK_WRITE) {
        e.data = g_malloc(len);
        span_read(data, e.data);
    }
    memdisk_image_apply(&d->now, &e, NULL, NULL);
    if (d->log)
        g_array_append_val(d->log, e);
    else
        g_free(e.data);
    return 0;
}

static CO int memdisk_pread(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    Memdisk *d = node_state(n);
    uint64_t there = off < d->now.len ? MIN(buf.len, d->now.len - off) : 0;

    /* The node's size is a multiple of 512, ours need not be. */
    span_write(span_slice(buf, 0, there), d->now.data + off);
    span_zero(span_slice(buf, there, buf.len - there));
    co_yield();
    return 0;
}

static CO int memdisk_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags)
{
    int r = memdisk_do(n, MEMDISK_WRITE, off, buf.len, buf);

    co_yield();
    return r;
}

static CO int memdisk_zero(Node *n, uint64_t off, uint64_t len, ReqFlags flags)
{
    return memdisk_do(n, MEMDISK_ZERO, off, len, span_of(NULL, 0));
}

static CO int memdisk_discard(Node *n, uint64_t off, uint64_t len)
{
    return memdisk_zero(n, off, len, 0);
}

static CO int memdisk_sync(Node *n)
{
    co_yield();
    return memdisk_do(n, MEMDISK_FLUSH, 0, 0, span_of(NULL, 0));
}

static CO bool memdisk_resize(Node *n, uint64_t size, bool exact, Prealloc prealloc,
                              ReqFlags flags, GError **err)
{
    int r = memdisk_do(n, MEMDISK_RESIZE, 0, size, span_of(NULL, 0));

    if (r < 0)
        return err_set_errno(err, r, "The disk cannot have %" PRIu64 " bytes", size);
    node_set_size(n, size);
    return true;
}

static CO void memdisk_close(Node *n)
{
    Memdisk *d = node_state(n);

    for (guint i = 0; d->log && !d->beside && i < d->log->len; i++)
        g_free(g_array_index(d->log, MemdiskEntry, i).data);
    if (d->log && !d->beside)
        g_array_free(d->log, true);
    memdisk_image_clear(&d->now);
    memdisk_image_clear(&d->origin);
}

static bool memdisk_has_zero_init(Node *n)
{
    return true;
}

static const BlockDriver block_memdisk = {
    .name = "memdisk",
    .kind = BLK_PROTOCOL,
    .state_size = sizeof(Memdisk),
    .zero_flags = REQ_MAY_UNMAP,
    .close = memdisk_close,
    .pread = memdisk_pread,
    .pwrite = memdisk_pwrite,
    .zero = memdisk_zero,
    .discard = memdisk_discard,
    .sync = memdisk_sync,
    .resize = memdisk_resize,
    .has_zero_init = memdisk_has_zero_init,
};

Node *memdisk_new_scratch(const char *name, const uint8_t *data, size_t len, uint64_t max)
{
    g_autoptr(GError) err = NULL;
    Node *n = node_new(&block_memdisk, name, &err);
    Memdisk *d;

    g_assert_no_error(err);
    d = node_state(n);
    d->max = max;
    memdisk_image_set(&d->now, data, len);
    n->flags = OPEN_RDWR | OPEN_RESIZE | OPEN_UNMAP;
    n->options = json_object();
    n->filename = g_strdup(name);
    n->is_open = true;
    n->state = NODE_ACTIVE;
    node_set_size(n, len);
    return n;
}

Node *memdisk_new(const char *name, const uint8_t *data, size_t len)
{
    Node *n = memdisk_new_scratch(name, data, len, UINT64_MAX);
    Memdisk *d = node_state(n);

    d->log = g_array_new(false, false, sizeof(MemdiskEntry));
    memdisk_image_set(&d->origin, data, len);
    return n;
}

Node *memdisk_new_beside(Node *first, const char *name, const uint8_t *data, size_t len)
{
    Node *n = memdisk_new_scratch(name, data, len, UINT64_MAX);
    Memdisk *d = node_state(n);

    d->log = ((Memdisk *)node_state(first))->log;
    d->beside = true;
    memdisk_image_set(&d->origin, data, len);
    return n;
}

size_t memdisk_log_len(Node *disk)
{
    return ((Memdisk *)node_state(disk))->log->len;
}

const MemdiskEntry *memdisk_log(Node *disk, size_t i)
{
    return &g_array_index(((Memdisk *)node_state(disk))->log, MemdiskEntry, i);
}

const uint8_t *memdisk_data(Node *disk, size_t *len)
{
    Memdisk *d = node_state(disk);

    *len = d->now.len;
    return d->now.data;
}

const uint8_t *memdisk_origin(Node *disk, size_t *len)
{
    Memdisk *d = node_state(disk);

    *len = d->origin.len;
    return d->origin.data;
}

CO void memdisk_free(Node *disk)
{
    node_unref(disk);
}

bool memdisk_format_has_backing(const char *format)
{
    for (const CreateOpt *o = driver_find(format)->create_opts; o && o->name; o++)
        if (!strcmp(o->name, "backing_file"))
            return true;
    return false;
}
