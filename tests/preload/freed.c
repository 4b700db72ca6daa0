/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preloaded into a program: looks for pieces of secrets in memory that is given back.
 *
 * FREED_PIECES holds the pieces, 16 bytes each as 32 hexadecimal digits, in a row. A piece in a
 * block that free() gets, or that realloc() moves elsewhere, and a piece that the heap still holds
 * at exit, is a line "free|realloc|exit N" of the file FREED_LOG: N is the number of the piece,
 * from 0.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 16, PIECES_MAX = 64 };

static void (*real_free)(void *);
static void *(*real_realloc)(void *, size_t);
static unsigned char pieces[PIECES_MAX][PIECE];
static int count, log_fd = -1;

__attribute__((constructor)) static void start(void)
{
    const char *text = getenv("FREED_PIECES"), *path = getenv("FREED_LOG");

    real_free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
    if (!text || !path)
        return;
    log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    for (; count < PIECES_MAX && strlen(text) >= 2 * PIECE; count++)
        for (int i = 0; i < PIECE; i++, text += 2)
            sscanf(text, "%2hhx", &pieces[count][i]);
}

/* Which piece is in @p, -1: none. */
static int find(const void *p, size_t len)
{
    for (int i = 0; i < count; i++)
        if (memmem(p, len, pieces[i], PIECE))
            return i;
    return -1;
}

static void tell(const char *where, int piece)
{
    if (piece >= 0)
        dprintf(log_fd, "%s %d\n", where, piece);
}

void free(void *p)
{
    if (!real_free)
        return;
    if (p)
        tell("free", find(p, malloc_usable_size(p)));
    real_free(p);
}

void *realloc(void *p, size_t size)
{
    int piece = p ? find(p, malloc_usable_size(p)) : -1;
    void *q;

    if (!real_realloc)
        real_realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
    q = real_realloc(p, size);
    if (q && q != p)
        tell("realloc", piece);
    return q;
}

__attribute__((destructor)) static void finish(void)
{
    char line[4096];
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long start_at, end;

    while (maps && fgets(line, sizeof(line), maps))
        if (strstr(line, "[heap]") && sscanf(line, "%lx-%lx", &start_at, &end) == 2)
            tell("exit", find((const void *)start_at, end - start_at));
    if (maps)
        fclose(maps);
}
