/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Grain tables: a bounded number of them in memory, read when needed, written by a flush.
 *
 * What an entry leads to is durable before the entry is written: a table is copied with what is
 * known to be in the file, the file is flushed, then the copy is written.
 */
#include "block/formats/vmdk/vmdk.h"
#include <string.h>

enum {
    CACHE_BYTES = 2 << 20,      /* of tables in memory, per extent */
    ENTRY_ZERO = 1,             /* of a hosted extent with zeroed grains */
};

struct VmdkTable {
    uint64_t number;
    bool is_dirty, is_used;
    uint8_t *data;
};

static void table_free(VmdkTable *t)
{
    g_free(t->data);
    g_free(t);
}

void vmdk_tables_free(VmdkExtent *e)
{
    GHashTableIter i;
    void *t;

    if (!e->cache)
        return;
    g_hash_table_iter_init(&i, e->cache);
    while (g_hash_table_iter_next(&i, NULL, &t))
        table_free(t);
    g_clear_pointer(&e->cache, g_hash_table_unref);
}

static size_t table_bytes(const VmdkExtent *e)
{
    return (size_t)e->table_len * e->entry;
}

/* ---- writing -------------------------------------------------------------------------------- */

typedef struct {
    VmdkTable *table;
    uint8_t *data;
} Copied;

static void copied_clear(void *arg)
{
    g_free(((Copied *)arg)->data);
}

/* The tables that differ from the file, as they are now; from now on they count as written. */
static GArray *tables_copy(VmdkExtent *e)
{
    GArray *all = g_array_new(false, false, sizeof(Copied));
    GHashTableIter i;
    void *v;

    g_array_set_clear_func(all, copied_clear);
    g_hash_table_iter_init(&i, e->cache);
    while (g_hash_table_iter_next(&i, NULL, &v)) {
        VmdkTable *t = v;

        if (t->is_dirty) {
            Copied c = { t, g_memdup2(t->data, table_bytes(e)) };

            g_array_append_val(all, c);
            t->is_dirty = false;
        }
    }
    e->is_dirty = false;
    return all;
}

static void tables_dirty_again(VmdkExtent *e, const GArray *all)
{
    for (guint i = 0; i < all->len; i++)
        g_array_index(all, Copied, i).table->is_dirty = true;
    e->is_dirty = all->len || e->is_dirty;
}

static CO int tables_write_locked(VmdkExtent *e)
{
    g_autoptr(GArray) all = NULL;
    int r;

    if (!e->is_dirty)
        return 0;
    all = tables_copy(e);
    r = edge_flush(e->file);
    for (guint i = 0; i < all->len && r == 0; i++) {
        Copied *c = &g_array_index(all, Copied, i);

        if (e->dir2 && e->dir2[c->table->number])
            r = edge_pwrite_buf(e->file, e->dir2[c->table->number], c->data, table_bytes(e));
        if (r == 0)
            r = edge_pwrite_buf(e->file, e->dir[c->table->number], c->data, table_bytes(e));
    }
    if (r < 0)
        tables_dirty_again(e, all);
    return r;
}

CO int vmdk_tables_write(VmdkExtent *e)
{
    CO_LOCKED(&e->lock);

    return tables_write_locked(e);
}

/*
 * For other programs, some of which insist on whole grains. Not while writes are under way, which
 * may make the file longer than it would become here.
 */
CO int vmdk_extent_fill(VmdkExtent *e)
{
    g_autoptr(GError) err = NULL;

    if (!e->has_grown || edge_size(e->file) >= e->end)
        return 0;
    return edge_resize(e->file, e->end, false, PREALLOC_OFF, 0, &err) ? 0 : err_errno(err);
}

/* ---- reading -------------------------------------------------------------------------------- */

/* Makes room for another table. The lock is held. */
static CO int cache_trim(VmdkExtent *e)
{
    guint max = MAX(CACHE_BYTES / table_bytes(e), 4);
    GHashTableIter i;
    void *v;
    int r;

    if (g_hash_table_size(e->cache) < max)
        return 0;
    r = tables_write_locked(e);
    if (r < 0)
        return r;
    g_hash_table_iter_init(&i, e->cache);
    while (g_hash_table_iter_next(&i, NULL, &v)) {
        VmdkTable *t = v;

        if (!t->is_used && !t->is_dirty) {
            g_hash_table_iter_remove(&i);
            table_free(t);
        } else {
            t->is_used = false;
        }
    }
    return 0;
}

static CO int table_load(VmdkExtent *e, uint64_t number, VmdkTable **out)
{
    CO_LOCKED(&e->lock);
    uint64_t at = e->dir[number];
    g_autofree uint8_t *data = NULL;
    VmdkTable *t = g_hash_table_lookup(e->cache, GUINT_TO_POINTER(number));
    int r;

    if (t) {
        *out = t;   /* somebody else has read it meanwhile */
        return 0;
    }
    r = cache_trim(e);
    if (r < 0)
        return r;
    if (at > edge_size(e->file) || table_bytes(e) > edge_size(e->file) - at)
        return -EIO;
    data = g_try_malloc(table_bytes(e));
    if (!data)
        return -ENOMEM;
    r = edge_pread_buf(e->file, at, data, table_bytes(e));
    if (r < 0)
        return r;
    t = g_new0(VmdkTable, 1);
    t->number = number;
    t->data = g_steal_pointer(&data);
    g_hash_table_insert(e->cache, GUINT_TO_POINTER(number), t);
    *out = t;
    return 0;
}

/* Table @number, which stays until the caller suspends. NULL in *@out: there is none. */
static CO int table_get(VmdkExtent *e, uint64_t number, VmdkTable **out)
{
    int r = 0;

    *out = g_hash_table_lookup(e->cache, GUINT_TO_POINTER(number));
    if (!*out && e->dir[number])
        r = table_load(e, number, out);
    if (r == 0 && *out)
        (*out)->is_used = true;
    return r;
}

/* ---- entries -------------------------------------------------------------------------------- */

static VmdkRunKind entry_read(const VmdkExtent *e, const VmdkTable *t, uint32_t i, uint64_t *host)
{
    uint32_t v;

    if (e->kind == VMDK_SE)
        return vmdk_se_entry(e, le64_at(t->data + i * 8), host);
    v = le32_at(t->data + i * 4);
    *host = (uint64_t)v * VMDK_SECTOR;
    if (!v)
        return VMDK_RUN_NONE;
    if (e->zeroed && v == ENTRY_ZERO)
        return VMDK_RUN_ZERO;
    return e->compressed ? VMDK_RUN_COMPRESSED : VMDK_RUN_DATA;
}

/* Does @next, at @next_host, go on where @n grains of *@r end? */
static bool run_goes_on(const VmdkExtent *e, const VmdkRun *r, VmdkRunKind next, uint64_t next_host)
{
    if (next != r->kind)
        return false;
    if (next == VMDK_RUN_COMPRESSED)
        return false;
    return next != VMDK_RUN_DATA || next_host == r->host + r->grains * e->grain;
}

CO int vmdk_run(VmdkExtent *e, uint64_t g, uint64_t max, VmdkRun *r)
{
    uint32_t i = g % e->table_len;
    VmdkTable *t;
    uint64_t host;
    int ret = table_get(e, g / e->table_len, &t);

    if (ret < 0)
        return ret;
    max = MIN(max, e->table_len - i);
    *r = (VmdkRun){ .kind = VMDK_RUN_NONE, .grains = max };
    if (!t)
        return 0;
    r->kind = entry_read(e, t, i, &r->host);
    for (r->grains = 1; r->grains < max; r->grains++) {
        VmdkRunKind kind = entry_read(e, t, i + r->grains, &host);

        if (!run_goes_on(e, r, kind, host))
            break;
    }
    return 0;
}

CO int vmdk_link(VmdkExtent *e, uint64_t g, uint64_t n, uint64_t host)
{
    uint32_t first = g % e->table_len;
    VmdkTable *t;
    int r = table_get(e, g / e->table_len, &t);

    if (r < 0)
        return r;
    g_assert(t && first + n <= e->table_len);
    for (uint64_t i = 0; i < n; i++)
        le32_put(t->data + (first + i) * 4,
                 host ? (uint32_t)((host + i * e->grain) / VMDK_SECTOR) : ENTRY_ZERO);
    t->is_dirty = e->is_dirty = true;
    return 0;
}
