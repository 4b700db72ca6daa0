/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Uses devices all the time, with split or packed queues as they offer: a disk of virtio-scsi whose
 * blocks it writes and reads again, a console whose bytes it sends back, a port on which it counts,
 * and two network cards that hear each other, the second by its table of addresses and VLANs.
 * Prints "round N" now and then and "bad" when something is wrong.
 */
#include "queue.h"

enum {
    NET_A = 0xfeb02e00, NET_B = 0xfeb02c00, SERIAL = 0xfeb02a00, SCSI = 0xfeb02800,
    HEADER = 12, FRAME = 80, BLOCKS = 2048, PER_ROUND = 64, SILENCE = 4096, LINE = 33,
};

/* ---- the disk -------------------------------------------------------------------------------- */

static Queue disk;
static uint8_t request[51], response[108], block[512];
static uint32_t block_round[BLOCKS];

static void open_disk(void)
{
    bool packed = device_open(SCSI, 0);
    static Queue control, events;

    queue_start(&control, SCSI, 0, packed);
    queue_start(&events, SCSI, 1, packed);
    queue_start(&disk, SCSI, 2, packed);
    device_start(SCSI);
}

static void run_command(uint8_t op, unsigned at)
{
    bool write = op == 0x2a;
    Segment s[] = { { request, sizeof(request), false },
                    { write ? (void *)block : response, write ? 512 : 108, !write },
                    { write ? (void *)response : block, write ? 108 : 512, true } };

    request[0] = 1;
    request[19] = op;
    request[23] = at >> 8;
    request[24] = at;
    request[27] = 1;
    response[10] = 0xff;
    queue_add(&disk, 0, s, 3);
    queue_await(&disk);
}

/* A reset, for one, is told of by the next command, which has to be sent again. */
static void command(uint8_t op, unsigned at)
{
    for (unsigned i = 0; i < 3; i++) {
        run_command(op, at);
        if (!response[10] && !response[11])
            return;
    }
    print("bad command\n");
}

static void use_disk(uint32_t n)
{
    unsigned at = n * 7 % BLOCKS, other = n * 5 % BLOCKS;

    for (unsigned i = 0; i < 512; i += 4)
        *(uint32_t *)(block + i) = n + at + i;
    command(0x2a, at);
    block_round[at] = n;
    if (!block_round[other])
        return;
    command(0x28, other);
    for (unsigned i = 0; i < 512; i += 4)
        if (*(uint32_t *)(block + i) != block_round[other] + other + i) {
            print("bad block\n");
            return;
        }
}

/* ---- the console and the port ---------------------------------------------------------------- */

static Queue console_in, console_out, port, messages_in, messages_out;
static char lines[SLOTS][LINE], message[8], heard[SLOTS][16], keys[SLOTS][64], echo[SLOTS][64];
static uint8_t line_slots, echo_slots;

static void say(uint32_t port, uint16_t event)
{
    Segment s = { message, 8, false };

    *(uint32_t *)message = port;
    *(uint16_t *)(message + 4) = event;
    *(uint16_t *)(message + 6) = 1;
    queue_add(&messages_out, 0, &s, 1);
    queue_await(&messages_out);
}

static void open_serial(void)
{
    bool packed = device_open(SERIAL, 2);
    static Queue port_in;

    queue_start(&console_in, SERIAL, 0, packed);
    queue_start(&console_out, SERIAL, 1, packed);
    queue_start(&messages_in, SERIAL, 2, packed);
    queue_start(&messages_out, SERIAL, 3, packed);
    queue_start(&port_in, SERIAL, 4, packed);
    queue_start(&port, SERIAL, 5, packed);
    device_start(SERIAL);
    for (unsigned i = 0; i < SLOTS; i++) {
        queue_add(&messages_in, i, &(Segment){ heard[i], sizeof(heard[i]), true }, 1);
        queue_add(&console_in, i, &(Segment){ keys[i], sizeof(keys[i]), true }, 1);
    }
    say(0, 0);
    for (unsigned i = 0; i < 2; i++) {
        say(i, 3);
        say(i, 6);
    }
}

static int free_slot(Queue *q, uint8_t *used)
{
    int slot;

    while ((slot = queue_take(q)) >= 0)
        *used &= ~(1 << slot);
    for (slot = 0; slot < SLOTS; slot++)
        if (!(*used >> slot & 1))
            return slot;
    return -1;
}

/* A number in hexadecimal and a newline, as two segments. False: the host takes no more now. */
static bool count_on_port(uint32_t n)
{
    int slot = free_slot(&port, &line_slots);
    Segment s[2];

    if (slot < 0)
        return false;
    for (unsigned i = 0; i < LINE - 1; i++)
        lines[slot][i] = i < LINE - 9 ? '.' : "0123456789abcdef"[n >> 4 * (LINE - 2 - i) & 15];
    lines[slot][LINE - 1] = '\n';
    s[0] = (Segment){ lines[slot], 20, false };
    s[1] = (Segment){ lines[slot] + 20, LINE - 20, false };
    line_slots |= 1 << slot;
    queue_add(&port, slot, s, 2);
    return true;
}

static void use_console(void)
{
    int out = free_slot(&console_out, &echo_slots), in = out < 0 ? -1 : queue_take(&console_in);

    while (queue_take(&messages_in) >= 0)
        ;
    if (in < 0)
        return;
    for (unsigned i = 0; i < console_in.len; i++)
        echo[out][i] = keys[in][i];
    echo_slots |= 1 << out;
    queue_add(&console_out, out, &(Segment){ echo[out], console_in.len, false }, 1);
    queue_add(&console_in, in, &(Segment){ keys[in], sizeof(keys[in]), true }, 1);
}

/* ---- the network ----------------------------------------------------------------------------- */

enum { F_NET = 1 << 5 | 1 << 15 | 1 << 16 | 1 << 17 | 1 << 18 | 1 << 19, VLAN = 5 };

static Queue send_a, receive_b, control_b;
static uint8_t sent[SLOTS][HEADER + FRAME], received[SLOTS][256];
static uint8_t send_slots;
static uint32_t last_heard, heard_at, tagged;

/* A command with @len bytes of data. */
static void control(uint8_t class, uint8_t command_of_class, const void *data, unsigned len)
{
    static uint8_t head[2], ack;
    Segment s[] = { { head, 2, false }, { (void *)data, len, false }, { &ack, 1, true } };

    head[0] = class;
    head[1] = command_of_class;
    ack = 0xff;
    queue_add(&control_b, 0, s, 3);
    queue_await(&control_b);
    if (ack)
        print("bad control\n");
}

static void open_net(void)
{
    static const uint8_t off,
        macs[] = { 1, 0, 0, 0, 2, 0, 0, 0, 0, 7, 1, 0, 0, 0, 1, 0, 0, 0, 0, 9 };
    static const uint16_t vlan = VLAN;
    static Queue receive_a, send_b;
    bool packed = device_open(NET_A, F_NET);

    queue_start(&receive_a, NET_A, 0, packed);
    queue_start(&send_a, NET_A, 1, packed);
    device_start(NET_A);
    packed = device_open(NET_B, F_NET);
    queue_start(&receive_b, NET_B, 0, packed);
    queue_start(&send_b, NET_B, 1, packed);
    queue_start(&control_b, NET_B, 2, packed);
    device_start(NET_B);
    for (unsigned i = 0; i < SLOTS; i++)
        queue_add(&receive_b, i, &(Segment){ received[i], sizeof(received[i]), true }, 1);
    control(0, 0, &off, 1);
    control(1, 0, macs, sizeof(macs));
    control(2, 0, &vlan, 2);
}

/*
 * To an address of the table, to the group, to nobody; some with a tag, of the VLAN or of another.
 */
static void send_frame(uint32_t n)
{
    static const uint8_t to[4] = { 7, 9, 7, 8 };
    int slot = free_slot(&send_a, &send_slots);
    uint8_t *f;

    if (slot < 0)
        return;
    f = sent[slot] + HEADER;
    f[0] = n % 4 == 1 ? 1 : 2;
    f[5] = to[n % 4];
    f[6] = 2;
    f[12] = n % 4 >= 2 ? 0x81 : 0x88;
    f[13] = n % 4 >= 2 ? 0 : 0xb5;
    f[15] = n % 8 == 2 ? VLAN : VLAN + 1;
    *(uint32_t *)(f + 20) = n;
    *(uint32_t *)(f + 24) = ~n;
    send_slots |= 1 << slot;
    queue_add(&send_a, slot, &(Segment){ sent[slot], HEADER + FRAME, false }, 1);
}

static void hear_frames(uint32_t n)
{
    int slot;

    while ((slot = queue_take(&receive_b)) >= 0) {
        const uint8_t *f = received[slot] + HEADER;
        uint32_t number = *(const uint32_t *)(f + 20);

        /* The host tells the network where the card is after it has moved. */
        if (f[12] != 8 || f[13] != 6) {
            if (f[12] == 0x80 && f[13] == 0x35)
                number = last_heard;
            else if (receive_b.len != HEADER + FRAME || ~number != *(const uint32_t *)(f + 24) ||
                     (last_heard && number <= last_heard) || number % 4 == 3 || number % 8 == 6)
                print("bad frame\n");
            last_heard = number;
            heard_at = n;
            tagged += number % 4 == 2;
        }
        queue_add(&receive_b, slot, &(Segment){ received[slot], sizeof(received[slot]), true }, 1);
    }
    if (n - heard_at > SILENCE || (n > SILENCE && !tagged)) {
        print("bad silence\n");
        heard_at = n;
    }
}

void guest(void)
{
    uint32_t counted = 1;

    open_net();
    open_serial();
    open_disk();
    print("ready\n");
    for (uint32_t n = 1;; n++) {
        use_disk(n);
        counted += count_on_port(counted);
        use_console();
        send_frame(n);
        hear_frames(n);
        if (n % PER_ROUND == 0) {
            print("round ");
            print_hex(n / PER_ROUND);
            print("\n");
        }
    }
}
