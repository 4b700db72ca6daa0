/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A firmware image (-bios): it ends at 4 GiB, where processors start, and its last 64 KiB stand
 * below 1 MiB too. Kernel, initial RAM disk and command line are what it asks fw_cfg for.
 */
#include "hw/fw-cfg.h"
#include "system/machine.h"
#include "util/endian.h"
#include "util/err.h"
#include "util/size.h"
#include <inttypes.h>
#include <string.h>

enum {
    LARGEST = 8 << 20,
    /* Of the setup header of a kernel: docs/spec/microvm.md. */
    SETUP_SECTS = 0x1f1, MAGIC = 0x202, TYPE_OF_LOADER = 0x210, LOADFLAGS = 0x211,
    RAMDISK_IMAGE = 0x218, RAMDISK_SIZE = 0x21c, HEAP_END = 0x224, CMDLINE = 0x228,
    INITRD_MAX = 0x22c, CAN_USE_HEAP = 0x80,
    SETUP_AT = 0x10000, CMDLINE_AT = 0x20000, KERNEL_AT = 0x100000,
    /* Keys of fw_cfg. */
    KERNEL_ADDR = 0x07, KERNEL_SIZE = 0x08, INITRD_ADDR = 0x0a, INITRD_SIZE = 0x0b,
    KERNEL_DATA = 0x11, INITRD_DATA = 0x12, CMDLINE_ADDR = 0x13, CMDLINE_SIZE = 0x14,
    CMDLINE_DATA = 0x15, SETUP_ADDR = 0x16, SETUP_SIZE = 0x17, SETUP_DATA = 0x18,
};

typedef struct Firmware {
    uint8_t *file;
    size_t size;
} Firmware;

const char *const firmware_folders[] = { "/usr/share/qemu", "/usr/share/seabios", NULL };

static bool read_from(const char *folder, const char *name, Firmware *f)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);

    return g_file_get_contents(path, (char **)&f->file, &f->size, NULL);
}

/* As it is called, or in a folder of -L, or where distributions put firmware. */
static bool read_image(const Machine *m, const char *name, Firmware *f, GError **err)
{
    const GPtrArray *given = m->config.folders;

    if (g_file_get_contents(name, (char **)&f->file, &f->size, NULL))
        return true;
    for (guint i = 0; !strchr(name, '/') && given && i < given->len; i++)
        if (read_from(given->pdata[i], name, f))
            return true;
    for (size_t i = 0; !strchr(name, '/') && firmware_folders[i]; i++)
        if (read_from(firmware_folders[i], name, f))
            return true;
    return err_set(err, ENOENT, "Could not find the firmware image '%s'", name);
}

/* ---- what it is told of the kernel ----------------------------------------------------------- */

static bool tell_initrd(Machine *m, uint8_t *setup, GError **err)
{
    g_autoptr(GError) why = NULL;
    g_autofree char *initrd = NULL;
    uint64_t end = MIN(MIN(m->config.ram_size, MACHINE_LOW_END),
                       (uint64_t)le32_at(setup + INITRD_MAX) + 1);
    uint64_t at;
    gsize size;

    if (!m->config.initrd)
        return true;
    if (!g_file_get_contents(m->config.initrd, &initrd, &size, &why))
        return err_set(err, EIO, "could not open '%s': %s", m->config.initrd, why->message);
    if (size > end - MIN(end, 16 * MiB))
        return err_set(err, ENOMEM, "Kernel and initial RAM disk do not fit into the memory (-m)");
    at = round_down(end - size, 4096);
    le32_put(setup + RAMDISK_IMAGE, at);
    le32_put(setup + RAMDISK_SIZE, size);
    fw_cfg_add_number(m->fw_cfg, INITRD_ADDR, 4, at);
    fw_cfg_add_number(m->fw_cfg, INITRD_SIZE, 4, size);
    fw_cfg_add(m->fw_cfg, INITRD_DATA, initrd, size);
    return true;
}

static bool tell_kernel(Machine *m, uint8_t *k, size_t size, GError **err)
{
    const char *line = m->config.append ? m->config.append : "";
    size_t setup = size > MAGIC ? ((k[SETUP_SECTS] ? k[SETUP_SECTS] : 4) + 1) * 512u : 0;

    if (size <= 0x260 || memcmp(k + MAGIC, "HdrS", 4) || setup >= size)
        return err_set(err, EINVAL, "'%s' is not a Linux kernel image (bzImage)", m->config.kernel);
    k[TYPE_OF_LOADER] = 0xff;
    k[LOADFLAGS] |= CAN_USE_HEAP;
    le16_put(k + HEAP_END, CMDLINE_AT - SETUP_AT - 0x200);
    le32_put(k + CMDLINE, CMDLINE_AT);
    if (!tell_initrd(m, k, err))
        return false;
    fw_cfg_add_number(m->fw_cfg, KERNEL_ADDR, 4, KERNEL_AT);
    fw_cfg_add_number(m->fw_cfg, KERNEL_SIZE, 4, size - setup);
    fw_cfg_add(m->fw_cfg, KERNEL_DATA, k + setup, size - setup);
    fw_cfg_add_number(m->fw_cfg, SETUP_ADDR, 4, SETUP_AT);
    fw_cfg_add_number(m->fw_cfg, SETUP_SIZE, 4, setup);
    fw_cfg_add(m->fw_cfg, SETUP_DATA, k, setup);
    fw_cfg_add_number(m->fw_cfg, CMDLINE_ADDR, 4, CMDLINE_AT);
    fw_cfg_add_number(m->fw_cfg, CMDLINE_SIZE, 4, strlen(line) + 1);
    fw_cfg_add(m->fw_cfg, CMDLINE_DATA, line, strlen(line) + 1);
    return true;
}

/* ---- life ------------------------------------------------------------------------------------ */

bool firmware_read(Machine *m, GError **err)
{
    Firmware *f = m->firmware = g_new0(Firmware, 1);

    if (!read_image(m, m->config.bios, f, err))
        return false;
    return (f->size && f->size % FIRMWARE_SIZE == 0 && f->size <= LARGEST) ||
           err_set(err, EINVAL,
                   "The firmware image '%s' has %zu bytes: it takes a multiple of 64 KiB, "
                   "at most 8 MiB",
                   m->config.bios, f->size);
}

size_t firmware_size(const Machine *m)
{
    return m->firmware ? m->firmware->size : FIRMWARE_SIZE;
}

bool firmware_tell(Machine *m, GError **err)
{
    g_autofree char *kernel = NULL;
    g_autoptr(GError) why = NULL;
    gsize size;

    if (!m->config.kernel)
        return true;
    if (!g_file_get_contents(m->config.kernel, &kernel, &size, &why))
        return err_set(err, EIO, "could not open '%s': %s", m->config.kernel, why->message);
    return tell_kernel(m, (uint8_t *)kernel, size, err);
}

void firmware_load(Machine *m)
{
    const Firmware *f = m->firmware;

    memcpy(m->rom[0].host, f->file, f->size);
    memory_map_written(m->board.memory, MACHINE_HIGH - f->size, f->size);
    memory_map_written(m->board.memory, FIRMWARE_LOW, FIRMWARE_SIZE);
}

void firmware_close(Machine *m)
{
    if (!m->firmware)
        return;
    g_free(m->firmware->file);
    g_free(m->firmware);
    m->firmware = NULL;
}
