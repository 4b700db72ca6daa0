/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/x86/lib/pair.h"

#if defined(__x86_64__)

#include "tests/x86/lib/machine.h"
#include "target/x86/translate.h"
#include <stdio.h>
#include <string.h>

enum { CODE_BUFFER = 4 << 20 };

/* Code, and where in it the two begin. */
typedef struct {
    const uint8_t *code, *end;
    unsigned start[2];
} PairCode;

typedef struct {
    X86Cpu *cpu;
    uint32_t wrong;
    bool ended;
} Half;

static uint64_t port_read(void *opaque, uint16_t port, unsigned size)
{
    return 0;
}

static void port_write(void *opaque, uint16_t port, unsigned size, uint64_t value)
{
    Half *h = opaque;

    h->wrong += port == 0xe9;
    h->ended = true;
    __atomic_or_fetch(&h->cpu->events, X86_EVENT_STOP, __ATOMIC_SEQ_CST);
}

static int interrupt(void *opaque)
{
    return -1;
}

static uint64_t tsc(void *opaque)
{
    return 0;
}

static bool msr(void *opaque, uint32_t index, uint64_t *value)
{
    return false;
}

static bool msr_write(void *opaque, uint32_t index, uint64_t value)
{
    return false;
}

static void cpuid(void *opaque, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    memset(out, 0, 16);
}

static const X86Machine parts = { port_read, port_write, interrupt, tsc, msr, msr_write, cpuid };

static void half_init(Half *h, const Machine *m, X86CodePages *pages, unsigned which,
                      unsigned start)
{
    X86Cpu *cpu = g_new0(X86Cpu, 1);

    memcpy(cpu, &m->cpu, offsetof(X86Cpu, code_pages));
    cpu->machine = &parts;
    cpu->machine_opaque = h;
    cpu->rip = CODE + start;
    cpu->gpr[14] = which;
    cpu->gpr[15] = 0;
    cpu->gpr[X86_RSP] = which ? STACK_TOP : INNER_STACK_TOP;
    cpu->code_pages = pages;
    h->cpu = cpu;
    if (!x86_translator_init(cpu, CODE_BUFFER))
        g_error("no translator");
}

static void half_free(Half *h)
{
    x86_translator_free(h->cpu);
    g_free(h->cpu);
}

static void *run_half(void *arg)
{
    Half *h = arg;

    x86_run(h->cpu, X86_NO_BUDGET);
    return NULL;
}

static bool is_over(const Half h[2])
{
    for (unsigned i = 0; i < 2; i++)
        if (__atomic_load_n(&h[i].ended, __ATOMIC_ACQUIRE))
            return true;
    return false;
}

static void pair_run(const PairCode *code, uint64_t rounds, double seconds)
{
    g_autoptr(Machine) m = machine_new();
    g_autoptr(X86CodePages) pages = x86_code_pages_new(2);
    gint64 end = g_get_monotonic_time() + (gint64)(seconds * 1e6);
    Half h[2] = { { 0 }, { 0 } };
    GThread *t[2];

    machine_long(m);
    memcpy(m->ram + CODE, code->code, code->end - code->code);
    *(uint64_t *)(m->ram + DATA + 0x800) = rounds;
    for (unsigned i = 0; i < 2; i++)
        half_init(&h[i], m, pages, i, code->start[i]);
    for (unsigned i = 0; i < 2; i++)
        t[i] = g_thread_new("processor", run_half, &h[i]);
    while (!is_over(h) && (g_get_monotonic_time() < end || !*(uint64_t *)(m->ram + DATA + 0x40)))
        g_usleep(1000);
    for (unsigned i = 0; i < 2; i++)
        __atomic_or_fetch(&h[i].cpu->events, X86_EVENT_STOP, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < 2; i++)
        g_thread_join(t[i]);
    printf("# %" G_GUINT64_FORMAT " rounds\n", *(uint64_t *)(m->ram + DATA));
    for (unsigned i = 0; i < 2; i++) {
        g_assert_cmpuint(h[i].wrong, ==, 0);
        half_free(&h[i]);
    }
}

/*
 * At 40000 is the round that processor 0 has begun, at 40040 the one that processor 1 has finished,
 * at 40800 how many there are to be; R15 is a processor's own. Port E9 says that all is not well.
 */

/* What was written before the flag is seen by who sees the flag. */
GUEST(message, 64,
      "1: inc %r15; cmp 0x40800, %r15; ja 7f; mov %r15, 0x40080; mov %r15, 0x40000\n"
      "8: pause; cmp %r15, 0x40040; jne 8b; jmp 1b\n"
      "7: out %al, $0xf4; hlt; jmp 7b\n"
      "message_other:\n"
      "2: inc %r15; 9: pause; cmp %r15, 0x40000; jb 9b\n"
      "mov 0x40080, %rax; cmp %r15, %rax; jne 3f; mov %r15, 0x40040; jmp 2b\n"
      "3: out %al, $0xe9; hlt; jmp 3b");
extern const uint8_t message_other[];

void pair_message(uint64_t rounds, double seconds)
{
    PairCode c = { message, message_end, { 0, message_other - message } };

    pair_run(&c, rounds, seconds);
}

/* Each writes one word, and after a fence reads the other's: not both may miss it. */
GUEST(buffer, 64,
      "1: inc %r15; cmp 0x40800, %r15; ja 7f; mov %r15, 0x40000\n"
      "mov %r15, 0x40080; mfence; xor %ebx, %ebx; cmp %r15, 0x400c0; sete %bl\n"
      "8: pause; cmp %r15, 0x40040; jne 8b; or 0x40100, %bl; jz 3f; jmp 1b\n"
      "7: out %al, $0xf4; hlt; jmp 7b\n"
      "buffer_other:\n"
      "2: inc %r15; 9: pause; cmp %r15, 0x40000; jb 9b\n"
      "mov %r15, %rax; xchg %rax, 0x400c0; cmp %r15, 0x40080; sete 0x40100\n"
      "mov %r15, 0x40040; jmp 2b\n"
      "3: out %al, $0xe9; hlt; jmp 3b");
extern const uint8_t buffer_other[];

void pair_store_buffer(uint64_t rounds, double seconds)
{
    PairCode c = { buffer, buffer_end, { 0, buffer_other - buffer } };

    pair_run(&c, rounds, seconds);
}

/* Both count at the same four words, in four ways; none is lost. */
#define COUNT                                                                                      \
    "mov $16, %ecx\n"                                                                              \
    "4: lock incl 0x40080; mov $1, %eax; lock xadd %eax, 0x400c0\n"                                \
    "5: mov 0x40100, %eax; lea 1(%rax), %edx; lock cmpxchg %edx, 0x40100; jne 5b\n"                \
    "6: mov 0x40140, %rax; mov 0x40148, %rdx; lea 1(%rax), %rbx; push %rcx; mov %rdx, %rcx\n"      \
    "lock cmpxchg16b 0x40140; pop %rcx; jne 6b; dec %ecx; jnz 4b\n"
GUEST(locked, 64,
      "1: inc %r15; cmp 0x40800, %r15; ja 7f; mov %r15, 0x40000\n" COUNT
      "8: pause; cmp %r15, 0x40040; jne 8b; mov %r15d, %eax; shl $5, %eax\n"
      "cmp %eax, 0x40080; jne 3f; cmp %eax, 0x400c0; jne 3f; cmp %eax, 0x40100; jne 3f\n"
      "cmp %eax, 0x40140; jne 3f; jmp 1b\n"
      "7: out %al, $0xf4; hlt; jmp 7b\n"
      "3: out %al, $0xe9; hlt; jmp 3b\n"
      "locked_other:\n"
      "2: inc %r15; 9: pause; cmp %r15, 0x40000; jb 9b\n" COUNT "mov %r15, 0x40040; jmp 2b\n");
extern const uint8_t locked_other[];

void pair_locked(uint64_t rounds, double seconds)
{
    PairCode c = { locked, locked_end, { 0, locked_other - locked } };

    pair_run(&c, rounds, seconds);
}

/* One writes a function, says so, and the other runs it. */
GUEST(modified, 64,
      "movb $0xb8, 0x50000; movb $0xc3, 0x50005\n"
      "1: inc %r15; cmp 0x40800, %r15; ja 7f; mov %r15d, 0x50001; mov %r15, 0x40000\n"
      "8: pause; cmp %r15, 0x40040; jne 8b; jmp 1b\n"
      "7: out %al, $0xf4; hlt; jmp 7b\n"
      "modified_other: mov $0x50000, %edi\n"
      "2: inc %r15; 9: pause; cmp %r15, 0x40000; jb 9b\n"
      "xor %eax, %eax; cpuid; call *%rdi; cmp %r15d, %eax; jne 3f; mov %r15, 0x40040; jmp 2b\n"
      "3: out %al, $0xe9; hlt; jmp 3b");
extern const uint8_t modified_other[];

void pair_code(uint64_t rounds, double seconds)
{
    PairCode c = { modified, modified_end, { 0, modified_other - modified } };

    pair_run(&c, rounds, seconds);
}

#endif
