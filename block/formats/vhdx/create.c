/* SPDX-License-Identifier: GPL-2.0-or-later */
/* New images: header section, log, BAT, metadata, then blocks. */
#include "block/formats/vhdx/vhdx.h"
#include <inttypes.h>
#include <string.h>

enum {
    ITEMS = 5,
    VALUES_AT = VHDX_TABLE,
    HEAD_ROOM = 4,       /* MiB between the metadata and the first block */
};

typedef struct {
    uint64_t size, block, blocks, log_len, bat_entries, bat_len;
    bool fixed, zero_state;
    uint64_t bat_at, metadata_at, data_at;
} Create;

static uint64_t block_default(uint64_t size)
{
    return size > 32 * TiB    ? 64 * MiB
           : size > 100 * GiB ? 32 * MiB
           : size > GiB       ? 16 * MiB
                              : 8 * MiB;
}

static bool options_read(const json_t *opts, Create *c, GError **err)
{
    const char *sub = json_get_str(opts, "subformat", "dynamic");
    uint64_t log = (uint64_t)json_get_int(opts, "log_size", VHDX_LOG_MIN);

    c->size = round_up((uint64_t)json_get_int(opts, "size", 0), 512);
    if (c->size > VHDX_SIZE_MAX)
        return err_set(err, EINVAL, "A VHDX image has at most 64 TiB, not %" PRIu64 " bytes",
                       c->size);
    if (log > UINT32_MAX || !log)
        return err_set(err, EINVAL, "Option 'log_size' must be from 1M to less than 4G");
    c->log_len = round_up(log, VHDX_UNIT);
    if (c->log_len > UINT32_MAX)
        return err_set(err, EINVAL, "Option 'log_size' must be from 1M to less than 4G");
    c->block = (uint64_t)json_get_int(opts, "block_size", 0);
    if (!c->block)
        c->block = block_default(c->size);
    c->block = CLAMP(c->block, (uint64_t)VHDX_BLOCK_MIN, (uint64_t)VHDX_BLOCK_MAX);
    if (!is_power_of_2(c->block))
        return err_set(err, EINVAL, "Option 'block_size' must be a power of two");
    c->zero_state = json_get_bool(opts, "block_state_zero", true);
    c->fixed = !strcmp(sub, "fixed");
    if (!c->fixed && strcmp(sub, "dynamic"))
        return err_set(err, EINVAL, "There is no subformat '%s': it is dynamic or fixed", sub);
    return true;
}

static void layout(Create *c)
{
    c->blocks = div_round_up(c->size, c->block);
    c->bat_entries = vhdx_entries(c->blocks, vhdx_ratio(c->block, 512));
    c->bat_len = MAX(round_up(c->bat_entries * sizeof(le64), VHDX_UNIT), VHDX_UNIT);
    c->bat_at = VHDX_UNIT + c->log_len;
    c->metadata_at = c->bat_at + c->bat_len;
    c->data_at = c->metadata_at + VHDX_UNIT + HEAD_ROOM * VHDX_UNIT;
}

static CO int put(Handle *h, uint64_t at, const void *data, uint64_t len)
{
    return handle_pwrite(h, at, span_of_const(data, len), 0);
}

/* ---- BAT ------------------------------------------------------------------------------------ */

static CO int bat_write(Handle *h, const Create *c)
{
    uint64_t ratio = vhdx_ratio(c->block, 512), len = c->bat_entries * sizeof(le64);
    g_autofree le64 *bat = g_try_malloc0(MAX(len, 1));

    if (!bat)
        return -ENOMEM;
    if (!c->fixed && !c->zero_state)
        return 0;
    for (uint64_t b = 0; b < c->blocks; b++)
        bat[b + b / ratio] =
            le64_of(c->fixed ? (c->data_at + b * c->block) | VHDX_PRESENT : VHDX_ZERO);
    return put(h, c->bat_at, bat, len);
}

/* ---- metadata ------------------------------------------------------------------------------- */

static void item_add(VhdxItems *t, uint8_t *values, uint32_t *at, const char *id, uint32_t flags,
                     const void *value, uint32_t len)
{
    uint32_t i = le16_get(t->count);

    t->items[i] = (VhdxItem){ .id = vhdx_guid_of(id),
                             .at = le32_of(VALUES_AT + *at),
                             .len = le32_of(len),
                             .flags = le32_of(flags) };
    le16_set(&t->count, (uint16_t)(i + 1));
    memcpy(values + *at, value, len);
    *at += len;
}

static CO int metadata_write(Handle *h, const Create *c)
{
    g_autofree VhdxItems *t = g_new0(VhdxItems, 1);
    uint32_t disk = VHDX_ITEM_DISK | VHDX_ITEM_REQUIRED, at = 0;
    uint8_t values[64] = { 0 };
    le32 parameters[2] = { le32_of((uint32_t)c->block), le32_of(c->fixed ? VHDX_KEEPS_BLOCKS : 0) };
    le32 sector = le32_of(512);
    le64 size = le64_of(c->size);
    VhdxGuid page = vhdx_guid_new();
    int r;

    memcpy(t->magic, "metadata", 8);
    item_add(t, values, &at, VHDX_ITEM_PARAMETERS, VHDX_ITEM_REQUIRED, parameters,
             sizeof(parameters));
    item_add(t, values, &at, VHDX_ITEM_SIZE, disk, &size, sizeof(size));
    item_add(t, values, &at, VHDX_ITEM_PAGE_83, disk, &page, sizeof(page));
    item_add(t, values, &at, VHDX_ITEM_LOGICAL, disk, &sector, sizeof(sector));
    item_add(t, values, &at, VHDX_ITEM_PHYSICAL, disk, &sector, sizeof(sector));
    r = put(h, c->metadata_at + VALUES_AT, values, sizeof(values));
    return r < 0 ? r : put(h, c->metadata_at, t, sizeof(*t));
}

/* ---- headers -------------------------------------------------------------------------------- */

static CO int regions_write(Handle *h, const Create *c)
{
    g_autofree VhdxRegions *t = g_new0(VhdxRegions, 1);
    int r;

    memcpy(t->magic, "regi", 4);
    le32_set(&t->count, 2);
    t->entries[0] = (VhdxRegion){ vhdx_guid_of(VHDX_REGION_BAT), le64_of(c->bat_at),
                                  le32_of((uint32_t)c->bat_len), le32_of(1) };
    t->entries[1] = (VhdxRegion){ vhdx_guid_of(VHDX_REGION_METADATA), le64_of(c->metadata_at),
                                  le32_of((uint32_t)VHDX_UNIT), le32_of(1) };
    le32_set(&t->checksum, vhdx_checksum(t, sizeof(*t)));
    r = put(h, VHDX_REGIONS_1, t, sizeof(*t));
    return r < 0 ? r : put(h, VHDX_REGIONS_2, t, sizeof(*t));
}

static CO int headers_write(Handle *h, const Create *c)
{
    static const uint64_t at[] = { VHDX_HEADER_1, VHDX_HEADER_2 };
    g_autofree VhdxHeader *head = g_new0(VhdxHeader, 1);
    int r = 0;

    memcpy(head->magic, "head", 4);
    head->file_write = vhdx_guid_new();
    head->data_write = vhdx_guid_new();
    le16_set(&head->version, 1);
    le32_set(&head->log_len, (uint32_t)c->log_len);
    le64_set(&head->log_at, VHDX_UNIT);
    for (size_t i = 0; i < G_N_ELEMENTS(at) && r == 0; i++) {
        le64_set(&head->sequence, i + 1);
        le32_set(&head->checksum, vhdx_checksum(head, sizeof(*head)));
        r = put(h, at[i], head, sizeof(*head));
    }
    return r;
}

/*
 * The signature, and the program's name in UTF-16. Last, so that what is not finished is no image.
 */
static CO int signature_write(Handle *h)
{
    static const char creator[] = "Ferry";
    uint8_t id[520] = "vhdxfile";

    for (size_t i = 0; i < sizeof(creator); i++)
        id[8 + 2 * i] = (uint8_t)creator[i];
    return put(h, 0, id, sizeof(id));
}

CO bool vhdx_create(const char *filename, json_t *opts, GError **err)
{
    Create c = { 0 };
    g_autoptr(Handle) h = NULL;
    uint64_t end;
    int r;

    if (!options_read(opts, &c, err))
        return false;
    layout(&c);
    end = c.data_at + (c.fixed ? c.blocks * c.block : 0);
    h = file_create(filename, opts, 0, err);
    if (!h || !handle_resize(h, end, false, PREALLOC_OFF, err))
        return false;
    r = bat_write(h, &c);
    if (r == 0)
        r = metadata_write(h, &c);
    if (r == 0)
        r = regions_write(h, &c);
    if (r == 0)
        r = headers_write(h, &c);
    if (r == 0)
        r = signature_write(h);
    return r >= 0 || err_set_errno(err, r, "Could not write '%s'", filename);
}

