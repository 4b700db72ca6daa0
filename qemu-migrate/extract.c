/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-migrate extract: memory of a stream into a file, raw or as an ELF core whose segments tell
 * guest-physical addresses. Pages go straight to their place in the file, which is sparse.
 */
#include "qemu-migrate/migrate.h"
#include "tools/complain.h"
#include "util/fd.h"
#include "util/size.h"
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Where the machine's memory has its hole (docs/spec/microvm.md). */
#define LOW_END UINT64_C(0xc0000000)
#define HIGH (UINT64_C(1) << 32)
enum { CORE_DATA = 4096 };

typedef struct {
    const MigrateArgs *args;
    int fd;
    const char *name;      /* of the file */
    char *block;           /* that is extracted; NULL: it has not come yet */
    uint8_t *map;
    uint64_t size;
    int error;
} Extract;

/* The machine's own memory is the first block, or the one called after a machine. */
static bool is_wanted(const Extract *x, const char *name)
{
    if (x->args->block)
        return !strcmp(name, x->args->block);
    return g_str_has_suffix(name, ".ram");
}

static uint8_t *place(void *opaque, const char *name, uint64_t size)
{
    Extract *x = opaque;
    uint64_t head = x->args->elf ? CORE_DATA : 0;

    if (x->block || !is_wanted(x, name))
        return NULL;
    x->block = g_strdup(name);
    x->size = size;
    if (size > INT64_MAX - head || ftruncate(x->fd, head + size) < 0) {
        x->error = size > INT64_MAX - head ? EFBIG : errno;
        return NULL;
    }
    x->map = mmap(NULL, head + size, PROT_READ | PROT_WRITE, MAP_SHARED, x->fd, 0);
    if (x->map == MAP_FAILED) {
        x->map = NULL;
        x->error = errno;
        return NULL;
    }
    return x->map + head;
}

static Elf64_Phdr segment(uint64_t off, uint64_t at, uint64_t size)
{
    return (Elf64_Phdr){
        .p_type = PT_LOAD, .p_flags = PF_R | PF_W | PF_X, .p_offset = CORE_DATA + off,
        .p_paddr = at, .p_vaddr = at, .p_filesz = size, .p_memsz = size,
    };
}

static void write_core_header(Extract *x)
{
    uint64_t low = MIN(x->size, LOW_END);
    Elf64_Phdr ph[2] = { segment(0, 0, low), segment(low, HIGH, x->size - low) };
    Elf64_Ehdr eh = {
        .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
        .e_type = ET_CORE, .e_machine = EM_X86_64, .e_version = EV_CURRENT,
        .e_phoff = sizeof(eh), .e_ehsize = sizeof(eh), .e_phentsize = sizeof(ph[0]),
        .e_phnum = x->size > low ? 2 : 1,
    };

    memcpy(x->map, &eh, sizeof(eh));
    memcpy(x->map + sizeof(eh), ph, eh.e_phnum * sizeof(ph[0]));
}

static bool finish(Extract *x)
{
    uint64_t head = x->args->elf ? CORE_DATA : 0;

    if (x->error)
        return complain_errno(x->error, "Cannot write '%s'", x->name);
    if (!x->block)
        return complain("There is no memory '%s' in it", x->args->block ? x->args->block : "*.ram");
    if (x->args->elf)
        write_core_header(x);
    if (msync(x->map, head + x->size, MS_SYNC) < 0)
        return complain_errno(errno, "Cannot write '%s'", x->name);
    return true;
}

int migrate_extract(const MigrateArgs *a, char **words)
{
    g_autoptr(GBytes) bytes = file_read(words[0]);
    autofd int fd = -1;
    g_auto(SavedStream) s = { 0 };
    g_autoptr(GError) err = NULL;
    Extract x = { .args = a, .name = words[1] };
    const void *data;
    size_t size;
    bool ok;

    if (!bytes)
        return MIGRATE_FAILED;
    fd = open(words[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        complain_errno(errno, "Cannot create '%s'", words[1]);
        return MIGRATE_FAILED;
    }
    x.fd = fd;
    data = g_bytes_get_data(bytes, &size);
    ok = saved_read(&s, data ? data : "", size, place, &x, &err);
    if (!ok)
        complain("%s: %s", words[0], err->message);
    ok = finish(&x) && ok;
    if (x.map)
        munmap(x.map, x.size + (a->elf ? CORE_DATA : 0));
    g_free(x.block);
    return ok ? MIGRATE_OK : MIGRATE_FAILED;
}
