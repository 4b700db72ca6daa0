/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * KVM's dirty ring (Linux: Documentation/virt/kvm/api.rst, 8.29), by -accel kvm,dirty-ring-size=N:
 * each processor tells the pages it writes in a ring of its own. Looking through what was written
 * then takes time by how much was written, not by how much memory there is. A processor whose ring
 * is full comes back for it to be emptied.
 */
#include "system/kvm/kvm.h"
#include "system/base/ram-log.h"
#include "util/err.h"
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096 };

bool kvm_rings_enable(Machine *m, GError **err)
{
    static const int kinds[] = { KVM_CAP_DIRTY_LOG_RING_ACQ_REL, KVM_CAP_DIRTY_LOG_RING };
    uint32_t size = m->config.dirty_ring_size;
    uint64_t bytes = size * sizeof(struct kvm_dirty_gfn);
    int kind = kvm_extension(kinds[0]) ? kinds[0] : kinds[1], r;
    uint64_t most = kvm_extension(kind);

    if (!size)
        return true;
    if (!most)
        return err_set(err, ENOTSUP,
                       "KVM of this kernel has no dirty ring: leave out dirty-ring-size");
    if (bytes > most)
        return err_set(err, EINVAL, "KVM's dirty rings have up to %zu entries, not the %u of "
                       "dirty-ring-size", (size_t)(most / sizeof(struct kvm_dirty_gfn)), size);
    r = kvm_do(kvm_vm(m)->fd, KVM_ENABLE_CAP,
               &(struct kvm_enable_cap){ .cap = kind, .args = { bytes } });
    return r >= 0 || err_set_errno(err, -r, "KVM cannot set up dirty rings of %u entries", size);
}

static size_t map_len(const Machine *m)
{
    return m->config.dirty_ring_size * sizeof(struct kvm_dirty_gfn);
}

bool kvm_ring_map(Vcpu *v, GError **err)
{
    KvmVcpu *k = kvm_vcpu(v);
    void *p;

    if (!vcpu_machine(v)->config.dirty_ring_size)
        return true;
    p = mmap(NULL, map_len(vcpu_machine(v)), PROT_READ | PROT_WRITE, MAP_SHARED, k->fd,
             KVM_DIRTY_LOG_PAGE_OFFSET * PAGE);
    if (p == MAP_FAILED)
        return err_set_errno(err, errno, "Cannot map the dirty ring of processor %u",
                             vcpu_index(v));
    k->ring = p;
    return true;
}

void kvm_ring_unmap(Vcpu *v)
{
    KvmVcpu *k = kvm_vcpu(v);

    if (k->ring)
        munmap(k->ring, map_len(vcpu_machine(v)));
}

static void empty(Vcpu *v)
{
    const Machine *m = vcpu_machine(v);
    const GArray *slots = kvm_vm(m)->slots;
    KvmVcpu *k = kvm_vcpu(v);

    for (;; k->ring_next++) {
        struct kvm_dirty_gfn *e = &k->ring[k->ring_next & (m->config.dirty_ring_size - 1)];

        if (__atomic_load_n(&e->flags, __ATOMIC_ACQUIRE) != KVM_DIRTY_GFN_F_DIRTY)
            return;
        if (e->slot < slots->len)
            ram_log_note(g_array_index(slots, KvmSlot, e->slot).host + e->offset * PAGE);
        __atomic_store_n(&e->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
    }
}

int kvm_rings_empty(Machine *m)
{
    int r;

    for (guint i = 0; i < m->vcpus->len; i++)
        empty(m->vcpus->pdata[i]);
    r = kvm_do(kvm_vm(m)->fd, KVM_RESET_DIRTY_RINGS, NULL);
    kvm_vm(m)->rings_missed |= r < 0;
    return r;
}
