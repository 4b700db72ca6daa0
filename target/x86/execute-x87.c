/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * x87 instructions. On an x86 host numbers are computed by the host's x87, which gives the exact
 * 80-bit results, with the guest's precision and rounding; what they raised is looked at here. On
 * other hosts these operations raise #UD until there is a software floating point.
 */
#include "target/x86/execute.h"
#include "target/x86/x87.h"
#include <string.h>

static const X87Number indefinite = { .mantissa = UINT64_C(0xc000000000000000), .sign_exponent =
                                      0xffff };

/* ---- the stack ------------------------------------------------------------------------------- */

static X87Number *st(X86Cpu *cpu, unsigned i)
{
    return &cpu->x87.r[(cpu->x87.top + i) & 7];
}

static bool is_empty(const X86Cpu *cpu, unsigned i)
{
    return !(cpu->x87.in_use >> ((cpu->x87.top + i) & 7) & 1);
}

static void set_st(X86Cpu *cpu, unsigned i, X87Number v)
{
    unsigned r = (cpu->x87.top + i) & 7;

    cpu->x87.r[r] = v;
    cpu->x87.in_use |= 1 << r;
}

static void pop(X86Cpu *cpu)
{
    cpu->x87.in_use &= ~(1 << cpu->x87.top);
    cpu->x87.top = (cpu->x87.top + 1) & 7;
}

/*
 * Enters what an operation found: exceptions and C1, and the condition codes in @codes. False if an
 * exception that is not masked forbids a result.
 */
static bool note(X86Cpu *cpu, uint16_t found, uint16_t codes)
{
    X87 *f = &cpu->x87;
    bool early = found & ~f->control & X87_EARLY;

    /* Then nothing else is found any more. */
    if (early)
        found &= X87_EARLY | X87_SF | (found & X87_SF ? X87_C1 : 0) | X87_C0 | X87_C2 | X87_C3;
    codes |= X87_C1;
    f->status = (f->status & ~codes) | (found & (codes | X87_EXCEPTIONS | X87_SF));
    x87_set_status(f, x87_status(f));
    return !early;
}

/*
 * An operand that is not there, or no room for a result; condition codes in @codes are cleared.
 * True if the answer is "indefinite".
 */
static bool stack_fault_codes(X86Cpu *cpu, bool overflow, uint16_t codes)
{
    return note(cpu, X87_IE | X87_SF | (overflow ? X87_C1 : 0), codes);
}

static bool stack_fault(X86Cpu *cpu, bool overflow)
{
    return stack_fault_codes(cpu, overflow, 0);
}

static bool is_nan(const X87Number *n)
{
    return (n->sign_exponent & 0x7fff) == 0x7fff && n->mantissa << 1;
}

/*
 * Like note, for functions whose condition codes tell of their result @r: without a number to tell
 * of, only C2 changes, and it says that there is no more to reduce.
 */
static bool note_result(X86Cpu *cpu, uint16_t found, uint16_t codes, const X87Number *r)
{
    if (is_nan(r) || found & ~cpu->x87.control & X87_EARLY) {
        codes &= X87_C2;
        found &= ~X87_C2;
    }
    return note(cpu, found, codes);
}

/* A number that is loaded is there even if the unmasked exception is that it was denormal. */
static bool is_only_denormal(const X86Cpu *cpu, uint16_t found)
{
    return (found & ~cpu->x87.control & X87_EARLY) == X87_DENORMAL;
}

/* Puts @v on the stack; @found is what reading it raised. */
static void push(X86Cpu *cpu, X87Number v, uint16_t found)
{
    if (!is_empty(cpu, 7)) {
        if (!stack_fault(cpu, true))
            return;
        v = indefinite;
    } else if (!note(cpu, found, 0) && !is_only_denormal(cpu, found)) {
        return;
    }
    cpu->x87.top = (cpu->x87.top - 1) & 7;
    set_st(cpu, 0, v);
}

static bool in_memory(const X86Insn *in, unsigned i)
{
    return in->operand[i].kind == X86_OPD_MEM;
}

/* ---- computing on the host ------------------------------------------------------------------- */

#if defined(__x86_64__)

/* Overflow and underflow are left as the guest has them: unmasked, they give a scaled result. */
enum { HOST_MASKED = X87_EARLY | X87_PE };

/* Replaces *@a by the result with @b, a register's value or memory; returns the status word. */
typedef uint16_t HostOp(X87Number *a, const void *b, uint16_t control);

#define HOST_TEXT(name, before, text, after)                                                       \
    static uint16_t host_##name(X87Number *a, const void *b, uint16_t control)                     \
    {                                                                                              \
        uint16_t run = control | HOST_MASKED, status;                                              \
                                                                                                   \
        asm volatile("fninit\n\tfldcw %[run]\n\t" before "\n\t" text "\n\tfnstsw %[status]\n\t"    \
                     "fnclex\n\t" after "\n\tfninit"                                             \
                     : [status] "=&a"(status)                                                      \
                     : [run] "m"(run), [a] "r"(a), [b] "r"(b)                                      \
                     : "memory", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)",       \
                       "st(7)");                                                                   \
        return status;                                                                             \
    }
#define LOAD_A "fldt (%[a])"
#define LOAD_BOTH "fldt (%[b])\n\tfldt (%[a])"
#define STORE_A "fstpt (%[a])"
#define STORE_B "fstpt (%[b])"

#define HOST_REGISTERS(name, text) HOST_TEXT(name, LOAD_BOTH, text, STORE_A)
#define HOST_MEMORY(name, text) HOST_TEXT(name, LOAD_A, text " (%[b])", STORE_A)
#define HOST_UNARY(name) HOST_TEXT(name, LOAD_A, #name, STORE_A)
#define HOST_LOAD(name) HOST_TEXT(name, "", #name " (%[b])", STORE_A)
/* Writes memory at @b, of which the compiler knows by "memory". */
#define HOST_STORE(name) HOST_TEXT(name, LOAD_A, #name " (%[b])", "")

/* ---- arithmetic ------------------------------------------------------------------------------ */

/* By source: register, float, double, word, doubleword. */
enum { FROM_REGISTER, FROM_FLOAT, FROM_DOUBLE, FROM_WORD, FROM_INT, SOURCES };

static unsigned source_kind(const X86Insn *in, bool integer)
{
    if (!in_memory(in, 1))
        return FROM_REGISTER;
    if (integer)
        return in->operand[1].size == 2 ? FROM_WORD : FROM_INT;
    return in->operand[1].size == 4 ? FROM_FLOAT : FROM_DOUBLE;
}

static void arithmetic(X86Cpu *cpu, const X86Insn *in, HostOp *const ops[SOURCES], bool integer,
                       bool pops)
{
    unsigned to = in->operand[0].reg, from = in->operand[1].reg;
    bool missing = is_empty(cpu, to) || (!in_memory(in, 1) && is_empty(cpu, from));
    X87Number r = *st(cpu, to), other = *st(cpu, from);
    uint64_t memory;
    void *source = &other;

    if (in_memory(in, 1)) {
        memory = x86_get(cpu, in, 1);
        source = &memory;
    }
    if (missing) {
        if (!stack_fault(cpu, false))
            return;
        r = indefinite;
    } else if (!note(cpu, ops[source_kind(in, integer)](&r, source, cpu->x87.control), 0)) {
        return;
    }
    set_st(cpu, to, r);
    if (pops)
        pop(cpu);
}

#define ARITHMETIC(op)                                                                             \
    HOST_REGISTERS(f##op, "f" #op " %%st(1), %%st")                                                \
    HOST_MEMORY(f##op##s, "f" #op "s")                                                             \
    HOST_MEMORY(f##op##l, "f" #op "l")                                                             \
    HOST_MEMORY(fi##op##s, "fi" #op "s")                                                           \
    HOST_MEMORY(fi##op##l, "fi" #op "l")                                                           \
    static HostOp *const op##_ops[SOURCES] = { host_f##op, host_f##op##s, host_f##op##l,           \
                                               host_fi##op##s, host_fi##op##l };                   \
    EXEC(f##op)                                                                                    \
    {                                                                                              \
        arithmetic(cpu, in, op##_ops, false, false);                                               \
    }                                                                                              \
    EXEC(if##op)                                                                                   \
    {                                                                                              \
        arithmetic(cpu, in, op##_ops, true, false);                                                \
    }                                                                                              \
    EXEC(f##op##p)                                                                                 \
    {                                                                                              \
        arithmetic(cpu, in, op##_ops, false, true);                                                \
    }
ARITHMETIC(add)
ARITHMETIC(mul)
ARITHMETIC(sub)
ARITHMETIC(subr)
ARITHMETIC(div)
ARITHMETIC(divr)

/* ---- comparison ------------------------------------------------------------------------------ */

#define HOST_COMPARE(name) HOST_TEXT(name, LOAD_BOTH, #name " %%st(1)", "")
HOST_COMPARE(fcom)
HOST_COMPARE(fucom)
HOST_TEXT(fcoms, LOAD_A, "fcoms (%[b])", "")
HOST_TEXT(fcoml, LOAD_A, "fcoml (%[b])", "")
HOST_TEXT(ficoms, LOAD_A, "ficoms (%[b])", "")
HOST_TEXT(ficoml, LOAD_A, "ficoml (%[b])", "")
HOST_TEXT(ftst, LOAD_A, "ftst", "")

static HostOp *const com_ops[SOURCES] = { host_fcom, host_fcoms, host_fcoml, host_ficoms,
                                          host_ficoml };
static HostOp *const ucom_ops[SOURCES] = { host_fucom };

enum { CODES = X87_C0 | X87_C2 | X87_C3 };

/* The status word of comparing ST(0) with operand 1 (ST(1) if there is none). */
static uint16_t compared(X86Cpu *cpu, const X86Insn *in, HostOp *const ops[SOURCES], bool integer)
{
    unsigned from = in->operands > 1 ? in->operand[1].reg : 1;
    bool memory_operand = in->operands > 1 && in_memory(in, 1);
    uint64_t memory;

    if (memory_operand)
        memory = x86_get(cpu, in, 1);
    if (is_empty(cpu, 0) || (!memory_operand && is_empty(cpu, from)))
        return X87_IE | X87_SF | CODES;
    if (memory_operand)
        return ops[source_kind(in, integer)](st(cpu, 0), &memory, cpu->x87.control);
    return ops[FROM_REGISTER](st(cpu, 0), st(cpu, from), cpu->x87.control);
}

static void compare(X86Cpu *cpu, const X86Insn *in, HostOp *const ops[SOURCES], bool integer,
                    int pops)
{
    if (!note(cpu, compared(cpu, in, ops, integer) & ~X87_C1, CODES))
        return;
    while (pops--)
        pop(cpu);
}

/* The result in EFLAGS; the condition codes stay. */
static void compare_flags(X86Cpu *cpu, const X86Insn *in, HostOp *const ops[SOURCES], bool pops)
{
    uint16_t found = compared(cpu, in, ops, false), c1 = cpu->x87.status & X87_C1;
    bool done = note(cpu, found & ~X87_C1, 0);

    if (!(found & X87_SF))
        cpu->x87.status |= c1;
    x86_set_flags(cpu, X86_ARITH, x86_flag_if(found & X87_C3, X86_ZF) |
                                      x86_flag_if(found & X87_C2, X86_PF) |
                                      x86_flag_if(found & X87_C0, X86_CF));
    if (done && pops)
        pop(cpu);
}

#define COMPARE(id, ops, integer, pops)                                                            \
    EXEC(id)                                                                                       \
    {                                                                                              \
        compare(cpu, in, ops, integer, pops);                                                      \
    }
#define COMPARE_FLAGS(id, ops, pops)                                                               \
    EXEC(id)                                                                                       \
    {                                                                                              \
        compare_flags(cpu, in, ops, pops);                                                         \
    }
COMPARE(fcom, com_ops, false, 0)
COMPARE(fcomp, com_ops, false, 1)
COMPARE(fcompp, com_ops, false, 2)
COMPARE(ifcom, com_ops, true, 0)
COMPARE(ifcomp, com_ops, true, 1)
COMPARE(fucom, ucom_ops, false, 0)
COMPARE(fucomp, ucom_ops, false, 1)
COMPARE(fucompp, ucom_ops, false, 2)
COMPARE_FLAGS(fcomi, com_ops, false)
COMPARE_FLAGS(fcomip, com_ops, true)
COMPARE_FLAGS(fucomi, ucom_ops, false)
COMPARE_FLAGS(fucomip, ucom_ops, true)

EXEC(ftst)
{
    uint16_t found = is_empty(cpu, 0) ? X87_IE | X87_SF | CODES
                                      : host_ftst(st(cpu, 0), NULL, cpu->x87.control);

    note(cpu, found & ~X87_C1, CODES);
}

/* ---- functions of the top -------------------------------------------------------------------- */

static void unary(X86Cpu *cpu, HostOp *op, uint16_t codes)
{
    X87Number r = *st(cpu, 0);
    uint16_t found;

    if (is_empty(cpu, 0)) {
        if (!stack_fault_codes(cpu, false, codes & X87_C2))
            return;
        r = indefinite;
    } else {
        found = op(&r, NULL, cpu->x87.control);
        if (!note_result(cpu, found, codes, &r))
            return;
    }
    set_st(cpu, 0, r);
}

#define UNARY(name, codes)                                                                         \
    HOST_UNARY(name)                                                                               \
    EXEC(name)                                                                                     \
    {                                                                                              \
        unary(cpu, host_##name, codes);                                                            \
    }
UNARY(fsqrt, 0)
UNARY(frndint, 0)
UNARY(f2xm1, 0)
UNARY(fsin, X87_C2)
UNARY(fcos, X87_C2)

/* Of ST(0) and ST(1); the result replaces ST(0), or ST(1) with a pop. */
static void binary(X86Cpu *cpu, HostOp *op, uint16_t codes, bool pops)
{
    X87Number r = *st(cpu, 0);
    uint16_t found;

    if (is_empty(cpu, 0) || is_empty(cpu, 1)) {
        if (!stack_fault_codes(cpu, false, codes & X87_C2))
            return;
        r = indefinite;
    } else {
        found = op(&r, st(cpu, 1), cpu->x87.control);
        if (!note_result(cpu, found, codes, &r))
            return;
    }
    if (pops)
        pop(cpu);
    set_st(cpu, 0, r);
}

#define BINARY(name, codes, pops)                                                                  \
    HOST_REGISTERS(name, #name)                                                                    \
    EXEC(name)                                                                                     \
    {                                                                                              \
        binary(cpu, host_##name, codes, pops);                                                     \
    }
BINARY(fscale, 0, false)
BINARY(fprem, CODES, false)
BINARY(fprem1, CODES, false)
BINARY(fyl2x, 0, true)
BINARY(fyl2xp1, 0, true)
BINARY(fpatan, 0, true)

/* Functions with two results: the second is pushed. It is stored at @b. */
static void split(X86Cpu *cpu, HostOp *op, uint16_t codes)
{
    X87Number r = *st(cpu, 0), second = indefinite;
    uint16_t found = 0;

    if (is_empty(cpu, 0) || !is_empty(cpu, 7)) {
        if (!stack_fault_codes(cpu, !is_empty(cpu, 0), codes & X87_C2))
            return;
        r = indefinite;
    } else {
        found = op(&r, &second, cpu->x87.control);
        /* C2: the argument is out of range, nothing was done. */
        if (!note(cpu, found, codes) || found & codes & X87_C2)
            return;
    }
    set_st(cpu, 0, r);
    cpu->x87.top = (cpu->x87.top - 1) & 7;
    set_st(cpu, 0, second);
}

/* If C2 is set nothing was pushed, and what is stored from there does not matter. */
#define SPLIT(name, codes)                                                                         \
    HOST_TEXT(name, LOAD_A, #name, STORE_B "\n\tfstpt (%[a])")                                     \
    EXEC(name)                                                                                     \
    {                                                                                              \
        split(cpu, host_##name, codes);                                                            \
    }
SPLIT(fsincos, X87_C2)
SPLIT(fptan, X87_C2)
SPLIT(fxtract, 0)

/* ---- loads and stores ------------------------------------------------------------------------ */

HOST_LOAD(flds)
HOST_LOAD(fldl)
HOST_LOAD(filds)
HOST_LOAD(fildl)
HOST_LOAD(fildll)
HOST_LOAD(fbld)

static void load(X86Cpu *cpu, const X86Insn *in, HostOp *op)
{
    uint8_t memory[16] = { 0 };
    X87Number v = { 0 };
    uint16_t found;

    x86_read_mem(cpu, in, 0, memory, in->operand[0].size);
    found = op(&v, memory, cpu->x87.control);
    push(cpu, v, found & ~X87_C1);
}

static void load_number(X86Cpu *cpu, const X86Insn *in)
{
    uint8_t memory[10];
    X87Number v;

    x86_read_mem(cpu, in, 0, memory, sizeof(memory));
    memcpy(&v.mantissa, memory, 8);
    memcpy(&v.sign_exponent, memory + 8, 2);
    push(cpu, v, 0);
}

EXEC(fld)
{
    if (in_memory(in, 0)) {
        if (in->operand[0].size == 10)
            load_number(cpu, in);
        else
            load(cpu, in, in->operand[0].size == 4 ? host_flds : host_fldl);
        return;
    }
    if (is_empty(cpu, in->operand[0].reg)) {
        if (stack_fault(cpu, false)) {
            cpu->x87.top = (cpu->x87.top - 1) & 7;
            set_st(cpu, 0, indefinite);
        }
        return;
    }
    push(cpu, *st(cpu, in->operand[0].reg), 0);
}

EXEC(fild)
{
    unsigned size = in->operand[0].size;

    load(cpu, in, size == 2 ? host_filds : size == 4 ? host_fildl : host_fildll);
}

EXEC(fbld)
{
    load(cpu, in, host_fbld);
}

#define CONSTANT(name)                                                                             \
    HOST_TEXT(name, "", #name, STORE_A)                                                            \
    EXEC(name)                                                                                     \
    {                                                                                              \
        X87Number v;                                                                               \
                                                                                                   \
        host_##name(&v, NULL, cpu->x87.control);                                                   \
        push(cpu, v, 0);                                                                           \
    }
CONSTANT(fld1)
CONSTANT(fldz)
CONSTANT(fldpi)
CONSTANT(fldl2t)
CONSTANT(fldl2e)
CONSTANT(fldlg2)
CONSTANT(fldln2)

HOST_STORE(fsts)
HOST_STORE(fstl)
HOST_STORE(fists)
HOST_STORE(fistl)
HOST_STORE(fistpll)
HOST_STORE(fisttps)
HOST_STORE(fisttpl)
HOST_STORE(fisttpll)
HOST_STORE(fbstp)

/*
 * Stores ST(0) converted by @op; with an empty register @missing, the indefinite of the type.
 * Overflow and underflow, too, forbid the store if they are not masked.
 */
static void store(X86Cpu *cpu, const X86Insn *in, HostOp *op, const void *missing, bool pops)
{
    unsigned size = in->operand[0].size;
    uint8_t memory[16];
    uint16_t found = X87_IE | X87_SF, forbids;
    uint64_t linear = x86_linear(cpu, in->mem.segment, x86_offset(cpu, in), size, X86_WRITE);

    x86_probe_write(cpu, linear, size, X86_BY_PROGRAM);
    if (is_empty(cpu, 0))
        memcpy(memory, missing, size);
    else
        found = op(st(cpu, 0), memory, cpu->x87.control);
    note(cpu, found, 0);
    forbids = found & ~cpu->x87.control & (X87_EARLY | X87_OE | X87_UE);
    if (forbids)
        return;
    x86_write_linear(cpu, linear, memory, size, X86_BY_PROGRAM);
    if (pops)
        pop(cpu);
}

static void store_number(X86Cpu *cpu, const X86Insn *in)
{
    X87Number v = *st(cpu, 0);
    uint8_t memory[10];
    uint64_t linear = x86_linear(cpu, in->mem.segment, x86_offset(cpu, in), 10, X86_WRITE);

    x86_probe_write(cpu, linear, 10, X86_BY_PROGRAM);
    if (is_empty(cpu, 0)) {
        if (!stack_fault(cpu, false))
            return;
        v = indefinite;
    } else {
        note(cpu, 0, 0);
    }
    memcpy(memory, &v.mantissa, 8);
    memcpy(memory + 8, &v.sign_exponent, 2);
    x86_write_linear(cpu, linear, memory, 10, X86_BY_PROGRAM);
    pop(cpu);
}

static void store_real(X86Cpu *cpu, const X86Insn *in, bool pops)
{
    static const uint32_t single = UINT32_C(0xffc00000);
    static const uint64_t twice = UINT64_C(0xfff8000000000000);
    X87Number v = *st(cpu, 0);

    if (in_memory(in, 0) && in->operand[0].size == 10) {
        store_number(cpu, in);
    } else if (in_memory(in, 0)) {
        bool is_single = in->operand[0].size == 4;

        store(cpu, in, is_single ? host_fsts : host_fstl, is_single ? (const void *)&single :
              &twice, pops);
    } else {
        if (is_empty(cpu, 0)) {
            if (!stack_fault(cpu, false))
                return;
            v = indefinite;
        } else {
            note(cpu, 0, 0);
        }
        set_st(cpu, in->operand[0].reg, v);
        if (pops)
            pop(cpu);
    }
}

EXEC(fst)
{
    store_real(cpu, in, false);
}

EXEC(fstp)
{
    store_real(cpu, in, true);
}

static void store_integer(X86Cpu *cpu, const X86Insn *in, HostOp *const ops[3], bool pops)
{
    static const uint16_t word = 0x8000;
    static const uint32_t doubleword = UINT32_C(1) << 31;
    static const uint64_t quadword = UINT64_C(1) << 63;
    static const void *const missing[3] = { &word, &doubleword, &quadword };
    unsigned size = in->operand[0].size, i = size == 2 ? 0 : size == 4 ? 1 : 2;

    store(cpu, in, ops[i], missing[i], pops);
}

static HostOp *const integer_stores[3] = { host_fists, host_fistl, host_fistpll };
static HostOp *const truncating_stores[3] = { host_fisttps, host_fisttpl, host_fisttpll };

EXEC(fist)
{
    store_integer(cpu, in, integer_stores, false);
}

EXEC(fistp)
{
    store_integer(cpu, in, integer_stores, true);
}

EXEC(fisttp)
{
    store_integer(cpu, in, truncating_stores, true);
}

EXEC(fbstp)
{
    static const uint8_t missing[10] = { [7] = 0xc0, 0xff, 0xff };

    store(cpu, in, host_fbstp, missing, true);
}

#else

#define MISSING_X87(id, ...)                                                                       \
    EXEC(id)                                                                                       \
    {                                                                                              \
        x86_raise(cpu, X86_UD);                                                                    \
    }
#include "target/x86/host-only.def"

#endif

/* ---- moves that need no arithmetic ----------------------------------------------------------- */

/* Exchanges the top and ST(i), each of which is made "indefinite" if it is empty. */
EXEC(fxch)
{
    unsigned i = in->operand[0].reg;
    X87Number a = *st(cpu, 0), b = *st(cpu, i);

    if (is_empty(cpu, 0) || is_empty(cpu, i)) {
        if (!stack_fault(cpu, false))
            return;
        a = is_empty(cpu, 0) ? indefinite : a;
        b = is_empty(cpu, i) ? indefinite : b;
    } else {
        note(cpu, 0, 0);
    }
    set_st(cpu, 0, b);
    set_st(cpu, i, a);
}

static void change_sign(X86Cpu *cpu, uint16_t keep, uint16_t flip)
{
    X87Number r = *st(cpu, 0);

    if (is_empty(cpu, 0)) {
        if (!stack_fault(cpu, false))
            return;
        r = indefinite;
    } else {
        note(cpu, 0, 0);
        r.sign_exponent = (r.sign_exponent & keep) ^ flip;
    }
    set_st(cpu, 0, r);
}

EXEC(fchs)
{
    change_sign(cpu, 0xffff, 0x8000);
}

EXEC(fabs)
{
    change_sign(cpu, 0x7fff, 0);
}

/* The class of the top in C3, C2, C0, its sign in C1. */
EXEC(fxam)
{
    X87Number v = *st(cpu, 0);
    unsigned exponent = v.sign_exponent & 0x7fff;
    bool integer_bit = v.mantissa >> 63;
    uint16_t kind;

    if (is_empty(cpu, 0))
        kind = X87_C3 | X87_C0;
    else if (!exponent)
        kind = v.mantissa ? X87_C3 | X87_C2 : X87_C3;
    else if (!integer_bit)
        kind = 0;
    else if (exponent == 0x7fff)
        kind = v.mantissa << 1 ? X87_C0 : X87_C2 | X87_C0;
    else
        kind = X87_C2;
    if (v.sign_exponent & 0x8000)
        kind |= X87_C1;
    cpu->x87.status = (cpu->x87.status & ~(X87_C0 | X87_C1 | X87_C2 | X87_C3)) | kind;
}

static void conditional_move(X86Cpu *cpu, const X86Insn *in, bool holds)
{
    unsigned from = in->operand[1].reg;

    if (is_empty(cpu, 0) || is_empty(cpu, from)) {
        if (stack_fault(cpu, false))
            set_st(cpu, 0, indefinite);
    } else if (holds) {
        set_st(cpu, 0, *st(cpu, from));
    }
}

#define CONDITIONAL(id, condition)                                                                 \
    EXEC(id)                                                                                       \
    {                                                                                              \
        conditional_move(cpu, in, condition);                                                      \
    }
CONDITIONAL(fcmovb, cpu->flags & X86_CF)
CONDITIONAL(fcmove, cpu->flags & X86_ZF)
CONDITIONAL(fcmovbe, cpu->flags & (X86_CF | X86_ZF))
CONDITIONAL(fcmovu, cpu->flags & X86_PF)
CONDITIONAL(fcmovnb, !(cpu->flags & X86_CF))
CONDITIONAL(fcmovne, !(cpu->flags & X86_ZF))
CONDITIONAL(fcmovnbe, !(cpu->flags & (X86_CF | X86_ZF)))
CONDITIONAL(fcmovnu, !(cpu->flags & X86_PF))

EXEC(fincstp)
{
    cpu->x87.top = (cpu->x87.top + 1) & 7;
    cpu->x87.status &= ~X87_C1;
}

EXEC(fdecstp)
{
    cpu->x87.top = (cpu->x87.top - 1) & 7;
    cpu->x87.status &= ~X87_C1;
}

EXEC(ffree)
{
    cpu->x87.status &= ~X87_C1;
    cpu->x87.in_use &= ~(1 << ((cpu->x87.top + in->operand[0].reg) & 7));
}

/* An old form of fstp: an empty top is just popped. */
EXEC(fstpnce)
{
    cpu->x87.status &= ~X87_C1;
    if (!is_empty(cpu, 0))
        set_st(cpu, in->operand[0].reg, *st(cpu, 0));
    pop(cpu);
}

EXEC(ffreep)
{
    cpu->x87.status &= ~X87_C1;
    cpu->x87.in_use &= ~(1 << ((cpu->x87.top + in->operand[0].reg) & 7));
    pop(cpu);
}

EXEC(fnop)
{
}

EXEC(fwait)
{
}
