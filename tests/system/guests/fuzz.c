/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads and writes registers and ports of all devices at random, by all widths, and drives them
 * nearly as drivers do. Its command line gives a seed, how often, and whether queues are packed
 * (1). What ends or resets the machine is left out.
 */
#include "guest.h"

static uint64_t seed, rounds, packed;

static uint64_t random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static uint64_t random_value(void)
{
    switch (random() % 6) {
    case 0:
        return random() % 256;
    case 1:
        return 0;
    case 2:
        return UINT64_MAX;
    case 3:
        return UINT64_C(1) << random() % 64;
    case 4:
        return 0x200000 + random() % 0x100000 / 16 * 16; /* an address that this guest can spare */
    default:
        return random();
    }
}

static uint16_t random_port(void)
{
    static const struct {
        uint16_t start, count;
    } ranges[] = {
        { 0x20, 2 }, { 0xa0, 2 }, { 0x4d0, 2 }, { 0x40, 4 }, { 0x61, 1 }, { 0x70, 2 }, { 0x3f8, 8 },
        { 0x510, 12 },
    };
    unsigned i = random() % (sizeof(ranges) / sizeof(ranges[0]));

    if (random() % 32 == 0)
        return random() % 64 == 0 ? 0x600 : 0x1000 + random() % 0xf000;
    return ranges[i].start + random() % ranges[i].count;
}

static uint64_t random_address(void)
{
    static const struct {
        uint32_t start, size;
    } ranges[] = {
        { 0xfea00000, 4 }, { 0xfeb02e00, 0x200 }, { 0xfeb02c00, 0x200 }, { 0xfeb02a00, 0x200 },
        { 0xfeb02800, 0x200 }, { 0xfeb02600, 0x200 }, { 0xfeb02400, 0x200 },
        { 0xfec00000, 0x50 }, { 0xfec10000, 0x50 }, { 0xfee00000, 0x400 },
    };
    unsigned i = random() % (sizeof(ranges) / sizeof(ranges[0]));
    uint64_t at = ranges[i].start + random() % ranges[i].size;

    return random() % 8 ? at & ~UINT64_C(3) : at;
}

/* The interrupt command register can reset processors. */
static bool is_spared(uint64_t at)
{
    return at >= 0xfee002f0 && at < 0xfee00320;
}

/* What comes as NMI or INIT, instead of by vector, ends a guest without handlers. */
static bool sets_delivery(uint64_t at)
{
    return (at >= 0xfec00009 && at < 0xfec00014) || (at >= 0xfee00319 && at < 0xfee00380);
}

static void use_memory(void)
{
    uint64_t at = random_address(), v = random_value();
    bool write = random() % 2;

    if (is_spared(at))
        return;
    if (write && sets_delivery(at)) {
        mmio_put(at & ~UINT64_C(3), v & ~0x700);
        return;
    }
    switch (random() % 8) {
    case 0:
        write ? *(volatile uint8_t *)at = v : (v = *(volatile uint8_t *)at);
        break;
    case 1:
        write ? *(volatile uint16_t *)at = v : (v = *(volatile uint16_t *)at);
        break;
    case 2:
        write ? *(volatile uint64_t *)at = v : (v = *(volatile uint64_t *)at);
        break;
    default:
        write ? *(volatile uint32_t *)at = v : (v = *(volatile uint32_t *)at);
    }
}

static void use_port(void)
{
    uint16_t port = random_port();
    uint64_t v = random_value();

    switch (random() % 6) {
    case 0:
        out8(port, v);
        break;
    case 1:
        out16(port, v);
        break;
    case 2:
        out32(port, v);
        break;
    case 3:
        in8(port);
        break;
    case 4:
        in16(port);
        break;
    default:
        in32(port);
    }
}

/* Descriptors and rings at random where random_value finds addresses. */
static void change_memory(void)
{
    uint64_t at = 0x200000 + random() % 0x100000 / 16 * 16;

    *(volatile uint64_t *)at = random_value();
    *(volatile uint64_t *)(at + 8) = (random() % 8192) | (random() % 8) << 32 |
                                     (random() % 16) << 48;
}

/* ---- drivers --------------------------------------------------------------------------------- */

enum { DEVICES = 6, BALLOON = 5, QUEUES = 8, ENTRIES = 8, AVAIL = 0x800, USED = 0x1000 };

static uint64_t queue_area(unsigned device, unsigned queue)
{
    return 0x200000 + 0x10000 * device + 0x2000 * queue;
}

/* Begins as a driver does, with most of what the device offers. */
static void bring_up(unsigned device)
{
    uint64_t base = 0xfeb02e00 - 0x200 * device;

    mmio_put(base + 0x70, 0);
    mmio_put(base + 0x70, 3);
    for (unsigned half = 0; half < 2; half++) {
        mmio_put(base + 0x14, half);
        mmio_put(base + 0x24, half);
        mmio_put(base + 0x20,
                 mmio_get(base + 0x10) & (half || random() % 2 ? UINT32_MAX : random()));
    }
    mmio_put(base + 0x70, 11);
    for (unsigned queue = 0; queue < QUEUES; queue++) {
        uint64_t area = queue_area(device, queue);

        mmio_put(base + 0x30, queue);
        mmio_put(base + 0x38, ENTRIES);
        mmio_put(base + 0x80, area);
        mmio_put(base + 0x84, 0);
        mmio_put(base + 0x90, area + AVAIL);
        mmio_put(base + 0x94, 0);
        mmio_put(base + 0xa0, area + USED);
        mmio_put(base + 0xa4, 0);
        *(volatile uint32_t *)(area + AVAIL) = 0;
        mmio_put(base + 0x44, 1);
    }
    mmio_put(base + 0x70, 15);
}

/* Mostly one that some header or answer has. */
static uint32_t random_length(void)
{
    static const uint16_t known[] = { 1, 8, 16, 24, 51, 108, 512, 4096 };

    return random() % 4 ? known[random() % 8] : random() % 2 ? random() % 64 : random() % 70000;
}

enum { NUMBERS = 32 };

/* Pages for a balloon: some that this guest can spare, some of them twice, others that are none. */
static void fill_numbers(uint64_t at)
{
    for (unsigned i = 0; i < NUMBERS; i++)
        *(volatile uint32_t *)(at + 4 * i) = random() % 4
                                                 ? 0x400 + random() % 0x3000
                                                 : 0x8000 + (uint32_t)random() % 0xffff7fff;
}

/* Puts a chain of some descriptors into a queue, mostly one that could be right. */
static void submit(unsigned device, unsigned queue)
{
    uint64_t area = queue_area(device, queue), base = 0xfeb02e00 - 0x200 * device;
    volatile uint16_t *avail = (uint16_t *)(area + AVAIL);
    unsigned first = random() % ENTRIES, count = 1 + random() % 3, written = random() % 4;
    uint64_t at[3];

    for (unsigned i = 0; i < count; i++) {
        volatile uint8_t *d = (uint8_t *)(area + 16 * ((first + i) % ENTRIES));
        uint16_t flags = (i + 1 < count) | (i >= written ? 2 : 0);

        if (random() % 64 == 0)
            flags = random();
        if (packed)
            flags |= random() % 2 ? 0x80 : 0x8000;
        at[i] = 0x200000 + random() % 0x100000;
        *(volatile uint64_t *)d = at[i];
        *(volatile uint32_t *)(d + 8) = random_length();
        *(volatile uint16_t *)(d + 12) = flags;
        *(volatile uint16_t *)(d + 14) = random() % 64 ? (first + i + 1) % ENTRIES : random();
    }
    /* Numbers of commands and events are small. */
    for (unsigned i = 0; i < 8 && random() % 2; i++)
        *(volatile uint8_t *)(at[0] + i) = random() % 8;
    for (unsigned i = 0; i < count && device == BALLOON; i++) {
        fill_numbers(at[i]);
        *(volatile uint32_t *)(area + 16 * ((first + i) % ENTRIES) + 8) =
            random() % (4 * NUMBERS + 1);
    }
    if (device != BALLOON && random() % 2) { /* a command for a disk */
        *(volatile uint16_t *)at[0] = 1 | random() % 2 << 8;
        *(volatile uint8_t *)(at[0] + 19) = random() % 2 ? random() : 0x28 | random() % 4;
    }
    avail[2 + avail[1] % ENTRIES] = first;
    avail[1]++;
    mmio_put(base + 0x50, queue);
}

static void drive(void)
{
    unsigned device = random() % DEVICES;

    if (random() % 64 == 0)
        bring_up(device);
    else
        submit(device, random() % QUEUES);
}

/* ---- out of harm's way ----------------------------------------------------------------------- */

enum { HOME = 0x1800000, TABLES = 0x1a00000, LARGE_PAGE = 0x200000, GIBIBYTES = 4 };

/*
 * Devices are told to write to small addresses and to powers of two, where this guest and its page
 * tables would be. So the first 2 MiB, as it sees them, become others, which no such address
 * reaches.
 */
static void move_away(void)
{
    volatile uint64_t *top = (uint64_t *)TABLES, *middle = top + 512, *low = top + 1024;
    uint64_t from = 0, to = HOME, words = LARGE_PAGE / 8;

    for (uint64_t i = 0; i < 512 * GIBIBYTES; i++)
        low[i] = (i ? i * LARGE_PAGE : HOME) | 0x83;
    for (uint64_t i = 0; i < GIBIBYTES; i++)
        middle[i] = (uint64_t)(low + 512 * i) | 3;
    top[0] = (uint64_t)middle | 3;
    /* In one, so that the stack does not change in between. */
    __asm__ volatile("cld\n rep movsq\n movq %3, %%cr3"
                     : "+S"(from), "+D"(to), "+c"(words) : "r"((uint64_t)TABLES) : "memory");
}

static uint64_t next_number(const char **line)
{
    uint64_t v = 0;

    for (; **line >= '0' && **line <= '9'; ++*line)
        v = v * 10 + **line - '0';
    while (**line == ' ')
        ++*line;
    return v;
}

void guest(void)
{
    const char *line = (const char *)(uint64_t)*(volatile uint32_t *)0x7228;

    seed = next_number(&line) * 0x9e3779b97f4a7c15 + 1;
    rounds = next_number(&line);
    packed = next_number(&line);
    move_away();
    while (rounds--) {
        unsigned what = random() % 12;

        if (what < 4)
            use_memory();
        else if (what < 6)
            use_port();
        else if (what < 8)
            change_memory();
        else
            drive();
    }
}
