/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The vpc driver: opening, closing, information, and the table of operations. */
#include "block/formats/vpc/vpc.h"
#include "block/formats/mapped.h"
#include "gen/schema.h"
#include <inttypes.h>
#include <string.h>

typedef enum { SIZE_BY_CREATOR, SIZE_BY_CHS, SIZE_CURRENT } SizeRule;

static int vpc_probe(const uint8_t *head, size_t len, const char *filename)
{
    return len >= 8 && !memcmp(head, "conectix", 8) ? 100 : 0;
}

uint32_t vpc_checksum(const void *data, size_t len, be32 field)
{
    const uint8_t *p = data;
    uint32_t sum = 0;

    for (size_t i = 0; i < len; i++)
        sum += p[i];
    for (size_t i = 0; i < sizeof(field); i++)
        sum -= field.b[i];
    return ~sum;
}

static bool footer_is_good(const VpcFooter *f)
{
    return !memcmp(f->cookie, "conectix", 8) &&
           vpc_checksum(f, sizeof(*f), f->checksum) == be32_get(f->checksum);
}

/* ---- opening -------------------------------------------------------------------------------- */

static uint64_t geometry_sectors(const VpcFooter *f)
{
    return (uint64_t)be16_get(f->cylinders) * f->heads * f->sectors;
}

/*
 * Virtual PC and Virtual Server go by the geometry, Hyper-V and later programs by the size. A size
 * that no geometry can express counts in any case.
 */
static uint64_t disk_size(const VpcFooter *f, SizeRule rule)
{
    static const char by_size[][5] = { "win ", VPC_CREATOR_EXACT, "d2v ", "tap\0", "CTXS" };
    uint64_t by_chs = geometry_sectors(f) * VPC_SECTOR, size = be64_get(f->size);

    if (rule != SIZE_BY_CREATOR)
        return rule == SIZE_CURRENT ? size : by_chs;
    for (size_t i = 0; i < G_N_ELEMENTS(by_size); i++)
        if (!memcmp(f->creator, by_size[i], sizeof(f->creator)))
            return size;
    return geometry_sectors(f) >= VPC_CHS_MAX ? size : by_chs;
}

/* The footer counts; if it is damaged, its copy in front does. */
static CO bool vpc_read_footer(Node *n, Edge *file, GError **err)
{
    Vpc *s = node_state(n);
    uint64_t size = edge_size(file);
    VpcFooter *f = &s->footer;
    int r = edge_pread_buf(file, 0, f, sizeof(*f));

    if (size < sizeof(*f))
        return err_set(err, EINVAL, "'%s' is too small for a VHD image", node_filename(n));
    if (r >= 0 && (!footer_is_good(f) || be32_get(f->kind) == VPC_FIXED))
        r = edge_pread_buf(file, size - sizeof(*f), f, sizeof(*f));
    if (r < 0)
        return err_set_errno(err, r, "Could not read the footer of '%s'", node_filename(n));
    if (!footer_is_good(f))
        return err_set(err, EINVAL, "'%s' is no VHD image, or its footer is damaged",
                       node_filename(n));
    s->kind = be32_get(f->kind);
    if (s->kind < VPC_FIXED || s->kind > VPC_DIFFERENCING)
        return err_set(err, ENOTSUP, "'%s' is a VHD image of unknown kind %u", node_filename(n),
                       s->kind);
    return true;
}

static CO bool vpc_read_header(Node *n, Edge *file, GError **err)
{
    Vpc *s = node_state(n);
    uint64_t off = be64_get(s->footer.header_off), have = edge_size(file), end;
    VpcHeader h;
    int r;

    if (!size_add(off, sizeof(h), &end) || end > have)
        return err_set(err, EINVAL,
                       "The header of '%s' at byte %" PRIu64 " is past the end of the file",
                       node_filename(n), off);
    r = edge_pread_buf(file, off, &h, sizeof(h));
    if (r < 0)
        return err_set_errno(err, r, "Could not read the header of '%s'", node_filename(n));
    if (memcmp(h.cookie, "cxsparse", 8))
        return err_set(err, EINVAL, "The header of '%s' has no signature", node_filename(n));
    s->table_off = be64_get(h.table_off);
    s->entries = be32_get(h.entries);
    s->block = be32_get(h.block);
    if (!is_power_of_2(s->block) || s->block < VPC_SECTOR)
        return err_set(err, EINVAL,
                       "'%s' has blocks of %u bytes, which is no power of two from %d on",
                       node_filename(n), s->block, VPC_SECTOR);
    s->bitmap = round_up(div_round_up(s->block / VPC_SECTOR, 8), VPC_SECTOR);
    if (!size_add(s->table_off, UINT64_C(4) * s->entries, &s->end) || s->end > have ||
        s->table_off < sizeof(VpcFooter))
        return err_set(err, EINVAL,
                       "The table of '%s', %u entries at byte %" PRIu64
                       ", is not inside the file of %" PRIu64 " bytes",
                       node_filename(n), s->entries, s->table_off, have);
    s->end = round_up(s->end, VPC_SECTOR);
    return s->kind == VPC_DYNAMIC || vpc_parent_load(n, &h, err);
}

static bool vpc_take_size(Node *n, SizeRule rule, uint64_t have, GError **err)
{
    const Vpc *s = node_state(n);
    uint64_t size = disk_size(&s->footer, rule);

    if (size > VPC_SECTORS_MAX * VPC_SECTOR)
        return err_set(err, EFBIG, "The disk of '%s' has %" PRIu64 " bytes, more than is possible",
                       node_filename(n), size);
    size = round_up(size, VPC_SECTOR);
    if (s->kind == VPC_FIXED && size > have - sizeof(VpcFooter))
        return err_set(err, EINVAL,
                       "The disk of '%s' has %" PRIu64 " bytes, the file only %" PRIu64,
                       node_filename(n), size, have);
    if (s->kind != VPC_FIXED && size > (uint64_t)s->entries * s->block)
        return err_set(err, EINVAL,
                       "The disk of '%s' has %" PRIu64 " bytes, more than its %u blocks of "
                       "%u bytes",
                       node_filename(n), size, s->entries, s->block);
    node_set_size(n, size);
    return true;
}

static CO void vpc_close(Node *n)
{
    Vpc *s = node_state(n);

    g_clear_pointer(&s->table, g_free);
    g_clear_pointer(&s->full, g_free);
    g_clear_pointer(&s->sectors, g_free);
}

/* Reads everything from the file and drops what is in memory from before. */
static CO bool vpc_load(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    Edge *file = node_edge(n, ROLE_STORAGE);
    const char *rule = json_get_str(o, "force_size_calc", NULL);
    Vpc *s = node_state(n);

    vpc_close(n);
    *s = (Vpc){};
    if (!vpc_read_footer(n, file, err) ||
        (s->kind != VPC_FIXED && !vpc_read_header(n, file, err)) ||
        (s->kind == VPC_DIFFERENCING &&
         !node_fall_back_read_only(n, "Differencing VHD images can only be read", err)))
        return false;
    if (!vpc_take_size(n,
                       !rule                  ? SIZE_BY_CREATOR
                       : !strcmp(rule, "chs") ? SIZE_BY_CHS
                                              : SIZE_CURRENT,
                       edge_size(file), err))
        return false;
    return s->kind == VPC_FIXED || flags & OPEN_NO_IO ||
           vpc_table_load(n, !node_is_read_only(n), err);
}

static CO bool vpc_activate(Node *n, GError **err)
{
    return vpc_load(n, node_options(n), node_flags(n), err);
}

static CO bool vpc_open(Node *n, const json_t *o, OpenFlags flags, GError **err)
{
    if (node_open_child(n, "file", NULL, o, ROLE_STORAGE, false, err) && vpc_load(n, o, flags, err))
        return true;
    vpc_close(n);
    return false;
}

static CO bool vpc_inactivate(Node *n, GError **err)
{
    int r = vpc_flush(n);

    if (r >= 0)
        r = edge_flush(node_edge(n, ROLE_STORAGE));
    return r >= 0 ||
           err_set_errno(err, r, "The table of '%s' could not be written", node_filename(n));
}

/* ---- what is known -------------------------------------------------------------------------- */

static CO int vpc_info(Node *n, NodeInfo *info)
{
    const Vpc *s = node_state(n);

    info->cluster_size = s->kind == VPC_FIXED ? 0 : s->block;
    info->subcluster_size = VPC_SECTOR; /* the file has holes where a block was not written to */
    return 0;
}

static CO int vpc_missing_end(Node *n, bool quick, uint64_t *bytes)
{
    const Vpc *s = node_state(n);
    uint64_t have = edge_size(node_edge(n, ROLE_STORAGE));

    *bytes = s->table && have < s->end && s->dirty == s->dirty_end ? s->end - have : 0;
    return 0;
}

static bool vpc_has_zero_init(Node *n)
{
    const Vpc *s = node_state(n);

    return s->kind != VPC_FIXED || node_has_zero_init(edge_node(node_edge(n, ROLE_STORAGE)));
}

static const char *const vpc_strong_options[] = { "force_size_calc", NULL };

const BlockDriver block_vpc = {
    .name = "vpc",
    .stays = "vpc",
    .kind = BLK_FORMAT,
    .any_loop = true,
    .state_size = sizeof(Vpc),
    .reads_backing = true,
    .zero_flags = REQ_MAY_UNMAP | REQ_NO_FALLBACK,
    .strong_options = vpc_strong_options,
    .probe = vpc_probe,
    .open = vpc_open,
    .backing_check = vpc_backing_check,
    .inactivate = vpc_inactivate,
    .activate = vpc_activate,
    .close = vpc_close,
    .create_opts = create_opts_vpc,
    .create = vpc_create,
    .create_ahead = vpc_create_ahead,
    .pread = mapped_pread,
    .reads_through = mapped_reads_through,
    .pwrite = vpc_pwrite,
    .zero = vpc_zero,
    .flush = vpc_flush,
    .extent = vpc_extent,
    .info = vpc_info,
    .missing_end = vpc_missing_end,
    .has_zero_init = vpc_has_zero_init,
};
