/* SPDX-License-Identifier: GPL-2.0-or-later */
/* docs/spec/fw_cfg.md. Nothing can be written. */
#include "hw/fw-cfg.h"
#include "util/endian.h"
#include <string.h>

enum {
    KEY_SIGNATURE = 0, KEY_ID = 1, KEY_DIRECTORY = 0x19, KEY_FIRST_FILE = 0x20,
    KEY_WRITE = 1 << 14, FILES_MAX = 64, NAME_SIZE = FW_CFG_NAME_MAX + 1,
    ID_TRADITIONAL = 1, ID_DMA = 2,
    DMA_ERROR = 1, DMA_READ = 2, DMA_SKIP = 4, DMA_SELECT = 8, DMA_WRITE = 16,
};

typedef struct {
    be32 size;
    be16 key;
    uint8_t reserved[2];
    char name[NAME_SIZE];
} DirectoryEntry;

typedef struct {
    be32 count;
    DirectoryEntry file[FILES_MAX];
} Directory;

/* What the guest gives the address of. */
typedef struct {
    be32 control, length;
    be64 address;
} Access;

typedef struct {
    Device dev;
    GHashTable *items;   /* key to GBytes */
    Directory directory;

    uint16_t key;
    uint32_t offset;     /* of the next byte of the item */
    uint32_t dma_high;   /* of the address that is being written */
} FwCfg;

/* ---- items ----------------------------------------------------------------------------------- */

static void add(FwCfg *s, uint16_t key, const void *data, size_t len)
{
    g_hash_table_replace(s->items, GUINT_TO_POINTER(key), g_bytes_new(data, len));
}

void fw_cfg_add(Device *d, uint16_t key, const void *data, size_t len)
{
    add((FwCfg *)d, key, data, len);
}

void fw_cfg_add_number(Device *d, uint16_t key, unsigned bytes, uint64_t value)
{
    value = GUINT64_TO_LE(value);
    add((FwCfg *)d, key, &value, bytes);
}

static void update_directory(FwCfg *s)
{
    size_t len = sizeof(be32) + be32_get(s->directory.count) * sizeof(DirectoryEntry);

    add(s, KEY_DIRECTORY, &s->directory, len);
}

static bool has_file(const FwCfg *s, const char *name)
{
    for (uint32_t i = 0; i < be32_get(s->directory.count); i++)
        if (!strcmp(s->directory.file[i].name, name))
            return true;
    return false;
}

bool fw_cfg_add_file(Device *d, const char *name, const void *data, size_t len)
{
    FwCfg *s = (FwCfg *)d;
    uint32_t n = be32_get(s->directory.count);
    DirectoryEntry *e = &s->directory.file[n];

    if (n == FILES_MAX || strlen(name) >= NAME_SIZE || len > UINT32_MAX || has_file(s, name))
        return false;
    g_strlcpy(e->name, name, NAME_SIZE);
    be32_set(&e->size, len);
    be16_set(&e->key, KEY_FIRST_FILE + n);
    be32_set(&s->directory.count, n + 1);
    add(s, KEY_FIRST_FILE + n, data, len);
    update_directory(s);
    return true;
}

static const uint8_t *item(const FwCfg *s, size_t *len)
{
    GBytes *b = g_hash_table_lookup(s->items, GUINT_TO_POINTER((unsigned)s->key));

    *len = 0;
    return b ? g_bytes_get_data(b, len) : NULL;
}

/* ---- reading --------------------------------------------------------------------------------- */

static void select_item(FwCfg *s, uint16_t key)
{
    s->key = key & ~KEY_WRITE;
    s->offset = 0;
}

/* Behind its end an item goes on with zeroes. */
static uint8_t next_byte(FwCfg *s)
{
    size_t len;
    const uint8_t *data = item(s, &len);

    return s->offset < len ? data[s->offset++] : 0;
}

/* Copies what the item has to @to, which is RAM of the guest, and zeroes behind it. */
static void copy_item(FwCfg *s, uint8_t *to, uint32_t want)
{
    size_t len, n = 0;
    const uint8_t *data = item(s, &len);

    if (s->offset < len) {
        n = MIN(want, len - s->offset);
        memcpy(to, data + s->offset, n);
        s->offset += n;
    }
    memset(to + n, 0, want - n);
}

static bool transfer(FwCfg *s, uint32_t control, uint64_t address, uint32_t length)
{
    MemoryMap *memory = s->dev.board->memory;
    uint8_t *to;

    if (control & DMA_SELECT)
        select_item(s, control >> 16);
    if (control & DMA_READ) {
        to = memory_map_range(memory, address, length, true);
        if (!to && length)
            return false;
        if (length)
            copy_item(s, to, length);
        memory_map_written(memory, address, length);
    } else if (control & DMA_WRITE) {
        return false;
    } else if (control & DMA_SKIP) {
        s->offset = MIN((uint64_t)s->offset + length, UINT32_MAX);
    }
    return true;
}

static void run_dma(FwCfg *s, uint64_t at)
{
    MemoryMap *memory = s->dev.board->memory;
    Access a;
    be32 result;

    memory_map_fetch(memory, at, sizeof(a));
    if (!memory_map_load(memory, at, &a, sizeof(a)))
        return;
    if (be32_get(a.control) & DMA_READ)
        memory_map_fetch(memory, be64_get(a.address), be32_get(a.length));
    be32_set(&result, transfer(s, be32_get(a.control), be64_get(a.address), be32_get(a.length))
                          ? 0 : DMA_ERROR);
    memory_map_store(memory, at, &result, sizeof(result));
}

/* ---- ports ----------------------------------------------------------------------------------- */

static uint64_t select_read(void *opaque, uint64_t offset, unsigned size)
{
    return offset == 1 ? next_byte(opaque) : 0;
}

/* The selector is 16 bits wide, little-endian; the data port a byte. */
static void select_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    if (offset == 0)
        select_item(opaque, value);
}

/* Reads as "QEMU CFG". */
static uint64_t dma_read(void *opaque, uint64_t offset, unsigned size)
{
    return UINT64_C(0x51454d5520434647) >> 8 * (8 - offset - size) &
           UINT64_MAX >> (64 - 8 * size);
}

static uint64_t dma_read_swapped(void *opaque, uint64_t offset, unsigned size)
{
    uint64_t v = dma_read(opaque, offset, size);

    return GUINT64_SWAP_LE_BE(v) >> (64 - 8 * size);
}

/* The address is big-endian; its low half starts the transfer. */
static void dma_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    FwCfg *s = opaque;

    if (size == 4 && offset == 0) {
        s->dma_high = GUINT32_SWAP_LE_BE((uint32_t)value);
    } else if (size == 4 && offset == 4) {
        run_dma(s, (uint64_t)s->dma_high << 32 | GUINT32_SWAP_LE_BE((uint32_t)value));
        s->dma_high = 0;
    } else if (size == 8 && offset == 0) {
        run_dma(s, GUINT64_SWAP_LE_BE(value));
    }
}

/* ---- migration ------------------------------------------------------------------------------- */

typedef struct {
    uint16_t key;
    uint32_t offset;
    bool has_dma, has_sizes;
    uint64_t dma_address, size[3];
} FwCfgImage;

static const StateField fw_cfg_fields[] = {
    STATE_U("cur_entry", FwCfgImage, key), STATE_U("cur_offset[1]", FwCfgImage, offset), {}
};
static const StateField dma_fields[] = { STATE_U("dma_addr", FwCfgImage, dma_address), {} };
static const StateLayout dma_layout = {
    "fw_cfg/dma", 0, 0, sizeof(FwCfgImage), dma_fields, NULL, offsetof(FwCfgImage, has_dma)
};
/* Of tables that firmware of others reads from memory blocks; ours stand in guest memory. */
static const StateField sizes_fields[] = {
    STATE_U("table_mr_size", FwCfgImage, size[0]), STATE_U("linker_mr_size", FwCfgImage, size[1]),
    STATE_U("rsdp_mr_size", FwCfgImage, size[2]), {}
};
static const StateLayout sizes_layout = {
    "fw_cfg/acpi_mr", 1, 1, sizeof(FwCfgImage), sizes_fields, NULL, offsetof(FwCfgImage, has_sizes)
};
static const StateLayout *const fw_cfg_parts[] = { &dma_layout, &sizes_layout, NULL };
static const StateLayout fw_cfg_layout = {
    "fw_cfg", 2, 2, sizeof(FwCfgImage), fw_cfg_fields, fw_cfg_parts
};

static void fw_cfg_save(const Device *d, unsigned n, void *image)
{
    const FwCfg *s = (const FwCfg *)d;

    *(FwCfgImage *)image = (FwCfgImage){
        .key = s->key, .offset = s->offset, .has_dma = true,
        .dma_address = (uint64_t)s->dma_high << 32,
    };
}

static bool fw_cfg_load(Device *d, unsigned n, const void *image, GError **err)
{
    FwCfg *s = (FwCfg *)d;
    const FwCfgImage *i = image;

    s->key = i->key & ~KEY_WRITE;
    s->offset = i->offset;
    s->dma_high = i->dma_address >> 32;
    return true;
}

static const DeviceSection fw_cfg_section = {
    .name = "fw_cfg", .layout = &fw_cfg_layout, .save = fw_cfg_save, .load = fw_cfg_load,
};

/* ---- the device ------------------------------------------------------------------------------ */

static bool fw_cfg_realize(Device *d, GError **err)
{
    static const MmioOps select = { select_read, select_write, 2, "fwcfg" };
    static const MmioOps dma = { dma_read_swapped, dma_write, 8, "fwcfg.dma" };
    FwCfg *s = (FwCfg *)d;

    s->items = g_hash_table_new_full(NULL, NULL, NULL, (GDestroyNotify)g_bytes_unref);
    add(s, KEY_SIGNATURE, "QEMU", 4);
    fw_cfg_add_number(d, KEY_ID, 4, ID_TRADITIONAL | ID_DMA);
    update_directory(s);
    memory_map_add_mmio(d->board->ports, 0x510, 2, &select, d);
    memory_map_add_mmio(d->board->ports, 0x514, 8, &dma, d);
    return true;
}

static void fw_cfg_reset(Device *d)
{
    FwCfg *s = (FwCfg *)d;

    select_item(s, 0);
    s->dma_high = 0;
}

static void fw_cfg_unrealize(Device *d)
{
    g_clear_pointer(&((FwCfg *)d)->items, g_hash_table_unref);
}

const DeviceClass device_fw_cfg = {
    .name = "fw_cfg_io",
    .size = sizeof(FwCfg),
    .section = &fw_cfg_section,
    .realize = fw_cfg_realize,
    .reset = fw_cfg_reset,
    .unrealize = fw_cfg_unrealize,
};
