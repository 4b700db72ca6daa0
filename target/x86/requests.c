/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What other threads want of a processor. */
#include "target/x86/translate.h"
#include <sched.h>

void x86_request(X86Cpu *cpu, uint32_t events)
{
    __atomic_or_fetch(&cpu->events, events, __ATOMIC_ACQ_REL);
}

/* Both sides hold it for a few instructions only. */
static void lock(X86Written *w)
{
    while (__atomic_exchange_n(&w->lock, 1, __ATOMIC_ACQUIRE))
        sched_yield();
}

static void unlock(X86Written *w)
{
    __atomic_store_n(&w->lock, 0, __ATOMIC_RELEASE);
}

void x86_written(X86Cpu *cpu, uint64_t at, uint64_t len)
{
    X86Written *w = &cpu->written;
    uint64_t start = at >> 12, end = ((at + len - 1) >> 12) + 1;

    if (!cpu->translator || !len)
        return;
    lock(w);
    for (unsigned i = 0; i < w->count; i++) {
        if (start >= w->range[i].start && start <= w->range[i].end) {
            w->range[i].end = MAX(w->range[i].end, end);
            goto done;
        }
    }
    /* With too many the last grows over whatever lies between. */
    if (w->count < X86_WRITTEN_MAX) {
        w->range[w->count].start = start;
        w->range[w->count++].end = end;
    } else {
        w->range[w->count - 1].start = MIN(w->range[w->count - 1].start, start);
        w->range[w->count - 1].end = MAX(w->range[w->count - 1].end, end);
    }
done:
    unlock(w);
    x86_request(cpu, X86_EVENT_WRITTEN);
}

void x86_take_written(X86Cpu *cpu)
{
    X86Written taken;

    lock(&cpu->written);
    taken = cpu->written;
    cpu->written.count = 0;
    __atomic_and_fetch(&cpu->events, ~(uint32_t)X86_EVENT_WRITTEN, __ATOMIC_ACQ_REL);
    unlock(&cpu->written);
    for (unsigned i = 0; i < taken.count; i++)
        for (uint64_t page = taken.range[i].start; page < taken.range[i].end; page++)
            x86_code_changed(cpu, page << 12);
}
