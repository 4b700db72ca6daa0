/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The models, and the names of feature flags. Where the bits are is told by the manuals of Intel
 * and AMD; which flags a model has was read from the reference (query-cpu-model-expansion), without
 * those for machines within the machine.
 */
#include "target/x86/cpuid.h"
#include "util/err.h"
#include <string.h>

#define HAS(name, word, bit) { name, X86_WORD_##word, bit, true, X86_F_BASE }
#define INSNS(name, word, bit, f) { name, X86_WORD_##word, bit, true, X86_F_##f }
#define NOT(name, word, bit) { name, X86_WORD_##word, bit, false, X86_F_BASE }
#define BARE(name, word, bit) { name, X86_WORD_##word, bit, false, X86_F_BASE, true }

const X86FlagInfo x86_flags[] = {
    INSNS("fpu", 1_EDX, 0, FPU), BARE("vme", 1_EDX, 1), HAS("de", 1_EDX, 2),
    INSNS("pse", 1_EDX, 3, PSE), INSNS("tsc", 1_EDX, 4, TSC), INSNS("msr", 1_EDX, 5, MSR),
    INSNS("pae", 1_EDX, 6, PAE), HAS("mce", 1_EDX, 7), INSNS("cx8", 1_EDX, 8, CX8),
    HAS("apic", 1_EDX, 9), INSNS("sep", 1_EDX, 11, SEP), HAS("mtrr", 1_EDX, 12),
    INSNS("pge", 1_EDX, 13, PGE), HAS("mca", 1_EDX, 14), INSNS("cmov", 1_EDX, 15, CMOV),
    HAS("pat", 1_EDX, 16), HAS("pse36", 1_EDX, 17), INSNS("clflush", 1_EDX, 19, CLFLUSH),
    NOT("ds", 1_EDX, 21), NOT("acpi", 1_EDX, 22), INSNS("mmx", 1_EDX, 23, MMX),
    INSNS("fxsr", 1_EDX, 24, FXSR), INSNS("sse", 1_EDX, 25, SSE), INSNS("sse2", 1_EDX, 26, SSE2),
    HAS("ss", 1_EDX, 27), HAS("ht", 1_EDX, 28), NOT("tm", 1_EDX, 29), NOT("pbe", 1_EDX, 31),

    INSNS("pni", 1_ECX, 0, SSE3), INSNS("pclmulqdq", 1_ECX, 1, PCLMUL),
    INSNS("monitor", 1_ECX, 3, MONITOR), NOT("vmx", 1_ECX, 5), NOT("tm2", 1_ECX, 8),
    INSNS("ssse3", 1_ECX, 9, SSSE3), INSNS("fma", 1_ECX, 12, FMA), INSNS("cx16", 1_ECX, 13, CX16),
    NOT("pdcm", 1_ECX, 15), INSNS("pcid", 1_ECX, 17, PCID), INSNS("sse4.1", 1_ECX, 19, SSE41),
    INSNS("sse4.2", 1_ECX, 20, SSE42), HAS("x2apic", 1_ECX, 21), INSNS("movbe", 1_ECX, 22, MOVBE),
    INSNS("popcnt", 1_ECX, 23, POPCNT), HAS("tsc-deadline", 1_ECX, 24),
    INSNS("aes", 1_ECX, 25, AES), INSNS("xsave", 1_ECX, 26, XSAVE), INSNS("avx", 1_ECX, 28, AVX),
    INSNS("f16c", 1_ECX, 29, F16C), INSNS("rdrand", 1_ECX, 30, RDRAND),
    HAS("hypervisor", 1_ECX, 31),

    HAS("arat", 6_EAX, 2),

    INSNS("fsgsbase", 7_EBX, 0, FSGSBASE), HAS("tsc-adjust", 7_EBX, 1),
    INSNS("bmi1", 7_EBX, 3, BMI1),
    NOT("hle", 7_EBX, 4), INSNS("avx2", 7_EBX, 5, AVX2), INSNS("smep", 7_EBX, 7, SMEP),
    INSNS("bmi2", 7_EBX, 8, BMI2), HAS("erms", 7_EBX, 9), INSNS("invpcid", 7_EBX, 10, INVPCID),
    NOT("rtm", 7_EBX, 11), NOT("mpx", 7_EBX, 14), INSNS("rdseed", 7_EBX, 18, RDSEED),
    INSNS("adx", 7_EBX, 19, ADX), INSNS("smap", 7_EBX, 20, SMAP),
    INSNS("clflushopt", 7_EBX, 23, CLFLUSHOPT), INSNS("clwb", 7_EBX, 24, CLWB),
    INSNS("sha-ni", 7_EBX, 29, SHA),

    INSNS("umip", 7_ECX, 2, UMIP), NOT("pku", 7_ECX, 3), BARE("vaes", 7_ECX, 9),
    BARE("vpclmulqdq", 7_ECX, 10), NOT("la57", 7_ECX, 16), INSNS("rdpid", 7_ECX, 22, RDPID),
    NOT("pks", 7_ECX, 31),

    HAS("fsrm", 7_EDX, 4), NOT("spec-ctrl", 7_EDX, 26), NOT("stibp", 7_EDX, 27),
    NOT("ssbd", 7_EDX, 31),

    INSNS("xsaveopt", D1_EAX, 0, XSAVEOPT), INSNS("xsavec", D1_EAX, 1, XSAVEC),
    HAS("xgetbv1", D1_EAX, 2), NOT("xsaves", D1_EAX, 3),

    INSNS("lahf-lm", EXT1_ECX, 0, LAHF64), NOT("svm", EXT1_ECX, 2), BARE("cr8legacy", EXT1_ECX, 4),
    INSNS("abm", EXT1_ECX, 5, LZCNT), BARE("sse4a", EXT1_ECX, 6), BARE("misalignsse", EXT1_ECX, 7),
    INSNS("3dnowprefetch", EXT1_ECX, 8, PREFETCHW), NOT("osvw", EXT1_ECX, 9),
    NOT("xop", EXT1_ECX, 11), NOT("fma4", EXT1_ECX, 16), NOT("tbm", EXT1_ECX, 21),
    NOT("topoext", EXT1_ECX, 22),

    INSNS("syscall", EXT1_EDX, 11, SYSCALL), INSNS("nx", EXT1_EDX, 20, NX),
    BARE("mmxext", EXT1_EDX, 22), BARE("fxsr-opt", EXT1_EDX, 25),
    INSNS("pdpe1gb", EXT1_EDX, 26, 1G_PAGES), INSNS("rdtscp", EXT1_EDX, 27, RDTSCP),
    INSNS("lm", EXT1_EDX, 29, LONG), BARE("3dnowext", EXT1_EDX, 30), BARE("3dnow", EXT1_EDX, 31),

    HAS("invtsc", EXT7_EDX, 8),

    BARE("wbnoinvd", EXT8_EBX, 9), NOT("ibpb", EXT8_EBX, 12),

    NOT("npt", SVM_EDX, 0), NOT("nrip-save", SVM_EDX, 3),

    BARE("kvm-nopiodelay", KVM_EAX, 1), BARE("kvmclock", KVM_EAX, 3),
    BARE("kvmclock-stable-bit", KVM_EAX, 24), {}
};

const X86FlagInfo *x86_flag_find(const char *name)
{
    static const struct {
        const char *other, *name;
    } spellings[] = {
        { "sse3", "pni" }, { "pclmuldq", "pclmulqdq" }, { "xd", "nx" }, { "i64", "lm" },
        { "ffxsr", "fxsr-opt" }, { "sse4-1", "sse4.1" }, { "sse4-2", "sse4.2" },
    };
    g_autofree char *plain = g_strdelimit(g_strdup(name), "_", '-');

    for (size_t i = 0; i < G_N_ELEMENTS(spellings); i++)
        if (!strcmp(plain, spellings[i].other)) {
            g_free(plain);
            plain = g_strdup(spellings[i].name);
        }
    for (const X86FlagInfo *f = x86_flags; f->name; f++)
        if (!strcmp(plain, f->name))
            return f;
    return NULL;
}

/* ---- models ---------------------------------------------------------------------------------- */

#define QEMU_ID "QEMU Virtual CPU version 2.5+"

const X86ModelInfo x86_models[] = {
    { "max", "everything that is emulated", "AuthenticAMD", "QEMU TCG CPU version 2.5+", 15, 107, 1,
      0xd, 0x8000000a, NULL },
    { "qemu64", QEMU_ID, "AuthenticAMD", QEMU_ID, 15, 107, 1, 0xd, 0x8000000a,
      "apic clflush cmov cx16 cx8 de fpu fxsr hypervisor lahf-lm lm mca mce mmx msr mtrr nx pae "
      "pat pge pni pse pse36 sep sse sse2 syscall tsc" },
    { "qemu32", QEMU_ID, "GenuineIntel", QEMU_ID, 6, 6, 3, 4, 0x80000004,
      "apic cmov cx8 de fpu fxsr hypervisor mce mmx msr pae pat pge pni pse sep sse sse2 tsc" },
    { "Nehalem", "Intel Core i7 9xx (Nehalem Class Core i7)", "GenuineIntel",
      "Intel Core i7 9xx (Nehalem Class Core i7)", 6, 26, 3, 11, 0x80000008,
      "apic clflush cmov cx16 cx8 de fpu fxsr hypervisor lahf-lm lm mca mce mmx msr mtrr nx pae "
      "pat pge pni popcnt pse pse36 sep sse sse2 sse4.1 sse4.2 ssse3 syscall tsc" },
    { "Haswell", "Intel Core Processor (Haswell)", "GenuineIntel", "Intel Core Processor (Haswell)",
      6, 60, 4, 0xd, 0x80000008,
      "abm aes apic arat avx avx2 bmi1 bmi2 clflush cmov cx16 cx8 de erms f16c fma fpu fsgsbase "
      "fxsr hle hypervisor invpcid lahf-lm lm mca mce mmx movbe msr mtrr nx pae pat pcid pclmulqdq "
      "pge pni popcnt pse pse36 rdrand rdtscp rtm sep smep sse sse2 sse4.1 sse4.2 ssse3 syscall "
      "tsc tsc-deadline x2apic xsave xsaveopt" },
    { "EPYC", "AMD EPYC Processor", "AuthenticAMD", "AMD EPYC Processor", 23, 1, 2, 0xd, 0x8000001e,
      "3dnowprefetch abm adx aes apic arat avx avx2 bmi1 bmi2 clflush clflushopt cmov cr8legacy "
      "cx16 cx8 de f16c fma fpu fsgsbase fxsr fxsr-opt hypervisor lahf-lm lm mca mce misalignsse "
      "mmx mmxext monitor movbe msr mtrr nx osvw pae pat pclmulqdq pdpe1gb pge pni popcnt "
      "pse pse36 rdrand rdseed rdtscp sep sha-ni smap smep sse sse2 sse4.1 sse4.2 sse4a ssse3 "
      "syscall topoext tsc xgetbv1 xsave xsavec xsaveopt" },
    {}
};

const X86ModelInfo *x86_model_find(const char *name)
{
    for (const X86ModelInfo *m = x86_models; m->name; m++)
        if (!strcmp(m->name, name))
            return m;
    return NULL;
}

/* ---- flags of one ---------------------------------------------------------------------------- */

void x86_model_set(X86Model *m, const X86FlagInfo *f, bool on)
{
    uint32_t bit = UINT32_C(1) << f->bit;

    m->word[f->word] = on ? m->word[f->word] | bit : m->word[f->word] & ~bit;
}

bool x86_model_has(const X86Model *m, const X86FlagInfo *f)
{
    return m->word[f->word] >> f->bit & 1;
}

X86Features x86_model_features(const X86Model *m)
{
    X86Features features = X86_FEATURE(X86_F_BASE);

    for (const X86FlagInfo *f = x86_flags; f->name; f++)
        if (x86_model_has(m, f))
            features |= X86_FEATURE(f->feature);
    return features;
}

/* Some instructions are done by the host's own, and are there where the host has them. */
static bool is_emulated(const X86FlagInfo *f)
{
    return f->emulated && x86_host_can(f->feature);
}

/* Under KVM, too, only what state of guests is saved with. */
static bool is_there(const X86FlagInfo *f, const X86Host *host)
{
    if (!host)
        return is_emulated(f);
    return (f->emulated || f->bare) && host->word[f->word] >> f->bit & 1;
}

static void ask_for(X86Model *m, const X86FlagInfo *f, const X86Host *host, GPtrArray *missing)
{
    bool found = is_there(f, host);

    x86_model_set(m, f, found);
    if (!found && missing)
        g_ptr_array_add(missing, (gpointer)f->name);
}

/*
 * The processors are one package of one thread each: only the machine knows better. And only who
 * runs it knows that it never goes to a host whose counter has another rate.
 */
static void set_all(X86Model *m, const X86Host *host)
{
    for (const X86FlagInfo *f = x86_flags; f->name; f++)
        x86_model_set(m, f, is_there(f, host) && strcmp(f->name, "ht") &&
                                !(host && !strcmp(f->name, "invtsc")));
}

static void set_listed(X86Model *m, const char *flags, const X86Host *host, GPtrArray *missing)
{
    g_auto(GStrv) names = g_strsplit(flags, " ", -1);

    for (char **n = names; *n; n++)
        ask_for(m, x86_flag_find(*n), host, missing);
}

/* What KVM offers any guest. */
static void add_offers(X86Model *m, const X86Host *host)
{
    for (const X86FlagInfo *f = x86_flags; f->name; f++)
        if (f->word == X86_WORD_KVM_EAX || !strcmp(f->name, "x2apic"))
            ask_for(m, f, host, NULL);
}

/* The known flag or model that @name most likely means, for a message; NULL: none. */
static const char *near_miss(const char *name, bool model)
{
    size_t best_len = 0;
    const char *best = NULL;

    for (size_t i = 0; model ? !!x86_models[i].name : !!x86_flags[i].name; i++) {
        const char *known = model ? x86_models[i].name : x86_flags[i].name;
        size_t len = 0;

        while (known[len] && g_ascii_tolower(known[len]) == g_ascii_tolower(name[len]))
            len++;
        if (len > best_len) {
            best_len = len;
            best = known;
        }
    }
    return best_len >= 2 ? best : NULL;
}

static bool refuse(const char *what, const char *name, bool model, GError **err)
{
    const char *near = near_miss(name, model);

    if (near)
        return err_set(err, EINVAL, "%s '%s' (did you mean '%s'?)", what, name, near);
    return err_set(err, EINVAL, "%s '%s'", what, name);
}

/* What is no flag of the processor's; false: it is one. */
static bool apply_switch(X86Model *m, const char *name, bool on)
{
    if (!strcmp(name, "check"))
        m->is_checked = on;
    else if (!strcmp(name, "enforce"))
        m->is_enforced = on;
    else if (!strcmp(name, "kvm"))
        m->hides_kvm = !on;
    else
        return false;
    return true;
}

static bool apply_flag(X86Model *m, const char *item, const X86Host *host, GPtrArray *missing,
                       GError **err)
{
    const char *eq = strchr(item, '=');
    bool short_form = *item == '+' || *item == '-', on = *item != '-';
    g_autofree char *name = short_form ? g_strdup(item + 1)
                                       : eq ? g_strndup(item, eq - item) : g_strdup(item);
    const X86FlagInfo *f = x86_flag_find(name);

    if (!short_form && eq) {
        if (strcmp(eq + 1, "on") && strcmp(eq + 1, "off"))
            return err_set(err, EINVAL, "CPU flag '%s' is on or off, not '%s'", name, eq + 1);
        on = !strcmp(eq + 1, "on");
    }
    if (!short_form && apply_switch(m, name, on))
        return true;
    if (!f)
        return refuse("There is no CPU flag", name, false, err);
    if (on)
        ask_for(m, f, host, missing);
    else
        x86_model_set(m, f, false);
    return true;
}

const X86ModelInfo *x86_model_find_on(const char *name, const X86Host *host)
{
    /* All that there is, is what the host has. */
    return host && (!strcmp(name, "host") || !strcmp(name, "max")) ? host->info
                                                                   : x86_model_find(name);
}

bool x86_model_parse(X86Model *m, const char *text, const X86Host *host, GPtrArray *missing,
                     GError **err)
{
    g_auto(GStrv) items = g_strsplit(text, ",", -1);
    const char *name = items[0] ? items[0] : "";

    *m = (X86Model){ .info = x86_model_find_on(name, host),
                     .physical_bits = 40,
                     .is_checked = true };
    if (!m->info && !strcmp(name, "host"))
        return err_set(err, EINVAL, "CPU model 'host' requires KVM");
    if (!m->info)
        return refuse("There is no CPU model", name, true, err);
    if (host)
        m->physical_bits = m->info == host->info ? host->physical_bits
                                                 : MIN(40, host->physical_bits);
    if (m->info->flags)
        set_listed(m, m->info->flags, host, missing);
    else
        set_all(m, host);
    if (host)
        add_offers(m, host);
    for (char **i = items[0] ? items + 1 : items; *i; i++)
        if (!apply_flag(m, *i, host, missing, err))
            return false;
    return true;
}
