/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two stacks that take turns, each with more values alive across the switch than there are
 * callee-saved registers. Needs nothing but libc, so that it can be built for another machine.
 */
#include "io/switch.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { TURNS = 10000 };

static void *here, *there;
static int other_turns;
static uint64_t other_sum;
static char stack[65536] __attribute__((aligned(16)));

/* Takes TURNS turns by way of @turn, from values that depend on @seed; returns what came out. */
static inline __attribute__((always_inline)) uint64_t work(uint64_t seed, void (*turn)(void))
{
    uint64_t a = seed, b = seed * 3, c = seed * 5, d = seed * 7, e = seed * 11, f = seed * 13;
    uint64_t g = seed * 17, h = seed * 19, i = seed * 23, j = seed * 29, k = seed * 31;
    double p = seed, q = seed + .5, r = seed + .25, s = seed * 2., t = seed * 3.;
    double u = seed * 4., v = seed * 5., w = seed * 6., x = seed * 7.;

    for (int n = 0; n < TURNS; n++) {
        a += b ^ n, b += c, c ^= d + n, d += e, e ^= f, f += g, g ^= h, h += i, i ^= j, j += k,
            k ^= a;
        p = q / 3 + a % 64, q = r / 7 + p, r = s / 2 + b % 64, s = t / 2 + p, t = u / 3 + c % 64;
        u = v / 2 + d % 64, v = w / 5 + q, w = x / 2 + e % 64, x = p / 11 + n;
        turn();
    }
    return a ^ b ^ c ^ d ^ e ^ f ^ g ^ h ^ i ^ j ^ k ^ (uint64_t)(int64_t)(p + q + r + s + t) ^
           (uint64_t)(int64_t)(u + v + w + x);
}

static void stay(void)
{
    __asm__ volatile("" ::: "memory");
}

static void go_there(void)
{
    switch_stack(&here, there);
}

static void go_here(void)
{
    other_turns++;
    switch_stack(&there, here);
}

static __attribute__((noinline)) uint64_t work_alone(uint64_t seed)
{
    return work(seed, stay);
}

static void other(void)
{
    if ((uintptr_t)__builtin_frame_address(0) % 16) {
        printf("the new stack is not aligned\n");
        exit(1);
    }
    other_sum = work(1000003, go_here);
    for (;;)
        go_here();
}

int main(void)
{
    uint64_t sum;

    there = switch_prepare(stack + sizeof(stack), other);
    sum = work(77, go_there);
    go_there();
    if (other_turns != TURNS + 1 || sum != work_alone(77) || other_sum != work_alone(1000003)) {
        printf("values changed across the switch\n");
        return 1;
    }
    printf("%d turns\n", other_turns);
    return 0;
}
