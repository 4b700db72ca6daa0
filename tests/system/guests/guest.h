/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What test guests need: ports, memory of devices, printing, interrupts. Everything is mapped 1:1.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { COM1 = 0x3f8, EXIT_PORT = 0xf4, CODE_SELECTOR = 0x10 };

__asm__(".section .text.start\n"
        ".globl start\n"
        "start:\n"
        "    movq $0x9f000, %rsp\n"
        "    call guest\n"
        "    movl $0, %eax\n"
        "    outl %eax, $0xf4\n"
        "1:  hlt\n"
        "    jmp 1b\n"
        ".text\n");

static inline void out8(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void out16(uint16_t port, uint16_t v)
{
    __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void out32(uint16_t port, uint32_t v)
{
    __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline uint8_t in8(uint16_t port)
{
    uint8_t v;

    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

static inline uint16_t in16(uint16_t port)
{
    uint16_t v;

    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

static inline uint32_t in32(uint16_t port)
{
    uint32_t v;

    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

static inline uint32_t mmio_get(uint64_t at)
{
    return *(volatile uint32_t *)at;
}

static inline void mmio_put(uint64_t at, uint32_t v)
{
    *(volatile uint32_t *)at = v;
}

static inline uint64_t msr_get(uint32_t index)
{
    uint32_t low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
    return low | (uint64_t)high << 32;
}

static inline void msr_put(uint32_t index, uint64_t v)
{
    __asm__ volatile("wrmsr" : : "a"((uint32_t)v), "d"((uint32_t)(v >> 32)), "c"(index) : "memory");
}

static inline uint64_t time_stamp(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return low | (uint64_t)high << 32;
}

/* ---- printing -------------------------------------------------------------------------------- */

static inline void print(const char *text)
{
    for (; *text; text++) {
        while (!(in8(COM1 + 5) & 0x20))
            ;
        out8(COM1, *text);
    }
}

static inline void print_hex(uint64_t v)
{
    char text[19] = "0x";
    unsigned digits = 1;

    while (digits < 16 && v >> 4 * digits)
        digits++;
    for (unsigned i = 0; i < digits; i++)
        text[2 + i] = "0123456789abcdef"[v >> 4 * (digits - 1 - i) & 15];
    text[2 + digits] = 0;
    print(text);
}

/* A line about what has been looked at, and what was found when it is wrong. */
static inline void check_equal(const char *what, uint64_t found, uint64_t wanted)
{
    print(found == wanted ? "ok " : "not ok ");
    print(what);
    if (found != wanted) {
        print(": ");
        print_hex(found);
        print(" and not ");
        print_hex(wanted);
    }
    print("\n");
}

static inline void check(const char *what, bool ok)
{
    check_equal(what, ok, true);
}

/* ---- interrupts ------------------------------------------------------------------------------ */

/* How often each vector was served; handlers do nothing but count. */
static volatile uint32_t served[256];
static struct {
    uint16_t offset_low, selector, type, offset_middle;
    uint32_t offset_high, zero;
} idt[256];
static uint8_t stubs[256][16];

/* A port that is cleared when an interrupt comes, for lines that stay up; 0: none. */
static volatile uint16_t quiet_port;

/* The local APIC gets an EOI for vectors from 64 on. */
__attribute__((used)) static void count_vector(uint64_t vector)
{
    served[vector]++;
    if (quiet_port)
        out8(quiet_port, 0);
    if (vector >= 64)
        mmio_put(0xfee000b0, 0);
}

__asm__("common:\n"
        "    pushq %rax\n    pushq %rcx\n    pushq %rdx\n    pushq %rsi\n    pushq %rdi\n"
        "    pushq %r8\n    pushq %r9\n    pushq %r10\n    pushq %r11\n"
        "    movq 72(%rsp), %rdi\n"
        "    cld\n"
        "    call count_vector\n"
        "    popq %r11\n    popq %r10\n    popq %r9\n    popq %r8\n    popq %rdi\n"
        "    popq %rsi\n    popq %rdx\n    popq %rcx\n    popq %rax\n"
        "    addq $8, %rsp\n"
        "    iretq\n");
extern const char common[];

static inline void interrupts_init(void)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } table = { sizeof(idt) - 1, (uint64_t)idt };

    for (unsigned i = 32; i < 256; i++) {
        uint8_t *s = stubs[i];
        int32_t to = (int32_t)((uint64_t)common - (uint64_t)(s + 10));

        s[0] = 0x68; /* push the vector, jump to what is common */
        *(uint32_t *)(s + 1) = i;
        s[5] = 0xe9;
        *(int32_t *)(s + 6) = to;
        idt[i].offset_low = (uint64_t)s;
        idt[i].offset_middle = (uint64_t)s >> 16;
        idt[i].offset_high = (uint64_t)s >> 32;
        idt[i].selector = CODE_SELECTOR;
        idt[i].type = 0x8e00;
    }
    __asm__ volatile("lidt %0" : : "m"(table));
}

/* Lets interrupts in until @vector has been served @count times, or some seconds have gone. */
static inline bool wait_served(unsigned vector, uint32_t count)
{
    uint64_t deadline = time_stamp() + 20000000000;

    while (served[vector] < count && time_stamp() < deadline)
        __asm__ volatile("sti\n nop\n pause\n cli" : : : "memory");
    return served[vector] >= count;
}

void guest(void);
