/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a processor model announces, as far as it decides which instructions exist. The numbers are
 * ours; cpuid.c maps them to CPUID bits.
 */
#ifndef TARGET_X86_FEATURES_H
#define TARGET_X86_FEATURES_H

#include <stdbool.h>
#include <stdint.h>

typedef enum {
    X86_F_BASE, /* the 80486 set: always there */
    X86_F_FPU,
    X86_F_TSC,
    X86_F_MSR,
    X86_F_CX8,
    X86_F_SEP,
    X86_F_CMOV,
    X86_F_CLFLUSH,
    X86_F_MMX,
    X86_F_FXSR,
    X86_F_SSE,
    X86_F_SSE2,
    X86_F_SSE3,
    X86_F_PCLMUL,
    X86_F_MONITOR,
    X86_F_SSSE3,
    X86_F_CX16,
    X86_F_SSE41,
    X86_F_SSE42,
    X86_F_MOVBE,
    X86_F_POPCNT,
    X86_F_AES,
    X86_F_XSAVE,
    X86_F_RDRAND,
    X86_F_FSGSBASE,
    X86_F_BMI1,
    X86_F_SMEP,
    X86_F_BMI2,
    X86_F_INVPCID,
    X86_F_RDSEED,
    X86_F_ADX,
    X86_F_SMAP,
    X86_F_CLFLUSHOPT,
    X86_F_CLWB,
    X86_F_SHA,
    X86_F_UMIP,
    X86_F_RDPID,
    X86_F_XSAVEOPT,
    X86_F_XSAVEC,
    X86_F_SYSCALL,
    X86_F_NX,
    X86_F_RDTSCP,
    X86_F_LONG,
    X86_F_LAHF64,
    X86_F_LZCNT,
    X86_F_PREFETCHW,
    X86_F_PCID,
    X86_F_PGE,
    X86_F_PSE,
    X86_F_PAE,
    X86_F_1G_PAGES,
    X86_F_AVX,
    X86_F_AVX2,
    X86_F_FMA,
    X86_F_F16C,
    X86_F_COUNT
} X86Feature;

/* A set of features, one bit each. */
typedef uint64_t X86Features;

#define X86_FEATURE(f) (UINT64_C(1) << (f))
#define X86_FEATURES_ALL ((UINT64_C(1) << X86_F_COUNT) - 1)

/*
 * False for instructions that are done by the host's own, which this host has not. In
 * execute-fma.c.
 */
bool x86_host_can(X86Feature feature);

#endif
