/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads the first sector of the last device, a disk, twelve times, one after the other, and rests.
 */
#include "queue.h"

enum { BASE = 0xfeb02e00, READS = 12 };

static Queue queue;
static uint8_t data[512];
static uint8_t status;
static struct {
    uint32_t type, reserved;
    uint64_t sector;
} header;

void guest(void)
{
    const Segment request[] = {
        { &header, sizeof(header), false }, { data, sizeof(data), true }, { &status, 1, true },
    };
    bool packed = device_open(BASE, 0);

    queue_start(&queue, BASE, 0, packed);
    device_start(BASE);
    for (unsigned i = 0; i < READS; i++) {
        queue_add(&queue, 0, request, 3);
        queue_await(&queue);
        if (status)
            print("a read failed\n");
    }
    print("all were read\n");
    for (;;)
        __asm__ volatile("cli\n hlt");
}
