/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lives twice, with a reset between: first it writes to a disk of virtio-scsi-device, which is
 * supposed to fail and to rest; then it reads the same block and prints its first byte.
 */
#include "queue.h"

enum { BASE = 0xfeb02e00, WRITE_10 = 0x2a, READ_10 = 0x28, LIVED = 0x5a5a1234 };
#define MARK (*(volatile uint32_t *)0x300000) /* resets leave memory alone */

static Queue control, events, requests;
static uint8_t request[51], response[108], block[512];

static bool run_command(uint8_t op)
{
    bool write = op == WRITE_10;
    const Segment write_segments[] = { { request, 51, false },
                                       { block, 512, false },
                                       { response, 108, true } };
    const Segment read_segments[] = { { request, 51, false },
                                      { response, 108, true },
                                      { block, 512, true } };

    request[0] = 1;
    request[19] = op;
    request[27] = 1;
    queue_add(&requests, 0, write ? write_segments : read_segments, 3);
    queue_await(&requests);
    return !response[10] && !response[11];
}

void guest(void)
{
    bool packed = device_open(BASE, 0);

    queue_start(&control, BASE, 0, packed);
    queue_start(&events, BASE, 1, packed);
    queue_start(&requests, BASE, 2, packed);
    device_start(BASE);
    run_command(0); /* tells of the reset */
    if (MARK != LIVED) {
        MARK = LIVED;
        for (unsigned i = 0; i < sizeof(block); i++)
            block[i] = 0xa5;
        print("writes\n");
        run_command(WRITE_10);
        print("wrote\n");
        return;
    }
    print(run_command(READ_10) ? "reads " : "fails ");
    print_hex(block[0]);
    print("\n");
    for (;;)
        __asm__ volatile("cli\n hlt");
}
