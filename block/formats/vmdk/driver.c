/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The vmdk driver: opening, closing, information, and the table of operations. */
#include "block/formats/vmdk/vmdk.h"
#include "gen/schema.h"
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

static int vmdk_probe(const uint8_t *head, size_t len, const char *filename)
{
    if (len >= 4 && (!memcmp(head, "KDMV", 4) || !memcmp(head, "COWD", 4)))
        return 100;
    return vmdk_descriptor_probe((const char *)head, len);
}

/* ---- files of extents ----------------------------------------------------------------------- */

/*
 * The file @name, as it is called from here. Beside an image in a file it can only mean a file,
 * whatever it looks like. NULL with @err.
 */
static char *full_name(const Vmdk *v, const char *name, GError **err)
{
    const char *base = node_filename(edge_node(node_edge(v->node, ROLE_STORAGE)));
    const char *slash = strrchr(base, '/');

    if (filename_has_protocol(base))
        return filename_combine(base, name, err);
    if (*name == '/')
        return g_strdup(name);
    return g_strdup_printf("%.*s%s%s", slash ? (int)(slash + 1 - base) : 0, base,
                           !slash && filename_has_protocol(name) ? "./" : "", name);
}

static bool is_regular(const char *name)
{
    struct stat st;

    return stat(name, &st) == 0 && S_ISREG(st.st_mode);
}

/*
 * For information, nothing is opened but the image, and the sparse extents right beside it, which
 * alone know how large their grains are.
 */
static bool is_opened(const Vmdk *v, const VmdkLine *l, const char *full)
{
    if (!(node_flags(v->node) & OPEN_NO_IO))
        return true;
    return l->kind != VMDK_FLAT && !(node_flags(v->node) & OPEN_UNTRUSTED) &&
           !strchr(l->name, '/') && is_regular(full);
}

/* The file of an earlier extent that has the same name: locks allow it to be open once. */
static Edge *file_open_already(const Vmdk *v, const char *full)
{
    for (guint i = 0; i < v->extents->len; i++) {
        const VmdkExtent *e = v->extents->pdata[i];

        if (e->file && !strcmp(e->filename, full))
            return e->file;
    }
    return NULL;
}

/* Opens the file called @full of extent @i, unless it is open: the image may be activated again. */
static CO Edge *extent_file(Vmdk *v, guint i, const char *full, GError **err)
{
    g_autofree char *key = g_strdup_printf("extents.%u", i);
    Edge *e = file_open_already(v, full);

    for (unsigned k = 0; !e && node_edge_at(v->node, k); k++)
        if (!strcmp(edge_key(node_edge_at(v->node, k)), key))
            return node_edge_at(v->node, k);
    if (e)
        return e;
    if (node_flags(v->node) & OPEN_UNTRUSTED) {
        err_set(err, EPERM, "The image wants the file '%s', which was not named", full);
        return NULL;
    }
    return node_open_child(v->node, key, full, NULL, ROLE_DATA, false, err);
}

/* ---- extents -------------------------------------------------------------------------------- */

/* Puts @e, which the image owns from now on, after those there are. */
static bool extent_append(Vmdk *v, VmdkExtent *e, GError **err)
{
    const VmdkExtent *last = v->extents->len ? v->extents->pdata[v->extents->len - 1] : NULL;
    uint64_t end;

    g_ptr_array_add(v->extents, e);
    e->start = last ? last->start + last->len : 0;
    if (!size_add(e->start, e->len, &end) || end > INT64_MAX)
        return err_set(err, EFBIG, "The extents are larger together than a disk can be");
    return true;
}

/* Adds the extent that line @i of the descriptor describes. */
static CO bool extent_add(Vmdk *v, guint i, GError **err)
{
    const VmdkLine *l = &g_array_index(v->desc->lines, VmdkLine, i);
    g_autofree char *full = l->name ? full_name(v, l->name, err) : NULL;
    bool head_only = node_flags(v->node) & OPEN_NO_IO;
    Edge *file = NULL;
    VmdkExtent *e;

    if (l->name && !full)
        return false;
    /* Nothing is read from it, unless the whole disk has no bytes. */
    if (!l->len && v->desc->lines->len > 1)
        return true;
    if (l->name && is_opened(v, l, full)) {
        file = extent_file(v, i, full, err);
        if (!file)
            return false;
    }
    e = vmdk_extent_new(v, l->kind, l->type, full, file);
    e->read_only = l->read_only;
    e->len = l->len;
    e->offset = l->offset;
    if (!extent_append(v, e, err))
        return false;
    if (l->kind == VMDK_FLAT || l->kind == VMDK_ZERO || !file)
        return true;
    if (!vmdk_extent_load(e, head_only, NULL, err))
        return false;
    if (e->len < l->len)
        return err_set(err, EINVAL, "'%s' has %" PRIu64 " bytes, less than the %" PRIu64
                       " that the descriptor says", full, e->len, l->len);
    e->len = l->len;
    return true;
}

/* The size of the grains if all extents have the same, else 0. */
static uint64_t common_grain(const Vmdk *v)
{
    const VmdkExtent *first = v->extents->pdata[0];

    for (guint i = 1; i < v->extents->len; i++)
        if (((VmdkExtent *)v->extents->pdata[i])->grain != first->grain)
            return 0;
    return first->grain;
}

static bool is_compressed(const Vmdk *v)
{
    for (guint i = 0; i < v->extents->len; i++)
        if (((VmdkExtent *)v->extents->pdata[i])->compressed)
            return true;
    return false;
}

/* ---- opening -------------------------------------------------------------------------------- */

static CO bool descriptor_read(Vmdk *v, uint64_t at, uint64_t len, GError **err)
{
    Edge *file = node_edge(v->node, ROLE_STORAGE);
    g_autofree char *text = NULL;
    int r;

    if (len > VMDK_DESCRIPTOR_MAX || at > edge_size(file))
        return err_set(err, EINVAL, "There is no descriptor of %" PRIu64 " bytes at byte %" PRIu64,
                       len, at);
    len = MIN(len, edge_size(file) - at);
    text = g_malloc(MAX(len, 1));
    r = edge_pread_buf(file, at, text, len);
    if (r < 0)
        return err_set_errno(err, r, "Could not read the descriptor");
    v->desc_at = at;
    v->desc = vmdk_descriptor_parse(text, len, err);
    return v->desc;
}

/* The extents that the descriptor lists. */
static CO bool open_listed(Vmdk *v, GError **err)
{
    static const char *const known[] = {"monolithicFlat",       "twoGbMaxExtentFlat",
                                        "twoGbMaxExtentSparse", "vmfs",
                                        "vmfsSparse",           "seSparse"};
    const char *type = v->desc->create_type;
    size_t i = 0;

    if (!type)
        return err_set(err, EINVAL, "The descriptor has no createType");
    while (i < G_N_ELEMENTS(known) && strcmp(known[i], type))
        i++;
    if (i == G_N_ELEMENTS(known))
        return err_set(err, ENOTSUP, "Images of type '%s' cannot be read", type);
    for (i = 0; i < v->desc->lines->len; i++)
        if (!extent_add(v, i, err))
            return false;
    return v->extents->len || err_set(err, EINVAL, "The descriptor lists no extent");
}

/* Does @d say that the file with it is an extent of no bytes, and all of the disk? */
static bool is_empty_single(const VmdkDescriptor *d)
{
    const char *type = d->create_type ? d->create_type : "";

    return (!strcmp(type, "monolithicSparse") || !strcmp(type, "streamOptimized")) &&
           d->lines->len == 1 && !g_array_index(d->lines, VmdkLine, 0).len;
}

/* A file that is the only extent itself, with the descriptor inside. */
static CO bool open_single(Vmdk *v, GError **err)
{
    Edge *file = node_edge(v->node, ROLE_STORAGE);
    bool head_only = node_flags(v->node) & OPEN_NO_IO;
    uint64_t desc[2] = { 0, 0 };
    VmdkExtent *e = vmdk_extent_new(v, VMDK_HOSTED, "", node_filename(edge_node(file)), file);

    g_ptr_array_add(v->extents, e);
    if (!vmdk_extent_load(e, head_only, desc, err) || !descriptor_read(v, desc[0], desc[1], err))
        return false;
    if (e->len)
        return true;
    /* Else a descriptor of other files that looks like an extent. */
    if (is_empty_single(v->desc))
        return vmdk_extent_load(e, head_only, NULL, err);
    g_ptr_array_set_size(v->extents, 0);
    return open_listed(v, err);
}

static CO bool open_image(Vmdk *v, GError **err)
{
    Edge *file = node_edge(v->node, ROLE_STORAGE);
    uint8_t magic[4] = { 0 };
    const VmdkExtent *last;
    int r = edge_pread_buf(file, 0, magic, MIN(sizeof(magic), edge_size(file)));

    v->extents = g_ptr_array_new_with_free_func((GDestroyNotify)vmdk_extent_free);
    if (r < 0)
        return err_set_errno(err, r, "Could not read the first bytes");
    if (!memcmp(magic, "COWD", 4))
        return err_set(err, EINVAL, "This is an extent: open the descriptor that names it");
    if (!memcmp(magic, "KDMV", 4)) {
        if (!open_single(v, err))
            return false;
    } else if (!descriptor_read(v, 0, edge_size(file), err) || !open_listed(v, err)) {
        return false;
    }
    if (is_compressed(v))
        vmdk_compress_new(v);
    last = v->extents->pdata[v->extents->len - 1];
    node_set_size(v->node, last->start + last->len);
    if (v->desc->parent)
        node_set_backing_stored(v->node, v->desc->parent, "vmdk");
    return true;
}

static void free_all(Vmdk *v)
{
    if (v->extents)
        g_ptr_array_unref(v->extents);
    vmdk_descriptor_free(v->desc);
    vmdk_compress_free(v);
    *v = (Vmdk){ .node = v->node };
}

static CO bool vmdk_open(Node *n, const json_t *options, OpenFlags flags, GError **err)
{
    Vmdk *v = vmdk_of(n);

    v->node = n;
    if (!node_open_child(n, "file", NULL, options, ROLE_STORAGE, false, err))
        return false;
    if (open_image(v, err))
        return true;
    free_all(v);
    return false;
}

static CO void vmdk_close(Node *n)
{
    free_all(vmdk_of(n));
}

static CO int vmdk_flush(Node *n)
{
    Vmdk *v = vmdk_of(n);
    int r = 0;

    for (guint i = 0; i < v->extents->len && r == 0; i++) {
        VmdkExtent *e = v->extents->pdata[i];

        if (e->is_dirty)
            r = vmdk_tables_write(e);
    }
    return r;
}

static CO bool vmdk_inactivate(Node *n, GError **err)
{
    Vmdk *v = vmdk_of(n);
    int r = v->extents ? vmdk_flush(n) : 0;

    for (guint i = 0; r == 0 && v->extents && i < v->extents->len; i++)
        r = vmdk_extent_fill(v->extents->pdata[i]);
    return r >= 0 ||
           err_set_errno(err, r, "Not all tables of '%s' could be written", node_filename(n));
}

static CO bool vmdk_activate(Node *n, GError **err)
{
    Vmdk *v = vmdk_of(n);

    free_all(v);
    if (open_image(v, err))
        return true;
    free_all(v);
    return false;
}

/* ---- information ---------------------------------------------------------------------------- */

static CO int vmdk_info(Node *n, NodeInfo *info)
{
    Vmdk *v = vmdk_of(n);

    info->cluster_size = common_grain(v);
    info->wants_compressed = is_compressed(v);
    info->expansion = is_compressed(v) ? 1032 : 0;
    return 0;
}

static json_t *extent_info(const VmdkExtent *e)
{
    json_t *o = json_object();

    json_put_str(o, "filename", e->filename ? e->filename : "");
    json_put_str(o, "format", e->type);
    json_put_int(o, "virtual-size", (int64_t)e->len);
    if (e->compressed)
        json_put_bool(o, "compressed", true);
    if (e->grain)
        json_put_int(o, "cluster-size", (int64_t)e->grain);
    return o;
}

static CO json_t *vmdk_info_specific(Node *n, GError **err)
{
    Vmdk *v = vmdk_of(n);
    json_t *all = json_object(), *data = json_object(), *extents = json_array();

    json_put_str(data, "create-type", v->desc->create_type ? v->desc->create_type : "");
    json_put_int(data, "cid", v->desc->cid);
    json_put_int(data, "parent-cid", v->desc->parent_cid);
    for (guint i = 0; i < v->extents->len; i++)
        json_array_append_new(extents, extent_info(v->extents->pdata[i]));
    json_put(data, "extents", extents);
    json_put_str(all, "type", "vmdk");
    json_put(all, "data", data);
    return all;
}

/* Files that are not open count too; asking for their size opens nothing. */
static uint64_t vmdk_allocated(Node *n, bool *known)
{
    Vmdk *v = vmdk_of(n);
    uint64_t sum = 0;
    bool one;
    struct stat st;
    Edge *e;

    *known = true;
    for (unsigned i = 0; (e = node_edge_at(n, i)); i++)
        if (strcmp(edge_key(e), "backing")) {
            sum += node_allocated(edge_node(e), &one);
            *known &= one;
        }
    for (guint i = 0; i < v->extents->len && !(node_flags(n) & OPEN_UNTRUSTED); i++) {
        const VmdkExtent *x = v->extents->pdata[i];

        if (!x->file && x->filename && stat(x->filename, &st) == 0)
            sum += (uint64_t)st.st_blocks * 512;
    }
    return sum;
}

static bool vmdk_has_zero_init(Node *n)
{
    Vmdk *v = vmdk_of(n);

    for (guint i = 0; i < v->extents->len; i++) {
        const VmdkExtent *e = v->extents->pdata[i];

        if (e->kind == VMDK_FLAT && (!e->file || !node_has_zero_init(edge_node(e->file))))
            return false;
    }
    return true;
}

static void vmdk_refresh_limits(Node *n)
{
    Vmdk *v = vmdk_of(n);
    uint64_t grain = common_grain(v);

    if (is_power_of_2(grain))
        node_limits(n)->zero_alignment = grain;
    if (is_compressed(v))
        node_limits(n)->request_alignment = VMDK_SECTOR;
}

const BlockDriver block_vmdk = {
    .name = "vmdk",
    .stays = "vmdk",
    .kind = BLK_FORMAT,
    .any_loop = true,
    .state_size = sizeof(Vmdk),
    .takes_backing = true,
    .is_compressing = true,
    .zero_flags = REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    .probe = vmdk_probe,
    .open = vmdk_open,
    .inactivate = vmdk_inactivate,
    .activate = vmdk_activate,
    .close = vmdk_close,
    .create_opts = create_opts_vmdk,
    .create = vmdk_create,
    .create_ahead = vmdk_create_ahead,
    .pread = vmdk_pread,
    .reads_through = vmdk_reads_through,
    .pwrite = vmdk_pwrite,
    .zero = vmdk_zero,
    .flush = vmdk_flush,
    .extent = vmdk_extent,
    .check = vmdk_check,
    .info = vmdk_info,
    .info_specific = vmdk_info_specific,
    .allocated = vmdk_allocated,
    .has_zero_init = vmdk_has_zero_init,
    .refresh_limits = vmdk_refresh_limits,
};
