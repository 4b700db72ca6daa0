/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A multiboot image: goes to long mode with the first gigabyte mapped onto itself by large pages,
 * switches SSE on, and calls guest_main with the command line.
 */
    .section .multiboot, "a"
    .align 4
    .long 0x1badb002, 0, -0x1badb002

    .text
    .code32
    .globl start
start:
    mov $stack_end, %esp
    mov %ebx, %esi
    mov $tables, %edi
    lea 0x1003(%edi), %eax
    mov %eax, (%edi)
    lea 0x2003(%edi), %eax
    mov %eax, 0x1000(%edi)
    mov $0x83, %eax
    xor %ecx, %ecx
1:  mov %eax, 0x2000(%edi, %ecx, 8)
    add $0x200000, %eax
    inc %ecx
    cmp $512, %ecx
    jb 1b
    mov $0x620, %eax /* PAE, OSFXSR, OSXMMEXCPT */
    mov %eax, %cr4
    mov %edi, %cr3
    mov $0xc0000080, %ecx
    rdmsr
    or $0x100, %eax
    wrmsr
    mov %cr0, %eax
    and $~0xe, %eax
    or $0x80000022, %eax
    mov %eax, %cr0
    lgdt gdt_pointer
    ljmp $8, $long_start

    .code64
long_start:
    mov $16, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    fninit
    mov 16(%rsi), %edi
    call guest_main
2:  hlt
    jmp 2b

    .data
    .align 8
gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
    .short . - gdt - 1
    .long gdt

    .bss
    .align 4096
tables:
    .skip 0x3000
    .skip 0x10000
stack_end:
