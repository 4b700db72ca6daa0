/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tcg/code.h"
#include <sys/mman.h>

bool code_memory_init(CodeMemory *c, size_t size)
{
    uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS |
                      MAP_NORESERVE,
                      -1, 0);

    if (p == MAP_FAILED)
        return false;
    *c = (CodeMemory){ .start = p, .at = p, .end = p + size };
    return true;
}

void code_memory_free(CodeMemory *c)
{
    if (c->start)
        munmap(c->start, c->end - c->start);
    *c = (CodeMemory){ 0 };
}

void code_memory_reset(CodeMemory *c, uint8_t *keep)
{
    uint8_t *page = (uint8_t *)(((uintptr_t)keep + 4095) & ~(uintptr_t)4095);

    c->at = keep;
    madvise(page, c->end - page, MADV_DONTNEED);
}
