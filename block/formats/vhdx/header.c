/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Headers, regions and metadata. */
#include "block/formats/vhdx/vhdx.h"
#include "block/formats/mapped.h"
#include "util/crc32c.h"
#include <inttypes.h>
#include <string.h>

/* ---- identities ----------------------------------------------------------------------------- */

/* Where in the bytes the pairs of digits of the text go. */
static const uint8_t guid_places[] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };

VhdxGuid vhdx_guid_of(const char *text)
{
    VhdxGuid g;

    for (size_t i = 0; i < sizeof(guid_places); i++) {
        while (*text == '-')
            text++;
        g.b[guid_places[i]] =
            (uint8_t)(g_ascii_xdigit_value(text[0]) << 4 | g_ascii_xdigit_value(text[1]));
        text += 2;
    }
    return g;
}

bool vhdx_guid_is(const VhdxGuid *g, const char *text)
{
    VhdxGuid other = vhdx_guid_of(text);

    return !memcmp(g, &other, sizeof(other));
}

bool vhdx_guid_is_zero(const VhdxGuid *g)
{
    return buffer_is_zero(g, sizeof(*g));
}

VhdxGuid vhdx_guid_new(void)
{
    g_autofree char *text = g_uuid_string_random();

    return vhdx_guid_of(text);
}

char *vhdx_guid_text(const VhdxGuid *g)
{
    uint8_t big_endian[16];

    for (size_t i = 0; i < sizeof(guid_places); i++)
        big_endian[i] = g->b[guid_places[i]];
    return uuid_text(big_endian);
}

uint32_t vhdx_checksum(const void *data, size_t len)
{
    static const uint8_t none[4];
    uint32_t crc = crc32c(0, data, 4);

    crc = crc32c(crc, none, sizeof(none));
    return crc32c(crc, (const uint8_t *)data + 8, len - 8);
}

/* ---- headers -------------------------------------------------------------------------------- */

static const uint64_t header_at[] = { VHDX_HEADER_1, VHDX_HEADER_2 };

static CO int header_read(Vhdx *v, unsigned i, VhdxHeader *h, bool *valid)
{
    int r = edge_pread_buf(v->file, header_at[i], h, sizeof(*h));

    *valid = r == 0 && !memcmp(h->magic, "head", 4) &&
             le32_get(h->checksum) == vhdx_checksum(h, sizeof(*h));
    return r;
}

CO bool vhdx_header_load(Vhdx *v, GError **err)
{
    uint64_t size = edge_size(v->file);
    VhdxHeader h[2];
    bool valid[2];

    for (unsigned i = 0; i < 2; i++) {
        int r = header_read(v, i, &h[i], &valid[i]);

        if (r < 0)
            return err_set_errno(err, r, "Could not read the headers");
    }
    if (!valid[0] && !valid[1])
        return err_set(err, EINVAL, "Neither header is valid");
    v->current = !valid[0] || (valid[1] && le64_get(h[1].sequence) > le64_get(h[0].sequence));
    v->header = h[v->current];
    if (le16_get(v->header.version) != 1 || le16_get(v->header.log_version))
        return err_set(err, ENOTSUP,
                       "Version %d of the format, with version %d of the log, is unknown",
                       le16_get(v->header.version), le16_get(v->header.log_version));
    v->log = (VhdxRange){ le64_get(v->header.log_at), le32_get(v->header.log_len) };
    if (v->log.at < VHDX_UNIT || v->log.at % VHDX_UNIT || !v->log.len || v->log.len % VHDX_UNIT ||
        v->log.at > size || v->log.len > size - v->log.at)
        return err_set(err, EINVAL, "The log, %" PRIu64 " bytes at %" PRIu64 ", is not in the file",
                       v->log.len, v->log.at);
    return true;
}

CO int vhdx_header_write(Vhdx *v)
{
    int r = 0;

    for (unsigned i = 0; i < 2 && r == 0; i++) {
        unsigned next = !v->current;

        le64_set(&v->header.sequence, le64_get(v->header.sequence) + 1);
        le32_set(&v->header.checksum, vhdx_checksum(&v->header, sizeof(v->header)));
        r = edge_pwrite_buf(v->file, header_at[next], &v->header, sizeof(v->header));
        if (r == 0)
            r = edge_flush(v->file);
        if (r == 0)
            v->current = next;
    }
    return r;
}

/* ---- regions -------------------------------------------------------------------------------- */

static CO bool regions_read(Vhdx *v, VhdxRegions *t, GError **err)
{
    static const uint64_t at[] = { VHDX_REGIONS_1, VHDX_REGIONS_2 };

    for (size_t i = 0; i < G_N_ELEMENTS(at); i++) {
        int r = edge_pread_buf(v->file, at[i], t, sizeof(*t));

        if (r < 0)
            return err_set_errno(err, r, "Could not read the region table");
        if (!memcmp(t->magic, "regi", 4) && le32_get(t->checksum) == vhdx_checksum(t, sizeof(*t)) &&
            le32_get(t->count) <= G_N_ELEMENTS(t->entries))
            return true;
    }
    return err_set(err, EINVAL, "Neither region table is valid");
}

static bool ranges_overlap(VhdxRange a, VhdxRange b)
{
    return a.len && b.len && a.at < b.at + b.len && b.at < a.at + a.len;
}

static bool region_set(Vhdx *v, const VhdxRegion *r, VhdxRange *to, GError **err)
{
    VhdxRange range = { le64_get(r->at), le32_get(r->len) };
    uint64_t size = edge_size(v->file);

    if (range.at < VHDX_UNIT || range.at % VHDX_UNIT || !range.len || range.len % VHDX_UNIT ||
        range.at > size || range.len > size - range.at)
        return err_set(err, EINVAL,
                       "A region of %" PRIu64 " bytes at %" PRIu64 " is not in the file", range.len,
                       range.at);
    if (to->len)
        return err_set(err, EINVAL, "A region is there twice");
    *to = range;
    return true;
}

CO bool vhdx_regions_load(Vhdx *v, GError **err)
{
    g_autofree VhdxRegions *t = g_new(VhdxRegions, 1);

    if (!regions_read(v, t, err))
        return false;
    for (uint32_t i = 0; i < le32_get(t->count); i++) {
        const VhdxRegion *r = &t->entries[i];
        VhdxRange *to = vhdx_guid_is(&r->id, VHDX_REGION_BAT) ? &v->bat_range
                        : vhdx_guid_is(&r->id, VHDX_REGION_METADATA) ? &v->metadata : NULL;

        if (!to && le32_get(r->required) & 1)
            return err_set(err, ENOTSUP,
                           "There is a region of an unknown kind that must be understood");
        if (to && !region_set(v, r, to, err))
            return false;
    }
    if (!v->bat_range.len || !v->metadata.len)
        return err_set(err, EINVAL, "The region table lacks the BAT or the metadata");
    if (ranges_overlap(v->bat_range, v->metadata) || ranges_overlap(v->bat_range, v->log) ||
        ranges_overlap(v->metadata, v->log))
        return err_set(err, EINVAL, "Regions overlap");
    return true;
}

/* ---- metadata ------------------------------------------------------------------------------- */

typedef struct {
    bool parameters, size, logical;
    uint32_t flags;
    const VhdxItem *locator;
} Found;

/* Reads item @i, which must have @len bytes. */
static CO bool item_read(Vhdx *v, const VhdxItem *i, void *to, uint32_t len, GError **err)
{
    uint64_t at = le32_get(i->at);
    int r;

    if (le32_get(i->len) != len || at < VHDX_TABLE || at > v->metadata.len ||
        len > v->metadata.len - at)
        return err_set(err, EINVAL, "An item of the metadata, %" PRIu32 " bytes at %" PRIu64
                       ", is not where it may be", le32_get(i->len), at);
    r = edge_pread_buf(v->file, v->metadata.at + at, to, len);
    return r >= 0 || err_set_errno(err, r, "Could not read the metadata");
}

static CO bool parent_load(Vhdx *v, const VhdxItem *locator, GError **err)
{
    uint32_t len = locator ? le32_get(locator->len) : 0;
    g_autofree uint8_t *data = NULL;

    if (!locator)
        return err_set(err, EINVAL, "The image has a parent, but no parent locator says which");
    if (len > VHDX_LOCATOR_MAX)
        return err_set(err, EINVAL, "The parent locator has %" PRIu32 " bytes, more than %d", len,
                       VHDX_LOCATOR_MAX);
    data = g_malloc(MAX(len, 1));
    return item_read(v, locator, data, len, err) && vhdx_parent_load(v, data, len, err);
}

static CO bool item_load(Vhdx *v, const VhdxItem *i, Found *f, GError **err)
{
    uint8_t raw[8];

    if (vhdx_guid_is(&i->id, VHDX_ITEM_PARAMETERS)) {
        if (!item_read(v, i, raw, 8, err))
            return false;
        v->block = le32_at(raw);
        f->flags = le32_at(raw + 4);
        f->parameters = true;
    } else if (vhdx_guid_is(&i->id, VHDX_ITEM_SIZE)) {
        if (!item_read(v, i, raw, 8, err))
            return false;
        v->size = le64_at(raw);
        f->size = true;
    } else if (vhdx_guid_is(&i->id, VHDX_ITEM_LOGICAL)) {
        if (!item_read(v, i, raw, 4, err))
            return false;
        v->logical = le32_at(raw);
        f->logical = true;
    } else if (vhdx_guid_is(&i->id, VHDX_ITEM_PARENT)) {
        f->locator = i;
    } else if (le32_get(i->flags) & VHDX_ITEM_REQUIRED &&
               !vhdx_guid_is(&i->id, VHDX_ITEM_PAGE_83) &&
               !vhdx_guid_is(&i->id, VHDX_ITEM_PHYSICAL)) {
        return err_set(err, ENOTSUP, "There is an item of metadata of an unknown kind that must be "
                       "understood");
    }
    return true;
}

static bool metadata_check(Vhdx *v, const Found *f, GError **err)
{
    if (!f->parameters || !f->size || !f->logical)
        return err_set(err, EINVAL,
                       "The metadata lack the size of the disk, of blocks or of sectors");
    if (!is_power_of_2(v->block) || v->block < VHDX_BLOCK_MIN || v->block > VHDX_BLOCK_MAX)
        return err_set(err, EINVAL,
                       "Blocks of %" PRIu64 " bytes cannot be: 1 to 256 MiB can, in powers of 2",
                       v->block);
    if (v->logical != 512 && v->logical != 4096)
        return err_set(err, EINVAL, "Sectors of %" PRIu32 " bytes cannot be: 512 and 4096 can",
                       v->logical);
    if (v->size > VHDX_SIZE_MAX || v->size % v->logical)
        return err_set(err, EINVAL,
                       "A disk of %" PRIu64 " bytes cannot be: at most 64 TiB can, in whole "
                       "sectors",
                       v->size);
    v->has_parent = f->flags & VHDX_HAS_PARENT;
    v->keeps_blocks = !v->has_parent && f->flags & VHDX_KEEPS_BLOCKS;
    v->ratio = vhdx_ratio(v->block, v->logical);
    v->blocks = div_round_up(v->size, v->block);
    v->bat_entries = v->has_parent ? div_round_up(v->blocks, v->ratio) * (v->ratio + 1)
                                   : vhdx_entries(v->blocks, v->ratio);
    if (v->bat_entries > v->bat_range.len / sizeof(le64))
        return err_set(err, EINVAL,
                       "The BAT of %" PRIu64 " bytes is too small for %" PRIu64 " blocks",
                       v->bat_range.len, v->blocks);
    return true;
}

CO bool vhdx_metadata_load(Vhdx *v, GError **err)
{
    g_autofree VhdxItems *t = g_new(VhdxItems, 1);
    Found f = { 0 };
    int r = edge_pread_buf(v->file, v->metadata.at, t, sizeof(*t));

    if (r < 0)
        return err_set_errno(err, r, "Could not read the metadata");
    if (memcmp(t->magic, "metadata", 8) || le16_get(t->count) > G_N_ELEMENTS(t->items))
        return err_set(err, EINVAL, "The table of metadata is damaged");
    for (uint32_t i = 0; i < le16_get(t->count); i++)
        if (!item_load(v, &t->items[i], &f, err))
            return false;
    return metadata_check(v, &f, err) && (!v->has_parent || parent_load(v, f.locator, err));
}
