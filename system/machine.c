/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/machine.h"
#include "hw/fw-cfg.h"
#include "hw/ged.h"
#include "hw/i8259.h"
#include "hw/ioapic.h"
#include "hw/serial.h"
#include "hw/virtio/mmio.h"
#include "system/accel.h"
#include "system/base/lock.h"
#include "system/run-state.h"
#include "system/sections.h"
#include "system/vcpu.h"
#include "tools/complain.h"
#include "util/endian.h"
#include "util/err.h"
#include "util/size.h"
#include <string.h>
#include <time.h>
#include <sys/mman.h>

extern const DeviceClass device_i8254, device_mc146818;

/* ---- interrupts ------------------------------------------------------------------------------ */

static void set_irq(Board *b, unsigned gsi, bool level)
{
    Machine *m = (Machine *)b;
    unsigned pin = gsi == 0 ? IRQ0_GSI : gsi;

    if (m->pic && gsi < 16)
        i8259_set_irq(m->pic, gsi, level);
    ioapic_set_irq(m->ioapic[pin / IOAPIC_PINS], pin % IOAPIC_PINS, level);
}

static void pic_output(void *opaque, bool level)
{
    Machine *m = opaque;

    lapic_set_external(vcpu_lapic(m->vcpus->pdata[0]), level);
}

static void end_of_interrupt(void *opaque, uint8_t vector)
{
    Machine *m = opaque;

    for (unsigned i = 0; i < G_N_ELEMENTS(m->ioapic); i++)
        ioapic_eoi(m->ioapic[i], vector);
}

static void warn(Board *b, const char *text)
{
    complain("warning: %s", text);
}

/* ---- memory ---------------------------------------------------------------------------------- */

bool ram_size_is_fine(uint64_t size, GError **err)
{
    return (size >= 2 * MiB && size <= UINT64_C(512) * GiB && size % 4096 == 0) ||
           err_set(err, EINVAL, "The machine has 2 MiB to 512 GiB of memory");
}

static bool add_roms(Machine *m, GError **err)
{
    const struct {
        const char *name;
        uint64_t size, size_max;
    } known[MACHINE_ROMS] = {
        { "pc.bios", firmware_size(m), firmware_size(m) },
        { "/rom@etc/acpi/tables", 4096, 2 * MiB },
        { "/rom@etc/table-loader", 4096, 2 * MiB },
        { "/rom@etc/acpi/rsdp", 4096, 4096 },
    };

    for (unsigned i = 0; i < MACHINE_ROMS; i++) {
        void *p = mmap(NULL, known[i].size_max, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (p == MAP_FAILED)
            return err_set_errno(err, errno, "cannot set up guest memory");
        m->rom[i] = (MachineRom){ known[i].name, p, known[i].size, known[i].size_max };
    }
    return true;
}

/* The object that the user named, or what the other options say. */
static bool find_memory(Machine *m, GError **err)
{
    MachineConfig *c = &m->config;

    if (!c->memory_backend) {
        m->own_memory = memory_backend_new("microvm.ram", c->ram_size, c->mem_path, c->mem_prealloc,
                                           err);
        m->memory = m->own_memory;
        return m->memory;
    }
    if (c->mem_path)
        return err_set(err, EINVAL, "'-mem-path' can't be used together with '-machine "
                       "memory-backend'");
    if (c->mem_prealloc)
        return err_set(err, EINVAL, "'-mem-prealloc' can't be used together with '-machine "
                       "memory-backend': the object has 'prealloc=on'");
    m->memory = memory_backend_find(c->memory_backend, err);
    if (!m->memory)
        return false;
    if (c->has_ram_size && c->ram_size != m->memory->size)
        return err_set(err, EINVAL, "Machine memory size does not match the size of the memory "
                       "backend");
    c->ram_size = m->memory->size;
    return ram_size_is_fine(c->ram_size, err);
}

static bool add_ram(Machine *m, GError **err)
{
    uint64_t size, low;

    if (!find_memory(m, err))
        return false;
    m->memory->is_used = true;
    size = m->config.ram_size;
    low = MIN(size, MACHINE_LOW_END);
    m->ram = m->board.ram = m->memory->host;
    m->board.ram_size = size;
    m->board.ram_page_size = m->memory->page_size;
    m->board.ram_is_shared = m->memory->is_shared;
    m->board.ram_is_copy = m->memory->fd >= 0 && !m->memory->is_shared;
    if (!add_roms(m, err))
        return false;
    memory_map_add_ram(m->board.memory, 0, FIRMWARE_LOW, m->ram);
    /* The same memory twice; firmware writes to it. */
    memory_map_add_ram(m->board.memory, FIRMWARE_LOW, FIRMWARE_SIZE,
                       m->rom[0].host + m->rom[0].size - FIRMWARE_SIZE);
    memory_map_add_ram(m->board.memory, MACHINE_HIGH - m->rom[0].size, m->rom[0].size,
                       m->rom[0].host);
    if (low > MiB)
        memory_map_add_ram(m->board.memory, MiB, low - MiB, m->ram + MiB);
    if (size > low)
        memory_map_add_ram(m->board.memory, MACHINE_HIGH, size - low, m->ram + low);
    return true;
}

/* Translated code of what devices write is out of date. */
static void ram_written(void *opaque, uint64_t at, uint64_t len)
{
    x86_code_written(((Machine *)opaque)->code_pages, at, len);
}

unsigned machine_e820(const Machine *m, E820Entry *out)
{
    const uint64_t low_hole = 0x9fc00, low = MIN(m->config.ram_size, MACHINE_LOW_END);
    unsigned n = 0;

    out[n++] = (E820Entry){ 0, low_hole, E820_RAM };
    out[n++] = (E820Entry){ low_hole, MiB - low_hole, E820_RESERVED };
    out[n++] = (E820Entry){ MiB, low - MiB, E820_RAM };
    if (m->config.ram_size > low)
        out[n++] = (E820Entry){ MACHINE_HIGH, m->config.ram_size - low, E820_RAM };
    return n;
}

/* ---- devices --------------------------------------------------------------------------------- */

static Device *add(Machine *m, const DeviceClass *cls, const char *id, const json_t *options,
                   GError **err)
{
    Device *d = device_new(&m->board, cls, id, options, err);

    if (d)
        g_ptr_array_add(m->devices, d);
    return d;
}

static void add_interrupt_controllers(Machine *m)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(m->ioapic); i++) {
        m->ioapic[i] = add(m, &device_ioapic, NULL, NULL, NULL);
        ioapic_connect(m->ioapic[i], 0xfec00000 + 0x10000 * i, m->lapic_bus, IOAPIC_PINS * i);
    }
    if (m->config.pic) {
        m->pic = add(m, &device_i8259, NULL, NULL, NULL);
        i8259_connect(m->pic, pic_output, m);
    }
}

/* What -boot says, for firmware. */
static void add_boot_items(Machine *m)
{
    const MachineConfig *c = &m->config;
    uint8_t v[4];

    if (c->boot_menu)
        fw_cfg_add_number(m->fw_cfg, FW_CFG_BOOT_MENU, 2, 1);
    if (c->boot_menu && c->splash_time >= 0) {
        le16_put(v, c->splash_time);
        fw_cfg_add_file(m->fw_cfg, "etc/boot-menu-wait", v, 2);
    }
    if (c->reboot_timeout >= 0) {
        le32_put(v, c->reboot_timeout);
        fw_cfg_add_file(m->fw_cfg, "etc/boot-fail-wait", v, 4);
    }
}

/* The user's. */
static bool add_fw_cfg_items(Machine *m, GError **err)
{
    for (guint i = 0; m->config.fw_cfg && i < m->config.fw_cfg->len; i++) {
        const FwCfgItem *item = &g_array_index(m->config.fw_cfg, FwCfgItem, i);
        size_t len;
        const void *data = g_bytes_get_data(item->data, &len);

        if (!fw_cfg_add_file(m->fw_cfg, item->name, data, len))
            return err_set(err, EEXIST,
                           "-fw_cfg: '%s': the name is taken, or there are too many items",
                           item->name);
    }
    return true;
}

static void add_fw_cfg(Machine *m)
{
    E820Entry map[E820_MAX];
    unsigned n = machine_e820(m, map);
    uint8_t e820[20 * E820_MAX];

    m->fw_cfg = add(m, &device_fw_cfg, NULL, NULL, NULL);
    fw_cfg_add_number(m->fw_cfg, FW_CFG_NB_CPUS, 2, m->config.cpus);
    fw_cfg_add_number(m->fw_cfg, FW_CFG_MAX_CPUS, 2, m->config.cpus);
    fw_cfg_add_number(m->fw_cfg, FW_CFG_RAM_SIZE, 8, m->config.ram_size);
    fw_cfg_add_number(m->fw_cfg, FW_CFG_IRQ0_OVERRIDE, 4, 1);
    for (unsigned i = 0; i < n; i++) {
        le64_put(e820 + 20 * i, map[i].start);
        le64_put(e820 + 20 * i + 8, map[i].size);
        le32_put(e820 + 20 * i + 16, map[i].type);
    }
    fw_cfg_add_file(m->fw_cfg, "etc/e820", e820, 20 * n);
    add_boot_items(m);
}

static bool add_serial(Machine *m, GError **err)
{
    g_autoptr(json_t) options = json_object();

    if (!m->config.isa_serial)
        return true;
    if (m->config.serial)
        json_put_str(options, "chardev", m->config.serial);
    return add(m, &device_serial, NULL, options, err);
}

/* What the clock shows at first, in seconds since 1970. */
static int64_t rtc_start(const Machine *m)
{
    time_t now = time(NULL);
    struct tm t;

    if (m->config.rtc_has_date)
        return m->config.rtc_date;
    if (!m->config.rtc_is_local || !localtime_r(&now, &t))
        return now;
    return now + t.tm_gmtoff;
}

static bool add_board_devices(Machine *m, GError **err)
{
    add_interrupt_controllers(m);
    add_fw_cfg(m);
    if (!add_fw_cfg_items(m, err))
        return false;
    m->ged = add(m, &device_ged, NULL, NULL, NULL);
    if (m->config.pit)
        add(m, &device_i8254, NULL, NULL, NULL);
    if (m->config.rtc)
        mc146818_set(add(m, &device_mc146818, NULL, NULL, NULL), m->config.rtc_source,
                     rtc_start(m));
    return add_serial(m, err);
}

/*
 * Plugs @d into the slot @name, "virtio-mmio-bus.N", or the highest free one, as the reference
 * does.
 */
static bool plug_virtio(Machine *m, Device *d, const char *name, GError **err)
{
    for (int i = VIRTIO_MMIO_COUNT - 1; i >= 0; i--) {
        g_autofree char *bus = g_strdup_printf("virtio-mmio-bus.%d", i);

        if (name && strcmp(name, bus))
            continue;
        if (m->slot[i] && name)
            return err_set(err, EBUSY, "Bus '%s' has a device already", name);
        if (m->slot[i])
            continue;
        m->slot[i] = virtio_mmio_new(&m->board, (VirtioDevice *)d,
                                     VIRTIO_MMIO_ADDRESS + VIRTIO_MMIO_SIZE * i,
                                     VIRTIO_MMIO_GSI + i, m->config.legacy_virtio);
        g_ptr_array_add(m->devices, m->slot[i]);
        return true;
    }
    if (name)
        return err_set(err, ENOENT, "Bus '%s' not found", name);
    return err_set(err, ENOSPC, "All %u places for virtio devices are taken", VIRTIO_MMIO_COUNT);
}

static bool has_id(const Machine *m, const char *id)
{
    for (guint i = 0; i < m->devices->len; i++)
        if (!g_strcmp0(((Device *)m->devices->pdata[i])->id, id))
            return true;
    return false;
}

/* The device whose bus is called @name (its id and ".0"); NULL: the first that takes @cls. */
static Device *find_bus(const Machine *m, const DeviceClass *cls, const char *name, GError **err)
{
    for (guint i = 0; i < m->devices->len; i++) {
        Device *d = m->devices->pdata[i];
        g_autofree char *bus = g_strdup_printf("%s.0", d->id ? d->id : cls->bus);

        if (!g_strcmp0(d->cls->provides, cls->bus) && (!name || !strcmp(name, bus)))
            return d;
    }
    if (name)
        err_set(err, ENOENT, "Bus '%s' not found", name);
    else
        err_set(err, ENODEV, "No '%s' bus found for device '%s'", cls->bus, cls->name);
    return NULL;
}

/* Plugs @d into the bus called @name, or any that takes it. */
static bool plug(Machine *m, Device *d, const char *name, GError **err)
{
    Device *bus;

    if (!strcmp(d->cls->bus, "ISA"))
        return true; /* it has taken its ports already */
    if (!strcmp(d->cls->bus, "virtio-bus"))
        return plug_virtio(m, d, name, err);
    bus = find_bus(m, d->cls, name, err);
    return bus && bus->cls->plug(bus, d, err);
}

/* A guest with a device that cannot be migrated has to stay. */
static bool hold_guest(Device *d, GError **err)
{
    g_autofree char *name = device_name(d), *why = device_migration_problem(d);

    if (!why)
        return true;
    d->stays = hold_take(&hold_migration, HOLD_DENY, name, why, err);
    return d->stays;
}

CO bool machine_add_device(Machine *m, json_t *options, GError **err)
{
    g_autoptr(json_t) rest = json_copy(options);
    const char *driver = json_get_str(options, "driver", ""),
               *id = json_get_str(options, "id", NULL);
    const DeviceClass *cls = device_class_find(driver);
    Device *d;

    json_object_del(rest, "driver");
    json_object_del(rest, "id");
    json_object_del(rest, "bus");
    if (!cls || !cls->bus)
        return err_set(err, EINVAL, "'%s' is not a valid device model name", driver);
    if (id && has_id(m, id))
        return err_set(err, EEXIST, "Duplicate ID '%s' for device", id);
    d = add(m, cls, id, rest, err);
    if (!d)
        return false;
    if (plug(m, d, json_get_str(options, "bus", NULL), err) && hold_guest(d, err))
        return true;
    machine_remove_device(m, d);
    return false;
}

CO void machine_remove_device(Machine *m, Device *d)
{
    g_ptr_array_remove(m->devices, d);
    if (d->cls->disconnect)
        d->cls->disconnect(d);
    machine_lock();
    device_free(d);
    machine_unlock();
}

/* ---- what starts ----------------------------------------------------------------------------- */

static bool open_kernel(Machine *m, GError **err)
{
    g_autoptr(GError) why = NULL;
    const char *path = m->config.kernel;
    uint8_t *file;
    size_t size;

    if (!path)
        return true;
    if (!g_file_get_contents(path, (char **)&file, &size, &why))
        return err_set(err, EIO, "could not open '%s': %s", path, why->message);
    return elf_is_kernel(file, size) ? elf_open(m, file, size, err)
                                     : linux_open(m, file, size, err);
}

/* Firmware would have made the tables in memory; there is none. */
static void put_acpi(Machine *m)
{
    g_autoptr(GByteArray) tables = acpi_build(m);

    memory_map_store(m->board.memory, ACPI_ADDRESS, tables->data, tables->len);
}

static void load(Machine *m)
{
    X86Cpu *cpu = vcpu_cpu(m->vcpus->pdata[0]);

    put_acpi(m);
    if (m->firmware) {
        firmware_load(m);
        return;
    }
    if (m->pic)
        i8259_mask(m->pic);
    if (m->linux_image)
        linux_load(m, cpu);
    if (m->elf_image)
        elf_load(m, cpu);
}

/* ---- life ------------------------------------------------------------------------------------ */

static bool begin_accel(Machine *m, GError **err)
{
    return !m->config.accel->begin || m->config.accel->begin(m, err);
}

static bool add_vcpus(Machine *m, GError **err)
{
    for (unsigned i = 0; i < m->config.cpus; i++) {
        Vcpu *v = vcpu_new(m, i, err);

        if (!v)
            return false;
        g_ptr_array_add(m->vcpus, v);
    }
    vcpus_begin(m);
    return true;
}

Machine *machine_new(const MachineConfig *config, GError **err)
{
    Machine *m = g_new0(Machine, 1);

    m->config = *config;
    m->board = (Board){
        .memory = memory_map_new(), .ports = memory_map_new(), .set_irq = set_irq,
        .shutdown = run_state_guest_shutdown, .reset = run_state_guest_reset,
        .panicked = run_state_guest_panicked, .watchdog_expired = run_state_watchdog_expired,
        .io_error = run_state_io_error, .warn = warn,
    };
    m->devices = g_ptr_array_new();
    m->vcpus = g_ptr_array_new();
    m->lapic_bus = lapic_bus_new(end_of_interrupt, m);
    m->code_pages = x86_code_pages_new(config->cpus);
    guest_clock_begin();
    memory_map_hear(m->board.memory, ram_written, m);
    if (config->is_none ||
        ((!config->bios || firmware_read(m, err)) && add_ram(m, err) && begin_accel(m, err) &&
         vcpus_count(m, err) && add_vcpus(m, err) && add_board_devices(m, err) &&
         (config->bios ? firmware_tell(m, err) : open_kernel(m, err))))
        return m;
    machine_free(m);
    return NULL;
}

CO void machine_free(Machine *m)
{
    for (guint i = m->devices->len; i-- > 0;) {
        Device *d = m->devices->pdata[i];

        if (d->cls->disconnect)
            d->cls->disconnect(d);
    }
    machine_lock();
    vcpus_end(m);
    icount_end();
    guest_clock_end();
    for (guint i = m->devices->len; i-- > 0;)
        device_free(m->devices->pdata[i]);
    for (guint i = 0; i < m->vcpus->len; i++)
        vcpu_free(m->vcpus->pdata[i]);
    machine_unlock();
    if (m->config.accel->end)
        m->config.accel->end(m);
    linux_close(m);
    elf_close(m);
    firmware_close(m);
    lapic_bus_free(m->lapic_bus);
    x86_code_pages_free(m->code_pages);
    memory_map_free(m->board.memory);
    memory_map_free(m->board.ports);
    if (m->memory)
        m->memory->is_used = false;
    memory_backend_free(m->own_memory);
    for (unsigned i = 0; i < MACHINE_ROMS; i++)
        if (m->rom[i].host)
            munmap(m->rom[i].host, m->rom[i].size_max);
    g_ptr_array_unref(m->devices);
    g_ptr_array_unref(m->vcpus);
    g_free(m);
}

void machine_reset(Machine *m)
{
    for (guint i = 0; i < m->vcpus->len; i++)
        vcpu_reset(m->vcpus->pdata[i]);
    for (guint i = 0; i < m->devices->len; i++)
        device_reset(m->devices->pdata[i]);
    if (!m->config.is_none)
        load(m);
}

void machine_inject_nmi(Machine *m)
{
    for (guint i = 0; i < m->vcpus->len; i++)
        vcpu_inject_nmi(m->vcpus->pdata[i]);
}

bool machine_has_failed_io(const Machine *m)
{
    bool has;

    machine_lock();
    has = m->board.failed_io;
    machine_unlock();
    return has;
}

void machine_power_button(Machine *m)
{
    if (m->ged)
        ged_press_power_button(m->ged);
}
