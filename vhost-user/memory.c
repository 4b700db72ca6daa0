/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vhost-user/memory.h"
#include "util/err.h"
#include "util/size.h"
#include <errno.h>
#include <inttypes.h>

enum { RING_ALIGN = 16 }; /* of tables of descriptors, the strictest of what rings have */

/* Shared by the sets that have it. */
typedef struct {
    unsigned refs;
    VhostRegion where;
    VhostMap *map;
} Region;

struct VhostMemory {
    unsigned refs, count;
    Region *region[VHOST_REGIONS_MAX];
};

/* ---- regions --------------------------------------------------------------------------------- */

static void region_unref(Region *r)
{
    if (--r->refs)
        return;
    vhost_unmap(r->map);
    g_free(r);
}

static bool region_is(const Region *r, const VhostRegion *where)
{
    return r->where.guest == where->guest && r->where.user == where->user &&
           r->where.size == where->size;
}

/* True: [@at, @at + @len) lies in the @size bytes from @start on. */
static bool lies_in(uint64_t start, uint64_t size, uint64_t at, uint64_t len)
{
    return at >= start && at - start <= size && len <= size - (at - start);
}

/* ---- sets ------------------------------------------------------------------------------------ */

VhostMemory *vhost_memory_new(void)
{
    VhostMemory *m = g_new0(VhostMemory, 1);

    m->refs = 1;
    return m;
}

VhostMemory *vhost_memory_ref(VhostMemory *m)
{
    m->refs++;
    return m;
}

void vhost_memory_unref(VhostMemory *m)
{
    if (!m || --m->refs)
        return;
    for (unsigned i = 0; i < m->count; i++)
        region_unref(m->region[i]);
    g_free(m);
}

static void memory_add(VhostMemory *m, Region *r)
{
    r->refs++;
    m->region[m->count++] = r;
}

VhostMemory *vhost_memory_with(const VhostMemory *m, const VhostRegion *r, int fd, GError **err)
{
    uint64_t end;
    VhostMemory *copy;
    VhostMap *map;
    Region *added;

    if (m->count == VHOST_REGIONS_MAX) {
        err_set(err, ENOSPC, "There are %d regions of memory already", VHOST_REGIONS_MAX);
        return NULL;
    }
    if (!size_add(r->guest, r->size, &end) || !size_add(r->user, r->size, &end)) {
        err_set(err, EINVAL, "A region of %" PRIu64 " bytes ends behind all addresses", r->size);
        return NULL;
    }
    if ((r->guest ^ r->offset) & (RING_ALIGN - 1)) {
        err_set(err, EINVAL, "A region is aligned differently in its file and for the guest");
        return NULL;
    }
    map = vhost_map(fd, r->offset, r->size, err);
    if (!map)
        return NULL;
    added = g_new(Region, 1);
    *added = (Region){ .where = *r, .map = map };
    copy = vhost_memory_new();
    for (unsigned i = 0; i < m->count; i++)
        memory_add(copy, m->region[i]);
    memory_add(copy, added);
    return copy;
}

VhostMemory *vhost_memory_without(const VhostMemory *m, const VhostRegion *r, GError **err)
{
    VhostMemory *copy = vhost_memory_new();

    for (unsigned i = 0; i < m->count; i++)
        if (!region_is(m->region[i], r))
            memory_add(copy, m->region[i]);
    if (copy->count < m->count)
        return copy;
    vhost_memory_unref(copy);
    err_set(err, ENOENT, "There is no such region of memory");
    return NULL;
}

/* ---- addresses ------------------------------------------------------------------------------- */

void *vhost_memory_range(const VhostMemory *m, uint64_t at, uint64_t len)
{
    for (unsigned i = 0; i < m->count; i++) {
        const Region *r = m->region[i];

        if (lies_in(r->where.guest, r->where.size, at, len))
            return (uint8_t *)vhost_map_data(r->map) + (at - r->where.guest);
    }
    return NULL;
}

bool vhost_memory_guest(const VhostMemory *m, uint64_t user, uint64_t *at)
{
    for (unsigned i = 0; i < m->count; i++) {
        const VhostRegion *w = &m->region[i]->where;

        if (lies_in(w->user, w->size, user, 1)) {
            *at = w->guest + (user - w->user);
            return true;
        }
    }
    return false;
}

bool vhost_memory_is_lost(const VhostMemory *m)
{
    for (unsigned i = 0; i < m->count; i++)
        if (vhost_map_is_lost(m->region[i]->map))
            return true;
    return false;
}
