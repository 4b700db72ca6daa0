/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Starts a guest of tests/system/guests by PVH, which machines without a BIOS do alike: goes to long
 * mode with 4 GiB mapped onto themselves and leaves the address of the command line in command_line.
 */
    .section .note.Xen, "a", @note
    .align 4
    .long 4, 4, 18
    .asciz "Xen"
    .long boot

    .text
    .code32
    .globl boot
boot:
    mov 24(%ebx), %eax
    mov %eax, command_line
    mov $tables, %edi
    lea 0x1003(%edi), %eax
    mov %eax, (%edi)
    lea 0x2003(%edi), %eax
    xor %ecx, %ecx
1:  mov %eax, 0x1000(%edi, %ecx, 8)
    add $0x1000, %eax
    inc %ecx
    cmp $4, %ecx
    jb 1b
    mov $0x83, %eax
    xor %ecx, %ecx
2:  mov %eax, 0x2000(%edi, %ecx, 8)
    add $0x200000, %eax
    inc %ecx
    cmp $2048, %ecx
    jb 2b
    mov $0x20, %eax /* PAE */
    mov %eax, %cr4
    mov %edi, %cr3
    mov $0xc0000080, %ecx
    rdmsr
    or $0x100, %eax
    wrmsr
    mov %cr0, %eax
    or $0x80000000, %eax
    mov %eax, %cr0
    lgdt gdt_pointer
    ljmp $16, $long_boot

    .code64
long_boot:
    mov $24, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    jmp start

    .data
    .globl command_line
    .align 8
command_line:
    .quad 0
gdt:
    .quad 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
    .short . - gdt - 1
    .long gdt

    .bss
    .align 4096
tables:
    .skip 0x6000
