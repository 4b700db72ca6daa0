/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Uses devices as fast as they let it, as its command line says, and prints a line before and
 * after: "read DEPTH COUNT" and "write DEPTH COUNT" of 4 KiB each at random places of the first
 * virtio device, a disk; "Read DEPTH COUNT" and "Write DEPTH COUNT" of 64 KiB each, one after the
 * other; "send DEPTH COUNT" frames from the first to the second, which are network cards that
 * hear each other; "trips 1 COUNT" there and back. It sleeps until there is an interrupt, as
 * systems do.
 */
#define QUEUE_SLOTS 32
#include "tests/system/guests/queue.h"

enum {
    FIRST = 0xfeb02e00, SECOND = 0xfeb02c00, IOAPIC = 0xfec10000, FIRST_PIN = 23, SVR = 0xfee000f0,
    VECTOR = 0x60, BLOCK = 4096, LARGE = 65536, FRAME = 1514, HEADER = 12, MERGEABLE = 1 << 15,
};

extern const char *command_line;

static struct {
    uint32_t type, reserved;
    uint64_t sector;
} request[SLOTS];
static uint8_t status[SLOTS], data[SLOTS][LARGE] __attribute__((aligned(4096)));
static uint8_t received[2][SLOTS][2048];
static uint64_t seed = 88172645463325252;

static uint64_t number(const char **at)
{
    uint64_t n = 0;

    while (**at && (**at < '0' || **at > '9'))
        ++*at;
    for (; **at >= '0' && **at <= '9'; ++*at)
        n = 10 * n + **at - '0';
    return n;
}

static uint64_t random_number(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* The interrupt of the virtio device @pin, edges of which wake the processor. */
static void hear(unsigned pin)
{
    mmio_put(IOAPIC, 0x10 + 2 * pin + 1);
    mmio_put(IOAPIC + 16, 0);
    mmio_put(IOAPIC, 0x10 + 2 * pin);
    mmio_put(IOAPIC + 16, VECTOR);
}

/* The next chain that @q gives back. */
static unsigned wait_for(Queue *q)
{
    int slot;

    while ((slot = queue_take(q)) < 0) {
        mmio_put(q->base + 0x64, 3);
        if ((slot = queue_take(q)) >= 0)
            break;
        __asm__ volatile("sti\n hlt\n cli" : : : "memory");
    }
    return slot;
}

/* ---- the disk -------------------------------------------------------------------------------- */

static Queue disk;
static bool is_write, is_sequential;
static uint64_t blocks, next_block;

static void submit(unsigned slot)
{
    uint32_t size = is_sequential ? LARGE : BLOCK;
    Segment s[] = {
        { &request[slot], 16, false }, { data[slot], size, !is_write }, { &status[slot], 1, true },
    };

    request[slot].type = is_write;
    request[slot].sector = (is_sequential ? next_block++ : random_number()) % blocks * (size / 512);
    status[slot] = 0xff;
    queue_add(&disk, slot, s, 3);
}

static void use_disk(unsigned depth, uint64_t count)
{
    bool packed = device_open(FIRST, 0);
    uint64_t begun = 0;

    blocks = mmio_get(FIRST + 0x100) / ((is_sequential ? LARGE : BLOCK) / 512);
    queue_start(&disk, FIRST, 0, packed);
    device_start(FIRST);
    print("begin\n");
    for (; begun < depth; begun++)
        submit(begun);
    for (uint64_t done = 0; done < count; done++) {
        unsigned slot = wait_for(&disk);

        if (status[slot])
            print("bad status\n");
        if (begun++ < count)
            submit(slot);
    }
    print("end\n");
}

/* ---- the network ----------------------------------------------------------------------------- */

static Queue receive[2], transmit[2];

static void add_buffer(unsigned card, unsigned slot)
{
    uint8_t *at = received[card][slot];

    queue_add(&receive[card], slot, &(Segment){ at, sizeof(received[card][slot]), true }, 1);
}

static void open_cards(void)
{
    static const uint64_t base[] = { FIRST, SECOND };

    for (unsigned i = 0; i < 2; i++) {
        bool packed = device_open(base[i], MERGEABLE);

        queue_start(&receive[i], base[i], 0, packed);
        queue_start(&transmit[i], base[i], 1, packed);
        device_start(base[i]);
        for (unsigned n = 0; n < SLOTS; n++)
            add_buffer(i, n);
    }
}

static void send_frame(unsigned card, unsigned slot)
{
    uint8_t *f = data[slot] + HEADER;

    for (unsigned i = 0; i < 6; i++)
        f[i] = 0xff;
    f[12] = 0x88;
    f[13] = 0xb5;
    queue_add(&transmit[card], slot, &(Segment){ data[slot], HEADER + FRAME, false }, 1);
}

static void take_frame(unsigned card)
{
    unsigned slot = wait_for(&receive[card]);

    if (receive[card].len != HEADER + FRAME)
        print("bad frame\n");
    add_buffer(card, slot);
}

/* No more on their way than the other card has buffers for: a hub may lose what nobody takes. */
static void send_frames(unsigned depth, uint64_t count)
{
    uint64_t begun = 0;
    uint32_t used = 0;

    for (uint64_t done = 0; done < count; done++) {
        int slot;

        while (begun < count && begun - done < depth && ~used) {
            slot = __builtin_ctz(~used);
            used |= UINT32_C(1) << slot;
            send_frame(0, slot);
            begun++;
        }
        take_frame(1);
        while ((slot = queue_take(&transmit[0])) >= 0)
            used &= ~(UINT32_C(1) << slot);
    }
}

static void send_to_and_fro(uint64_t count)
{
    for (uint64_t done = 0; done < 2 * count; done++) {
        unsigned from = done & 1;

        send_frame(from, 0);
        take_frame(!from);
        wait_for(&transmit[from]);
    }
}

void guest(void)
{
    const char *at = command_line;
    char what = *at;
    unsigned depth = number(&at);
    uint64_t count = number(&at);

    interrupts_init();
    mmio_put(SVR, 0x1ff);
    hear(FIRST_PIN);
    hear(FIRST_PIN - 1);
    is_write = what == 'w' || what == 'W';
    is_sequential = what == 'R' || what == 'W';
    if (is_write || is_sequential || what == 'r') {
        use_disk(depth, count);
        return;
    }
    open_cards();
    print("begin\n");
    if (what == 's')
        send_frames(depth, count);
    else
        send_to_and_fro(count);
    print("end\n");
}
