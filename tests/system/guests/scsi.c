/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sends commands to disks of virtio-scsi-device and looks at what comes: target 0 is a disk of 1
 * MiB, 1 a disc of 64 KiB, 2 is read-only, 3 fails with an error at its first block. Nothing else
 * is there.
 */
#include "queue.h"

enum {
    BASE = 0xfeb02e00, HEADER = 51, RESPONSE = 108, CONTROL = 0, REQUESTS = 2,

    GOOD = 0, CHECK = 2, BAD_TARGET = 0x300,
};

static Queue queues[3];
static uint8_t header[64], response[RESPONSE], data[65536] __attribute__((aligned(4096)));

static void begin(void)
{
    bool packed = device_open(BASE, 6);

    for (unsigned i = 0; i < 3; i++)
        queue_start(&queues[i], BASE, i, packed);
    device_start(BASE);
}

static bool send(unsigned queue, const Segment *segments, unsigned count)
{
    uint64_t deadline = time_stamp() + 10000000000;
    bool is_done;

    queue_add(&queues[queue], 0, segments, count);
    while (!(is_done = queue_take(&queues[queue]) >= 0) && time_stamp() < deadline)
        __asm__ volatile("pause");
    return is_done;
}

/* Status, or a response of the transport times 256; 0xffff: nothing came. */
static unsigned run_at(unsigned target, unsigned lun, const uint8_t *cdb, unsigned len,
                       unsigned out, unsigned in)
{
    const Segment all[] = { { header, HEADER, false },
                            { data, out, false },
                            { response, RESPONSE, true },
                            { data, in, true } };
    Segment used[4];
    unsigned count = 0;

    for (unsigned i = 0; i < sizeof(header); i++)
        header[i] = 0;
    header[0] = 1;
    header[1] = target;
    header[2] = 0x40 | lun >> 8;
    header[3] = lun;
    for (unsigned i = 0; i < len; i++)
        header[19 + i] = cdb[i];
    response[10] = response[11] = 0xff;
    for (unsigned i = 0; i < 4; i++)
        if (all[i].len)
            used[count++] = all[i];
    return send(REQUESTS, used, count) ? response[10] | response[11] << 8 : 0xffff;
}

#define RUN(target, out, in, ...)                                                                  \
    run_at(target, 0, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }),  \
           out, in)

/* Sense key, code and qualifier. */
static uint32_t sense(void)
{
    return (response[12 + 2] & 15) << 16 | response[12 + 12] << 8 | response[12 + 13];
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

static void fill(uint8_t v, unsigned len)
{
    for (unsigned i = 0; i < len; i++)
        data[i] = v;
}

static bool is_filled(uint8_t v, unsigned len)
{
    for (unsigned i = 0; i < len; i++)
        if (data[i] != v)
            return false;
    return true;
}

static void describes(void)
{
    check_equal("a target that is not there", RUN(9, 0, 36, 0x12, 0, 0, 0, 36), BAD_TARGET);
    check_equal("a unit that is not there", run_at(0, 7, (uint8_t[]){ 0 }, 1, 0, 0), CHECK);
    check_equal("has its sense", sense(), 0x052500);
    check_equal("an inquiry before anything else", RUN(0, 0, 36, 0x12, 0, 0, 0, 36), GOOD);
    check("it is a disk", data[0] == 0 && data[8] == 'Q' && data[16 + 5] == 'H');
    check_equal("the first command tells of the reset", RUN(0, 0, 0, 0), CHECK);
    check_equal("as attention", sense(), 0x062900);
    check_equal("but once", RUN(0, 0, 0, 0), GOOD);
    check_equal("the disc too", RUN(1, 0, 0, 0), CHECK);
    check_equal("which can be asked for", RUN(2, 0, 18, 0x03, 0, 0, 0, 18), GOOD);
    check("as sense data", data[0] == 0x70 && data[2] == 6 && data[12] == 0x29);
    check_equal("and is known then", RUN(2, 0, 0, 0), GOOD);
    RUN(3, 0, 0, 0);
    check_equal("units of a target", RUN(0, 0, 64, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64), GOOD);
    check_equal("are one", be32(data), 8);
    check_equal("capacity", RUN(0, 0, 8, 0x25), GOOD);
    check("in blocks", be32(data) == 2047 && be32(data + 4) == 512);
    check_equal("capacity for large disks",
                RUN(0, 0, 32, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32), GOOD);
    check("is the same", be32(data + 4) == 2047 && be32(data + 8) == 512 && data[14] & 0x80);
    check_equal("that of a disc", RUN(1, 0, 8, 0x25), GOOD);
    check("in larger blocks", be32(data) == 31 && be32(data + 4) == 2048);
    check_equal("pages of an inquiry", RUN(0, 0, 255, 0x12, 1, 0, 0, 255), GOOD);
    check("are listed", data[3] == 6 && data[4 + 5] == 0xb2);
    check_equal("one that is not there", RUN(0, 0, 255, 0x12, 1, 0x99, 0, 255), CHECK);
    check_equal("is an invalid field", sense(), 0x052400);
    check_equal("a command that is not there", RUN(0, 0, 0, 0xfe), CHECK);
    check_equal("is invalid", sense(), 0x052000);
    check_equal("a short reply", RUN(0, 0, 5, 0x12, 0, 0, 0, 5), GOOD);
    check_equal("leaves nothing", *(uint32_t *)(response + 4), 0);
}

static void moves(void)
{
    fill(0xa5, 4096);
    check_equal("a write", RUN(0, 4096, 0, 0x2a, 0, 0, 0, 0, 16, 0, 0, 8), GOOD);
    fill(0, 4096);
    check_equal("a read by 16 bytes", RUN(0, 0, 4096, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 8),
                GOOD);
    check("brings it back", is_filled(0xa5, 4096));
    check_equal("a read by 6 bytes", RUN(0, 0, 512, 0x08, 0, 0, 23, 1), GOOD);
    check("too", is_filled(0xa5, 512));
    check_equal("a comparison", RUN(0, 512, 0, 0x2f, 2, 0, 0, 0, 16, 0, 0, 1), GOOD);
    data[100] = 0;
    check_equal("that fails", RUN(0, 512, 0, 0x2f, 2, 0, 0, 0, 16, 0, 0, 1), CHECK);
    check_equal("is a miscompare", sense(), 0x0e1d00);
    check_equal("a read over the end", RUN(0, 0, 1024, 0x28, 0, 0, 0, 7, 255, 0, 0, 2), CHECK);
    check_equal("is out of range", sense(), 0x052100);
    check_equal("a read without room", RUN(0, 0, 512, 0x28, 0, 0, 0, 0, 0, 0, 0, 2), 0x100);
    fill(0x3c, 512);
    check_equal("the same many times", RUN(0, 512, 0, 0x41, 0, 0, 0, 0, 32, 0, 0, 8), GOOD);
    check_equal("is read", RUN(0, 0, 4096, 0x28, 0, 0, 0, 0, 32, 0, 0, 8), GOOD);
    check("everywhere", is_filled(0x3c, 4096));
    check_equal("zeroes without data", RUN(0, 0, 0, 0x93, 9, 0, 0, 0, 0, 0, 0, 0, 33, 0, 0, 0, 1),
                GOOD);
    RUN(0, 0, 512, 0x28, 0, 0, 0, 0, 33, 0, 0, 1);
    check("are read", is_filled(0, 512));
    fill(0, 24);
    data[1] = 22;
    data[3] = 16;
    data[15] = 34;
    data[19] = 2;
    check_equal("an unmap", RUN(0, 24, 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 24), GOOD);
    data[15] = 255;
    data[14] = 255;
    check_equal("over the end", RUN(0, 24, 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 24), CHECK);
    check_equal("out of range, too", sense(), 0x052100);
    check_equal("a flush", RUN(0, 0, 0, 0x35), GOOD);
    check_equal("a write to what is read-only", RUN(2, 512, 0, 0x2a, 0, 0, 0, 0, 0, 0, 0, 1),
                CHECK);
    check_equal("is protected", sense(), 0x072700);
    check_equal("an error of the host", RUN(3, 0, 512, 0x28, 0, 0, 0, 0, 0, 0, 0, 1), CHECK);
    check_equal("is one of the medium", sense(), 0x031100);
    check_equal("elsewhere there is none", RUN(3, 0, 512, 0x28, 0, 0, 0, 0, 8, 0, 0, 1), GOOD);
}

static void modes(void)
{
    check_equal("the page of caching", RUN(0, 0, 64, 0x1a, 8, 8, 0, 64), GOOD);
    check("says that writes are cached", data[4] == 8 && data[6] & 4);
    fill(0, 24);
    data[4] = 8;
    data[5] = 18;
    check_equal("it is changed", RUN(0, 24, 0, 0x15, 0x10, 0, 0, 24), GOOD);
    RUN(0, 0, 64, 0x1a, 8, 8, 0, 64);
    check("and they are not any more", !(data[6] & 4));
    fill(0, 24);
    data[4] = 0x1c;
    data[5] = 18;
    check_equal("another page", RUN(0, 24, 0, 0x15, 0x10, 0, 0, 24), CHECK);
    check_equal("is no such parameter", sense(), 0x052600);
}

static void discs(void)
{
    check_equal("contents of a disc", RUN(1, 0, 20, 0x43, 0, 0, 0, 0, 0, 0, 0, 20), GOOD);
    check("are one track", data[2] == 1 && data[3] == 1 && data[19] == 32);
    check_equal("its tray is locked", RUN(1, 0, 0, 0x1e, 0, 0, 0, 1), GOOD);
    check_equal("it does not open", RUN(1, 0, 0, 0x1b, 0, 0, 0, 2), CHECK);
    check_equal("and says why", sense(), 0x055302);
    RUN(1, 0, 0, 0x1e, 0, 0, 0, 0);
    check_equal("unlocked it does", RUN(1, 0, 0, 0x1b, 0, 0, 0, 2), GOOD);
    check_equal("nothing can be read", RUN(1, 0, 2048, 0x28, 0, 0, 0, 0, 0, 0, 0, 1), CHECK);
    check_equal("without a medium", sense(), 0x023a00);
    check_equal("an event tells of it", RUN(1, 0, 8, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8), GOOD);
    check_equal("the tray is open", data[5], 1);
    check_equal("it closes", RUN(1, 0, 0, 0x1b, 0, 0, 0, 3), GOOD);
    check_equal("and all is there again", RUN(1, 0, 2048, 0x28, 0, 0, 0, 0, 31, 0, 0, 1), GOOD);
    check("as it was", is_filled(0x11, 2048));
}

/* What the control queue says to a reset of unit 0 of @target; 0xff: nothing. */
static uint8_t reset_unit(unsigned target)
{
    const Segment segments[] = { { header, 24, false }, { response, 1, true } };

    for (unsigned i = 0; i < 24; i++)
        header[i] = 0;
    header[4] = 5;
    header[8] = 1;
    header[9] = target;
    header[10] = 0x40;
    response[0] = 0xff;
    return send(CONTROL, segments, 2) ? response[0] : 0xff;
}

static void management(void)
{
    check_equal("a unit is reset", reset_unit(0), 0);
    check_equal("it tells of that", RUN(0, 0, 0, 0), CHECK);
    RUN(0, 0, 64, 0x1a, 8, 8, 0, 64);
    check("modes are those of the beginning", data[6] & 4);
    check_equal("a target that is not there is not", reset_unit(9), 3);
}

void guest(void)
{
    check_equal("it is an adapter", mmio_get(BASE + 8), 8);
    begin();
    describes();
    moves();
    modes();
    discs();
    management();
}
