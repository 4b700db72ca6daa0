/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host's side: usage: native WORK */
#include "tests/perf/guest/work.h"
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>

int main(int argc, char **argv)
{
    const Work *w = work_find(argc > 1 ? argv[1] : "");
    extern char __executable_start, end;
    uintptr_t from = (uintptr_t)&__executable_start & ~(uintptr_t)4095;

    /* The work makes code in its own memory. */
    if (mprotect((void *)from, (uintptr_t)&end - from, PROT_READ | PROT_WRITE | PROT_EXEC) < 0) {
        perror("mprotect");
        return 1;
    }
    printf("%016" PRIx64 "\n", w->run(w->n));
    return 0;
}
