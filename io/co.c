/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Coroutines: their stacks, and the switch between them and the scheduler.
 *
 *     lowest address
 *     guard page     not accessible: an overflow ends the program instead of writing elsewhere
 *     stack          grows down from the Co
 *     Co             at the top of the mapping
 *
 * Switching is always between the scheduler, on the thread's own stack, and one coroutine. Tools
 * that watch stacks (address and thread sanitizer, valgrind) are told of each.
 */
#include "io/internal.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif
#ifdef HAVE_VALGRIND_H
#include <valgrind/valgrind.h>
#endif
#ifdef CO_SWITCH_UCONTEXT
#include <ucontext.h>
#else
#include "io/switch.h"
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_BYTES (1024 * 1024) /* instrumented frames are several times as large */
#else
#define STACK_BYTES (256 * 1024)
#endif

/* ---- telling the tools ----------------------------------------------------------------------- */

/* Each pair surrounds a switch: _begin on the stack that is left, _done on the one entered. */

static inline void tell_enter_begin(CoHome *home, Co *co)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&home->asan_fake_stack, co->stack, co->stack_len);
#endif
#ifdef __SANITIZE_THREAD__
    __tsan_switch_to_fiber(co->tsan_fiber, 0);
#endif
}

static inline void tell_enter_done(CoHome *home, Co *co)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(co->asan_fake_stack, &home->asan_stack, &home->asan_stack_len);
#endif
}

static inline void tell_leave_begin(CoHome *home, Co *co)
{
#ifdef __SANITIZE_ADDRESS__
    void **keep = co->state == CO_ENDED ? NULL : &co->asan_fake_stack;

    co->asan_fake_stack = NULL;
    __sanitizer_start_switch_fiber(keep, home->asan_stack, home->asan_stack_len);
#endif
#ifdef __SANITIZE_THREAD__
    __tsan_switch_to_fiber(home->tsan_fiber, 0);
#endif
}

static inline void tell_leave_done(CoHome *home)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(home->asan_fake_stack, NULL, NULL);
#endif
}

static void tell_mapped(Co *co)
{
#ifdef HAVE_VALGRIND_H
    co->valgrind_id = VALGRIND_STACK_REGISTER(co->stack, co->stack + co->stack_len);
#endif
#ifdef __SANITIZE_THREAD__
    co->tsan_fiber = __tsan_create_fiber(0);
#endif
}

static void tell_unmapped(Co *co)
{
#ifdef HAVE_VALGRIND_H
    VALGRIND_STACK_DEREGISTER(co->valgrind_id);
#endif
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(co->stack, co->stack_len);
#endif
#ifdef __SANITIZE_THREAD__
    __tsan_destroy_fiber(co->tsan_fiber);
#endif
}

/* ---- the switch ------------------------------------------------------------------------------ */

/* First function on every stack. It never returns: after one coroutine comes the next. */
static void co_main(void)
{
    Loop *l = loop_here();
    Co *co = l->running;

    tell_enter_done(&l->home, co);
    for (;;) {
        co->fn(co->arg);
        co->state = CO_ENDED;
        co_leave(&l->home, co);
    }
}

#ifdef CO_SWITCH_UCONTEXT

static void switch_init(Co *co)
{
    ucontext_t *u = co->context;

    getcontext(u);
    u->uc_stack.ss_sp = co->stack;
    u->uc_stack.ss_size = co->stack_len;
    u->uc_link = NULL;
    makecontext(u, co_main, 0);
}

static inline void switch_in(CoHome *home, Co *co)
{
    swapcontext(home->context, co->context);
}

static inline void switch_out(CoHome *home, Co *co)
{
    swapcontext(co->context, home->context);
}

static void *context_new(void)
{
    return g_new0(ucontext_t, 1);
}

#else

static void switch_init(Co *co)
{
    co->sp = switch_prepare(co->stack + co->stack_len, co_main);
}

static inline void switch_in(CoHome *home, Co *co)
{
    switch_stack(&home->sp, co->sp);
}

static inline void switch_out(CoHome *home, Co *co)
{
    switch_stack(&co->sp, home->sp);
}

static void *context_new(void)
{
    return NULL;
}

#endif

void co_enter(CoHome *home, Co *co)
{
    tell_enter_begin(home, co);
    switch_in(home, co);
    tell_leave_done(home);
}

void co_leave(CoHome *home, Co *co)
{
    tell_leave_begin(home, co);
    switch_out(home, co);
    tell_enter_done(home, co);
}

void co_home_init(CoHome *home)
{
    home->context = context_new();
#ifdef __SANITIZE_THREAD__
    home->tsan_fiber = __tsan_get_current_fiber();
#endif
}

void co_home_clear(CoHome *home)
{
    g_clear_pointer(&home->context, g_free);
}

/* ---- stacks ---------------------------------------------------------------------------------- */

Co *co_new(void)
{
    size_t page = sysconf(_SC_PAGESIZE);
    size_t co_len = (sizeof(Co) + 63) / 64 * 64;
    char *map = mmap(NULL, page + STACK_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    Co *co;

    if (map == MAP_FAILED || mprotect(map, page, PROT_NONE) < 0)
        g_error("No memory for the stack of a coroutine: %s", strerror(errno));
    co = (Co *)(map + page + STACK_BYTES - co_len);
    co->stack = map + page;
    co->stack_len = STACK_BYTES - co_len;
    co->context = context_new();
    tell_mapped(co);
    switch_init(co);
    return co;
}

void co_free(Co *co)
{
    size_t page = sysconf(_SC_PAGESIZE);

    tell_unmapped(co);
    g_free(co->context);
    munmap(co->stack - page, page + STACK_BYTES);
}
