/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A kernel with a multiboot header and an entry for PVH. It prints which of the two started it, its
 * command line, and the bytes of its first module, and ends by the port of isa-debug-exit.
 */
        .section .text
        .code32
        .align 4
multiboot:
        .long 0x1badb002, 0, -0x1badb002
        .globl start
start:
        movl $0x90000, %esp
        cmpl $0x2badb002, %eax
        jne wrong
        movl %ebx, %ebp
        movl $by_multiboot, %esi
        call print
        movl 16(%ebp), %esi
        call print
        movl $newline, %esi
        call print
        movl 24(%ebp), %edi         /* of the list of modules */
        movl 20(%ebp), %ecx
        jmp module

        .globl pvh
pvh:
        movl $0x90000, %esp
        cmpl $0x336ec578, (%ebx)
        jne wrong
        movl %ebx, %ebp
        movl $by_pvh, %esi
        call print
        movl 24(%ebp), %esi
        call print
        movl $newline, %esi
        call print
        movl 16(%ebp), %edi
        movl 12(%ebp), %ecx

module:
        testl %ecx, %ecx
        jz done
        movl (%edi), %esi
        call print
        movl $newline, %esi
        call print
done:
        movl cleared, %eax
        testl %eax, %eax
        jnz wrong
        xorl %eax, %eax
        outl %eax, $0xf4
wrong:
        movl $9, %eax
        outl %eax, $0xf4
        hlt

print:
        movb (%esi), %al
        testb %al, %al
        jz 1f
        movw $0x3f8, %dx
        outb %al, %dx
        incl %esi
        jmp print
1:      ret

by_multiboot: .asciz "ok multiboot "
by_pvh: .asciz "ok pvh "
newline: .asciz "\n"

        .bss
cleared: .long 0

        .section .note.Xen, "a", @note
        .align 4
        .long 4, 4, 18
        .asciz "Xen"
        .long pvh
