/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Segments, descriptors, and what leads from one code segment or task to another. */
#ifndef TARGET_X86_SEGMENT_H
#define TARGET_X86_SEGMENT_H

#include "target/x86/access.h"

/* Types of system descriptors. */
enum {
    X86_TSS16 = 1,
    X86_LDT = 2,
    X86_CALL16 = 4,
    X86_TASK_GATE = 5,
    X86_INTERRUPT16 = 6,
    X86_TRAP16 = 7,
    X86_TSS32 = 9, /* in long mode, of 64 bits */
    X86_CALL32 = 12,
    X86_INTERRUPT32 = 14,
    X86_TRAP32 = 15,
    X86_TSS_BUSY = 2, /* a bit of the TSS types */
};

/* A descriptor as it stands in its table. */
typedef struct {
    uint32_t low, high;
    uint32_t base_high; /* of 16-byte descriptors */
    uint64_t at;        /* linear address */
} X86Descriptor;

static inline unsigned x86_descriptor_type(const X86Descriptor *d)
{
    return d->high >> 8 & 15;
}

static inline unsigned x86_descriptor_dpl(const X86Descriptor *d)
{
    return d->high >> 13 & 3;
}

static inline bool x86_descriptor_is_system(const X86Descriptor *d)
{
    return !(d->high >> 12 & 1);
}

static inline bool x86_descriptor_is_present(const X86Descriptor *d)
{
    return d->high >> 15 & 1;
}

/* True for a selector of no segment. */
static inline bool x86_is_null(uint16_t selector)
{
    return !(selector & ~3);
}

/* Reads the descriptor of @selector; false if it is null or outside its table. */
bool x86_find_descriptor(X86Cpu *cpu, uint16_t selector, X86Descriptor *d);

/* Like x86_find_descriptor, but raises @vector with the selector if there is none. */
X86Descriptor x86_get_descriptor(X86Cpu *cpu, uint16_t selector, unsigned vector);

/* Adds the second half of a 16-byte descriptor (LDT, TSS, call gate in long mode). */
void x86_get_second_half(X86Cpu *cpu, X86Descriptor *d, uint16_t selector);

/* The segment that @d describes. */
X86Segment x86_segment_of(uint16_t selector, const X86Descriptor *d);

/* Sets the accessed bit of a code or data descriptor in memory and in @d. */
void x86_mark_accessed(X86Cpu *cpu, X86Descriptor *d);

/* A segment as real mode and virtual-8086 mode know it. */
X86Segment x86_real_segment(uint16_t selector, bool v86);

/* Loads ES, SS, DS, FS or GS as mov does. */
void x86_load_segment(X86Cpu *cpu, unsigned reg, uint16_t selector);

/* Raises #GP or #NP unless @d is a code segment to which a jump or call with @rpl may go. */
void x86_check_code(X86Cpu *cpu, uint16_t selector, const X86Descriptor *d, unsigned rpl,
                    unsigned cpl);

/* Loads CS from @d with privilege level @cpl. */
void x86_set_code(X86Cpu *cpu, uint16_t selector, X86Descriptor *d, unsigned cpl);

/*
 * Loads SS for privilege level @cpl as calls and interrupts to an inner level do; raises @vector.
 */
X86Segment x86_inner_stack(X86Cpu *cpu, uint16_t selector, unsigned cpl, unsigned vector);

/*
 * The stack the task state segment has for privilege level @cpl: offset and, but in long mode, SS.
 */
uint64_t x86_stack_of_level(X86Cpu *cpu, unsigned cpl, uint16_t *selector);

/* Raises #GP unless the program may use @size bytes of I/O at @port. */
void x86_check_port(X86Cpu *cpu, uint16_t port, unsigned size);

/* ---- transfers (transfer.c, task.c) ---------------------------------------------------------- */

void x86_far_jump(X86Cpu *cpu, uint16_t selector, uint64_t offset, unsigned operand_size);
void x86_far_call(X86Cpu *cpu, uint16_t selector, uint64_t offset, unsigned operand_size);
void x86_far_return(X86Cpu *cpu, unsigned operand_size, unsigned release);
void x86_interrupt_return(X86Cpu *cpu, unsigned operand_size);

typedef enum { X86_BY_JUMP, X86_BY_CALL, X86_BY_RETURN } X86TaskReason;

/*
 * Switches to the task whose state segment @selector names. A call links back to the current one;
 * the current instruction ends with it. Pushes the error code of @e, unless NULL, on the new stack.
 */
void x86_switch_task(X86Cpu *cpu, uint16_t selector, X86TaskReason reason, const X86Exception *e);

/* EFLAGS as popf and iret load them at the current privilege: which bits of a new value count. */
uint32_t x86_loadable_flags(const X86Cpu *cpu, unsigned operand_size);

/* Segments that the outer privilege level @cpl may not have become null. */
void x86_drop_inner_segments(X86Cpu *cpu, unsigned cpl);

#endif
