/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the host's processors can do under KVM, and what CPUID answers there. */
#include "system/kvm/kvm.h"
#include "util/endian.h"
#include "util/err.h"
#include <errno.h>
#include <string.h>

enum {
    ENTRIES_MAX = 256, LAST_LEAF = 0xd, SUBLEAVES = 8,
    X2APIC = 1 << 21, TSC_DEADLINE = 1 << 24, KVM_LEAVES = 0x40000000,
};
#define HYPERVISOR (UINT32_C(1) << 31)
#define EXTENDED UINT32_C(0x80000000)
#define LAST_EXTENDED UINT32_C(0x80000008)

typedef struct {
    struct kvm_cpuid2 head;
    struct kvm_cpuid_entry2 entry[ENTRIES_MAX];
} Leaves;

/* ---- the host -------------------------------------------------------------------------------- */

static X86Host host;
static char host_vendor[13], host_name[49];
static X86ModelInfo host_model = {
    .name = "host", .doc = "the host's processor", .vendor = host_vendor, .model_id = host_name,
};

const X86Host *kvm_host(void)
{
    return &host;
}

static struct kvm_cpuid_entry2 find(const Leaves *l, uint32_t leaf, uint32_t subleaf)
{
    for (uint32_t i = 0; i < l->head.nent; i++)
        if (l->entry[i].function == leaf && l->entry[i].index == subleaf)
            return l->entry[i];
    return (struct kvm_cpuid_entry2){ 0 };
}

static void read_words(const Leaves *l)
{
    struct kvm_cpuid_entry2 e1 = find(l, 1, 0), e7 = find(l, 7, 0), x1 = find(l, EXTENDED + 1, 0);

    host.word[X86_WORD_1_ECX] = e1.ecx | HYPERVISOR | X2APIC;
    if (kvm_extension(KVM_CAP_TSC_DEADLINE_TIMER))
        host.word[X86_WORD_1_ECX] |= TSC_DEADLINE;
    host.word[X86_WORD_1_EDX] = e1.edx;
    host.word[X86_WORD_6_EAX] = find(l, 6, 0).eax;
    host.word[X86_WORD_7_EBX] = e7.ebx;
    host.word[X86_WORD_7_ECX] = e7.ecx;
    host.word[X86_WORD_7_EDX] = e7.edx;
    host.word[X86_WORD_D1_EAX] = find(l, 0xd, 1).eax;
    host.word[X86_WORD_EXT1_ECX] = x1.ecx;
    host.word[X86_WORD_EXT1_EDX] = x1.edx;
    host.word[X86_WORD_EXT7_EDX] = find(l, EXTENDED + 7, 0).edx;
    host.word[X86_WORD_EXT8_EBX] = find(l, EXTENDED + 8, 0).ebx;
    host.word[X86_WORD_KVM_EAX] = find(l, KVM_LEAVES + 1, 0).eax;
}

static void read_identity(const Leaves *l)
{
    struct kvm_cpuid_entry2 e0 = find(l, 0, 0);
    uint32_t signature = find(l, 1, 0).eax, family = signature >> 8 & 15;

    le32_put((uint8_t *)host_vendor, e0.ebx);
    le32_put((uint8_t *)host_vendor + 4, e0.edx);
    le32_put((uint8_t *)host_vendor + 8, e0.ecx);
    for (unsigned i = 0; i < 3; i++) {
        struct kvm_cpuid_entry2 e = find(l, EXTENDED + 2 + i, 0);
        const uint32_t part[] = { e.eax, e.ebx, e.ecx, e.edx };

        for (unsigned k = 0; k < 4; k++)
            le32_put((uint8_t *)host_name + 16 * i + 4 * k, part[k]);
    }
    host_model.family = family == 15 ? family + (signature >> 20 & 0xff) : family;
    host_model.model = (signature >> 4 & 15) | (family >= 6 ? signature >> 12 & 0xf0 : 0);
    host_model.stepping = signature & 15;
    host_model.level = MIN(e0.eax, LAST_LEAF);
    host_model.xlevel = MIN(find(l, EXTENDED, 0).eax, LAST_EXTENDED);
    host.info = &host_model;
    host.physical_bits = find(l, EXTENDED + 8, 0).eax & 0xff;
}

bool kvm_read_host(GError **err)
{
    g_autofree Leaves *l = g_new0(Leaves, 1);
    int r;

    l->head.nent = ENTRIES_MAX;
    r = kvm_do(kvm_device(), KVM_GET_SUPPORTED_CPUID, l);
    if (r < 0)
        return err_set_errno(err, -r, "KVM does not report the features of this host's processors");
    read_words(l);
    read_identity(l);
    return true;
}

/* ---- a processor of the guest ---------------------------------------------------------------- */

static void add_entry(Leaves *l, uint32_t leaf, uint32_t subleaf, bool has_subleaves,
                      const uint32_t out[4])
{
    l->entry[l->head.nent++] = (struct kvm_cpuid_entry2){
        .function = leaf, .index = subleaf,
        .eax = out[0], .ebx = out[1], .ecx = out[2], .edx = out[3],
        .flags = has_subleaves ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
    };
}

static void add_range(Leaves *l, Vcpu *v, uint32_t first, uint32_t last)
{
    const Machine *m = vcpu_machine(v);

    for (uint32_t leaf = first; leaf <= last; leaf++) {
        bool has_subleaves = leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd;

        for (uint32_t i = 0; i < (has_subleaves ? SUBLEAVES : 1); i++) {
            uint32_t out[4];

            x86_cpuid(&m->config.model, vcpu_cpu(v), vcpu_index(v), m->config.cpus, leaf, i, out);
            add_entry(l, leaf, i, has_subleaves, out);
        }
    }
}

/* How guests know KVM, and what it offers them. */
static void add_signature(Leaves *l, const X86Model *model)
{
    const char *name = "KVMKVMKVM\0\0";
    const uint32_t first[] = {
        KVM_LEAVES + 1, le32_at(name), le32_at(name + 4), le32_at(name + 8),
    };
    const uint32_t second[] = { model->word[X86_WORD_KVM_EAX], 0, 0, 0 };

    if (model->hides_kvm || !(model->word[X86_WORD_1_ECX] & HYPERVISOR))
        return;
    add_entry(l, KVM_LEAVES, 0, false, first);
    add_entry(l, KVM_LEAVES + 1, 0, false, second);
}

bool kvm_set_cpuid(Vcpu *v, GError **err)
{
    const X86Model *model = &vcpu_machine(v)->config.model;
    g_autofree Leaves *l = g_new0(Leaves, 1);
    int r;

    add_range(l, v, 0, MIN(model->info->level, LAST_LEAF));
    add_signature(l, model);
    add_range(l, v, EXTENDED, MIN(MAX(model->info->xlevel, EXTENDED), LAST_EXTENDED + 0x16));
    r = kvm_do(kvm_vcpu(v)->fd, KVM_SET_CPUID2, l);
    return r >= 0 || err_set_errno(err, -r, "KVM does not take the CPU model '%s'",
                                   model->info->name);
}
