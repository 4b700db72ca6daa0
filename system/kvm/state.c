/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A processor and its local APIC: from KVM to the structs that all else knows, and back. */
#include "system/kvm/kvm.h"
#include "hw/i8259.h"
#include "target/x86/mmu.h"
#include "target/x86/x87.h"
#include "util/endian.h"
#include <errno.h>
#include <string.h>

/* Indices of kvm_regs are not those of instructions. */
static const uint16_t gpr_at[16] = {
    [X86_RAX] = offsetof(struct kvm_regs, rax), [X86_RCX] = offsetof(struct kvm_regs, rcx),
    [X86_RDX] = offsetof(struct kvm_regs, rdx), [X86_RBX] = offsetof(struct kvm_regs, rbx),
    [X86_RSP] = offsetof(struct kvm_regs, rsp), [X86_RBP] = offsetof(struct kvm_regs, rbp),
    [X86_RSI] = offsetof(struct kvm_regs, rsi), [X86_RDI] = offsetof(struct kvm_regs, rdi),
    [8] = offsetof(struct kvm_regs, r8), [9] = offsetof(struct kvm_regs, r9),
    [10] = offsetof(struct kvm_regs, r10), [11] = offsetof(struct kvm_regs, r11),
    [12] = offsetof(struct kvm_regs, r12), [13] = offsetof(struct kvm_regs, r13),
    [14] = offsetof(struct kvm_regs, r14), [15] = offsetof(struct kvm_regs, r15),
};

static uint64_t *gpr(struct kvm_regs *r, unsigned i)
{
    return (uint64_t *)((uint8_t *)r + gpr_at[i]);
}

static bool ask(Vcpu *v, unsigned long request, void *arg, const char *what)
{
    int r = kvm_do(kvm_vcpu(v)->fd, request, arg);

    if (r < 0)
        kvm_break(v, what, -r);
    return r >= 0;
}

/* ---- registers ------------------------------------------------------------------------------- */

static bool take_registers(Vcpu *v)
{
    X86Cpu *c = vcpu_cpu(v);
    struct kvm_regs r;

    if (!ask(v, KVM_GET_REGS, &r, "reading registers"))
        return false;
    for (unsigned i = 0; i < 16; i++)
        c->gpr[i] = *gpr(&r, i);
    c->rip = r.rip;
    c->flags = r.rflags;
    return true;
}

static bool give_registers(Vcpu *v)
{
    const X86Cpu *c = vcpu_cpu(v);
    struct kvm_regs r = { .rip = c->rip, .rflags = c->flags };

    for (unsigned i = 0; i < 16; i++)
        *gpr(&r, i) = c->gpr[i];
    return ask(v, KVM_SET_REGS, &r, "setting registers");
}

static X86Segment take_segment(const struct kvm_segment *s)
{
    uint16_t rights = s->type | s->s << 4 | s->dpl << X86_AR_DPL_SHIFT |
                      (s->present ? X86_AR_P : 0) | (s->avl ? X86_AR_AVL : 0) |
                      (s->l ? X86_AR_L : 0) | (s->db ? X86_AR_DB : 0) | (s->g ? X86_AR_G : 0);

    return (X86Segment){ s->selector, s->unusable ? 0 : rights, s->limit, s->base };
}

static struct kvm_segment give_segment(const X86Segment *s)
{
    uint16_t r = s->rights;

    return (struct kvm_segment){
        .base = s->base, .limit = s->limit, .selector = s->selector, .type = r & X86_AR_TYPE,
        .s = !!(r & X86_AR_S), .dpl = x86_dpl(s), .present = !!(r & X86_AR_P),
        .avl = !!(r & X86_AR_AVL), .l = !!(r & X86_AR_L), .db = !!(r & X86_AR_DB),
        .g = !!(r & X86_AR_G), .unusable = !(r & X86_AR_P),
    };
}

static const uint16_t segment_at[X86_SEGMENTS] = {
    [X86_ES] = offsetof(struct kvm_sregs, es), [X86_CS] = offsetof(struct kvm_sregs, cs),
    [X86_SS] = offsetof(struct kvm_sregs, ss), [X86_DS] = offsetof(struct kvm_sregs, ds),
    [X86_FS] = offsetof(struct kvm_sregs, fs), [X86_GS] = offsetof(struct kvm_sregs, gs),
};

static struct kvm_segment *segment(struct kvm_sregs *r, unsigned i)
{
    return (struct kvm_segment *)((uint8_t *)r + segment_at[i]);
}

static bool take_system(Vcpu *v, LapicRegisters *apic)
{
    X86Cpu *c = vcpu_cpu(v);
    struct kvm_sregs r;

    if (!ask(v, KVM_GET_SREGS, &r, "reading system registers"))
        return false;
    for (unsigned i = 0; i < X86_SEGMENTS; i++)
        c->segment[i] = take_segment(segment(&r, i));
    c->ldt = take_segment(&r.ldt);
    c->task = take_segment(&r.tr);
    c->gdt = (X86Table){ r.gdt.base, r.gdt.limit };
    c->idt = (X86Table){ r.idt.base, r.idt.limit };
    c->cr0 = r.cr0;
    c->cr2 = r.cr2;
    c->cr3 = r.cr3;
    c->cr4 = r.cr4;
    c->cr8 = r.cr8;
    c->efer = r.efer;
    apic->base = r.apic_base;
    return true;
}

static bool give_system(Vcpu *v, const LapicRegisters *apic)
{
    X86Cpu *c = vcpu_cpu(v);
    struct kvm_sregs r = {
        .ldt = give_segment(&c->ldt), .tr = give_segment(&c->task),
        .gdt = { c->gdt.base, c->gdt.limit }, .idt = { c->idt.base, c->idt.limit },
        .cr0 = c->cr0, .cr2 = c->cr2, .cr3 = c->cr3, .cr4 = c->cr4, .cr8 = c->cr8, .efer = c->efer,
        .apic_base = apic->base,
    };

    for (unsigned i = 0; i < X86_SEGMENTS; i++)
        *segment(&r, i) = give_segment(&c->segment[i]);
    return ask(v, KVM_SET_SREGS, &r, "setting system registers");
}

static bool take_debug(Vcpu *v)
{
    X86Cpu *c = vcpu_cpu(v);
    struct kvm_debugregs r;

    if (!ask(v, KVM_GET_DEBUGREGS, &r, "reading debug registers"))
        return false;
    for (unsigned i = 0; i < 4; i++)
        c->dr[i] = r.db[i];
    c->dr[6] = r.dr6;
    c->dr[7] = r.dr7;
    return true;
}

static bool give_debug(Vcpu *v)
{
    const X86Cpu *c = vcpu_cpu(v);
    struct kvm_debugregs r = { .dr6 = c->dr[6], .dr7 = c->dr[7] };

    for (unsigned i = 0; i < 4; i++)
        r.db[i] = c->dr[i];
    return ask(v, KVM_SET_DEBUGREGS, &r, "setting debug registers");
}

/* ---- x87, SSE, AVX: the image of XSAVE ------------------------------------------------------- */

enum {
    FX_IP = 8, FX_DP = 16, FX_MXCSR = 24, FX_MXCSR_MASK = 28, FX_ST = 32, FX_XMM = 160,
    XSAVE_BV = 512, XSAVE_YMM = 576,
    XSTATE_X87 = 1, XSTATE_SSE = 2, XSTATE_AVX = 4, MXCSR_MASK = 0xffff,
};

static void take_x87(X87 *f, const uint8_t *image)
{
    x87_init(f);
    f->control = le16_at(image);
    f->in_use = image[4];
    f->opcode = le16_at(image + 6) & 0x7ff;
    f->ip = le64_at(image + FX_IP);
    f->dp = le64_at(image + FX_DP);
    x87_set_status(f, le16_at(image + 2));
    for (unsigned i = 0; i < 8; i++) {
        const uint8_t *st = image + FX_ST + 16 * i;

        f->r[(f->top + i) & 7] = (X87Number){ le64_at(st), le16_at(st + 8) };
    }
}

static void give_x87(const X87 *f, uint8_t *image)
{
    le16_put(image, f->control);
    le16_put(image + 2, x87_status(f));
    image[4] = f->in_use;
    le16_put(image + 6, f->opcode);
    le64_put(image + FX_IP, f->ip);
    le64_put(image + FX_DP, f->dp);
    for (unsigned i = 0; i < 8; i++) {
        const X87Number *n = &f->r[(f->top + i) & 7];

        le64_put(image + FX_ST + 16 * i, n->mantissa);
        le16_put(image + FX_ST + 16 * i + 8, n->sign_exponent);
    }
}

/* Components that are not in the image are as after a reset. */
static bool take_vectors(Vcpu *v)
{
    X86Cpu *c = vcpu_cpu(v);
    struct kvm_xsave x;
    const uint8_t *image = (const uint8_t *)x.region;
    uint64_t bv;

    if (!ask(v, KVM_GET_XSAVE, &x, "reading vector registers"))
        return false;
    bv = le64_at(image + XSAVE_BV);
    x87_init(&c->x87);
    if (bv & XSTATE_X87)
        take_x87(&c->x87, image);
    c->mxcsr = le32_at(image + FX_MXCSR);
    memset(c->xmm, 0, 16 * 16);
    if (bv & XSTATE_SSE)
        memcpy(c->xmm, image + FX_XMM, 16 * 16);
    memset(c->ymm_high, 0, sizeof(c->ymm_high));
    if (bv & XSTATE_AVX)
        memcpy(c->ymm_high, image + XSAVE_YMM, sizeof(c->ymm_high));
    return true;
}

static bool give_vectors(Vcpu *v)
{
    const X86Cpu *c = vcpu_cpu(v);
    struct kvm_xsave x = { 0 };
    uint8_t *image = (uint8_t *)x.region;
    uint64_t bv = XSTATE_X87 | XSTATE_SSE;

    if (kvm_host()->word[X86_WORD_1_ECX] >> 28 & 1)
        bv |= XSTATE_AVX;
    le64_put(image + XSAVE_BV, bv);
    give_x87(&c->x87, image);
    le32_put(image + FX_MXCSR, c->mxcsr);
    le32_put(image + FX_MXCSR_MASK, MXCSR_MASK);
    memcpy(image + FX_XMM, c->xmm, 16 * 16);
    memcpy(image + XSAVE_YMM, c->ymm_high, bv & XSTATE_AVX ? sizeof(c->ymm_high) : 0);
    return ask(v, KVM_SET_XSAVE, &x, "setting vector registers");
}

static bool take_xcr0(Vcpu *v)
{
    struct kvm_xcrs x;

    if (!kvm_extension(KVM_CAP_XCRS))
        return true;
    if (!ask(v, KVM_GET_XCRS, &x, "reading XCR0"))
        return false;
    for (uint32_t i = 0; i < MIN(x.nr_xcrs, KVM_MAX_XCRS); i++)
        if (x.xcrs[i].xcr == 0)
            vcpu_cpu(v)->xcr0 = x.xcrs[i].value;
    return true;
}

static bool give_xcr0(Vcpu *v)
{
    struct kvm_xcrs x = { .nr_xcrs = 1, .xcrs = { { .value = vcpu_cpu(v)->xcr0 } } };

    return !kvm_extension(KVM_CAP_XCRS) || ask(v, KVM_SET_XCRS, &x, "setting XCR0");
}

/* ---- interrupts and exceptions on their way -------------------------------------------------- */

/*
 * An interrupt or NMI whose delivery was cut off counts as not taken: it comes again. So does an
 * exception, by its instruction, if the guest goes on elsewhere; here it is kept.
 */
static bool take_events(Vcpu *v)
{
    KvmVcpu *k = kvm_vcpu(v);
    struct kvm_vcpu_events *e = &k->events;
    X86Cpu *c = vcpu_cpu(v);

    if (!ask(v, KVM_GET_VCPU_EVENTS, e, "reading events"))
        return false;
    c->shadow = e->interrupt.shadow;
    c->nmi_blocked = e->nmi.masked && !e->nmi.injected;
    if (e->nmi.injected || e->nmi.pending)
        x86_request(c, X86_EVENT_NMI);
    if (e->interrupt.injected && !e->interrupt.soft &&
        (lapic_take_back(vcpu_lapic(v), e->interrupt.nr) ||
         (vcpu_machine(v)->pic && i8259_take_back(vcpu_machine(v)->pic, e->interrupt.nr))))
        e->interrupt.injected = 0;
    k->events_rip = c->rip;
    k->events_rsp = c->gpr[X86_RSP];
    return true;
}

static bool give_events(Vcpu *v)
{
    const KvmVcpu *k = kvm_vcpu(v);
    const X86Cpu *c = vcpu_cpu(v);
    struct kvm_vcpu_events e = { 0 };

    if (k->events_rip == c->rip && k->events_rsp == c->gpr[X86_RSP]) {
        e.exception = k->events.exception;
        e.interrupt = k->events.interrupt;
    }
    e.interrupt.shadow = !c->shadow ? 0 : c->flags & X86_IF ? KVM_X86_SHADOW_INT_STI
                                                            : KVM_X86_SHADOW_INT_MOV_SS;
    e.nmi.masked = c->nmi_blocked;
    e.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
    return ask(v, KVM_SET_VCPU_EVENTS, &e, "setting events");
}

static bool take_mp_state(Vcpu *v)
{
    struct kvm_mp_state s;

    if (!ask(v, KVM_GET_MP_STATE, &s, "reading whether it runs"))
        return false;
    vcpu_cpu(v)->halted = s.mp_state == KVM_MP_STATE_HALTED;
    vcpu_set_waits_for_start(v, s.mp_state == KVM_MP_STATE_UNINITIALIZED ||
                                    s.mp_state == KVM_MP_STATE_INIT_RECEIVED);
    return true;
}

static bool give_mp_state(Vcpu *v)
{
    struct kvm_mp_state s = {
        vcpu_waits_for_start(v) ? KVM_MP_STATE_INIT_RECEIVED
        : vcpu_cpu(v)->halted ? KVM_MP_STATE_HALTED : KVM_MP_STATE_RUNNABLE,
    };

    return ask(v, KVM_SET_MP_STATE, &s, "setting whether it runs");
}

/* ---- the local APIC -------------------------------------------------------------------------- */

static bool take_apic(Vcpu *v, LapicRegisters *apic)
{
    struct kvm_lapic_state s;

    if (!ask(v, KVM_GET_LAPIC, &s, "reading the local APIC"))
        return false;
    for (unsigned i = 0; i < LAPIC_REGISTERS; i++)
        apic->reg[i] = le32_at(s.regs + 16 * i);
    return true;
}

static bool give_apic(Vcpu *v, const LapicRegisters *apic)
{
    struct kvm_lapic_state s = { { 0 } };

    for (unsigned i = 0; i < LAPIC_REGISTERS; i++)
        le32_put((uint8_t *)s.regs + 16 * i, apic->reg[i]);
    return ask(v, KVM_SET_LAPIC, &s, "setting the local APIC");
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void update_rest(X86Cpu *c)
{
    c->cpl = x86_is_real(c) ? 0 : x86_dpl(&c->segment[X86_SS]);
    x86_update_mode(c);
    x86_tlb_flush(c);
    if (!c->is_long && c->cr0 & X86_CR0_PG && c->cr4 & X86_CR4_PAE)
        x86_load_pdptes(c, c->cr3);
}

/* What runs counts as running when MP state is asked first: that may start the processor. */
bool kvm_take_state(Vcpu *v)
{
    LapicRegisters apic;

    lapic_get_registers(vcpu_lapic(v), &apic);
    if (!take_mp_state(v) || !take_registers(v) || !take_system(v, &apic) || !take_debug(v) ||
        !take_vectors(v) || !take_xcr0(v) || !take_apic(v, &apic) || !kvm_take_msrs(v, &apic))
        return false;
    lapic_set_registers(vcpu_lapic(v), &apic);
    update_rest(vcpu_cpu(v));
    return take_events(v);
}

/* The APIC wants its base first, its timer the counter, and events the APIC. */
bool kvm_give_state(Vcpu *v)
{
    LapicRegisters apic;

    kvm_give_rate(v);
    lapic_get_registers(vcpu_lapic(v), &apic);
    return give_system(v, &apic) && give_registers(v) && give_xcr0(v) && give_vectors(v) &&
           give_debug(v) && kvm_give_msrs(v) && give_apic(v, &apic) &&
           kvm_give_deadline(v, &apic) && give_mp_state(v) && give_events(v);
}
