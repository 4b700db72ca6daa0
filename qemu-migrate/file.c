/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu-migrate/migrate.h"
#include "tools/complain.h"
#include "util/fd.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    void *start;
    size_t size;
} Mapping;

static void unmap(gpointer opaque)
{
    Mapping *m = opaque;

    munmap(m->start, m->size);
    g_free(m);
}

/* A file that others shorten meanwhile would end us by SIGBUS; it is theirs to leave alone. */
static GBytes *map(int fd, const char *name, size_t size)
{
    void *p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    Mapping *m;

    if (p == MAP_FAILED) {
        complain_errno(errno, "Cannot read '%s'", name);
        return NULL;
    }
    m = g_new(Mapping, 1);
    *m = (Mapping){ p, size };
    return g_bytes_new_with_free_func(p, size, unmap, m);
}

static GBytes *read_all(int fd, const char *name)
{
    GByteArray *all = g_byte_array_new();
    uint8_t piece[65536];
    ssize_t n;

    while ((n = read(fd, piece, sizeof(piece))) > 0)
        g_byte_array_append(all, piece, n);
    if (n == 0)
        return g_byte_array_free_to_bytes(all);
    complain_errno(errno, "Cannot read '%s'", name);
    g_byte_array_unref(all);
    return NULL;
}

GBytes *file_read(const char *name)
{
    autofd int fd = -1;
    struct stat st;

    if (!strcmp(name, "-"))
        return read_all(STDIN_FILENO, "standard input");
    fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        complain_errno(errno, "Cannot open '%s'", name);
        return NULL;
    }
    return S_ISREG(st.st_mode) && st.st_size ? map(fd, name, st.st_size) : read_all(fd, name);
}

uint8_t *memory_new(void *opaque, const char *name, uint64_t size)
{
    void *p = size > SIZE_MAX ? MAP_FAILED
                              : mmap(NULL, size, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

void memory_free_all(SavedStream *s)
{
    for (guint i = 0; i < s->ram.blocks->len; i++) {
        RamBlock *b = s->ram.blocks->pdata[i];

        if (b->host)
            munmap(b->host, b->size);
    }
}
