/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/perf/guest/work.h"

enum { KIB = 1024, MIB = 1024 * KIB };

static uint8_t area[32 * MIB] __attribute__((aligned(4096)));

static uint64_t nothing(unsigned n)
{
    return n;
}

/* ---- integer --------------------------------------------------------------------------------- */

static uint64_t hash(unsigned n)
{
    uint64_t h = 88172645463325252u;

    for (unsigned i = 0; i < n * 1000; i++) {
        h ^= h << 13;
        h ^= h >> 7;
        h ^= h << 17;
        if (h & 1)
            h += i;
        area[h & 4095] += h >> 32;
    }
    return h;
}

static void sort_part(uint32_t *v, int low, int high)
{
    int i = low, j = high;
    uint32_t pivot = v[(low + high) / 2];

    while (i <= j) {
        while (v[i] < pivot)
            i++;
        while (v[j] > pivot)
            j--;
        if (i <= j) {
            uint32_t x = v[i];

            v[i++] = v[j];
            v[j--] = x;
        }
    }
    if (low < j)
        sort_part(v, low, j);
    if (i < high)
        sort_part(v, i, high);
}

static uint64_t sort(unsigned n)
{
    uint32_t *v = (uint32_t *)area, x = 1;
    uint64_t sum = 0;

    for (unsigned round = 0; round < n; round++) {
        for (unsigned i = 0; i < 4096; i++)
            v[i] = x = x * 1664525 + 1013904223;
        sort_part(v, 0, 4095);
        sum += v[17] ^ v[4000];
    }
    return sum;
}

static __attribute__((noinline)) unsigned fibonacci(unsigned n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static uint64_t calls(unsigned n)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < n; i++)
        sum += fibonacci(16 + (i & 1));
    return sum;
}

static __attribute__((noinline)) uint64_t op_add(uint64_t x) { return x + 3; }
static __attribute__((noinline)) uint64_t op_mul(uint64_t x) { return x * 5; }
static __attribute__((noinline)) uint64_t op_xor(uint64_t x) { return x ^ x >> 9; }
static __attribute__((noinline)) uint64_t op_rol(uint64_t x) { return x << 7 | x >> 57; }

static uint64_t indirect(unsigned n)
{
    static uint64_t (*volatile const ops[4])(uint64_t) = { op_add, op_mul, op_xor, op_rol };
    uint64_t x = 1;

    for (unsigned i = 0; i < n * 1000; i++)
        x = ops[(x >> 3 ^ i) & 3](x);
    return x;
}

static uint64_t divide(unsigned n)
{
    uint64_t sum = 0;

    for (unsigned i = 1; i < n * 1000; i++)
        sum += 0xfedcba9876543210u / (i | 1) + (int64_t)sum % (int)(i | 3);
    return sum;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static uint64_t chase(unsigned n)
{
    uint32_t *v = (uint32_t *)area, at = 0;

    for (unsigned i = 0; i < MIB / 4; i++)
        v[i] = (i * 4099 + 1021) % (MIB / 4);
    for (unsigned i = 0; i < n * 1000; i++)
        at = v[at];
    return at;
}

/* Sixteen pages that are far from each other. */
static uint64_t columns(unsigned n)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < n * 100; i++)
        for (unsigned j = 0; j < 16; j++)
            sum += area[j * (2 * MIB) + (i & 4095)]++;
    return sum;
}

static uint64_t moves(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        void *to = area + MIB, *from = area;
        uint64_t len = 64 * KIB;

        asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(len) : : "memory");
        to = area + i % 512;
        len = 4 * KIB;
        asm volatile("rep stosq" : "+D"(to), "+c"(len) : "a"((uint64_t)i) : "memory");
    }
    return area[MIB + 77];
}

/* ---- vectors and floating point -------------------------------------------------------------- */

typedef uint32_t Vector __attribute__((vector_size(16)));

static uint64_t sse_integer(unsigned n)
{
    Vector *v = (Vector *)area, sum = { 1, 2, 3, 4 };

    for (unsigned round = 0; round < n; round++) {
        for (unsigned i = 0; i < 1024; i++) {
            sum = (sum ^ v[i]) + (sum << 3);
            v[i] = sum;
        }
    }
    return sum[0] ^ sum[3];
}

static uint64_t sse_double(unsigned n)
{
    double x = 0.5, sum = 0;

    for (unsigned i = 0; i < n * 1000; i++) {
        x = 3.7 * x * (1 - x);
        sum += x / (1 + i) + (int)(x * 100);
    }
    return (uint64_t)(sum * 1e6);
}

static uint64_t x87(unsigned n)
{
    long double x = 0.5L, sum = 0;

    for (unsigned i = 0; i < n * 1000; i++) {
        x = 3.7L * x * (1 - x);
        sum += x / (1 + i);
    }
    return (uint64_t)(sum * 1e9L);
}

/* ---- generated code -------------------------------------------------------------------------- */

/* Functions of fourteen instructions, each called twenty times, then written over. */
static uint64_t generated(unsigned n)
{
    uint8_t *code = area + 8 * MIB;
    uint64_t sum = 0;

    for (unsigned i = 0; i < n * 10; i++) {
        uint8_t *at = code + i % 512 * 64, *p = at;
        uint64_t (*f)(uint64_t), (*volatile called)(uint64_t);

        for (unsigned j = 0; j < 6; j++) {
            uint8_t add[] = { 0x48, 0x81, 0xc7, i + j, i >> 8, 0, 0, 0x48, 0xd1, 0xc7 };

            for (unsigned k = 0; k < sizeof(add); k++)
                *p++ = add[k];
        }
        *p++ = 0x48; /* mov %rdi,%rax; ret */
        *p++ = 0x89;
        *p++ = 0xf8;
        *p++ = 0xc3;
        f = (uint64_t (*)(uint64_t))(uintptr_t)at;
        called = f;
        for (unsigned j = 0; j < 20; j++)
            sum += called(sum + j);
    }
    return sum;
}

const Work works[] = {
    { "nothing", nothing, 1 },
    { "hash", hash, 60000 },
    { "sort", sort, 300 },
    { "calls", calls, 12000 },
    { "indirect", indirect, 20000 },
    { "divide", divide, 4000 },
    { "chase", chase, 40000 },
    { "columns", columns, 4000 },
    { "moves", moves, 300 },
    { "sse-integer", sse_integer, 4000 },
    { "sse-double", sse_double, 4000 },
    { "x87", x87, 3000 },
    { "generated", generated, 1000 },
    { 0, 0, 0 },
};

const Work *work_find(const char *name)
{
    for (const Work *w = works; w->name; w++) {
        unsigned i = 0;

        while (w->name[i] && w->name[i] == name[i])
            i++;
        if (!w->name[i] && !name[i])
            return w;
    }
    return works;
}
