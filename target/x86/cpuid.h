/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Processor models: names, the features they announce, and what CPUID answers for them.
 */
#ifndef TARGET_X86_CPUID_H
#define TARGET_X86_CPUID_H

#include "target/x86/cpu.h"

/* Words of feature bits, by where CPUID has them. */
typedef enum {
    X86_WORD_1_ECX,
    X86_WORD_1_EDX,
    X86_WORD_6_EAX,
    X86_WORD_7_EBX,
    X86_WORD_7_ECX,
    X86_WORD_7_EDX,
    X86_WORD_D1_EAX,
    X86_WORD_EXT1_ECX, /* 80000001h */
    X86_WORD_EXT1_EDX,
    X86_WORD_EXT7_EDX, /* 80000007h */
    X86_WORD_EXT8_EBX, /* 80000008h */
    X86_WORD_SVM_EDX,  /* 8000000ah */
    X86_WORD_KVM_EAX,  /* 40000001h, of KVM: what it offers its guests */
    X86_WORDS,
} X86Word;

/* A feature by the name of the command line. */
typedef struct {
    const char *name; /* NULL ends the table */
    X86Word word;
    unsigned bit;
    bool emulated;
    X86Feature feature; /* X86_F_BASE: no instruction depends on it */
    bool bare; /* not emulated, but no state hangs on it: a host that has it can give it */
} X86FlagInfo;

extern const X86FlagInfo x86_flags[];
/* The flag called @name, in any of its spellings ("sse4.1", "sse4_1", "pni", "sse3"), or NULL. */
const X86FlagInfo *x86_flag_find(const char *name);

/* A model as the tables have it. */
typedef struct {
    const char *name; /* NULL ends the table */
    const char *doc;
    const char *vendor; /* 12 letters */
    const char *model_id;
    uint16_t family, model;
    uint8_t stepping;
    uint32_t level, xlevel; /* the last leaves */
    const char *flags;      /* names, by blanks; NULL: all that are emulated */
} X86ModelInfo;

extern const X86ModelInfo x86_models[];
const X86ModelInfo *x86_model_find(const char *name);

/* Processors that run guest code themselves. */
typedef struct {
    const X86ModelInfo *info; /* the model "host" */
    uint32_t word[X86_WORDS]; /* all that they can do */
    uint8_t physical_bits;
} X86Host;
/* The model called @name, also the one of @host, which may be NULL; NULL: none. */
const X86ModelInfo *x86_model_find_on(const char *name, const X86Host *host);

/* A model as a machine has it. */
typedef struct {
    const X86ModelInfo *info;
    uint32_t word[X86_WORDS];
    uint8_t physical_bits;
    bool hides_kvm;  /* guests are not told that it is KVM */
    bool is_checked; /* flags that are not there are worth a warning */
    bool is_enforced; /* and an error */
} X86Model;

/*
 * Reads what -cpu says: "MODEL,+flag,-flag,flag=on,enforce". Flags that are asked for and that
 * @host has not, or that are not emulated if that is NULL, are left out and appended to @missing
 * (of const char *, unless NULL). False with @err.
 */
bool x86_model_parse(X86Model *m, const char *text, const X86Host *host, GPtrArray *missing,
                     GError **err);
void x86_model_set(X86Model *m, const X86FlagInfo *f, bool on);
bool x86_model_has(const X86Model *m, const X86FlagInfo *f);

/* The instructions and registers that @m has. */
X86Features x86_model_features(const X86Model *m);

/* What CPUID answers on processor @index of @count, whose registers @cpu has. */
void x86_cpuid(const X86Model *m, const X86Cpu *cpu, unsigned index, unsigned count, uint32_t leaf,
               uint32_t subleaf, uint32_t out[4]);

#endif
