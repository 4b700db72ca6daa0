/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Far transfers, software interrupts, system calls, and the flags that need privilege. */
#include "target/x86/execute.h"
#include "target/x86/log.h"
#include "target/x86/segment.h"

/* ---- far transfers --------------------------------------------------------------------------- */

/* The far pointer an instruction holds or names. */
static uint64_t far_pointer(X86Cpu *cpu, const X86Insn *in, uint16_t *selector)
{
    uint64_t offset;

    if (in->operand[0].kind == X86_OPD_FAR) {
        *selector = in->imm2;
        return in->imm;
    }
    offset = x86_offset(cpu, in);
    *selector = x86_load(cpu, in->mem.segment,
                         x86_low(offset + in->operand_size, in->address_size), 2);
    return x86_load(cpu, in->mem.segment, offset, in->operand_size);
}

static void tell_far(const X86Cpu *cpu, const char *name)
{
    if (x86_logs(X86_LOG_FAR))
        x86_log_hook->far(cpu, name);
}

EXEC(ljmp)
{
    uint16_t selector;
    uint64_t offset = far_pointer(cpu, in, &selector);

    x86_far_jump(cpu, selector, offset, in->operand_size);
    tell_far(cpu, "ljmp");
}

EXEC(lcall)
{
    uint16_t selector;
    uint64_t offset = far_pointer(cpu, in, &selector);

    x86_far_call(cpu, selector, offset, in->operand_size);
    tell_far(cpu, "lcall");
}

EXEC(lret)
{
    x86_far_return(cpu, in->operand_size, in->operands ? in->imm : 0);
    tell_far(cpu, "lret");
}

EXEC(iret)
{
    x86_interrupt_return(cpu, in->operand_size);
    tell_far(cpu, "iret");
}

/* ---- software interrupts --------------------------------------------------------------------- */

static void G_GNUC_NORETURN interrupt(X86Cpu *cpu, unsigned vector, bool is_software)
{
    cpu->exception = (X86Exception){ .vector = vector, .is_trap = true, .is_software =
                                     is_software };
    longjmp(*cpu->trap, 1);
}

EXEC(int)
{
    if (x86_is_v86(cpu) && x86_iopl(cpu) < 3)
        x86_raise_error(cpu, X86_GP, 0);
    interrupt(cpu, in->imm, true);
}

EXEC(int3)
{
    interrupt(cpu, X86_BP, true);
}

EXEC(into)
{
    if (cpu->flags & X86_OF)
        interrupt(cpu, X86_OF_TRAP, true);
}

EXEC(int1)
{
    interrupt(cpu, X86_DB, false);
}

EXEC(ud0)
{
    x86_raise(cpu, X86_UD);
}

EXEC(ud1)
{
    x86_raise(cpu, X86_UD);
}

EXEC(ud2)
{
    x86_raise(cpu, X86_UD);
}

/* ---- system calls ---------------------------------------------------------------------------- */

static X86Segment flat_code(uint16_t selector, unsigned cpl, bool is_64)
{
    return (X86Segment){
        .selector = selector, .limit = UINT32_MAX,
        .rights = X86_AR_P | X86_AR_S | X86_AR_CODE | X86_AR_WRITABLE | X86_AR_ACCESSED | X86_AR_G |
                  (is_64 ? X86_AR_L : X86_AR_DB) | cpl << X86_AR_DPL_SHIFT,
    };
}

static X86Segment flat_stack(uint16_t selector, unsigned cpl)
{
    return (X86Segment){
        .selector = selector, .limit = UINT32_MAX,
        .rights = X86_AR_P | X86_AR_S | X86_AR_WRITABLE | X86_AR_ACCESSED | X86_AR_G | X86_AR_DB |
                  cpl << X86_AR_DPL_SHIFT,
    };
}

static void enter_flat(X86Cpu *cpu, uint16_t code, uint16_t stack, unsigned cpl, bool is_64,
                       uint64_t rip)
{
    cpu->segment[X86_CS] = flat_code(code, cpl, is_64);
    cpu->segment[X86_SS] = flat_stack(stack, cpl);
    cpu->cpl = cpl;
    x86_update_mode(cpu);
    cpu->next = rip;
}

EXEC(syscall)
{
    uint16_t selector = cpu->star >> 32 & 0xfffc;

    if (!(cpu->efer & X86_EFER_SCE) || x86_is_real(cpu))
        x86_raise(cpu, X86_UD);
    if (cpu->is_long) {
        uint64_t to = cpu->mode.bits == 64 ? cpu->lstar : cpu->cstar;

        cpu->gpr[X86_RCX] = cpu->next;
        cpu->gpr[11] = cpu->flags;
        cpu->flags = (cpu->flags & ~(cpu->sfmask | X86_RF)) | X86_FIXED;
        enter_flat(cpu, selector, selector + 8, 0, true, to);
    } else {
        x86_set_reg(cpu, X86_RCX, 4, cpu->next);
        cpu->flags &= ~(X86_VM | X86_IF | X86_RF);
        enter_flat(cpu, selector, selector + 8, 0, false, (uint32_t)cpu->star);
    }
}

EXEC(sysret)
{
    uint16_t selector = cpu->star >> 48 & 0xfffc;
    bool to_64 = in->operand_size == 8;

    if (!(cpu->efer & X86_EFER_SCE))
        x86_raise(cpu, X86_UD);
    if (x86_is_real(cpu) || (to_64 && !x86_is_canonical(cpu->gpr[X86_RCX])))
        x86_raise_error(cpu, X86_GP, 0);
    if (cpu->is_long)
        cpu->flags = (cpu->gpr[11] & 0x3c7fd7) | X86_FIXED;
    else
        cpu->flags |= X86_IF;
    enter_flat(cpu, (selector + (to_64 ? 16 : 0)) | 3, (selector + 8) | 3, 3, to_64,
               x86_low(cpu->gpr[X86_RCX], to_64 ? 8 : 4));
}

EXEC(sysenter)
{
    uint16_t selector = cpu->sysenter_cs & 0xfffc;

    if (x86_is_real(cpu) || !selector)
        x86_raise_error(cpu, X86_GP, 0);
    cpu->flags &= ~(X86_VM | X86_IF | X86_RF);
    enter_flat(cpu, selector, selector + 8, 0, cpu->is_long,
               x86_low(cpu->sysenter_eip, cpu->is_long ? 8 : 4));
    cpu->gpr[X86_RSP] = x86_low(cpu->sysenter_esp, cpu->is_long ? 8 : 4);
}

EXEC(sysexit)
{
    uint16_t selector = cpu->sysenter_cs & 0xfffc;
    bool to_64 = in->operand_size == 8;
    unsigned from = to_64 ? 32 : 16;

    if (x86_is_real(cpu) || !selector)
        x86_raise_error(cpu, X86_GP, 0);
    if (to_64 && (!x86_is_canonical(cpu->gpr[X86_RCX]) || !x86_is_canonical(cpu->gpr[X86_RDX])))
        x86_raise_error(cpu, X86_GP, 0);
    enter_flat(cpu, (selector + from) | 3, (selector + from + 8) | 3, 3, to_64,
               x86_low(cpu->gpr[X86_RDX], to_64 ? 8 : 4));
    cpu->gpr[X86_RSP] = x86_low(cpu->gpr[X86_RCX], to_64 ? 8 : 4);
}

/* ---- flags ----------------------------------------------------------------------------------- */

static void check_v86_flags(X86Cpu *cpu)
{
    if (x86_is_v86(cpu) && x86_iopl(cpu) < 3)
        x86_raise_error(cpu, X86_GP, 0);
}

EXEC(pushf)
{
    check_v86_flags(cpu);
    x86_push_value(cpu, in->operand_size, cpu->flags & ~(X86_VM | X86_RF));
}

EXEC(popf)
{
    uint32_t mask = x86_loadable_flags(cpu, in->operand_size) & ~X86_RF;
    uint64_t v;

    check_v86_flags(cpu);
    v = x86_pop_value(cpu, in->operand_size);
    cpu->flags = (cpu->flags & ~mask) | (v & mask) | X86_FIXED;
}

static void check_interrupt_flag(X86Cpu *cpu)
{
    if (!x86_is_real(cpu) && cpu->cpl > x86_iopl(cpu))
        x86_raise_error(cpu, X86_GP, 0);
}

EXEC(cli)
{
    check_interrupt_flag(cpu);
    cpu->flags &= ~X86_IF;
}

/* The instruction after sti is not interrupted yet. */
EXEC(sti)
{
    check_interrupt_flag(cpu);
    if (!(cpu->flags & X86_IF))
        cpu->shadow = true;
    cpu->flags |= X86_IF;
}

EXEC(hlt)
{
    cpu->halted = true;
}

EXEC(monitor)
{
    if (cpu->cpl)
        x86_raise(cpu, X86_UD);
    if (x86_reg(cpu, X86_RCX, 4))
        x86_raise_error(cpu, X86_GP, 0);
    x86_load(cpu, in->segment_prefix == X86_NO_REG ? X86_DS : in->segment_prefix,
             x86_reg(cpu, X86_RAX, in->address_size), 1);
}

/* May end at any time, so it ends at once. */
EXEC(mwait)
{
    if (cpu->cpl)
        x86_raise(cpu, X86_UD);
    if (x86_reg(cpu, X86_RCX, 4) & ~UINT64_C(1))
        x86_raise_error(cpu, X86_GP, 0);
}

static void change_access_check(X86Cpu *cpu, bool allow)
{
    if (cpu->cpl || x86_is_real(cpu))
        x86_raise(cpu, X86_UD);
    x86_set_flags(cpu, X86_AC, allow ? X86_AC : 0);
}

EXEC(stac)
{
    change_access_check(cpu, true);
}

EXEC(clac)
{
    change_access_check(cpu, false);
}

/* ---- ports ----------------------------------------------------------------------------------- */

EXEC(in)
{
    uint16_t port = x86_get(cpu, in, 1);
    unsigned size = in->operand[0].size;

    x86_check_port(cpu, port, size);
    x86_set(cpu, in, 0, cpu->machine->port_read(cpu->machine_opaque, port, size));
}

EXEC(out)
{
    uint16_t port = x86_get(cpu, in, 0);
    unsigned size = in->operand[1].size;

    x86_check_port(cpu, port, size);
    cpu->machine->port_write(cpu->machine_opaque, port, size, x86_get(cpu, in, 1));
}
