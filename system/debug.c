/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/debug.h"
#include "system/migration-incoming.h"
#include "system/migration-outgoing.h"
#include "system/run-state.h"
#include "target/x86/mmu.h"
#include <string.h>

enum { PAGE = 4096 };

/* Looks that have begun and not ended. */
static unsigned looks;

CO bool debug_begin(GError **err)
{
    if (!incoming_memory_is_here(err) || !outgoing_memory_is_here(err))
        return false;
    run_state_hold();
    looks++;
    return true;
}

void debug_end(void)
{
    looks--;
    run_state_release();
}

const uint8_t *debug_range(const Machine *m, uint64_t at, uint64_t len)
{
    g_assert(looks);
    return memory_map_range(m->board.memory, at, len, false);
}

void debug_read_physical(const Machine *m, uint64_t at, void *to, size_t len)
{
    uint8_t *p = to;

    g_assert(looks);
    for (size_t n; len; at += n, p += n, len -= n) {
        const uint8_t *host = memory_map_host(m->board.memory, at, false);

        n = host ? MIN(len, PAGE - (at & (PAGE - 1))) : 1;
        if (host)
            memcpy(p, host, n);
        else
            *p = memory_map_read(m->board.memory, at, 1);
    }
}

void debug_write_physical(const Machine *m, uint64_t at, const void *from, size_t len)
{
    const uint8_t *p = from;

    g_assert(looks);
    for (size_t n; len; at += n, p += n, len -= n) {
        uint8_t *host = memory_map_host(m->board.memory, at, true);

        n = host ? MIN(len, PAGE - (at & (PAGE - 1))) : 1;
        if (host) {
            memcpy(host, p, n);
            memory_map_written(m->board.memory, at, n);
        } else {
            memory_map_write(m->board.memory, at, 1, *p);
        }
    }
}

/* A piece of a page at a time. */
static bool each_page(Vcpu *v, uint64_t at, uint8_t *p, size_t len, bool write)
{
    g_assert(looks);
    for (size_t n; len; at += n, p += n, len -= n) {
        uint64_t physical;

        n = MIN(len, PAGE - (at & (PAGE - 1)));
        if (!x86_translate(vcpu_cpu(v), at, &physical))
            return false;
        if (write)
            debug_write_physical(vcpu_machine(v), physical, p, n);
        else
            debug_read_physical(vcpu_machine(v), physical, p, n);
    }
    return true;
}

bool debug_read(Vcpu *v, uint64_t at, void *to, size_t len)
{
    return each_page(v, at, to, len, false);
}

bool debug_write(Vcpu *v, uint64_t at, const void *from, size_t len)
{
    return each_page(v, at, (uint8_t *)from, len, true);
}
