/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Running on the host: a signal handler exchanges the registers. A trap of ours enters it the first
 * time; it remembers where we were and puts the snippet's registers into the frame. The exception
 * that ends the snippet enters it again; it takes the registers out and returns to us.
 */
#include "tests/x86/lib/snippet.h"
#include <string.h>

#if defined(__x86_64__) && defined(__linux__)

#include <asm/prctl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { USER32_CS = 0x23, USER64_CS = 0x33, USER_DS = 0x2b, XSTATE_BV_AT = 512 };
enum { FLAGS = X86_ARITH | X86_DF };

static State *now;
static unsigned now_bits;
static bool inside, has_avx;
static gregset_t before;
enum { YMM_AT = 576, FLOAT_SIZE = YMM_AT + 256 };
static uint8_t float_before[FLOAT_SIZE];
static uint64_t xstate_before;
static uint8_t stack[64 * 1024] __attribute__((aligned(16)));
static uint8_t *code_pages, *data_pages, *data_alias;

/* Our numbers of the general registers, in the kernel's order. */
static const int order[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI,
                               REG_RDI,
                               REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14,
                                   REG_R15 };

static void put_float(uint8_t *fx, const FloatState *f)
{
    memset(fx, 0, 24);
    memcpy(fx, &f->control, 2);
    memcpy(fx + 2, &f->status, 2);
    fx[4] = f->in_use;
    memcpy(fx + 24, &f->mxcsr, 4);
    for (unsigned i = 0; i < 8; i++) {
        memcpy(fx + 32 + 16 * i, &f->st[i].mantissa, 8);
        memcpy(fx + 40 + 16 * i, &f->st[i].sign_exponent, 2);
    }
    memcpy(fx + 160, f->xmm, sizeof(f->xmm));
    if (has_avx)
        memcpy(fx + YMM_AT, f->ymm_high, sizeof(f->ymm_high));
}

static void take_float(FloatState *f, const uint8_t *fx, uint64_t components)
{
    memcpy(&f->control, fx, 2);
    memcpy(&f->status, fx + 2, 2);
    f->in_use = fx[4];
    memcpy(&f->mxcsr, fx + 24, 4);
    for (unsigned i = 0; i < 8; i++) {
        memcpy(&f->st[i].mantissa, fx + 32 + 16 * i, 8);
        memcpy(&f->st[i].sign_exponent, fx + 40 + 16 * i, 2);
    }
    memcpy(f->xmm, fx + 160, sizeof(f->xmm));
    if (has_avx && components & 4)
        memcpy(f->ymm_high, fx + YMM_AT, sizeof(f->ymm_high));
    else
        memset(f->ymm_high, 0, sizeof(f->ymm_high));
}

static uint64_t *xstate_bv(ucontext_t *u)
{
    return (uint64_t *)((uint8_t *)u->uc_mcontext.fpregs + XSTATE_BV_AT);
}

static void enter(ucontext_t *u)
{
    greg_t *g = u->uc_mcontext.gregs;

    memcpy(before, g, sizeof(before));
    memcpy(float_before, u->uc_mcontext.fpregs, has_avx ? FLOAT_SIZE : 512);
    xstate_before = *xstate_bv(u);
    for (unsigned i = 0; i < 16; i++)
        g[order[i]] = now->gpr[i];
    g[REG_RIP] = now->rip;
    g[REG_EFL] = (now->flags & FLAGS) | X86_FIXED | X86_IF;
    g[REG_CSGSFS] = (now_bits == 32 ? USER32_CS : USER64_CS) | (greg_t)USER_DS << 48;
    put_float((uint8_t *)u->uc_mcontext.fpregs, &now->fp);
    *xstate_bv(u) |= has_avx ? 7 : 3;
}

static void leave(ucontext_t *u)
{
    greg_t *g = u->uc_mcontext.gregs;

    for (unsigned i = 0; i < 16; i++)
        now->gpr[i] = g[order[i]];
    now->rip = g[REG_RIP];
    now->flags = g[REG_EFL];
    now->vector = g[REG_TRAPNO];
    now->error = g[REG_ERR];
    now->address = now->vector == X86_PF_FAULT ? g[REG_CR2] : 0;
    take_float(&now->fp, (uint8_t *)u->uc_mcontext.fpregs, *xstate_bv(u));
    memcpy(g, before, sizeof(before));
    memcpy((uint8_t *)u->uc_mcontext.fpregs, float_before, 512);
    if (has_avx)
        memcpy((uint8_t *)u->uc_mcontext.fpregs + YMM_AT, float_before + YMM_AT, 256);
    *xstate_bv(u) = xstate_before | (has_avx ? 7 : 3);
}

static void handler(int number, siginfo_t *info, void *context)
{
    /* A crash of our own, in translated code perhaps, is no snippet's: it ends the test. */
    if (!inside && number != SIGTRAP) {
        signal(number, SIG_DFL);
        return;
    }
    if (inside)
        leave(context);
    else
        enter(context);
    inside = !inside;
}

/* Memory at a fixed place, and if @alias another view of it that can always be written. */
static uint8_t *map_at(uint64_t at, size_t size, int protection, uint8_t **alias)
{
    int fd = memfd_create("snippet", 0);
    uint8_t *p;

    if (fd < 0 || ftruncate(fd, size))
        return NULL;
    p = mmap((void *)(uintptr_t)at, size, protection, MAP_SHARED | MAP_FIXED_NOREPLACE |
             MAP_POPULATE, fd, 0);
    *alias = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    close(fd);
    return p == MAP_FAILED || *alias == MAP_FAILED ? NULL : p;
}

bool native_start(Bases *bases)
{
    static const int signals[] = { SIGSEGV, SIGILL, SIGTRAP, SIGFPE, SIGBUS };
    stack_t alternate = { .ss_sp = stack, .ss_size = sizeof(stack) };
    struct sigaction act = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK };

    __builtin_cpu_init();
    if (!__builtin_cpu_is("amd"))
        return false; /* where makers differ, our processor does as AMD's */
    has_avx = __builtin_cpu_supports("avx");
    /* Another comparison in this process finds all in place. */
    if (!data_pages) {
        data_pages = map_at(DATA_AT, DATA_SIZE, PROT_READ | PROT_WRITE, &data_alias);
        if (!data_pages || !map_at(CODE_AT, CODE_SIZE, PROT_READ | PROT_EXEC, &code_pages))
            return false;
    }
    mprotect(data_pages + WRITABLE_SIZE, PAGE, PROT_READ);
    sigaltstack(&alternate, NULL);
    sigfillset(&act.sa_mask);
    for (size_t i = 0; i < G_N_ELEMENTS(signals); i++)
        sigaction(signals[i], &act, NULL);
    bases->gs = 0x123000;
    syscall(SYS_arch_prctl, ARCH_SET_GS, bases->gs);
    syscall(SYS_arch_prctl, ARCH_GET_FS, &bases->fs);
    /* In 32-bit mode these count. */
    asm volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"(USER_DS));
    return true;
}

void native_run(State *s, const uint8_t code[CODE_SIZE], unsigned bits)
{
    memcpy(code_pages, code, CODE_SIZE);
    memcpy(data_alias, s->data, DATA_SIZE);
    now = s;
    now_bits = bits;
    /* The handler comes back here with all registers as they were. */
    asm volatile("int3" : : : "memory");
    memcpy(s->data, data_alias, DATA_SIZE);
}

#else

bool native_start(Bases *bases)
{
    return false;
}

void native_run(State *s, const uint8_t code[CODE_SIZE], unsigned bits)
{
    g_assert_not_reached();
}

#endif
