/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Direct boot of a Linux kernel, without firmware: the boot protocol's 64-bit entry, or the 32-bit
 * one of kernels that have no other. docs/spec/microvm.md
 */
#include "system/accel.h"
#include "system/base/lock.h"
#include "util/endian.h"
#include "util/err.h"
#include "util/size.h"
#include <inttypes.h>
#include <string.h>

enum {
    /* Offsets of the setup header, in the file and in the boot parameters. */
    SETUP_SECTS = 0x1f1, BOOT_FLAG = 0x1fe, HEADER_END = 0x201, MAGIC = 0x202, PROTOCOL = 0x206,
    TYPE_OF_LOADER = 0x210, LOADFLAGS = 0x211, RAMDISK_IMAGE = 0x218, RAMDISK_SIZE = 0x21c,
    HEAP_END = 0x224, CMDLINE = 0x228, INITRD_MAX = 0x22c, ALIGNMENT = 0x230, RELOCATABLE = 0x234,
    XLOADFLAGS = 0x236, CMDLINE_SIZE = 0x238, PREFERRED = 0x258, INIT_SIZE = 0x260,
    HEADER = 0x1f1, HEADER_AT_LEAST = 0x268,
    /* Of the boot parameters alone. */
    ACPI_RSDP = 0x070, E820_COUNT = 0x1e8, VIDEO_MODE = 0x1fa, E820_TABLE = 0x2d0,

    LOADED_HIGH = 1, ENTRY_64 = 1,

    /* Where the boot parameters and what goes with them stand; all is the kernel's afterwards. */
    GDT_AT = 0x6000, PARAMETERS_AT = 0x7000, PAGES_AT = 0x9000, CMDLINE_AT = 0x20000,
    CMDLINE_MAX = 0x10000, STACK_AT = 0x8ff0,
    HIGH_LOAD = 0x100000,

    SEL_CODE = 0x10, SEL_DATA = 0x18,
};

typedef struct LinuxImage {
    uint8_t *kernel, *initrd;
    size_t kernel_size, initrd_size;
    size_t setup_size;
    uint64_t load, initrd_at;
    bool is_64;
    char *cmdline;
} LinuxImage;

/* ---- checking -------------------------------------------------------------------------------- */

static bool read_file(const char *path, uint8_t **data, size_t *size, GError **err)
{
    g_autoptr(GError) why = NULL;

    if (g_file_get_contents(path, (char **)data, size, &why))
        return true;
    return err_set(err, EIO, "could not open '%s': %s", path, why->message);
}

static bool check_kernel(LinuxImage *l, const char *path, GError **err)
{
    const uint8_t *k = l->kernel;
    unsigned sectors;

    if (l->kernel_size < HEADER_AT_LEAST || memcmp(k + MAGIC, "HdrS", 4) ||
        le16_at(k + BOOT_FLAG) != 0xaa55)
        return err_set(err, EINVAL, "'%s' is not a Linux kernel image (bzImage)", path);
    if (le16_at(k + PROTOCOL) < 0x20a || !(k[LOADFLAGS] & LOADED_HIGH))
        return err_set(err, ENOTSUP, "The kernel '%s' is too old: its boot protocol is %u.%02u, at "
                       "least 2.10 is needed", path, k[PROTOCOL + 1], k[PROTOCOL]);
    sectors = k[SETUP_SECTS] ? k[SETUP_SECTS] : 4;
    l->setup_size = (sectors + 1) * 512;
    if (l->setup_size >= l->kernel_size)
        return err_set(err, EINVAL, "The kernel image '%s' is cut off", path);
    l->is_64 = le16_at(k + XLOADFLAGS) & ENTRY_64;
    return true;
}

/* RAM below 4 GiB ends there. */
static uint64_t low_end(const Machine *m)
{
    return MIN(m->config.ram_size, MACHINE_LOW_END);
}

static uint64_t kernel_end(const LinuxImage *l, uint64_t load)
{
    uint64_t file = l->kernel_size - l->setup_size, init = le32_at(l->kernel + INIT_SIZE);

    return load + MAX(file, init);
}

static bool place_kernel(const Machine *m, LinuxImage *l, GError **err)
{
    uint64_t preferred = le64_at(l->kernel + PREFERRED);

    l->load = preferred >= HIGH_LOAD && preferred < low_end(m) ? preferred : HIGH_LOAD;
    if (kernel_end(l, l->load) > low_end(m) && l->kernel[RELOCATABLE])
        l->load = round_up(HIGH_LOAD, MAX(le32_at(l->kernel + ALIGNMENT), 4096));
    if (kernel_end(l, l->load) > low_end(m))
        return err_set(err, ENOMEM, "The kernel needs %" PRIu64 " MiB of memory at least",
                       div_round_up(kernel_end(l, l->load), MiB));
    return true;
}

static bool place_initrd(const Machine *m, LinuxImage *l, GError **err)
{
    uint64_t end = MIN(low_end(m), (uint64_t)le32_at(l->kernel + INITRD_MAX) + 1);

    if (!l->initrd)
        return true;
    if (l->initrd_size > end || round_down(end - l->initrd_size, 4096) < kernel_end(l, l->load))
        return err_set(err, ENOMEM, "Kernel and initial RAM disk do not fit into the memory (-m)");
    l->initrd_at = round_down(end - l->initrd_size, 4096);
    return true;
}

/*
 * What the machine adds to the command line: how fast the time stamp counter goes, which the guest
 * could else find out only by an interval timer that a busy host makes useless.
 */
static char *add_to_cmdline(const Machine *m, const char *given)
{
    g_autofree char *rate = g_strdup_printf("tsc_early_khz=%" PRIu64, guest_tsc_hz() / 1000);
    /* How far the host's own counter can be relied upon is not for us to say. */
    const char *const additions[] = { rate, m->config.accel->clock ? NULL : "tsc=reliable" };
    GString *line = g_string_new(given);

    for (size_t i = 0; m->config.auto_kernel_cmdline && i < G_N_ELEMENTS(additions); i++) {
        const char *text = additions[i] ? additions[i] : "";
        g_autofree char *key = g_strndup(text, strcspn(text, "=") + 1);

        if (*text && !strstr(given, key))
            g_string_append_printf(line, "%s%s", line->len ? " " : "", text);
    }
    return g_string_free(line, FALSE);
}

static bool make_cmdline(const Machine *m, LinuxImage *l, GError **err)
{
    size_t max = MIN(le32_at(l->kernel + CMDLINE_SIZE), CMDLINE_MAX - 1);

    l->cmdline = add_to_cmdline(m, m->config.append ? m->config.append : "");
    return strlen(l->cmdline) <= max ||
           err_set(err, E2BIG, "The kernel takes a command line of at most %zu bytes", max);
}

static bool open_files(Machine *m, LinuxImage *l, GError **err)
{
    const MachineConfig *c = &m->config;

    return check_kernel(l, c->kernel, err) && place_kernel(m, l, err) &&
           (!c->initrd || read_file(c->initrd, &l->initrd, &l->initrd_size, err)) &&
           place_initrd(m, l, err) && make_cmdline(m, l, err);
}

bool linux_open(Machine *m, uint8_t *file, size_t size, GError **err)
{
    m->linux_image = g_new0(LinuxImage, 1);
    m->linux_image->kernel = file;
    m->linux_image->kernel_size = size;
    return open_files(m, m->linux_image, err);
}

void linux_close(Machine *m)
{
    LinuxImage *l = m->linux_image;

    if (!l)
        return;
    g_free(l->kernel);
    g_free(l->initrd);
    g_free(l->cmdline);
    g_free(l);
    m->linux_image = NULL;
}

/* ---- loading --------------------------------------------------------------------------------- */

/* All of this lies in the RAM below 4 GiB, which begins at address 0. */
static void put(Machine *m, uint64_t at, const void *data, size_t len)
{
    memcpy(m->ram + at, data, len);
    memory_map_written(m->board.memory, at, len);
}

static void put_e820(const Machine *m, uint8_t *p)
{
    E820Entry map[E820_MAX];
    unsigned n = machine_e820(m, map);

    p[E820_COUNT] = n;
    for (unsigned i = 0; i < n; i++) {
        uint8_t *e = p + E820_TABLE + 20 * i;

        le64_put(e, map[i].start);
        le64_put(e + 8, map[i].size);
        le32_put(e + 16, map[i].type);
    }
}

static void put_parameters(Machine *m, const LinuxImage *l)
{
    uint8_t p[4096] = { 0 };
    size_t header = MIN(HEADER_END + 1 + (size_t)l->kernel[HEADER_END], sizeof(p));

    memcpy(p + HEADER, l->kernel + HEADER, MAX(header, HEADER_AT_LEAST) - HEADER);
    p[TYPE_OF_LOADER] = 0xff;
    le16_put(p + VIDEO_MODE, 0xffff);
    le32_put(p + RAMDISK_IMAGE, l->initrd_at);
    le32_put(p + RAMDISK_SIZE, l->initrd_size);
    le32_put(p + CMDLINE, CMDLINE_AT);
    le64_put(p + ACPI_RSDP, ACPI_ADDRESS);
    put_e820(m, p);
    put(m, PARAMETERS_AT, p, sizeof(p));
    put(m, CMDLINE_AT, l->cmdline, strlen(l->cmdline) + 1);
}

/* The first 4 GiB mapped onto themselves, in pages of 2 MiB. */
static void put_pages(Machine *m)
{
    enum { PRESENT = 1, WRITABLE = 2, LARGE = 0x80, TABLES = 6 };
    g_autofree uint64_t *t = g_new0(uint64_t, TABLES * 512);

    t[0] = GUINT64_TO_LE((PAGES_AT + 0x1000) | PRESENT | WRITABLE);
    for (unsigned i = 0; i < 4; i++)
        t[512 + i] = GUINT64_TO_LE((PAGES_AT + 0x2000 + 0x1000 * i) | PRESENT | WRITABLE);
    for (uint64_t i = 0; i < 4 * 512; i++)
        t[1024 + i] = GUINT64_TO_LE(i << 21 | PRESENT | WRITABLE | LARGE);
    put(m, PAGES_AT, t, TABLES * 4096);
}

static X86Segment flat_segment(uint16_t selector, unsigned type, unsigned flags)
{
    return (X86Segment){ .selector = selector, .limit = UINT32_MAX,
                         .rights = X86_AR_P | X86_AR_S | X86_AR_ACCESSED | type | flags };
}

static void put_segments(Machine *m, const LinuxImage *l, X86Cpu *cpu)
{
    uint64_t gdt[4] = { 0, 0,
                        l->is_64 ? UINT64_C(0x00af9b000000ffff) : UINT64_C(0x00cf9b000000ffff),
                        UINT64_C(0x00cf93000000ffff) };
    X86Segment code = flat_segment(SEL_CODE, X86_AR_CODE | X86_AR_WRITABLE,
                                   X86_AR_G | (l->is_64 ? X86_AR_L : X86_AR_DB));

    for (unsigned i = 0; i < 4; i++)
        gdt[i] = GUINT64_TO_LE(gdt[i]);
    put(m, GDT_AT, gdt, sizeof(gdt));
    cpu->gdt = (X86Table){ .base = GDT_AT, .limit = sizeof(gdt) - 1 };
    cpu->idt = (X86Table){ 0 };
    for (unsigned i = 0; i < X86_SEGMENTS; i++)
        cpu->segment[i] = flat_segment(SEL_DATA, X86_AR_WRITABLE, X86_AR_G | X86_AR_DB);
    cpu->segment[X86_CS] = code;
}

static void enter(Machine *m, const LinuxImage *l, X86Cpu *cpu)
{
    put_segments(m, l, cpu);
    cpu->cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE;
    if (l->is_64) {
        put_pages(m);
        cpu->cr3 = PAGES_AT;
        cpu->cr4 = X86_CR4_PAE;
        cpu->efer = X86_EFER_LME | X86_EFER_LMA;
        cpu->cr0 |= X86_CR0_PG;
    }
    cpu->gpr[X86_RSI] = PARAMETERS_AT;
    cpu->gpr[X86_RSP] = STACK_AT;
    cpu->rip = l->load + (l->is_64 ? 0x200 : 0);
    x86_update_mode(cpu);
}

void linux_load(Machine *m, X86Cpu *cpu)
{
    const LinuxImage *l = m->linux_image;

    put(m, l->load, l->kernel + l->setup_size, l->kernel_size - l->setup_size);
    if (l->initrd)
        put(m, l->initrd_at, l->initrd, l->initrd_size);
    put_parameters(m, l);
    enter(m, l, cpu);
}
