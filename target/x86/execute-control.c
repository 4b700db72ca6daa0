/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Control, debug and model-specific registers, CPUID, the time stamp counter, random numbers. */
#include "target/x86/execute.h"
#include "target/x86/log.h"
#include "target/x86/segment.h"
#include <unistd.h>

static void G_GNUC_NORETURN refuse(X86Cpu *cpu)
{
    x86_raise_error(cpu, X86_GP, 0);
}

/* ---- control registers ----------------------------------------------------------------------- */

static void tell_paging(const X86Cpu *cpu)
{
    if (x86_logs(X86_LOG_PAGING))
        x86_log_hook->paging(cpu);
}

static void set_cr0(X86Cpu *cpu, uint64_t v)
{
    const uint64_t known = X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET |
        X86_CR0_NE |
                           X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | X86_CR0_PG;
    uint64_t changed;

    if (v >> 32 || (v & X86_CR0_PG && !(v & X86_CR0_PE)) || (v & X86_CR0_NW && !(v & X86_CR0_CD)))
        refuse(cpu);
    v = (v & known) | X86_CR0_ET;
    changed = v ^ cpu->cr0;
    if (changed & X86_CR0_PG) {
        bool to_long = v & X86_CR0_PG && cpu->efer & X86_EFER_LME;

        if (to_long && (!(cpu->cr4 & X86_CR4_PAE) || cpu->segment[X86_CS].rights & X86_AR_L))
            refuse(cpu);
        if (!(v & X86_CR0_PG) && (cpu->mode.bits == 64 || cpu->cr4 & X86_CR4_PCIDE))
            refuse(cpu);
        if (v & X86_CR0_PG && !to_long && cpu->cr4 & X86_CR4_PAE && !x86_load_pdptes(cpu, cpu->cr3))
            refuse(cpu);
        cpu->efer = (cpu->efer & ~(uint64_t)X86_EFER_LMA) | (to_long ? X86_EFER_LMA : 0);
    }
    cpu->cr0 = v;
    if (changed & (X86_CR0_PG | X86_CR0_PE | X86_CR0_WP))
        x86_tlb_flush(cpu);
    x86_update_mode(cpu);
    tell_paging(cpu);
}

static void set_cr3(X86Cpu *cpu, uint64_t v)
{
    bool keep = cpu->cr4 & X86_CR4_PCIDE && v >> 63;

    if (cpu->cr4 & X86_CR4_PCIDE)
        v &= UINT64_MAX >> 1;
    if (cpu->is_long && v >> cpu->physical_bits)
        refuse(cpu);
    if (!cpu->is_long && cpu->cr0 & X86_CR0_PG && cpu->cr4 & X86_CR4_PAE &&
        !x86_load_pdptes(cpu, v))
        refuse(cpu);
    cpu->cr3 = v;
    tell_paging(cpu);
    x86_leave_address_space(cpu);
    if (keep)
        return;
    if (cpu->cr4 & X86_CR4_PCIDE)
        x86_tlb_flush_local(cpu, v & 0xfff);
    else
        x86_tlb_flush_nonglobal(cpu);
}

/* The bits of CR4 that the processor's features make known. */
static uint64_t known_cr4(const X86Cpu *cpu)
{
    static const struct {
        uint32_t bit;
        X86Feature feature;
    } bits[] = {
        { X86_CR4_TSD, X86_F_TSC }, { X86_CR4_PSE, X86_F_PSE }, { X86_CR4_PAE, X86_F_PAE },
        { X86_CR4_PGE, X86_F_PGE }, { X86_CR4_OSFXSR, X86_F_FXSR },
            { X86_CR4_OSXMMEXCPT, X86_F_SSE },
        { X86_CR4_UMIP, X86_F_UMIP }, { X86_CR4_FSGSBASE, X86_F_FSGSBASE },
        { X86_CR4_PCIDE, X86_F_PCID }, { X86_CR4_OSXSAVE, X86_F_XSAVE },
            { X86_CR4_SMEP, X86_F_SMEP },
        { X86_CR4_SMAP, X86_F_SMAP },
    };
    uint64_t known = X86_CR4_DE | X86_CR4_MCE | X86_CR4_PCE;

    for (size_t i = 0; i < G_N_ELEMENTS(bits); i++)
        if (x86_has(cpu, bits[i].feature))
            known |= bits[i].bit;
    return known;
}

static void set_cr4(X86Cpu *cpu, uint64_t v)
{
    uint64_t changed = v ^ cpu->cr4;

    if (v & ~known_cr4(cpu) || (cpu->is_long && !(v & X86_CR4_PAE)))
        refuse(cpu);
    if (changed & v & X86_CR4_PCIDE && (!cpu->is_long || cpu->cr3 & 0xfff))
        refuse(cpu);
    if (changed & X86_CR4_PAE && v & X86_CR4_PAE && cpu->cr0 & X86_CR0_PG && !cpu->is_long &&
        !x86_load_pdptes(cpu, cpu->cr3))
        refuse(cpu);
    cpu->cr4 = v;
    if (changed & (X86_CR4_PGE | X86_CR4_PSE | X86_CR4_PAE | X86_CR4_PCIDE | X86_CR4_SMEP |
                   X86_CR4_SMAP))
        x86_tlb_flush(cpu);
    tell_paging(cpu);
}

EXEC(mov_to_cr)
{
    uint64_t v = x86_get(cpu, in, 1);

    switch (in->operand[0].reg) {
    case 0:
        set_cr0(cpu, v);
        break;
    case 2:
        cpu->cr2 = v;
        break;
    case 3:
        set_cr3(cpu, v);
        break;
    case 4:
        set_cr4(cpu, v);
        break;
    case 8:
        if (v > 15)
            refuse(cpu);
        cpu->cr8 = v;
        if (cpu->machine->priority)
            cpu->machine->priority(cpu->machine_opaque);
        break;
    default:
        x86_raise(cpu, X86_UD);
    }
}

EXEC(mov_from_cr)
{
    switch (in->operand[1].reg) {
    case 0:
        x86_set(cpu, in, 0, cpu->cr0);
        break;
    case 2:
        x86_set(cpu, in, 0, cpu->cr2);
        break;
    case 3:
        x86_set(cpu, in, 0, cpu->cr3);
        break;
    case 4:
        x86_set(cpu, in, 0, cpu->cr4);
        break;
    case 8:
        x86_set(cpu, in, 0, cpu->cr8);
        break;
    default:
        x86_raise(cpu, X86_UD);
    }
}

EXEC(smsw)
{
    if (cpu->cpl && cpu->cr4 & X86_CR4_UMIP)
        refuse(cpu);
    x86_set(cpu, in, 0, cpu->cr0);
}

/* Sets the four low bits; PE cannot be cleared. */
EXEC(lmsw)
{
    uint64_t v = x86_get(cpu, in, 0) & 15;

    set_cr0(cpu, (cpu->cr0 & ~UINT64_C(14)) | v);
}

EXEC(clts)
{
    cpu->cr0 &= ~(uint64_t)X86_CR0_TS;
}

/* ---- translations ---------------------------------------------------------------------------- */

EXEC(invlpg)
{
    uint64_t linear = x86_offset(cpu, in);

    if (cpu->mode.bits != 64 || in->mem.segment >= X86_FS)
        linear += cpu->segment[in->mem.segment].base;
    x86_tlb_flush_page(cpu, cpu->is_long ? linear : (uint32_t)linear);
}

EXEC(invpcid)
{
    uint64_t type = x86_get(cpu, in, 0), what[2];

    x86_read_mem(cpu, in, 0, what, sizeof(what));
    if (type > 3 || what[0] >> 12 || (type < 2 && what[0] && !(cpu->cr4 & X86_CR4_PCIDE)))
        refuse(cpu);
    switch (type) {
    case 0:
        if (!x86_is_canonical(what[1]))
            refuse(cpu);
        x86_tlb_flush_page(cpu, what[1]);
        break;
    case 1:
        x86_tlb_flush_local(cpu, what[0]);
        break;
    case 2:
        x86_tlb_flush(cpu);
        break;
    default:
        x86_tlb_flush_nonglobal(cpu);
    }
}

/* There is no cache to write back. */
EXEC(invd)
{
}

EXEC(wbinvd)
{
}

/* ---- debug registers ------------------------------------------------------------------------- */

enum { DR7_GD = 1 << 13, DR6_BD = 1 << 13 };

/* DR4 and DR5 are other names of DR6 and DR7 unless CR4.DE forbids it. */
static unsigned debug_register(X86Cpu *cpu, unsigned reg)
{
    if (reg == 4 || reg == 5) {
        if (cpu->cr4 & X86_CR4_DE)
            x86_raise(cpu, X86_UD);
        reg += 2;
    }
    if (cpu->dr[7] & DR7_GD) {
        cpu->dr[7] &= ~(uint64_t)DR7_GD;
        cpu->dr[6] |= DR6_BD;
        x86_raise(cpu, X86_DB);
    }
    return reg;
}

EXEC(mov_from_dr)
{
    x86_set(cpu, in, 0, cpu->dr[debug_register(cpu, in->operand[1].reg)]);
}

EXEC(mov_to_dr)
{
    unsigned reg = debug_register(cpu, in->operand[0].reg);
    uint64_t v = x86_get(cpu, in, 1);

    if (reg >= 6 && v >> 32)
        refuse(cpu);
    if (reg == 6)
        v = (v & 0xe00f) | 0xffff0ff0;
    else if (reg == 7)
        v = (v & 0xffff2bff) | 0x400;
    cpu->dr[reg] = v;
}

/* ---- model-specific registers ---------------------------------------------------------------- */

enum {
    MSR_TSC = 0x10,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP = 0x175,
    MSR_SYSENTER_EIP = 0x176,
    MSR_MISC_ENABLE = 0x1a0,
    MSR_PAT = 0x277,
};
#define MSR_EFER UINT32_C(0xc0000080)
#define MSR_STAR UINT32_C(0xc0000081)
#define MSR_LSTAR UINT32_C(0xc0000082)
#define MSR_CSTAR UINT32_C(0xc0000083)
#define MSR_SFMASK UINT32_C(0xc0000084)
#define MSR_FS_BASE UINT32_C(0xc0000100)
#define MSR_GS_BASE UINT32_C(0xc0000101)
#define MSR_KERNEL_GS_BASE UINT32_C(0xc0000102)
#define MSR_TSC_AUX UINT32_C(0xc0000103)

static uint64_t time_stamp(X86Cpu *cpu)
{
    return cpu->machine->tsc(cpu->machine_opaque) + cpu->tsc_offset;
}

/* The registers that just hold a value; NULL for others. */
static uint64_t *plain_msr(X86Cpu *cpu, uint32_t index, bool *is_address)
{
    *is_address = false;
    switch (index) {
    case MSR_SYSENTER_CS:
        return &cpu->sysenter_cs;
    case MSR_MISC_ENABLE:
        return &cpu->misc_enable;
    case MSR_STAR:
        return &cpu->star;
    case MSR_SFMASK:
        return &cpu->sfmask;
    case MSR_TSC_AUX:
        return &cpu->tsc_aux;
    }
    *is_address = true;
    switch (index) {
    case MSR_SYSENTER_ESP:
        return &cpu->sysenter_esp;
    case MSR_SYSENTER_EIP:
        return &cpu->sysenter_eip;
    case MSR_LSTAR:
        return &cpu->lstar;
    case MSR_CSTAR:
        return &cpu->cstar;
    case MSR_FS_BASE:
        return &cpu->segment[X86_FS].base;
    case MSR_GS_BASE:
        return &cpu->segment[X86_GS].base;
    case MSR_KERNEL_GS_BASE:
        return &cpu->kernel_gs_base;
    default:
        return NULL;
    }
}

/* Registers of 64-bit processors and of single features do not exist without them. */
static bool msr_exists(const X86Cpu *cpu, uint32_t index)
{
    if (index == MSR_TSC_AUX)
        return x86_has(cpu, X86_F_RDTSCP) || x86_has(cpu, X86_F_RDPID);
    if (index >= MSR_LSTAR && index <= MSR_KERNEL_GS_BASE)
        return x86_has(cpu, X86_F_LONG);
    if (index >= MSR_SYSENTER_CS && index <= MSR_SYSENTER_EIP)
        return x86_has(cpu, X86_F_SEP);
    return true;
}

static void set_efer(X86Cpu *cpu, uint64_t v)
{
    uint64_t known = X86_EFER_LMA | (x86_has(cpu, X86_F_SYSCALL) ? X86_EFER_SCE : 0) |
                     (x86_has(cpu, X86_F_LONG) ? X86_EFER_LME : 0) |
                     (x86_has(cpu, X86_F_NX) ? X86_EFER_NXE : 0);

    if (v & ~known || ((v ^ cpu->efer) & X86_EFER_LME && cpu->cr0 & X86_CR0_PG))
        refuse(cpu);
    if ((v ^ cpu->efer) & X86_EFER_NXE)
        x86_tlb_flush(cpu);
    cpu->efer = (v & ~(uint64_t)X86_EFER_LMA) | (cpu->efer & X86_EFER_LMA);
}

/* Each byte is a memory type: 0, 1, 4, 5, 6 or 7. */
static bool is_valid_pat(uint64_t v)
{
    for (unsigned i = 0; i < 8; i++, v >>= 8)
        if ((v & 0xff) > 7 || (v & 0xff) == 2 || (v & 0xff) == 3)
            return false;
    return true;
}

static void set_pat(X86Cpu *cpu, uint64_t v)
{
    if (!is_valid_pat(v))
        refuse(cpu);
    cpu->pat = v;
}

EXEC(rdmsr)
{
    uint32_t index = cpu->gpr[X86_RCX];
    bool is_address;
    uint64_t *plain = msr_exists(cpu, index) ? plain_msr(cpu, index, &is_address) : NULL, v;

    if (plain)
        v = *plain;
    else if (index == MSR_TSC)
        v = time_stamp(cpu);
    else if (index == MSR_EFER)
        v = cpu->efer;
    else if (index == MSR_PAT)
        v = cpu->pat;
    else if (!cpu->machine->msr_read(cpu->machine_opaque, index, &v))
        refuse(cpu);
    x86_set_reg(cpu, X86_RAX, 4, v);
    x86_set_reg(cpu, X86_RDX, 4, v >> 32);
}

EXEC(wrmsr)
{
    uint32_t index = cpu->gpr[X86_RCX];
    uint64_t v = x86_reg(cpu, X86_RAX, 4) | x86_reg(cpu, X86_RDX, 4) << 32;
    bool is_address;
    uint64_t *plain = msr_exists(cpu, index) ? plain_msr(cpu, index, &is_address) : NULL;

    if (plain) {
        if ((is_address && !x86_is_canonical(v)) || (index == MSR_TSC_AUX && v >> 32))
            refuse(cpu);
        *plain = v;
    } else if (index == MSR_TSC) {
        cpu->tsc_offset += v - time_stamp(cpu);
    } else if (index == MSR_EFER) {
        set_efer(cpu, v);
    } else if (index == MSR_PAT) {
        set_pat(cpu, v);
    } else if (!cpu->machine->msr_write(cpu->machine_opaque, index, v)) {
        refuse(cpu);
    }
}

/* ---- what programs may ask for --------------------------------------------------------------- */

EXEC(cpuid)
{
    uint32_t out[4];

    cpu->machine->cpuid(cpu->machine_opaque, cpu->gpr[X86_RAX], cpu->gpr[X86_RCX], out);
    cpu->gpr[X86_RAX] = out[0];
    cpu->gpr[X86_RBX] = out[1];
    cpu->gpr[X86_RCX] = out[2];
    cpu->gpr[X86_RDX] = out[3];
}

static void read_time_stamp(X86Cpu *cpu)
{
    uint64_t v;

    if (cpu->cr4 & X86_CR4_TSD && cpu->cpl)
        refuse(cpu);
    v = time_stamp(cpu);
    x86_set_reg(cpu, X86_RAX, 4, v);
    x86_set_reg(cpu, X86_RDX, 4, v >> 32);
}

EXEC(rdtsc)
{
    read_time_stamp(cpu);
}

EXEC(rdtscp)
{
    read_time_stamp(cpu);
    x86_set_reg(cpu, X86_RCX, 4, cpu->tsc_aux);
}

EXEC(rdpid)
{
    x86_set(cpu, in, 0, cpu->tsc_aux);
}

/* There are no performance counters. */
EXEC(rdpmc)
{
    refuse(cpu);
}

static void random_number(X86Cpu *cpu, const X86Insn *in)
{
    uint64_t v;
    bool got = getentropy(&v, sizeof(v)) == 0;

    x86_set(cpu, in, 0, got ? v : 0);
    x86_set_flags(cpu, X86_ARITH, x86_flag_if(got, X86_CF));
}

EXEC(rdrand)
{
    random_number(cpu, in);
}

EXEC(rdseed)
{
    random_number(cpu, in);
}
