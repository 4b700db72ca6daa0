/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Processors in migration streams: sections 'cpu_common' and 'cpu'. */
#include "system/vcpu-state.h"
#include "system/accel.h"
#include "target/x86/mmu.h"
#include "util/err.h"
#include <string.h>

G_STATIC_ASSERT(sizeof(((X86Cpu *)0)->ymm_high) == 16 * 16);

/* ---- images ---------------------------------------------------------------------------------- */

typedef struct {
    uint32_t halted, requests;
    bool has_exception, has_crash;
    int32_t exception;
    bool crash;
} CommonImage;

typedef struct {
    uint32_t selector;
    uint64_t base;
    uint32_t limit, flags;
} SegmentImage;

typedef struct {
    uint64_t mantissa;
    uint16_t sign_exponent;
} NumberImage;

typedef struct {
    uint64_t low, high;
} PairImage;

typedef struct {
    uint64_t gpr[16], rip, flags;
    uint32_t mode;
    uint16_t x87_control, x87_status, x87_tags, x87_format;
    NumberImage x87[8];
    SegmentImage segment[X86_SEGMENTS], ldt, task, gdt, idt;
    uint32_t sysenter_cs;
    uint64_t sysenter_esp, sysenter_eip, cr0, cr2, cr3, cr4, dr[8];
    int32_t a20;
    uint32_t mxcsr;
    PairImage xmm[16];
    uint64_t efer, star, lstar, cstar, sfmask, kernel_gs_base;
    uint32_t smbase;
    uint64_t pat;
    uint32_t mode2;
    uint64_t svm[4];
    uint16_t intercepts[4];
    uint32_t intercept_exceptions;
    uint8_t virtual_tpr;
    uint64_t mtrr_fixed[FIXED_MTRRS], mtrr_default;
    PairImage mtrr_variable[VARIABLE_MTRRS];
    int32_t interrupt_injected;
    uint32_t mp_state;
    uint64_t tsc;
    int32_t exception;
    uint8_t soft_interrupt, nmi_injected, nmi_pending, has_error_code;
    uint32_t start_vector;
    uint64_t mcg_cap, mcg_status, mcg_ctl, mce_banks[MCE_REGISTERS], tsc_aux, system_time,
        wall_clock, xcr0, xstate;
    PairImage ymm[16];
    bool has_poll, has_last_x87, has_tsc_adjust, has_deadline, has_misc, has_khz;
    uint64_t poll, x87_ip, x87_dp, tsc_adjust, deadline, misc, khz;
    uint16_t x87_opcode;
} CpuImage;

/* ---- layouts --------------------------------------------------------------------------------- */

static const StateField common_fields[] = {
    STATE_U("halted", CommonImage, halted), STATE_U("interrupt_request", CommonImage, requests), {}
};
static const StateField exception_fields[] = {
    STATE_S("exception_index", CommonImage, exception), {}
};
static const StateField crash_fields[] = { STATE_B("crash_occurred", CommonImage, crash), {} };
static const StateLayout exception_layout = {
    "cpu_common/exception_index", 1, 1, sizeof(CommonImage), exception_fields, NULL,
    offsetof(CommonImage, has_exception)
};
static const StateLayout crash_layout = {
    "cpu_common/crash_occurred", 1, 1, sizeof(CommonImage), crash_fields, NULL,
    offsetof(CommonImage, has_crash)
};
static const StateLayout *const common_parts[] = { &exception_layout, &crash_layout, NULL };
static const StateLayout common_layout = {
    "cpu_common", 1, 1, sizeof(CommonImage), common_fields, common_parts
};

static const StateField segment_fields[] = {
    STATE_U("selector", SegmentImage, selector), STATE_U("base", SegmentImage, base),
    STATE_U("limit", SegmentImage, limit), STATE_U("flags", SegmentImage, flags), {}
};
static const StateLayout segment_layout = { "segment", 1, 1, sizeof(SegmentImage), segment_fields };
static const StateField number_fields[] = {
    STATE_U("mantissa", NumberImage, mantissa), STATE_U("exponent", NumberImage, sign_exponent), {}
};
static const StateLayout number_layout = { "fpreg", 1, 1, sizeof(NumberImage), number_fields };
static const StateField xmm_fields[] = {
    STATE_U("_q_ZMMReg[0]", PairImage, low), STATE_U("_q_ZMMReg[1]", PairImage, high), {}
};
static const StateLayout xmm_layout = { "xmm_reg", 1, 1, sizeof(PairImage), xmm_fields };
static const StateField ymm_fields[] = {
    STATE_U("_q_ZMMReg[2]", PairImage, low), STATE_U("_q_ZMMReg[3]", PairImage, high), {}
};
static const StateLayout ymm_layout = { "ymmh_reg", 1, 1, sizeof(PairImage), ymm_fields };
static const StateField mtrr_fields[] = {
    STATE_U("base", PairImage, low), STATE_U("mask", PairImage, high), {}
};
static const StateLayout mtrr_layout = { "mtrr_var", 1, 1, sizeof(PairImage), mtrr_fields };

#define U(name, member) STATE_U(name, CpuImage, member)
#define US(name, member) STATE_US(name, CpuImage, member)
#define SEGMENT(name, member) STATE_INNER(name, CpuImage, member, &segment_layout)
static const StateField cpu_fields[] = {
    US("env.regs", gpr), U("env.eip", rip), U("env.eflags", flags), U("env.hflags", mode),
    U("env.fpuc", x87_control), U("env.fpus_vmstate", x87_status), U("env.fptag_vmstate", x87_tags),
    U("env.fpregs_format_vmstate", x87_format),
    STATE_INNERS("env.fpregs", CpuImage, x87, &number_layout),
    STATE_INNERS("env.segs", CpuImage, segment, &segment_layout), SEGMENT("env.ldt", ldt),
    SEGMENT("env.tr", task), SEGMENT("env.gdt", gdt), SEGMENT("env.idt", idt),
    U("env.sysenter_cs", sysenter_cs), U("env.sysenter_esp", sysenter_esp),
    U("env.sysenter_eip", sysenter_eip), U("env.cr[0]", cr0), U("env.cr[2]", cr2),
    U("env.cr[3]", cr3), U("env.cr[4]", cr4), US("env.dr", dr),
    STATE_S("env.a20_mask", CpuImage, a20),
    U("env.mxcsr", mxcsr), STATE_INNERS("env.xmm_regs[0]", CpuImage, xmm, &xmm_layout),
    U("env.efer", efer), U("env.star", star), U("env.lstar", lstar), U("env.cstar", cstar),
    U("env.fmask", sfmask), U("env.kernelgsbase", kernel_gs_base), U("env.smbase", smbase),
    U("env.pat", pat), U("env.hflags2", mode2), U("env.vm_hsave", svm[0]), U("env.vm_vmcb", svm[1]),
    U("env.tsc_offset", svm[2]), U("env.intercept", svm[3]),
    U("env.intercept_cr_read", intercepts[0]), U("env.intercept_cr_write", intercepts[1]),
    U("env.intercept_dr_read", intercepts[2]), U("env.intercept_dr_write", intercepts[3]),
    U("env.intercept_exceptions", intercept_exceptions), U("env.v_tpr", virtual_tpr),
    US("env.mtrr_fixed", mtrr_fixed), U("env.mtrr_deftype", mtrr_default),
    STATE_INNERS("env.mtrr_var", CpuImage, mtrr_variable, &mtrr_layout),
    STATE_S("env.interrupt_injected", CpuImage, interrupt_injected), U("env.mp_state", mp_state),
    U("env.tsc", tsc), STATE_S("env.exception_nr", CpuImage, exception),
    U("env.soft_interrupt", soft_interrupt), U("env.nmi_injected", nmi_injected),
    U("env.nmi_pending", nmi_pending), U("env.has_error_code", has_error_code),
    U("env.sipi_vector", start_vector), U("env.mcg_cap", mcg_cap), U("env.mcg_status", mcg_status),
    U("env.mcg_ctl", mcg_ctl), US("env.mce_banks", mce_banks), U("env.tsc_aux", tsc_aux),
    U("env.system_time_msr", system_time), U("env.wall_clock_msr", wall_clock),
    U("env.xcr0", xcr0), U("env.xstate_bv", xstate),
    STATE_INNERS("env.xmm_regs[1]", CpuImage, ymm, &ymm_layout), {}
};

static const StateField poll_fields[] = { U("env.poll_control_msr", poll), {} };
static const StateField last_x87_fields[] = {
    U("env.fpop", x87_opcode), U("env.fpip", x87_ip), U("env.fpdp", x87_dp), {}
};
static const StateField tsc_adjust_fields[] = { U("env.tsc_adjust", tsc_adjust), {} };
static const StateField deadline_fields[] = { U("env.tsc_deadline", deadline), {} };
static const StateField misc_fields[] = { U("env.msr_ia32_misc_enable", misc), {} };
static const StateField khz_fields[] = { U("env.tsc_khz", khz), {} };
#define PART(part, title, presence)                                                                \
    static const StateLayout part##_layout = {                                                     \
        title, 1, 1, sizeof(CpuImage), part##_fields, NULL, offsetof(CpuImage, presence)           \
    }
PART(last_x87, "cpu/fpop_ip_dp", has_last_x87);
PART(tsc_adjust, "cpu/msr_tsc_adjust", has_tsc_adjust);
PART(deadline, "cpu/msr_tscdeadline", has_deadline);
PART(misc, "cpu/msr_ia32_misc_enable", has_misc);
PART(poll, "cpu/poll_control_msr", has_poll);
PART(khz, "cpu/tsc_khz", has_khz);
static const StateLayout *const cpu_parts[] = { &last_x87_layout,
                                                &tsc_adjust_layout,
                                                &deadline_layout,
                                                &misc_layout,
                                                &poll_layout,
                                                &khz_layout,
                                                NULL };
static const StateLayout cpu_layout = { "cpu", 12, 12, sizeof(CpuImage), cpu_fields, cpu_parts };

/* ---- what follows from registers, and others keep -------------------------------------------- */

enum {
    MODE_SHADOW = 1 << 3, MODE_CS32 = 1 << 4, MODE_SS32 = 1 << 5, MODE_BASES = 1 << 6,
    MODE_PROTECTED = 1 << 7, MODE_MP_SHIFT = 9, MODE_LONG = 1 << 14, MODE_CS64 = 1 << 15,
    MODE_FXSR = 1 << 22, MODE_SMAP = 1 << 23, MODE_UMIP = 1 << 27, MODE_AVX = 1 << 28,
    MODE2_GIF = 1, MODE2_NMI = 1 << 2, MODE2_RESET = 1 << 8,
    REQUEST_INTERRUPT = 2, REQUEST_NMI = 0x200,
    XCR0_AVX = 6, XCR0_KNOWN = 7, A20_OPEN = -1, NONE = -1, SMBASE = 0x30000,
};
#define MCG_CAP UINT64_C(0x100010a)

static uint32_t mode_bits(const X86Cpu *c)
{
    const X86Segment *s = c->segment;
    bool is_64 = c->is_long && s[X86_CS].rights & X86_AR_L;
    bool code_32 = s[X86_CS].rights & X86_AR_DB;
    uint32_t m = c->cpl | (c->cr0 & (X86_CR0_MP | X86_CR0_EM | X86_CR0_TS)) << (MODE_MP_SHIFT - 1);

    m |= c->shadow ? MODE_SHADOW : 0;
    m |= code_32 || is_64 ? MODE_CS32 : 0;
    m |= s[X86_SS].rights & X86_AR_DB || is_64 ? MODE_SS32 : 0;
    m |= c->cr0 & X86_CR0_PE ? MODE_PROTECTED : 0;
    m |= c->is_long ? MODE_LONG : 0;
    m |= is_64 ? MODE_CS64 : 0;
    m |= c->cr4 & X86_CR4_OSFXSR ? MODE_FXSR : 0;
    m |= c->cr4 & X86_CR4_SMAP ? MODE_SMAP : 0;
    m |= c->cr4 & X86_CR4_UMIP ? MODE_UMIP : 0;
    m |= c->cr4 & X86_CR4_OSXSAVE && (c->xcr0 & XCR0_AVX) == XCR0_AVX ? MODE_AVX : 0;
    if (!is_64 && (x86_is_real(c) || x86_is_v86(c) || !code_32 || s[X86_DS].base ||
                   s[X86_ES].base || s[X86_SS].base))
        m |= MODE_BASES;
    return m;
}

void vcpu_kept_reset(VcpuKept *k)
{
    *k = (VcpuKept){ .smbase = SMBASE, .mcg_cap = MCG_CAP, .mcg_ctl = UINT64_MAX };
    for (unsigned i = 0; i < MCE_REGISTERS; i += 4)
        k->mce_banks[i] = UINT64_MAX;
}

/* ---- saving ---------------------------------------------------------------------------------- */

static void common_save(void *opaque, unsigned n, void *image)
{
    Vcpu *v = opaque;
    const X86Cpu *c = vcpu_cpu(v);
    CommonImage *i = image;

    i->halted = c->halted || vcpu_waits_for_start(v);
    i->requests = (c->events & X86_EVENT_INTERRUPT ? REQUEST_INTERRUPT : 0) |
                  (c->events & X86_EVENT_NMI ? REQUEST_NMI : 0);
}

static SegmentImage save_segment(const X86Segment *s)
{
    /* The limit's bits 16 to 19 stand in the descriptor's second half, in its unit. */
    uint32_t limit = s->rights & X86_AR_G ? s->limit >> 12 : s->limit;

    return (SegmentImage){ s->selector, s->base, s->limit,
                           (uint32_t)s->rights << 8 | (limit & 0xf0000) };
}

static void save_x87(CpuImage *i, const X87 *x)
{
    i->x87_control = x->control;
    i->x87_status = x->status | x->top << 11;
    i->x87_tags = x->in_use;
    for (unsigned k = 0; k < 8; k++)
        i->x87[k] = (NumberImage){ x->r[k].mantissa, x->r[k].sign_exponent };
    i->x87_opcode = x->opcode;
    i->x87_ip = x->ip;
    i->x87_dp = x->dp;
    i->has_last_x87 = x->opcode || x->ip || x->dp;
}

static void save_kept(CpuImage *i, const VcpuKept *k, const VcpuMtrrs *m)
{
    i->smbase = k->smbase;
    i->mcg_cap = k->mcg_cap;
    i->mcg_status = k->mcg_status;
    i->mcg_ctl = k->mcg_ctl;
    memcpy(i->mce_banks, k->mce_banks, sizeof(i->mce_banks));
    memcpy(i->mtrr_fixed, m->fixed, sizeof(i->mtrr_fixed));
    memcpy(i->mtrr_variable, m->variable, sizeof(i->mtrr_variable));
    i->mtrr_default = m->standard;
    i->system_time = k->system_time;
    i->wall_clock = k->wall_clock;
}

static void save_system(CpuImage *i, const X86Cpu *c)
{
    for (unsigned k = 0; k < X86_SEGMENTS; k++)
        i->segment[k] = save_segment(&c->segment[k]);
    i->ldt = save_segment(&c->ldt);
    i->task = save_segment(&c->task);
    i->gdt = (SegmentImage){ .base = c->gdt.base, .limit = c->gdt.limit };
    i->idt = (SegmentImage){ .base = c->idt.base, .limit = c->idt.limit };
    i->sysenter_cs = c->sysenter_cs;
    i->sysenter_esp = c->sysenter_esp;
    i->sysenter_eip = c->sysenter_eip;
    i->cr0 = c->cr0;
    i->cr2 = c->cr2;
    i->cr3 = c->cr3;
    i->cr4 = c->cr4;
    memcpy(i->dr, c->dr, sizeof(i->dr));
    i->efer = c->efer;
    i->star = c->star;
    i->lstar = c->lstar;
    i->cstar = c->cstar;
    i->sfmask = c->sfmask;
    i->kernel_gs_base = c->kernel_gs_base;
    i->pat = c->pat;
    i->tsc_aux = c->tsc_aux;
    i->xcr0 = c->xcr0;
}

/* Others have it here under KVM, and have it nowhere else. */
static void save_counter(CpuImage *i, Vcpu *v)
{
    if (!vcpu_machine(v)->config.accel->clock)
        return;
    i->tsc = guest_tsc_now() + vcpu_cpu(v)->tsc_offset;
    i->khz = guest_tsc_hz() / 1000;
    i->has_khz = true;
}

static void cpu_save(void *opaque, unsigned n, void *image)
{
    Vcpu *v = opaque;
    const X86Cpu *c = vcpu_cpu(v);
    CpuImage *i = image;

    memcpy(i->gpr, c->gpr, sizeof(i->gpr));
    i->rip = c->rip;
    i->flags = c->flags;
    i->mode = mode_bits(c);
    i->mode2 = MODE2_RESET | MODE2_GIF | (c->nmi_blocked ? MODE2_NMI : 0);
    i->a20 = A20_OPEN;
    i->interrupt_injected = i->exception = NONE;
    save_x87(i, &c->x87);
    save_system(i, c);
    i->mxcsr = c->mxcsr;
    memcpy(i->xmm, c->xmm, sizeof(i->xmm));
    memcpy(i->ymm, c->ymm_high, sizeof(i->ymm));
    save_kept(i, vcpu_kept(v), vcpu_mtrrs(v));
    i->has_poll = true;
    i->tsc_adjust = c->tsc_offset;
    i->has_tsc_adjust = c->tsc_offset;
    i->deadline = lapic_deadline(vcpu_lapic(v));
    i->has_deadline = i->deadline;
    i->misc = c->misc_enable;
    i->has_misc = c->misc_enable != 1;
    save_counter(i, v);
}

/* ---- loading --------------------------------------------------------------------------------- */

static bool common_load(void *opaque, unsigned n, const void *image, GError **err)
{
    X86Cpu *c = vcpu_cpu(opaque);
    const CommonImage *i = image;

    if (i->has_exception && i->exception != NONE)
        return err_set(err, ENOTSUP, "Exception %d is about to be delivered", i->exception);
    c->halted = i->halted;
    if (i->requests & REQUEST_NMI)
        x86_request(c, X86_EVENT_NMI);
    return true;
}

static X86Segment load_segment(const SegmentImage *i)
{
    return (X86Segment){ i->selector, i->flags >> 8 & 0xf0ff, i->limit, i->base };
}

static void load_x87(X87 *x, const CpuImage *i)
{
    *x = (X87){
        .control = i->x87_control,
        .status = i->x87_status & ~0x3800,
        .top = i->x87_status >> 11 & 7,
        .in_use = i->x87_tags,
        .opcode = i->x87_opcode,
        .ip = i->x87_ip,
        .dp = i->x87_dp,
    };
    for (unsigned k = 0; k < 8; k++)
        x->r[k] = (X87Number){ i->x87[k].mantissa, i->x87[k].sign_exponent };
}

static void load_kept(const CpuImage *i, VcpuKept *k, VcpuMtrrs *m)
{
    k->smbase = i->smbase;
    k->system_time = i->system_time;
    k->wall_clock = i->wall_clock;
    k->mcg_cap = i->mcg_cap;
    k->mcg_status = i->mcg_status;
    k->mcg_ctl = i->mcg_ctl;
    memcpy(k->mce_banks, i->mce_banks, sizeof(k->mce_banks));
    memcpy(m->fixed, i->mtrr_fixed, sizeof(m->fixed));
    memcpy(m->variable, i->mtrr_variable, sizeof(m->variable));
    m->standard = i->mtrr_default;
}

static void load_system(X86Cpu *c, const CpuImage *i)
{
    for (unsigned k = 0; k < X86_SEGMENTS; k++)
        c->segment[k] = load_segment(&i->segment[k]);
    c->ldt = load_segment(&i->ldt);
    c->task = load_segment(&i->task);
    c->gdt = (X86Table){ i->gdt.base, i->gdt.limit };
    c->idt = (X86Table){ i->idt.base, i->idt.limit };
    c->sysenter_cs = i->sysenter_cs;
    c->sysenter_esp = i->sysenter_esp;
    c->sysenter_eip = i->sysenter_eip;
    c->cr0 = i->cr0;
    c->cr2 = i->cr2;
    c->cr3 = i->cr3;
    c->cr4 = i->cr4;
    memcpy(c->dr, i->dr, sizeof(c->dr));
    c->efer = i->efer;
    c->star = i->star;
    c->lstar = i->lstar;
    c->cstar = i->cstar;
    c->sfmask = i->sfmask;
    c->kernel_gs_base = i->kernel_gs_base;
    c->pat = i->pat;
    c->tsc_aux = i->tsc_aux;
    c->xcr0 = i->xcr0;
}

static bool is_canonical(uint64_t at)
{
    return (int64_t)(at << 16) >> 16 == (int64_t)at;
}

/* What no processor can be in, and ours could not either. */
static bool check(const CpuImage *i, GError **err)
{
    uint64_t known_cr0 = X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET |
                         X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD |
                         X86_CR0_PG;
    bool paging = i->cr0 & X86_CR0_PG, is_long = i->efer & X86_EFER_LMA;

    if (i->cr0 & ~known_cr0 || (paging && !(i->cr0 & X86_CR0_PE)))
        return err_set(err, EINVAL, "CR0 cannot be 0x%" G_GINT64_MODIFIER "x", i->cr0);
    if (is_long && (!paging || !(i->efer & X86_EFER_LME) || !(i->cr4 & X86_CR4_PAE)))
        return err_set(err, EINVAL, "EFER cannot be 0x%" G_GINT64_MODIFIER "x", i->efer);
    if (!is_canonical(i->rip))
        return err_set(err, EINVAL, "RIP cannot be 0x%" G_GINT64_MODIFIER "x", i->rip);
    if (i->xcr0 & ~(uint64_t)XCR0_KNOWN || !(i->xcr0 & 1))
        return err_set(err, ENOTSUP, "XCR0 cannot be 0x%" G_GINT64_MODIFIER "x", i->xcr0);
    if (i->has_khz && (i->khz < 1000 || i->khz > 100000000))
        return err_set(err, ERANGE, "The time stamp counter has %" G_GINT64_MODIFIER "u kHz",
                       i->khz);
    if (i->mode & (1 << 19 | 1 << 21))
        return err_set(err, ENOTSUP, "It is in system management mode or runs a guest itself");
    if (i->exception != NONE || i->interrupt_injected != NONE || i->nmi_injected)
        return err_set(err, ENOTSUP, "An exception or interrupt is about to be delivered");
    if (i->a20 != A20_OPEN)
        return err_set(err, ENOTSUP, "The A20 line is closed");
    return true;
}

static bool cpu_load(void *opaque, unsigned n, const void *image, GError **err)
{
    Vcpu *v = opaque;
    X86Cpu *c = vcpu_cpu(v);
    const CpuImage *i = image;

    if (!check(i, err))
        return false;
    if (i->system_time & 1 && !vcpu_machine(v)->config.accel->clock)
        return err_set(err, ENOTSUP, "It reads the time from KVM's clock, which is not there under "
                       "'%s' (-cpu MODEL,kvm=off at the source does without)",
                       vcpu_machine(v)->config.accel->name);
    memcpy(c->gpr, i->gpr, sizeof(c->gpr));
    c->rip = i->rip;
    c->flags = (i->flags & 0x3f7fd5) | X86_FIXED;
    c->shadow = i->mode & MODE_SHADOW;
    c->nmi_blocked = i->mode2 & MODE2_NMI;
    load_x87(&c->x87, i);
    load_system(c, i);
    c->mxcsr = i->mxcsr & 0xffff;
    memcpy(c->xmm, i->xmm, sizeof(i->xmm));
    memcpy(c->ymm_high, i->ymm, sizeof(i->ymm));
    load_kept(i, vcpu_kept(v), vcpu_mtrrs(v));
    c->tsc_offset = i->has_tsc_adjust ? i->tsc_adjust : 0;
    c->misc_enable = i->has_misc ? i->misc : 1;
    if (i->has_khz && i->tsc && vcpu_index(v) == 0)
        guest_clock_set(guest_clock_now(), i->tsc - c->tsc_offset, i->khz * 1000);
    c->cpl = x86_is_real(c) ? 0 : x86_dpl(&c->segment[X86_SS]);
    x86_update_mode(c);
    x86_tlb_flush(c);
    if (!c->is_long && c->cr0 & X86_CR0_PG && c->cr4 & X86_CR4_PAE && !x86_load_pdptes(c, c->cr3))
        return err_set(err, EINVAL, "Page directory pointers have reserved bits set");
    lapic_load_deadline(vcpu_lapic(v), i->has_deadline ? i->deadline : 0);
    return true;
}

/* ---- the sections ---------------------------------------------------------------------------- */

static void add(GPtrArray *list, Vcpu *v, unsigned index, const StateLayout *layout,
                void (*save)(void *opaque, unsigned n, void *image),
                bool (*load)(void *opaque, unsigned n, const void *image, GError **err))
{
    MigSection *s = g_new0(MigSection, 1);

    *s = (MigSection){
        .name = g_strdup(layout->name), .instance = index, .layout = layout, .opaque = v,
        .save = save, .load = load,
    };
    g_ptr_array_add(list, s);
}

void vcpu_add_sections(Vcpu *v, unsigned index, GPtrArray *list)
{
    add(list, v, index, &common_layout, common_save, common_load);
    add(list, v, index, &cpu_layout, cpu_save, cpu_load);
}
