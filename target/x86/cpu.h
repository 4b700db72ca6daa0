/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The state of one x86 processor, as plain data, and how it stops in the middle of an instruction.
 *
 * A processor belongs to one thread. Only X86Cpu.events is touched by others.
 */
#ifndef TARGET_X86_CPU_H
#define TARGET_X86_CPU_H

#include "system/base/ram.h"
#include "target/x86/insn.h"
#include <setjmp.h>

/* ---- registers ------------------------------------------------------------------------------- */

/*
 * Access rights of a segment: bits 8 to 23 of the high half of its descriptor, without the limit.
 */
enum {
    X86_AR_TYPE = 15,
    X86_AR_ACCESSED = 1,
    X86_AR_WRITABLE = 2, /* of data; of code: readable */
    X86_AR_DOWN = 4,     /* of data; of code: conforming */
    X86_AR_CODE = 8,
    X86_AR_S = 1 << 4, /* code or data, not a system segment */
    X86_AR_DPL_SHIFT = 5,
    X86_AR_P = 1 << 7,
    X86_AR_AVL = 1 << 12,
    X86_AR_L = 1 << 13,
    X86_AR_DB = 1 << 14,
    X86_AR_G = 1 << 15,
};

typedef struct {
    uint16_t selector;
    uint16_t rights; /* 0 for a null selector */
    uint32_t limit;  /* the last byte, whatever the granularity */
    uint64_t base;
} X86Segment;

typedef struct {
    uint64_t base;
    uint16_t limit;
} X86Table;

enum { X86_SPARE_XMM = 16 }; /* from here on no guest sees them */

typedef union {
    uint8_t b[16];
    uint16_t w[8];
    uint32_t d[4];
    uint64_t q[2];
    int8_t sb[16];
    int16_t sw[8];
    int32_t sd[4];
    int64_t sq[2];
} X86Vector;

/* An x87 number; as an MMX register it is the mantissa. */
typedef struct {
    uint64_t mantissa;
    uint16_t sign_exponent;
} X87Number;

typedef struct {
    X87Number r[8]; /* physical: ST(i) is r[(top + i) & 7] */
    uint16_t control;
    uint16_t status;  /* without TOP */
    uint8_t top;      /* 0 to 7 */
    uint8_t in_use;   /* a bit for each physical register that is not empty */
    uint16_t opcode;  /* of the last instruction that was no control instruction: 11 bits */
    uint64_t ip, dp;  /* and its address, and that of its operand */
    uint16_t cs, ds;
} X87;

enum {
    X86_CR0_PE = 1 << 0,
    X86_CR0_MP = 1 << 1,
    X86_CR0_EM = 1 << 2,
    X86_CR0_TS = 1 << 3,
    X86_CR0_ET = 1 << 4,
    X86_CR0_NE = 1 << 5,
    X86_CR0_WP = 1 << 16,
    X86_CR0_AM = 1 << 18,
    X86_CR0_NW = 1 << 29,
    X86_CR0_CD = 1 << 30,
};
#define X86_CR0_PG (UINT32_C(1) << 31)

enum {
    X86_CR4_VME = 1 << 0,
    X86_CR4_PVI = 1 << 1,
    X86_CR4_TSD = 1 << 2,
    X86_CR4_DE = 1 << 3,
    X86_CR4_PSE = 1 << 4,
    X86_CR4_PAE = 1 << 5,
    X86_CR4_MCE = 1 << 6,
    X86_CR4_PGE = 1 << 7,
    X86_CR4_PCE = 1 << 8,
    X86_CR4_OSFXSR = 1 << 9,
    X86_CR4_OSXMMEXCPT = 1 << 10,
    X86_CR4_UMIP = 1 << 11,
    X86_CR4_FSGSBASE = 1 << 16,
    X86_CR4_PCIDE = 1 << 17,
    X86_CR4_OSXSAVE = 1 << 18,
    X86_CR4_SMEP = 1 << 20,
    X86_CR4_SMAP = 1 << 21,
};

enum {
    X86_EFER_SCE = 1 << 0,
    X86_EFER_LME = 1 << 8,
    X86_EFER_LMA = 1 << 10,
    X86_EFER_NXE = 1 << 11,
};

/* Exceptions. */
enum {
    X86_DE = 0,
    X86_DB = 1,
    X86_NMI = 2,
    X86_BP = 3,
    X86_OF_TRAP = 4,
    X86_BR = 5,
    X86_UD = 6,
    X86_NM = 7,
    X86_DOUBLE_FAULT = 8,
    X86_TS = 10,
    X86_NP = 11,
    X86_SS_FAULT = 12,
    X86_GP = 13,
    X86_PF_FAULT = 14,
    X86_MF = 16,
    X86_AC_FAULT = 17,
    X86_XM = 19,
};

/* Bits of the page fault's error code. */
enum {
    X86_PFE_P = 1,
    X86_PFE_W = 2,
    X86_PFE_U = 4,
    X86_PFE_RSVD = 8,
    X86_PFE_I = 16,
};

/* ---- what is outside ------------------------------------------------------------------------- */

/* What the machine does for its processors. Called on the processor's thread; all must be given. */
typedef struct {
    uint64_t (*port_read)(void *opaque, uint16_t port, unsigned size);
    void (*port_write)(void *opaque, uint16_t port, unsigned size, uint64_t value);
    /*
     * The vector of the interrupt that is to be served, which then counts as taken; -1 if none. It
     * is asked once X86_EVENT_INTERRUPT is set and the flags allow one, and again until it says -1.
     */
    int (*interrupt)(void *opaque);
    /* The time stamp counter before the guest's offset. */
    uint64_t (*tsc)(void *opaque);
    /* Model-specific registers and CR8 of devices (the APIC). False if there is none: #GP. */
    bool (*msr_read)(void *opaque, uint32_t index, uint64_t *value);
    bool (*msr_write)(void *opaque, uint32_t index, uint64_t value);
    /* Fills in a CPUID leaf: eax, ebx, ecx, edx. */
    void (*cpuid)(void *opaque, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
    /* CR8 was changed, which may change the next interrupt. NULL: nobody needs to know. */
    void (*priority)(void *opaque);
} X86Machine;

/* ---- the processor --------------------------------------------------------------------------- */

enum {
    X86_TLB_SIZE = 1024,
    X86_FAST_SIZE = 512,
    X86_BEHIND_SIZE = 1024,
    X86_JUMPS = 2048,
    X86_KEYS = 16,
    X86_FETCHED = 8192,
};

/* An instruction that was interpreted, so that it need not be decoded each time. */
typedef struct {
    uint64_t linear; /* X86_NO_JUMP if none */
    uint8_t code[16];
    X86Insn in;
} X86Fetched;

/* A page that translated code may use without asking: one compare, one addition. */
typedef struct {
    uint64_t page; /* linear, or ~0 */
    uint64_t add;  /* linear to host */
} X86FastEntry;

/* For whom: the supervisor, programs, and the supervisor whom SMAP lets use the programs' pages. */
enum { X86_FAST_SYSTEM, X86_FAST_USER, X86_FAST_LET, X86_FASTS };

/* Where translated code goes on at an address. */
typedef struct {
    uint64_t rip; /* X86_NO_JUMP if none */
    const uint8_t *code;
} X86Jump;
#define X86_NO_JUMP (UINT64_C(1) << 62) /* no canonical address */

/*
 * Pages and addresses for which tables have entries since they were emptied, so that emptying them
 * again need not look at all of them. The low bits say in which of several tables.
 */
enum { X86_FILLED = 1024 };
typedef struct {
    unsigned count; /* more than X86_FILLED: not all are known */
    uint64_t what[X86_FILLED];
} X86Filled;

/* One translation; see mmu.c. */
typedef struct {
    uint64_t page;     /* linear, or ~0 */
    uint64_t physical; /* of the page */
    uint8_t *host;     /* of the page, or NULL for registers of devices */
    uint16_t pcid;
    uint8_t rights; /* X86_TLB_* */
} X86TlbEntry;

/* Requests by other threads. */
enum {
    X86_EVENT_INTERRUPT = 1, /* ask X86Machine.interrupt */
    X86_EVENT_NMI = 2,
    X86_EVENT_STOP = 4, /* leave x86_interpret and x86_run */
    X86_EVENT_CODE = 8, /* code was written, or is to be watched: code-pages.c */
};

/* An exception or interrupt on its way. */
typedef struct {
    uint8_t vector;
    bool has_error;
    bool is_software; /* int n, int3, into: the gate's DPL counts */
    bool is_external; /* an interrupt or NMI */
    bool is_trap;     /* RIP is already that of the next instruction */
    uint32_t error;
} X86Exception;

/* ---- debuggers: debug.h ---------------------------------------------------------------------- */

typedef enum {
    X86_POINT_BREAK,
    X86_POINT_WRITE,
    X86_POINT_READ,
    X86_POINT_ACCESS, /* either */
} X86PointKind;

typedef struct {
    X86PointKind kind;
    uint64_t linear, len;
} X86Point;

enum { X86_POINTS = 64 };
typedef struct {
    X86Point point[X86_POINTS];
    unsigned breaks, watches; /* how many of them there are */
    bool is_hit;
    X86Point hit;      /* which */
    uint64_t accessed; /* and where */
} X86Debug;

typedef struct X86Cpu {
    uint64_t gpr[16];
    uint64_t rip;
    uint64_t next; /* while an instruction runs: where execution goes on if it does not raise */
    uint32_t flags; /* EFLAGS; X86_FIXED is set */
    X86Segment segment[X86_SEGMENTS];
    X86Segment ldt, task;
    X86Table gdt, idt;
    uint64_t cr0, cr2, cr3, cr4, cr8;
    uint64_t dr[8];
    uint64_t efer, xcr0;
    uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, tsc_aux, tsc_offset, misc_enable;
    X87 x87;
    X86Vector xmm[X86_SPARE_XMM + 2], ymm_high[16]; /* the YMM registers: low and high halves */
    uint32_t mxcsr;
    uint64_t pdpte[4]; /* PAE without long mode: loaded with CR3 */
    X86Features features;
    uint8_t physical_bits;

    /* What follows from the above; x86_update_mode. */
    X86DecodeMode mode;
    uint8_t cpl;
    uint8_t stack_size; /* bytes of the stack pointer: 2, 4, 8 */
    bool is_long;       /* EFER.LMA */

    bool halted, shadow /* after mov ss and sti */, nmi_blocked;
    /* While an operation runs lane by lane: what its floating point has raised. */
    bool gathers_raised;
    uint32_t raised;
    uint8_t data_breakpoints; /* DR6 bits hit by the current instruction */
    uint32_t events;          /* atomic */

    X86Exception exception; /* the one x86_raise was called for */
    bool delivering;        /* an exception raised now is raised by the delivery of that one */
    X86Exception delivered; /* which one */
    bool stop_at_exceptions; /* tests: x86_interpret returns instead of delivering */
    jmp_buf *trap;           /* where x86_raise goes */

    MemoryMap *memory;
    const X86Machine *machine;
    void *machine_opaque;

    /*
     * Translated code; translate.h. Outside 64-bit mode: the last offset of each segment that may
     * be read and written with no other check, or -1, and a bit for each that is the whole memory.
     */
    int64_t bound[X86_SEGMENTS][2];
    uint8_t flat;
    struct X86CodePages *code_pages;  /* shared by all processors; code-pages.h */
    struct X86Translator *translator; /* NULL: everything is interpreted */
    /*
     * The budget of x86_run. While the interpreter does an instruction of a block, those of the
     * block behind it have been taken from @left, too: they are @untouched.
     */
    bool counts;
    uint32_t untouched;
    uint64_t left;
    uint32_t ignored; /* of the events: looked at, and nothing to be done before the flags change */
    uint8_t *chain_from; /* the jump that can be made to lead to the block that comes next */
    uint16_t packed_flags; /* the arithmetic flags while translated code runs: SETO, then LAHF */
    bool has_wide;        /* with their upper halves */
    uint8_t vectors_live; /* the guest's XMM registers and MXCSR are in the host's */
    uint8_t x87_live;     /* the guest's x87 state is in the host's x87 */
    uint8_t x87_saved;    /* x87_image is newer than x87 */
    uint32_t host_mxcsr, run_mxcsr;
    uint64_t scratch;
    uint8_t x87_image[108]; /* as fnsave writes it */

    /* Tables, which x86_reset empties; what stands before them it clears. */
    X86TlbEntry tlb[X86_TLB_SIZE];
    X86FastEntry fast[X86_FASTS][2][X86_FAST_SIZE]; /* to read and to write */
    X86FastEntry behind[X86_FASTS][2][X86_BEHIND_SIZE]; /* the same by another hash: asked next */
    X86Jump jumps[X86_KEYS][X86_JUMPS];
    bool tables_made;
    /* Entries of pages that are not global, and of those that are. */
    X86Filled tlb_filled, fast_filled, jumps_filled;
    X86Filled tlb_global, fast_global, jumps_global;
    uint64_t jump_pages[16]; /* a bit for the hash of each page with an entry in jumps */
    uint64_t large_pages[16]; /* likewise for each page larger than 4 KiB with an entry in tlb */

    /* The page that the interpreter fetched from last, while the state that let it is the same. */
    struct {
        uint64_t page; /* X86_NO_JUMP if none */
        const uint8_t *host;
        uint64_t cr4;
        uint8_t cpl;
    } window;

    X86Debug debug;
    X86Fetched fetched[X86_FETCHED];
} X86Cpu;

/* Puts @cpu, of which memory, machine and features stay, into the state after power-on. */
void x86_reset(X86Cpu *cpu);

/* Asks for @events, from any thread. */
static inline void x86_request(X86Cpu *cpu, uint32_t events)
{
    __atomic_or_fetch(&cpu->events, events, __ATOMIC_ACQ_REL);
}

/* To be called after CS, SS, CR0, EFER or EFLAGS.VM changed otherwise than by an instruction. */
void x86_update_mode(X86Cpu *cpu);

static inline bool x86_is_real(const X86Cpu *cpu)
{
    return !(cpu->cr0 & X86_CR0_PE);
}

static inline bool x86_is_v86(const X86Cpu *cpu)
{
    return cpu->flags & X86_VM;
}

static inline bool x86_has(const X86Cpu *cpu, X86Feature f)
{
    return cpu->features & X86_FEATURE(f);
}

static inline unsigned x86_iopl(const X86Cpu *cpu)
{
    return cpu->flags >> 12 & 3;
}

static inline unsigned x86_dpl(const X86Segment *s)
{
    return s->rights >> X86_AR_DPL_SHIFT & 3;
}

/* Abandons the instruction: nothing it has to write has been written. */
void x86_raise(X86Cpu *cpu, unsigned vector) G_GNUC_NORETURN;
void x86_raise_error(X86Cpu *cpu, unsigned vector, uint32_t error) G_GNUC_NORETURN;

/* ---- running --------------------------------------------------------------------------------- */

typedef enum {
    X86_RAN,       /* the budget is used up, or X86_EVENT_STOP */
    X86_HALTED,    /* hlt, and no event */
    X86_SHUTDOWN,  /* triple fault */
    X86_DEBUGGED,  /* debug.h: a point was hit, or the step is done */
    X86_EXCEPTION, /* stop_at_exceptions: see X86Cpu.exception; RIP is that of the instruction */
} X86Exit;

/* Interprets at most @budget instructions (each turn of a rep counts). */
X86Exit x86_interpret(X86Cpu *cpu, uint64_t budget);

/* Delivers @e through the IDT. May raise another exception. */
void x86_deliver(X86Cpu *cpu, const X86Exception *e);

#endif
