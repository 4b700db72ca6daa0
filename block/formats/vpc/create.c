/* SPDX-License-Identifier: GPL-2.0-or-later */
/* New images. */
#include "block/formats/vpc/vpc.h"
#include "block/formats/mapped.h"
#include "block/pipe.h"
#include <inttypes.h>
#include <string.h>
#include <time.h>

enum {
    VPC_FEATURES = 2,           /* always set */
    VPC_VERSION = 0x10000,
    VPC_TABLE_OFF = 3 * VPC_SECTOR,
    VPC_BLOCK = 2 << 20,
    VPC_CHUNK = 1 << 20,
};
#define VPC_NOWHERE UINT64_MAX  /* offset of something that does not exist */

typedef struct {
    uint32_t cylinders, heads, sectors;
} Geometry;

/* The geometry for a disk of about @total sectors, by the specification's appendix. */
static Geometry geometry_for(uint64_t total)
{
    Geometry g = { .heads = 16, .sectors = 255 };
    uint64_t tracks;

    total = MIN(total, VPC_CHS_MAX);
    if (total > UINT64_C(65535) * 16 * 63) {
        tracks = total / g.sectors;
    } else {
        g.sectors = 17;
        tracks = total / g.sectors;
        g.heads = MAX((tracks + 1023) / 1024, 4);
        if (tracks >= g.heads * UINT64_C(1024) || g.heads > 16) {
            g.sectors = 31;
            g.heads = 16;
            tracks = total / g.sectors;
        }
        if (tracks >= g.heads * UINT64_C(1024)) {
            g.sectors = 63;
            g.heads = 16;
            tracks = total / g.sectors;
        }
    }
    g.cylinders = tracks / g.heads;
    return g;
}

static uint64_t geometry_total(Geometry g)
{
    return (uint64_t)g.cylinders * g.heads * g.sectors;
}

/* The geometry and the size of a new disk of at least *@total sectors. */
static Geometry choose_geometry(uint64_t *total, bool exact)
{
    Geometry g = { 65535, 16, 255 };

    if (exact || *total > VPC_CHS_MAX)
        return g;
    g = geometry_for(*total);
    for (uint64_t i = 1; geometry_total(g) < *total; i++)
        g = geometry_for(*total + i);
    *total = geometry_total(g);
    return g;
}

static void make_footer(VpcFooter *f, uint64_t size, Geometry g, bool is_fixed, bool exact)
{
    *f = (VpcFooter){
        .features = be32_of(VPC_FEATURES),
        .version = be32_of(VPC_VERSION),
        .header_off = be64_of(is_fixed ? VPC_NOWHERE : sizeof(*f)),
        .time = be32_of((uint32_t)(time(NULL) - VPC_EPOCH)),
        .creator_version = be32_of(0x00050003),
        .original_size = be64_of(size),
        .size = be64_of(size),
        .cylinders = be16_of(g.cylinders),
        .heads = g.heads,
        .sectors = g.sectors,
        .kind = be32_of(is_fixed ? VPC_FIXED : VPC_DYNAMIC),
    };
    memcpy(f->cookie, "conectix", sizeof(f->cookie));
    memcpy(f->creator, exact ? VPC_CREATOR_EXACT : VPC_CREATOR, sizeof(f->creator));
    memcpy(f->creator_os, "Wi2k", sizeof(f->creator_os));
    uuid_make_be(f->uuid);
    be32_set(&f->checksum, vpc_checksum(f, sizeof(*f), f->checksum));
}

static CO int write_new_table(Handle *file, uint64_t len)
{
    g_autofree uint8_t *ones = g_malloc(MIN(MAX(len, 1), VPC_CHUNK));
    int r = 0;

    memset(ones, 0xff, MIN(len, VPC_CHUNK));
    for (uint64_t at = 0; at < len && r >= 0; at += VPC_CHUNK)
        r = handle_pwrite(file, VPC_TABLE_OFF + at, span_of(ones, MIN(len - at, VPC_CHUNK)), 0);
    return r;
}

static CO int write_new_dynamic(Handle *file, const VpcFooter *f, uint64_t table_len)
{
    VpcHeader h = {
        .data_off = be64_of(VPC_NOWHERE),
        .table_off = be64_of(VPC_TABLE_OFF),
        .version = be32_of(VPC_VERSION),
        .entries = be32_of(div_round_up(be64_get(f->size), VPC_BLOCK)),
        .block = be32_of(VPC_BLOCK),
    };
    int r;

    memcpy(h.cookie, "cxsparse", sizeof(h.cookie));
    be32_set(&h.checksum, vpc_checksum(&h, sizeof(h), h.checksum));
    r = handle_pwrite(file, 0, span_of_const(f, sizeof(*f)), 0);
    if (r >= 0)
        r = handle_pwrite(file, sizeof(*f), span_of(&h, sizeof(h)), 0);
    return r < 0 ? r : write_new_table(file, table_len);
}

typedef struct {
    bool is_fixed, exact;
    Geometry geometry;
    uint64_t size;          /* bytes */
} Create;

static bool options_read(const json_t *opts, Create *c, GError **err)
{
    uint64_t total = div_round_up((uint64_t)json_get_int(opts, "size", 0), VPC_SECTOR);
    const char *kind = json_get_str(opts, "subformat", "dynamic");

    c->exact = json_get_bool(opts, "force_size", false);
    c->is_fixed = !strcmp(kind, "fixed");
    if (!c->is_fixed && strcmp(kind, "dynamic"))
        return err_set(err, EINVAL, "Option 'subformat' is 'dynamic' or 'fixed', not '%s'", kind);
    if (total > VPC_SECTORS_MAX)
        return err_set(err, EFBIG, "A VHD image has at most %" PRIu64 " bytes",
                       VPC_SECTORS_MAX * VPC_SECTOR);
    c->geometry = choose_geometry(&total, c->exact);
    c->size = total * VPC_SECTOR;
    return true;
}

CO bool vpc_create(const char *filename, json_t *opts, GError **err)
{
    Prealloc prealloc = PREALLOC_OFF;
    g_autoptr(Handle) file = NULL;
    uint64_t len, table_len;
    Create c = { 0 };
    VpcFooter f;
    int r;

    if (!options_read(opts, &c, err))
        return false;
    make_footer(&f, c.size, c.geometry, c.is_fixed, c.exact);
    table_len = round_up(4 * div_round_up(c.size, VPC_BLOCK), VPC_SECTOR);
    len = c.is_fixed ? c.size : VPC_TABLE_OFF + table_len;
    file = file_create(filename, opts, 0, err);
    if (!file)
        return false;
    (void)prealloc_parse(json_get_str(json_get(opts, "#protocol"), "preallocation", "off"),
                         &prealloc);
    if (!handle_resize(file, len + sizeof(f), false, c.is_fixed ? prealloc : PREALLOC_OFF, err))
        return false;
    r = c.is_fixed ? 0 : write_new_dynamic(file, &f, table_len);
    if (r >= 0)
        r = handle_pwrite(file, len, span_of(&f, sizeof(f)), 0);
    if (r >= 0)
        r = handle_flush(file);
    return r >= 0 || err_set_errno(err, r, "Could not write the new image '%s'", filename);
}

/* ---- front to back -------------------------------------------------------------------------- */

typedef struct {
    Handle *pipe;
    VpcFooter footer;
} Ahead;

static CO int ahead_finish(void *state)
{
    const Ahead *a = state;

    return pipe_append(a->pipe, &a->footer, sizeof(a->footer));
}

/* A fixed image: the disk, then the footer. */
static const PipeFormat ahead_format = {
    .finish = ahead_finish,
    .free = g_free,
};

CO bool vpc_create_ahead(Handle *pipe, json_t *opts, const PipeSource *s, uint64_t *end,
                         GError **err)
{
    Create c = { 0 };
    Ahead *a;

    if (!options_read(opts, &c, err))
        return false;
    if (!c.is_fixed)
        return err_set(err, ENOTSUP,
                       "Of VHD images, only those of subformat=fixed can be written to standard "
                       "output");
    a = g_new0(Ahead, 1);
    a->pipe = pipe;
    make_footer(&a->footer, c.size, c.geometry, c.is_fixed, c.exact);
    *end = c.size;
    pipe_set_format(pipe, &ahead_format, a);
    return true;
}
