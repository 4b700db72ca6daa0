/* SPDX-License-Identifier: GPL-2.0-or-later */
/* void switch_stack(void **save: rdi, void *load: rsi), System V ABI; see switch.h. */
    .text
    .globl  switch_stack
    .type   switch_stack, @function
    .p2align 4
switch_stack:
    .cfi_startproc
    pushq   %rbp
    pushq   %rbx
    pushq   %r12
    pushq   %r13
    pushq   %r14
    pushq   %r15
    subq    $8, %rsp
    .cfi_adjust_cfa_offset 56
    stmxcsr (%rsp)
    fnstcw  4(%rsp)
    movq    %rsp, (%rdi)
    movq    %rsi, %rsp
    ldmxcsr (%rsp)
    fldcw   4(%rsp)
    addq    $8, %rsp
    popq    %r15
    popq    %r14
    popq    %r13
    popq    %r12
    popq    %rbx
    popq    %rbp
    .cfi_adjust_cfa_offset -56
    ret
    .cfi_endproc
    .size   switch_stack, . - switch_stack
    .section .note.GNU-stack, "", @progbits
