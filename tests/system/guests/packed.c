/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Drives a virtio disk by a packed queue, several times round it, as its standard says; then as no
 * driver may.
 */
#include "guest.h"

enum {
    BASE = 0xfeb02e00, QUEUE = 7, NEXT = 1, WRITE = 2, INDIRECT = 4, AVAIL = 1 << 7, USED = 1 << 15,
    NEEDS_RESET = 0x40,
};

typedef struct {
    uint64_t at;
    uint32_t len;
    uint16_t id, flags;
} Descriptor;

static volatile Descriptor table[QUEUE] __attribute__((aligned(16)));
static Descriptor inner[3] __attribute__((aligned(16)));
static volatile uint16_t driver[2] __attribute__((aligned(4))),
    device[2] __attribute__((aligned(4)));
static struct {
    uint32_t type, reserved;
    uint64_t sector;
} header;
static uint8_t data[512];
static volatile uint8_t status;
static unsigned next;
static bool wrap;

static void put(uint32_t reg, uint32_t v)
{
    mmio_put(BASE + reg, v);
}

static void begin(void)
{
    for (unsigned i = 0; i < QUEUE; i++)
        table[i] = (Descriptor){ 0 };
    driver[0] = driver[1] = device[0] = device[1] = 0;
    next = 0;
    wrap = true;
    put(0x70, 0);
    put(0x70, 3);
    put(0x24, 0);
    put(0x20, 1 << 28);
    put(0x24, 1);
    put(0x20, 1 | 4);
    put(0x70, 11);
    check_equal("packed queues are agreed on", mmio_get(BASE + 0x70), 11);
    put(0x30, 0);
    put(0x38, QUEUE);
    put(0x80, (uint64_t)table);
    put(0x84, 0);
    put(0x90, (uint64_t)driver);
    put(0x94, 0);
    put(0xa0, (uint64_t)device);
    put(0xa4, 0);
    put(0x44, 1);
    put(0x70, 15);
}

/* Adds a descriptor; the flags of the first of several are given by publish. */
static unsigned add(uint64_t at, uint32_t len, uint16_t flags, uint16_t id, bool hold)
{
    unsigned i = next;
    uint16_t rounds = wrap ? AVAIL : USED;

    table[i].at = at;
    table[i].len = len;
    table[i].id = id;
    if (!hold)
        table[i].flags = flags | rounds;
    if (++next == QUEUE) {
        next = 0;
        wrap = !wrap;
    }
    return i;
}

static void publish(unsigned first, uint16_t flags, bool odd)
{
    __asm__ volatile("" : : : "memory");
    table[first].flags = flags | (odd ? AVAIL : USED);
    put(0x50, 0);
}

/* The entry @at is marked as used in its round. */
static bool wait_used(unsigned at, bool odd, uint16_t id, uint32_t len)
{
    uint64_t deadline = time_stamp() + 10000000000;

    for (;;) {
        uint16_t flags = table[at].flags;

        if (!!(flags & AVAIL) == odd && !!(flags & USED) == odd)
            return table[at].id == id && table[at].len == len && flags & WRITE;
        if (time_stamp() > deadline)
            return false;
        __asm__ volatile("pause");
    }
}

static bool transfer(uint32_t type, uint64_t sector, uint16_t id)
{
    bool odd = wrap, read = type == 0;
    unsigned first;

    header.type = type;
    header.sector = sector;
    status = 0xff;
    first = add((uint64_t)&header, sizeof(header), 0, id, true);
    add((uint64_t)data, sizeof(data), NEXT | (read ? WRITE : 0), id, false);
    add((uint64_t)&status, 1, WRITE, id, false);
    publish(first, NEXT, odd);
    return wait_used(first, odd, id, read ? 513 : 1) && status == 0;
}

static bool indirect_read(uint64_t sector, uint16_t id)
{
    bool odd = wrap;
    unsigned first;

    header.type = 0;
    header.sector = sector;
    status = 0xff;
    inner[0] = (Descriptor){ (uint64_t)&header, sizeof(header), 0, 0 };
    inner[1] = (Descriptor){ (uint64_t)data, sizeof(data), 0, WRITE };
    inner[2] = (Descriptor){ (uint64_t)&status, 1, 0, WRITE };
    first = add((uint64_t)inner, sizeof(inner), 0, id, true);
    publish(first, INDIRECT, odd);
    return wait_used(first, odd, id, 513) && status == 0;
}

static bool is_filled(uint8_t v)
{
    for (unsigned i = 0; i < sizeof(data); i++)
        if (data[i] != v)
            return false;
    return true;
}

static void fill(uint8_t v)
{
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = v;
}

static void works(void)
{
    bool written = true, read = true;

    begin();
    for (unsigned i = 0; i < 20; i++) {
        fill(i + 1);
        written = written && transfer(1, i, 100 + i);
    }
    check("twenty writes go round the queue", written);
    for (unsigned i = 0; i < 20; i++) {
        fill(0);
        read = read && (i % 2 ? indirect_read(i, i) : transfer(0, i, i)) && is_filled(i + 1);
    }
    check("twenty reads, every other by a table of its own, bring them back", read);
    check_equal("and interrupt", mmio_get(BASE + 0x60), 1);
    put(0x64, 1);
    driver[1] = 1;
    check("a read without interrupts", transfer(0, 0, 1));
    check_equal("raises none", mmio_get(BASE + 0x60), 0);
}

static void offence(const char *what, uint64_t at, uint32_t len, uint16_t flags)
{
    uint64_t deadline = time_stamp() + 10000000000;
    unsigned first;

    begin();
    first = add(at, len, 0, 0, true);
    for (unsigned i = 1; i < QUEUE; i++)
        add((uint64_t)&header, 16, NEXT, 0, false);
    publish(first, flags, true);
    while (!(mmio_get(BASE + 0x70) & NEEDS_RESET) && time_stamp() < deadline)
        ;
    check_equal(what, mmio_get(BASE + 0x70) & NEEDS_RESET, NEEDS_RESET);
}

void guest(void)
{
    works();
    offence("a chain longer than the queue", (uint64_t)&header, 16, NEXT);
    offence("data in no memory", 0xfee00000, 16, 0);
    offence("a table that is cut off", (uint64_t)inner, 17, INDIRECT);
    offence("a table with something after it", (uint64_t)inner, 48, INDIRECT | NEXT);
    inner[0] = (Descriptor){ (uint64_t)inner, 48, 0, INDIRECT };
    offence("a table in a table", (uint64_t)inner, 48, INDIRECT);
    works();
}
