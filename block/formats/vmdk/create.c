/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * New images. A hosted sparse extent:
 *
 *     0     header
 *     1     room for the descriptor, 20 sectors, whether it is there or not
 *     21    second grain directory and all its tables
 *           grain directory and all its tables
 *           grains, from a multiple of their size on
 */
#include "block/formats/vmdk/vmdk.h"
#include "block/pipe.h"
#include <inttypes.h>
#include <string.h>

enum {
    GRAIN = 128,                    /* sectors */
    TABLE_LEN = 512,
    DESC_AT = 1, DESC_LEN = 20,     /* sectors */
    HEADS_IDE = 16, HEADS_OTHER = 255, TRACK = 63,
    HEADER_COMPRESSION = 77,
};
#define SPLIT (UINT64_C(2) * GiB)   /* bytes of an extent of images that are split */

static const struct Subformat {
    const char *name;
    bool flat, split, compressed;
} subformats[] = {
    { "monolithicSparse", false, false, false },
    { "monolithicFlat", true, false, false },
    { "twoGbMaxExtentSparse", false, true, false },
    { "twoGbMaxExtentFlat", true, true, false },
    { "streamOptimized", false, false, true },
};

typedef struct {
    const struct Subformat *sub;
    const char *adapter, *hardware, *tools;
    bool zeroed;
    uint64_t size;          /* bytes */
    const char *parent;     /* NULL: none */
    uint32_t parent_cid;
} Create;

/* ---- options -------------------------------------------------------------------------------- */

/* A value that goes into the descriptor in quotes. */
static bool text_option(const json_t *opts, const char *name, const char *def, const char **out,
                        GError **err)
{
    *out = json_get_str(opts, name, def);
    if (strpbrk(*out, "\"\n\r"))
        return err_set(err, EINVAL, "Option '%s' must have no quotes and no line ends", name);
    return true;
}

static bool subformat_option(const json_t *opts, Create *c, GError **err)
{
    const char *name = json_get_str(opts, "subformat", "monolithicSparse");

    for (size_t i = 0; i < G_N_ELEMENTS(subformats); i++)
        if (!strcmp(subformats[i].name, name))
            c->sub = &subformats[i];
    return c->sub ||
           err_set(err, EINVAL,
                   "There is no subformat '%s': it is one of monolithicSparse, "
                   "monolithicFlat, twoGbMaxExtentSparse, twoGbMaxExtentFlat, streamOptimized",
                   name);
}

static bool adapter_option(const json_t *opts, Create *c, GError **err)
{
    static const char *const adapters[] = { "ide", "buslogic", "lsilogic", "legacyESX" };

    c->adapter = json_get_str(opts, "adapter_type", "ide");
    for (size_t i = 0; i < G_N_ELEMENTS(adapters); i++)
        if (!strcmp(adapters[i], c->adapter))
            return true;
    return err_set(err, EINVAL,
                   "There is no adapter type '%s': it is one of ide, buslogic, lsilogic, legacyESX",
                   c->adapter);
}

static bool hardware_option(const json_t *opts, Create *c, GError **err)
{
    bool six = json_get_bool(opts, "compat6", false);

    if (!text_option(opts, "hwversion", "undefined", &c->hardware, err))
        return false;
    if (strcmp(c->hardware, "undefined"))
        return !six || err_set(err, EINVAL, "Options 'compat6' and 'hwversion' exclude each other");
    c->hardware = six ? "6" : "4";
    return true;
}

static bool size_option(const json_t *opts, Create *c, GError **err)
{
    c->size = round_up((uint64_t)json_get_int(opts, "size", 0), VMDK_SECTOR);
    /* Entries of grain tables have 32 bits and count sectors. */
    if (!c->sub->flat && !c->sub->split && c->size / VMDK_SECTOR > UINT32_MAX)
        return err_set(err, EFBIG, "A sparse extent has at most 2 TiB, not %" PRIu64 " bytes",
                       c->size);
    return true;
}

static bool options_read(const json_t *opts, Create *c, GError **err)
{
    c->zeroed = json_get_bool(opts, "zeroed_grain", false);
    c->parent = json_get_str(opts, "backing_file", NULL);
    if (!adapter_option(opts, c, err) || !hardware_option(opts, c, err) ||
        !subformat_option(opts, c, err) ||
        !text_option(opts, "toolsversion", "2147483647", &c->tools, err) ||
        !size_option(opts, c, err))
        return false;
    if (c->parent && c->sub->flat)
        return err_set(err, EINVAL, "A flat image cannot have a backing file");
    if (c->zeroed && c->sub->flat)
        return err_set(err, EINVAL, "A flat image cannot have zeroed grains");
    if (c->parent && strpbrk(c->parent, "\"\n\r"))
        return err_set(err, EINVAL,
                       "The name of the backing file must have no quotes and no line ends");
    return true;
}

/* The CID of the backing file, which must be a VMDK image. */
static CO bool parent_read(const char *filename, const json_t *opts, Create *c, GError **err)
{
    const char *format = json_get_str(opts, "backing_fmt", NULL);
    g_autofree char *full = NULL;
    g_autoptr(Handle) h = NULL;

    c->parent_cid = (uint32_t)VMDK_NO_CID;
    if (!c->parent)
        return true;
    full = filename_combine(filename, c->parent, err);
    if (!full)
        return false;
    h = handle_open(full, format ? json_pack("{s:s}", "driver", format) : NULL,
                    OPEN_NO_BACKING | OPEN_NO_IO | OPEN_FORCE_SHARE, err);
    if (!h)
        return false;
    if (strcmp(node_format(handle_node(h)), "vmdk"))
        return err_set(err, EINVAL, "The backing file '%s' must be a VMDK image", c->parent);
    c->parent_cid = vmdk_of(handle_node(h))->desc->cid;
    return true;
}

/* ---- extents -------------------------------------------------------------------------------- */

/* The file of extent @i, counted from 1. @base: the name of the image up to its suffix. */
static char *extent_name(const Create *c, const char *filename, unsigned i)
{
    const char *slash = strrchr(filename, '/'), *dot = strrchr(filename, '.');

    if (!c->sub->flat && !c->sub->split)
        return g_strdup(filename);
    if (!dot || (slash && dot < slash))
        dot = filename + strlen(filename);
    if (!c->sub->split)
        return g_strdup_printf("%.*s-flat%s", (int)(dot - filename), filename, dot);
    return g_strdup_printf("%.*s-%c%03u%s", (int)(dot - filename), filename,
                           c->sub->flat ? 'f' : 's', i, dot);
}

/* The name as it is seen from the image's folder. */
static const char *in_folder(const char *name)
{
    const char *slash = strrchr(name, '/');

    return slash ? slash + 1 : name;
}

/* How a sparse extent is laid out; in sectors. */
typedef struct {
    uint64_t tables, dir_len, dir2, dir, overhead;
} Layout;

static Layout layout_of(uint64_t size)
{
    Layout l = { .tables = div_round_up(div_round_up(size / VMDK_SECTOR, GRAIN), TABLE_LEN) };
    uint64_t all;

    l.dir_len = div_round_up(l.tables * sizeof(le32), VMDK_SECTOR);
    all = l.dir_len + l.tables * (TABLE_LEN * sizeof(le32) / VMDK_SECTOR);
    l.dir2 = DESC_AT + DESC_LEN;
    l.dir = l.dir2 + all;
    l.overhead = div_round_up(l.dir + all, GRAIN) * GRAIN;
    return l;
}

static void header_make(const Create *c, uint64_t size, const Layout *l, uint8_t *h)
{
    uint32_t flags =
        1 | (l->dir2 ? 2 : 0) | (c->zeroed ? 4 : 0) | (c->sub->compressed ? 3 << 16 : 0);

    memset(h, 0, VMDK_SECTOR);
    memcpy(h, "KDMV", 4);
    le32_put(h + 4, c->sub->compressed ? 3 : c->zeroed ? 2 : 1);
    le32_put(h + 8, flags);
    le64_put(h + 12, size / VMDK_SECTOR);
    le64_put(h + 20, GRAIN);
    le64_put(h + 28, DESC_AT);
    le64_put(h + 36, DESC_LEN);
    le32_put(h + 44, TABLE_LEN);
    le64_put(h + 48, l->dir2);
    le64_put(h + 56, l->dir);
    le64_put(h + 64, l->overhead);
    memcpy(h + 73, "\n \r\n", 4);
    le16_put(h + HEADER_COMPRESSION, c->sub->compressed);
}

static CO int dir_write(Handle *h, uint64_t dir, const Layout *l)
{
    g_autofree le32 *entries = g_try_malloc0(MAX(l->dir_len, 1) * VMDK_SECTOR);

    if (!entries)
        return -ENOMEM;
    for (uint64_t i = 0; i < l->tables; i++)
        entries[i] =
            le32_of((uint32_t)(dir + l->dir_len + i * (TABLE_LEN * sizeof(le32) / VMDK_SECTOR)));
    return handle_pwrite(h, dir * VMDK_SECTOR, span_of(entries, l->dir_len * VMDK_SECTOR), 0);
}

/* Makes a sparse extent; the header comes last. Returns it open. */
static CO Handle *sparse_create(const Create *c, const char *name, json_t *opts, uint64_t size,
                                GError **err)
{
    Layout l = layout_of(size);
    g_autoptr(Handle) h = file_create(name, opts, 0, err);
    uint8_t header[VMDK_SECTOR];
    int r;

    if (!h || !handle_resize(h, l.overhead * VMDK_SECTOR, false, PREALLOC_OFF, err))
        return NULL;
    header_make(c, size, &l, header);
    r = dir_write(h, l.dir2, &l);
    if (r == 0)
        r = dir_write(h, l.dir, &l);
    if (r == 0)
        r = handle_pwrite(h, 0, span_of(header, sizeof(header)), 0);
    if (r < 0) {
        err_set_errno(err, r, "Could not write '%s'", name);
        return NULL;
    }
    return g_steal_pointer(&h);
}

static CO Handle *extent_create(const Create *c, const char *name, json_t *opts, uint64_t size,
                                GError **err)
{
    return c->sub->flat ? file_create(name, opts, size, err)
                        : sparse_create(c, name, opts, size, err);
}

/* ---- the descriptor ------------------------------------------------------------------------- */

static void extent_line(const Create *c, GString *lines, const char *name, uint64_t size)
{
    g_string_append_printf(lines, "RW %" PRIu64 " %s \"%s\"%s\n", size / VMDK_SECTOR,
                           c->sub->flat ? "FLAT" : "SPARSE", in_folder(name),
                           c->sub->flat ? " 0" : "");
}

static char *descriptor_make(const Create *c, const char *lines)
{
    uint64_t heads = strcmp(c->adapter, "ide") ? HEADS_OTHER : HEADS_IDE;
    g_autofree char *hint =
        c->parent ? g_strdup_printf("parentFileNameHint=\"%s\"", c->parent) : g_strdup("");
    uint32_t cid;

    do
        cid = g_random_int();
    while (cid >= 0xfffffffe);
    return g_strdup_printf("# Disk DescriptorFile\n"
                           "version=1\n"
                           "CID=%08" PRIx32 "\n"
                           "parentCID=%08" PRIx32 "\n"
                           "createType=\"%s\"\n"
                           "%s\n"
                           "# Extent description\n"
                           "%s\n"
                           "# The Disk Data Base\n"
                           "#DDB\n\n"
                           "ddb.virtualHWVersion = \"%s\"\n"
                           "ddb.geometry.cylinders = \"%" PRIu64 "\"\n"
                           "ddb.geometry.heads = \"%" PRIu64 "\"\n"
                           "ddb.geometry.sectors = \"%d\"\n"
                           "ddb.adapterType = \"%s\"\n"
                           "ddb.toolsVersion = \"%s\"\n",
                           cid, c->parent_cid, c->sub->name, hint, lines, c->hardware,
                           c->size / VMDK_SECTOR / (TRACK * heads), heads, TRACK, c->adapter,
                           c->tools);
}

/* Writes the descriptor into the extent @h, or into a file of its own if that is NULL. */
static CO bool descriptor_write(const char *filename, json_t *opts, Handle *h, const char *text,
                                GError **err)
{
    uint64_t len = strlen(text);
    g_autoptr(Handle) own = h ? NULL : file_create(filename, opts, len, err);
    int r;

    if (!h && !own)
        return false;
    if (h && len > DESC_LEN * VMDK_SECTOR)
        return err_set(err, EINVAL,
                       "The names and versions do not fit into the descriptor of %d bytes",
                       DESC_LEN * VMDK_SECTOR);
    r = handle_pwrite(h ? h : own, h ? DESC_AT * VMDK_SECTOR : 0, span_of_const(text, len), 0);
    return r >= 0 || err_set_errno(err, r, "Could not write the descriptor of '%s'", filename);
}

/* What precedes the grains, for an image that has its directory at the end. */
static CO int ahead_write(Handle *pipe, const uint8_t header[VMDK_SECTOR], const char *text)
{
    g_autofree char *room = g_malloc0((GRAIN - DESC_AT) * VMDK_SECTOR);
    int r = pipe_append(pipe, header, VMDK_SECTOR);

    memcpy(room, text, strlen(text));
    return r < 0 ? r : pipe_append(pipe, room, (GRAIN - DESC_AT) * VMDK_SECTOR);
}

CO bool vmdk_create_ahead(Handle *pipe, json_t *opts, const PipeSource *s, uint64_t *end,
                          GError **err)
{
    Create c = { .parent_cid = (uint32_t)VMDK_NO_CID };
    Layout l = { .dir = VMDK_DIR_AT_END, .overhead = GRAIN };
    g_autoptr(GString) lines = g_string_new(NULL);
    uint8_t header[VMDK_SECTOR];
    g_autofree char *text = NULL;
    int r;

    if (!options_read(opts, &c, err))
        return false;
    if (!c.sub->compressed || c.parent || c.zeroed)
        return err_set(
            err, ENOTSUP,
            "Of VMDK images, only those of subformat=streamOptimized, without zeroed_grain "
            "and backing file, can be written to standard output");
    header_make(&c, c.size, &l, header);
    extent_line(&c, lines, "disk.vmdk", c.size);
    text = descriptor_make(&c, lines->str);
    if (strlen(text) > DESC_LEN * VMDK_SECTOR)
        return err_set(err, EINVAL, "The versions do not fit into the descriptor of %d bytes",
                       DESC_LEN * VMDK_SECTOR);
    r = ahead_write(pipe, header, text);
    *end = 0;
    return r < 0 ? err_set_errno(err, r, "Could not write the header")
                 : vmdk_pipe_start(pipe, c.size, header, err);
}

CO bool vmdk_create(const char *filename, json_t *opts, GError **err)
{
    Create c = { 0 };
    g_autoptr(GString) lines = g_string_new(NULL);
    g_autofree char *text = NULL;
    g_autoptr(Handle) inner = NULL;
    bool own;

    if (!options_read(opts, &c, err) || !parent_read(filename, opts, &c, err))
        return false;
    own = c.sub->flat || c.sub->split;
    /* A disk of no bytes has an extent, too: without one nothing is read. */
    for (uint64_t off = 0, i = 1; off < c.size || i == 1; off += SPLIT, i++) {
        uint64_t size = c.sub->split ? MIN(c.size - off, SPLIT) : c.size;
        g_autofree char *name = extent_name(&c, filename, i);
        Handle *h = extent_create(&c, name, opts, size, err);

        if (!h)
            return false;
        extent_line(&c, lines, name, size);
        if (own)
            handle_close(h);
        else
            inner = h;
        if (!c.sub->split)
            break;
    }
    text = descriptor_make(&c, lines->str);
    return descriptor_write(filename, opts, inner, text, err);
}

