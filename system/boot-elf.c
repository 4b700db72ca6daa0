/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Kernels that are ELF files or have a multiboot header, started without firmware in 32-bit
 * protected mode without paging:
 *
 *     PVH         "x86/HVM direct boot ABI" of the Xen documents: EBX points to hvm_start_info
 *     multiboot   Multiboot Specification 0.6.96: EBX points to the information, EAX is a magic
 *                 number
 *
 * docs/spec/microvm.md
 */
#include "system/machine.h"
#include "util/endian.h"
#include "util/err.h"
#include "util/size.h"
#include <elf.h>
#include <inttypes.h>
#include <string.h>

enum {
    /* Where what the kernel is told stands, below the memory that kernels are loaded to. */
    GDT_AT = 0x6000, INFO_AT = 0x7000, MAP_AT = 0x7100, MODULES_AT = 0x7800, NAME_AT = 0x7f00,
    CMDLINE_AT = 0x20000, CMDLINE_MAX = 0x10000,
    SEL_CODE = 0x10, SEL_DATA = 0x18,

    MULTIBOOT_MAGIC = 0x1badb002, MULTIBOOT_TOLD = 0x2badb002, MULTIBOOT_SEARCH = 8192,
    MULTIBOOT_HAS_ADDRESSES = 1 << 16,
    MULTIBOOT_MEMORY = 1, MULTIBOOT_CMDLINE = 4, MULTIBOOT_MODULES = 8, MULTIBOOT_MAP = 0x40,
    MULTIBOOT_NAME = 0x200,

    XEN_PHYS32_ENTRY = 18, PVH_MAGIC = 0x336ec578,
};

/* A piece of the file that goes to memory; the rest of @size is zeroes. */
typedef struct {
    uint64_t at, offset, in_file, size;
} Piece;

typedef struct ElfImage {
    uint8_t *file, *module;
    size_t size, module_size;
    GArray *pieces; /* of Piece */
    uint64_t entry, end, module_at;
    bool is_multiboot;
    char *cmdline;
} ElfImage;

/* ---- ELF ------------------------------------------------------------------------------------- */

/* Of both classes, the members that count. */
typedef struct {
    uint32_t type;
    uint64_t offset, address, in_file, size;
} Segment;

typedef struct {
    bool is_64;
    uint64_t entry, table, count, entry_size;
} ElfHeader;

static bool read_header(const ElfImage *e, ElfHeader *h)
{
    const uint8_t *p = e->file;

    if (e->size < sizeof(Elf64_Ehdr) || memcmp(p, ELFMAG, SELFMAG) || p[EI_DATA] != ELFDATA2LSB)
        return false;
    h->is_64 = p[EI_CLASS] == ELFCLASS64;
    h->entry = h->is_64 ? le64_at(p + 24) : le32_at(p + 24);
    h->table = h->is_64 ? le64_at(p + 32) : le32_at(p + 28);
    h->entry_size = le16_at(p + (h->is_64 ? 54 : 42));
    h->count = le16_at(p + (h->is_64 ? 56 : 44));
    return h->entry_size >= (h->is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) &&
           h->table <= e->size && h->count <= (e->size - h->table) / h->entry_size;
}

static Segment segment_at(const ElfImage *e, const ElfHeader *h, unsigned i)
{
    const uint8_t *p = e->file + h->table + i * h->entry_size;

    if (h->is_64)
        return (Segment){ le32_at(p), le64_at(p + 8), le64_at(p + 24), le64_at(p + 32),
                          le64_at(p + 40) };
    return (Segment){ le32_at(p), le32_at(p + 4), le32_at(p + 12), le32_at(p + 16),
                      le32_at(p + 20) };
}

static bool add_piece(const Machine *m, ElfImage *e, const Piece *p, GError **err)
{
    uint64_t low = MIN(m->config.ram_size, MACHINE_LOW_END);

    if (p->offset > e->size || p->in_file > e->size - p->offset || p->in_file > p->size)
        return err_set(err, EINVAL, "The kernel '%s' is cut off", m->config.kernel);
    if (p->at > low || p->size > low - p->at)
        return err_set(err, ENOMEM, "The kernel '%s' wants memory up to %" PRIu64 " MiB",
                       m->config.kernel, div_round_up(p->at + p->size, MiB));
    g_array_append_val(e->pieces, *p);
    e->end = MAX(e->end, p->at + p->size);
    return true;
}

static bool add_segments(const Machine *m, ElfImage *e, const ElfHeader *h, GError **err)
{
    for (unsigned i = 0; i < h->count; i++) {
        Segment s = segment_at(e, h, i);
        Piece p = { s.address, s.offset, s.in_file, s.size };

        if (s.type == PT_LOAD && s.size && !add_piece(m, e, &p, err))
            return false;
    }
    return e->pieces->len || err_set(err, EINVAL, "The kernel '%s' has nothing to load",
                                     m->config.kernel);
}

/* The entry that a note of Xen's in @len bytes at @p tells. */
static bool find_note(const uint8_t *p, uint64_t len, uint64_t *entry)
{
    while (len >= 12) {
        uint64_t name = round_up((uint64_t)le32_at(p), 4),
                 data = round_up((uint64_t)le32_at(p + 4), 4);

        if (name > len - 12 || data > len - 12 - name)
            return false;
        if (le32_at(p + 8) == XEN_PHYS32_ENTRY && le32_at(p) == 4 && !memcmp(p + 12, "Xen", 4) &&
            data >= 4) {
            *entry = le32_at(p + 12 + name);
            return true;
        }
        p += 12 + name + data;
        len -= 12 + name + data;
    }
    return false;
}

static bool open_pvh(const Machine *m, ElfImage *e, const ElfHeader *h, GError **err)
{
    for (unsigned i = 0; i < h->count; i++) {
        Segment s = segment_at(e, h, i);

        if (s.type == PT_NOTE && s.offset <= e->size && s.in_file <= e->size - s.offset &&
            find_note(e->file + s.offset, s.in_file, &e->entry))
            return add_segments(m, e, h, err);
    }
    return err_set(err, EINVAL, "The kernel '%s' is an ELF file without an entry for PVH",
                   m->config.kernel);
}

/* ---- multiboot ------------------------------------------------------------------------------- */

/* The header's offset; -1: there is none. */
static int64_t find_multiboot(const ElfImage *e)
{
    for (size_t at = 0; at + 12 <= MIN(e->size, MULTIBOOT_SEARCH); at += 4) {
        const uint8_t *p = e->file + at;

        if (le32_at(p) == MULTIBOOT_MAGIC && !(le32_at(p) + le32_at(p + 4) + le32_at(p + 8)))
            return at;
    }
    return -1;
}

/* Where the header says itself what goes where. */
static bool open_addresses(const Machine *m, ElfImage *e, uint64_t header, GError **err)
{
    const uint8_t *p = e->file + header;
    uint64_t at, load, load_end, bss_end, skipped;
    Piece piece;

    if (e->size - header < 32)
        return err_set(err, EINVAL, "The kernel '%s' is cut off", m->config.kernel);
    at = le32_at(p + 12);
    load = le32_at(p + 16);
    load_end = le32_at(p + 20);
    bss_end = le32_at(p + 24);
    e->entry = le32_at(p + 28);
    skipped = at - load;
    if (load > at || skipped > header)
        return err_set(err, EINVAL, "The multiboot header of '%s' contradicts itself",
                       m->config.kernel);
    piece = (Piece){ load, header - skipped, 0, 0 };
    piece.in_file = load_end ? load_end - load : e->size - piece.offset;
    piece.size = MAX(bss_end > load ? bss_end - load : 0, piece.in_file);
    return add_piece(m, e, &piece, err);
}

static bool open_multiboot(const Machine *m, ElfImage *e, uint64_t header, GError **err)
{
    ElfHeader h;

    e->is_multiboot = true;
    if (le32_at(e->file + header + 4) & MULTIBOOT_HAS_ADDRESSES)
        return open_addresses(m, e, header, err);
    if (!read_header(e, &h))
        return err_set(err, EINVAL, "The kernel '%s' has neither addresses nor an ELF header",
                       m->config.kernel);
    e->entry = h.entry;
    return add_segments(m, e, &h, err);
}

/* ---- opening --------------------------------------------------------------------------------- */

bool elf_is_kernel(const uint8_t *file, size_t size)
{
    ElfImage e = { .file = (uint8_t *)file, .size = size };
    ElfHeader h;

    return read_header(&e, &h) || find_multiboot(&e) >= 0;
}

static bool place_module(const Machine *m, ElfImage *e, GError **err)
{
    g_autoptr(GError) why = NULL;

    if (!m->config.initrd)
        return true;
    if (!g_file_get_contents(m->config.initrd, (char **)&e->module, &e->module_size, &why))
        return err_set(err, EIO, "could not open '%s': %s", m->config.initrd, why->message);
    e->module_at = round_up(e->end, 4096);
    return e->module_size <= MIN(m->config.ram_size, MACHINE_LOW_END) - e->module_at ||
           err_set(err, ENOMEM, "Kernel and initial RAM disk do not fit into the memory (-m)");
}

static bool open_image(const Machine *m, ElfImage *e, GError **err)
{
    int64_t header = find_multiboot(e);
    ElfHeader h;

    if (header >= 0 ? !open_multiboot(m, e, header, err)
                    : !read_header(e, &h) || !open_pvh(m, e, &h, err))
        return false;
    e->cmdline = g_strdup(m->config.append ? m->config.append : "");
    if (strlen(e->cmdline) >= CMDLINE_MAX)
        return err_set(err, E2BIG, "The kernel takes a command line of at most %d bytes",
                       CMDLINE_MAX - 1);
    return place_module(m, e, err);
}

bool elf_open(Machine *m, uint8_t *file, size_t size, GError **err)
{
    m->elf_image = g_new0(ElfImage, 1);
    m->elf_image->file = file;
    m->elf_image->size = size;
    m->elf_image->pieces = g_array_new(FALSE, FALSE, sizeof(Piece));
    return open_image(m, m->elf_image, err);
}

void elf_close(Machine *m)
{
    ElfImage *e = m->elf_image;

    if (!e)
        return;
    g_free(e->file);
    g_free(e->module);
    g_free(e->cmdline);
    g_array_unref(e->pieces);
    g_free(e);
    m->elf_image = NULL;
}

/* ---- loading --------------------------------------------------------------------------------- */

/* All of this lies in the RAM below 4 GiB, which begins at address 0. */
static void put(Machine *m, uint64_t at, const void *data, size_t len)
{
    memcpy(m->ram + at, data, len);
    memory_map_written(m->board.memory, at, len);
}

/* hvm_start_info, version 1, its memory map and its list of modules. */
static void tell_pvh(Machine *m, const ElfImage *e)
{
    uint8_t info[56] = { 0 }, list[32] = { 0 }, map[24 * E820_MAX] = { 0 };
    E820Entry entries[E820_MAX];
    unsigned n = machine_e820(m, entries);

    le32_put(info, PVH_MAGIC);
    le32_put(info + 4, 1);
    le32_put(info + 12, e->module ? 1 : 0);
    le64_put(info + 16, e->module ? MODULES_AT : 0);
    le64_put(info + 24, CMDLINE_AT);
    le64_put(info + 32, ACPI_ADDRESS);
    le64_put(info + 40, MAP_AT);
    le32_put(info + 48, n);
    for (unsigned i = 0; i < n; i++) {
        le64_put(map + 24 * i, entries[i].start);
        le64_put(map + 24 * i + 8, entries[i].size);
        le32_put(map + 24 * i + 16, entries[i].type);
    }
    le64_put(list, e->module_at);
    le64_put(list + 8, e->module_size);
    put(m, INFO_AT, info, sizeof(info));
    put(m, MAP_AT, map, sizeof(map));
    put(m, MODULES_AT, list, sizeof(list));
}

static void tell_multiboot(Machine *m, const ElfImage *e)
{
    uint8_t info[116] = { 0 }, list[16] = { 0 }, map[24 * E820_MAX] = { 0 };
    E820Entry entries[E820_MAX];
    unsigned n = machine_e820(m, entries);

    le32_put(info, MULTIBOOT_MEMORY | MULTIBOOT_CMDLINE | MULTIBOOT_MODULES | MULTIBOOT_MAP |
             MULTIBOOT_NAME);
    le32_put(info + 4, entries[0].size / KiB);
    le32_put(info + 8, (MIN(m->config.ram_size, MACHINE_LOW_END) - MiB) / KiB);
    le32_put(info + 16, CMDLINE_AT);
    le32_put(info + 20, e->module ? 1 : 0);
    le32_put(info + 24, MODULES_AT);
    le32_put(info + 44, 24 * n);
    le32_put(info + 48, MAP_AT);
    le32_put(info + 64, NAME_AT);
    for (unsigned i = 0; i < n; i++) {
        le32_put(map + 24 * i, 20);
        le64_put(map + 24 * i + 4, entries[i].start);
        le64_put(map + 24 * i + 12, entries[i].size);
        le32_put(map + 24 * i + 20, entries[i].type);
    }
    le32_put(list, e->module_at);
    le32_put(list + 4, e->module_at + e->module_size);
    le32_put(list + 8, NAME_AT);
    put(m, INFO_AT, info, sizeof(info));
    put(m, MAP_AT, map, sizeof(map));
    put(m, MODULES_AT, list, sizeof(list));
    put(m, NAME_AT, "ferry", 6);
}

static X86Segment flat_segment(uint16_t selector, unsigned type)
{
    return (X86Segment){ .selector = selector, .limit = UINT32_MAX,
                         .rights = X86_AR_P | X86_AR_S | X86_AR_ACCESSED | X86_AR_WRITABLE |
                                   X86_AR_G | X86_AR_DB | type };
}

static void enter(Machine *m, const ElfImage *e, X86Cpu *cpu)
{
    static const uint64_t descriptors[4] = { 0, 0, UINT64_C(0x00cf9b000000ffff),
                                             UINT64_C(0x00cf93000000ffff) };
    uint8_t gdt[32];

    for (unsigned i = 0; i < 4; i++)
        le64_put(gdt + 8 * i, descriptors[i]);
    put(m, GDT_AT, gdt, sizeof(gdt));
    cpu->gdt = (X86Table){ .base = GDT_AT, .limit = sizeof(gdt) - 1 };
    cpu->idt = (X86Table){ 0 };
    for (unsigned i = 0; i < X86_SEGMENTS; i++)
        cpu->segment[i] = flat_segment(SEL_DATA, 0);
    cpu->segment[X86_CS] = flat_segment(SEL_CODE, X86_AR_CODE);
    cpu->cr0 = X86_CR0_PE | X86_CR0_ET;
    cpu->gpr[X86_RAX] = e->is_multiboot ? MULTIBOOT_TOLD : 0;
    cpu->gpr[X86_RBX] = INFO_AT;
    cpu->rip = e->entry;
    x86_update_mode(cpu);
}

void elf_load(Machine *m, X86Cpu *cpu)
{
    const ElfImage *e = m->elf_image;

    for (guint i = 0; i < e->pieces->len; i++) {
        const Piece *p = &g_array_index(e->pieces, Piece, i);

        put(m, p->at, e->file + p->offset, p->in_file);
        memset(m->ram + p->at + p->in_file, 0, p->size - p->in_file);
        memory_map_written(m->board.memory, p->at, p->size);
    }
    if (e->module)
        put(m, e->module_at, e->module, e->module_size);
    put(m, CMDLINE_AT, e->cmdline, strlen(e->cmdline) + 1);
    if (e->is_multiboot)
        tell_multiboot(m, e);
    else
        tell_pvh(m, e);
    enter(m, e, cpu);
}
