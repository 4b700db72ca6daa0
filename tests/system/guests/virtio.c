/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Drives a virtio disk as its standard says, and as no driver may: after each offence the device
 * has to ask for a reset, and to work again once it has got one.
 */
#include "queue.h"

enum {
    BASE = 0xfeb02e00, STATUS = 0x70, NEEDS_RESET = 0x40, RUNNING = 0x0f,
};

static Queue queue;
static Descriptor inner[4] __attribute__((aligned(16)));
static struct {
    uint32_t type, reserved;
    uint64_t sector;
} header;
static uint8_t data[4096] __attribute__((aligned(4096)));
static volatile uint8_t status;

static uint32_t get(uint32_t reg)
{
    return mmio_get(BASE + reg);
}

static void put(uint32_t reg, uint32_t v)
{
    mmio_put(BASE + reg, v);
}

static void put_queue(uint64_t desc, uint64_t available, uint64_t used_at, uint32_t size)
{
    put(0x30, 0);
    put(0x38, size);
    put(0x80, desc);
    put(0x84, desc >> 32);
    put(0x90, available);
    put(0x94, available >> 32);
    put(0xa0, used_at);
    put(0xa4, used_at >> 32);
    put(0x44, 1);
}

/* Resets and accepts VERSION_1 and indirect descriptors, no event index. */
static void negotiate(void)
{
    put(STATUS, 0);
    put(STATUS, 1);
    put(STATUS, 3);
    put(0x24, 0);
    put(0x20, 1 << 28);
    put(0x24, 1);
    put(0x20, 1);
    put(STATUS, 11);
}

static void begin(void)
{
    queue.avail.flags = queue.avail.index = 0;
    queue.used.index = 0;
    negotiate();
    put_queue((uint64_t)queue.table, (uint64_t)&queue.avail, (uint64_t)&queue.used, QUEUE);
    put(STATUS, RUNNING);
}

/* A request of @type on @len bytes of data in the first three descriptors. */
static void prepare(uint32_t type, uint64_t sector, uint32_t len, bool from_device)
{
    header.type = type;
    header.sector = sector;
    status = 0xff;
    queue.table[0] = (Descriptor){ (uint64_t)&header, sizeof(header), NEXT, 1 };
    queue.table[1] = (Descriptor){ (uint64_t)data, len, NEXT | (from_device ? WRITE : 0), 2 };
    queue.table[2] = (Descriptor){ (uint64_t)&status, 1, WRITE, 0 };
}

static void submit(uint16_t head)
{
    queue.avail.ring[queue.avail.index % QUEUE] = head;
    __asm__ volatile("" : : : "memory");
    queue.avail.index++;
    put(0x50, 0);
}

static bool wait_used(uint16_t index)
{
    uint64_t deadline = time_stamp() + 10000000000;

    while (queue.used.index != index && time_stamp() < deadline)
        __asm__ volatile("pause");
    return queue.used.index == index;
}

static void works(const char *what)
{
    begin();
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = i * 7;
    prepare(1, 3, sizeof(data), false);
    submit(0);
    bool written = wait_used(1) && status == 0;
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = 0;
    prepare(0, 3, sizeof(data), true);
    submit(0);
    bool read = wait_used(2) && status == 0;
    for (unsigned i = 0; i < sizeof(data); i++)
        read = read && data[i] == (uint8_t)(i * 7);
    check(what, written && read && queue.used.ring[1].len == sizeof(data) + 1);
    check_equal("and interrupts", get(0x60), 1);
    put(0x64, 1);
    check_equal("which can be acknowledged", get(0x60), 0);
}

/* What was submitted is an offence. */
static void offence(const char *what)
{
    uint64_t deadline = time_stamp() + 10000000000;

    while (!(get(STATUS) & NEEDS_RESET) && time_stamp() < deadline)
        ;
    check_equal(what, get(STATUS) & NEEDS_RESET, NEEDS_RESET);
    check_equal("nothing is given back", queue.used.index, 0);
}

static void offences(void)
{
    begin();
    prepare(0, 0, 512, true);
    queue.table[2].flags |= NEXT;
    submit(0);
    offence("a chain that bites its tail");

    begin();
    prepare(0, 0, 512, true);
    queue.table[1].next = QUEUE;
    submit(0);
    offence("a descriptor behind the table");

    begin();
    prepare(0, 0, 512, true);
    submit(QUEUE + 1);
    offence("a head behind the table");

    begin();
    prepare(0, 0, 512, true);
    queue.table[1].at = 0xfee00000;
    submit(0);
    offence("data in registers of a device");

    begin();
    prepare(0, 0, 512, true);
    queue.table[1].at = (uint64_t)-256;
    submit(0);
    offence("data over the end of all addresses");

    begin();
    prepare(0, 0, 512, true);
    queue.table[1].len = 0xffffffff;
    submit(0);
    offence("data longer than memory");

    begin();
    prepare(1, 0, 512, false);
    queue.table[0].flags |= WRITE;
    submit(0);
    offence("what is written before what is read");

    begin();
    prepare(0, 0, 512, true);
    queue.avail.index += QUEUE + 1;
    put(0x50, 0);
    offence("more chains than the ring has");

    begin();
    inner[0] = (Descriptor){ (uint64_t)inner, sizeof(inner), INDIRECT, 0 };
    queue.table[0] = (Descriptor){ (uint64_t)inner, sizeof(inner), INDIRECT, 0 };
    submit(0);
    offence("a table in a table");

    begin();
    queue.table[0] = (Descriptor){ (uint64_t)inner, sizeof(inner) - 1, INDIRECT, 0 };
    submit(0);
    offence("a table that is cut off");

    begin();
    queue.table[0] = (Descriptor){ (uint64_t)inner, 0xfffffff0, INDIRECT, 0 };
    submit(0);
    offence("a table longer than memory");

    begin();
    queue.table[0] = (Descriptor){ (uint64_t)inner, sizeof(inner), INDIRECT | NEXT, 1 };
    submit(0);
    offence("something behind a table");

    begin();
    queue.table[0] = (Descriptor){ (uint64_t)&header, 8, NEXT, 1 };
    queue.table[1] = (Descriptor){ (uint64_t)&status, 1, WRITE, 0 };
    submit(0);
    offence("a request without all of its header");

    begin();
    queue.table[0] = (Descriptor){ (uint64_t)&header, sizeof(header), 0, 0 };
    submit(0);
    offence("a request without a place for its status");
}

static void queue_offence(const char *what, uint64_t desc, uint64_t available, uint64_t used_at,
                          uint32_t size)
{
    negotiate();
    put_queue(desc, available, used_at, size);
    put(STATUS, RUNNING);
    put(0x50, 0);
    check_equal(what, get(STATUS) & NEEDS_RESET, NEEDS_RESET);
}

static void queue_offences(void)
{
    uint64_t t = (uint64_t)queue.table, a = (uint64_t)&queue.avail, u = (uint64_t)&queue.used;

    queue_offence("a queue without entries", t, a, u, 0);
    queue_offence("a queue whose size is no power of two", t, a, u, 3);
    queue_offence("a queue larger than allowed", t, a, u, 512);
    queue_offence("a queue larger than its register", t, a, u, 0x10008);
    queue_offence("a table in no memory", 0xfee00000, a, u, 8);
    queue_offence("rings at the end of all addresses", t, (uint64_t)-2, u, 8);
    queue_offence("a used ring in no memory", t, a, 0xd0000000, 8);
    queue_offence("a table that is not aligned", t + 8, a, u, 8);
    queue_offence("a used ring that is not aligned", t, a, u + 2, 8);
}

/* Requests that are in order for the ring and not for the disk: they fail, and others go on. */
static void refusals(void)
{
    static const struct {
        const char *what;
        uint32_t type;
        uint64_t sector;
        uint32_t len;
        uint8_t status;
    } cases[] = {
        { "a read behind the end fails", 0, 2048, 512, 1 },
        { "a read over the end fails", 0, 2047, 1024, 1 },
        { "a read far away fails", 0, 0xffffffffffffffff, 512, 1 },
        { "half a sector fails", 0, 0, 256, 1 },
        { "a type that does not exist is unsupported", 99, 0, 512, 2 },
        { "the last sector can be read", 0, 2047, 512, 0 },
        { "the serial number can be read", 8, 0, 20, 0 },
    };
    uint16_t index = 0;

    begin();
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        prepare(cases[i].type, cases[i].sector, cases[i].len, true);
        submit(0);
        bool came = wait_used(++index);
        check_equal(cases[i].what, came ? status : 0xee, cases[i].status);
    }
    check("it is the one that was given", data[0] == 'F' && data[4] == 'y' && !data[5]);
    prepare(4, 0, 0, true);
    queue.table[0].next = 2;
    submit(0);
    check("a flush is done", wait_used(++index) && status == 0);
    *(uint64_t *)data = 0;
    *(uint64_t *)(data + 8) = 8;
    prepare(13, 0, 16, false);
    submit(0);
    check("zeroes are written", wait_used(++index) && status == 0);
    *(uint64_t *)data = 2000;
    *(uint64_t *)(data + 8) = 0xffffffff;
    prepare(11, 0, 16, false);
    submit(0);
    check("a discard behind the end fails", wait_used(++index) && status == 1);
}

static void registers(void)
{
    check_equal("magic", get(0), 0x74726976);
    check_equal("version", get(4), 2);
    check_equal("it is a disk", get(8), 2);
    check_equal("capacity in sectors", get(0x100), 2048);
    put(0x30, 5);
    check_equal("a queue that is not there has no entries", get(0x34), 0);
    put(0x44, 1);
    put(0x80, 0xffffffff);
    put(0x50, 7);
    put(0x14, 7);
    check_equal("features that are not there", get(0x10), 0);
    put(STATUS, 0);
    put(STATUS, 11);
    check_equal("without the modern feature there is no agreement", get(STATUS) & 8, 0);
    negotiate();
    put(STATUS, 3);
    put(0x24, 0);
    put(0x20, 0xffffffff);
    put(STATUS, 11);
    check_equal("nor with features that were not offered", get(STATUS) & 8, 0);
}

void guest(void)
{
    registers();
    works("data is written and read");
    offences();
    queue_offences();
    refusals();
    works("after all that it works");
}
