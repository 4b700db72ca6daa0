/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Drives a balloon (the first virtio device), and lies to it. Its command line says what for:
 * "rules" checks the device and ends; "follow" puts as many pages into the balloon as it is asked
 * to, from 16 MiB on, side by side, prints "N pages" whenever that has changed, and goes on. "hint"
 * answers commands of free page hinting, takes some of the pages back without telling, and counts
 * those whose content is gone, after hints that do not count; "honest" only answers. "report"
 * reports 16 MiB as free when it shall have nothing in the balloon after it was asked for
 * something, and looks at them when it is asked again.
 */
#include "queue.h"

enum {
    BASE = 0xfeb02e00, CONFIG = 0x100,
    INFLATE = 0, DEFLATE = 1, STATS = 2, REPORTING = 3, QUEUES = 4, NUMBERS = 256, HINTS = 3,
    FIRST = 0x1000,
};

static Queue queues[QUEUES] __attribute__((aligned(4096)));
static uint32_t numbers[NUMBERS];
static struct {
    uint16_t tag;
    uint64_t value;
} __attribute__((packed)) stats[3];

static uint32_t get(uint32_t reg)
{
    return mmio_get(BASE + reg);
}

static void put(uint32_t reg, uint32_t v)
{
    mmio_put(BASE + reg, v);
}

/* With all features that are offered, and so many queues. */
static void begin(unsigned count)
{
    bool packed = device_open(BASE, get(0x10) & 0x3f); /* no event index */

    for (unsigned i = 0; i < count; i++)
        queue_start(&queues[i], BASE, i, packed);
    device_start(BASE);
}

/* Gives the device one buffer; it is done with it when this returns, unless it keeps it. */
static void submit(unsigned queue, const volatile void *at, uint32_t len, bool write)
{
    queue_add(&queues[queue], 0, &(Segment){ (void *)at, len, write }, 1);
}

static void set_actual(uint32_t pages)
{
    put(CONFIG + 4, pages);
}

static void put_numbers(unsigned queue, uint32_t first, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        numbers[i] = first + i;
    submit(queue, numbers, count * 4, false);
}

/* ---- rules ----------------------------------------------------------------------------------- */

static volatile uint64_t *page(uint32_t number)
{
    return (volatile uint64_t *)((uint64_t)number << 12);
}

static void fill(uint32_t first, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        *page(first + i) = first + i;
}

static unsigned kept(uint32_t first, unsigned count)
{
    unsigned n = 0;

    for (unsigned i = 0; i < count; i++)
        n += *page(first + i) == first + i;
    return n;
}

static void lie(const char *what, uint32_t number)
{
    uint16_t index = queues[INFLATE].used.index;

    numbers[0] = number;
    submit(INFLATE, numbers, 4, false);
    check_equal(what, (uint16_t)(queues[INFLATE].used.index - index), 1);
}

static void check_rules(void)
{
    volatile uint8_t *code = (volatile uint8_t *)page(FIRST + 64);
    uint32_t (*answer)(void) = (uint32_t (*)(void))(uint64_t)code;

    check_equal("it is a balloon", get(8), 5);
    begin(QUEUES);
    check_equal("nothing is asked for", get(CONFIG), 0);
    fill(FIRST, 64);
    put_numbers(INFLATE, FIRST + 8, 16);
    check_equal("what is in the balloon is gone, and nothing else", kept(FIRST, 64), 48);
    check("it is zeroes", !*page(FIRST + 8) && !*page(FIRST + 23));
    put_numbers(DEFLATE, FIRST + 8, 16);
    fill(FIRST + 8, 16);
    check_equal("taken out it is memory again", kept(FIRST, 64), 64);

    code[0] = 0xb8; /* mov $7, %eax; ret */
    *(volatile uint32_t *)(code + 1) = 7;
    code[5] = 0xc3;
    check_equal("code runs", answer(), 7);
    put_numbers(INFLATE, FIRST + 64, 1);
    put_numbers(DEFLATE, FIRST + 64, 1);
    code[0] = 0xb8;
    *(volatile uint32_t *)(code + 1) = 8;
    code[5] = 0xc3;
    check_equal("other code runs after it was in the balloon", answer(), 8);

    fill(FIRST, 8);
    submit(REPORTING, page(FIRST), 3 * 4096, true);
    check_equal("memory that is reported as free goes", kept(FIRST, 8), 5);
    put(CONFIG + 12, 0xaaaaaaaa);
    check_equal("what free pages are filled with is known", get(CONFIG + 12), 0xaaaaaaaa);
    fill(FIRST, 8);
    submit(REPORTING, page(FIRST), 3 * 4096, true);
    check_equal("and then free pages stay as they are", kept(FIRST, 8), 8);
    put(CONFIG + 12, 0);
    submit(REPORTING, page(FIRST) + 1, 2 * 4096, true);
    check_equal("of parts of pages nothing goes", kept(FIRST, 8), 7);

    fill(FIRST, 8);
    lie("a page is put in", FIRST);
    lie("twice", FIRST);
    lie("a page behind memory", 0x7fffffff);
    lie("the last page of all", 0xffffffff);
    lie("registers of a device", 0xfee00);
    lie("the balloon's own registers", 0xfeb02);
    lie("firmware", 0xf0);
    lie("ROM", 0xfffff);
    submit(INFLATE, numbers, 3, false);
    submit(INFLATE, page(FIRST + 128), 4 << 20, false);
    submit(REPORTING, (volatile void *)0xf0000, 4096, true);
    check_equal("it works on", kept(FIRST, 8), 7);
    put(CONFIG, 77);
    check_equal("what is asked for is not the driver's to say", get(CONFIG), 0);
}

/* ---- following ------------------------------------------------------------------------------- */

static void follow(void)
{
    uint32_t have = 0, told = 0;
    uint16_t answered = 0;

    begin(3);
    fill(FIRST, 8192);
    stats[0].tag = 4;
    stats[0].value = 12345678;
    stats[1].tag = 0;
    stats[1].value = 0;
    stats[2].tag = 999;
    submit(STATS, stats, sizeof(stats), false);
    print("ready\n");
    for (;;) {
        uint32_t want = get(CONFIG), step;

        if (queues[STATS].used.index != answered) {
            answered = queues[STATS].used.index;
            stats[1].value++;
            submit(STATS, stats, sizeof(stats), false);
        }
        if (want > 8192)
            want = 8192;
        if (want > have) {
            step = want - have < NUMBERS ? want - have : NUMBERS;
            put_numbers(INFLATE, FIRST + have, step);
            have += step;
        } else if (want < have) {
            step = have - want < NUMBERS ? have - want : NUMBERS;
            have -= step;
            put_numbers(DEFLATE, FIRST + have, step);
            fill(FIRST + have, step);
        } else if (told != have) {
            told = have;
            set_actual(have);
            print_hex(have);
            print(" pages\n");
        }
    }
}

/* ---- reports --------------------------------------------------------------------------------- */

enum { REPORTED = 4096, REPORT_PIECE = 64 };

static void await_target(bool some)
{
    while (!get(CONFIG) == some)
        ;
}

static void report(void)
{
    begin(4);
    fill(FIRST, REPORTED);
    print("ready\n");
    await_target(true);
    print("asked\n");
    await_target(false);
    for (unsigned i = 0; i < REPORTED; i += REPORT_PIECE) {
        uint16_t index = queues[REPORTING].used.index;

        submit(REPORTING, page(FIRST + i), REPORT_PIECE * 4096, true);
        while (queues[REPORTING].used.index == index)
            ;
    }
    print("reported\n");
    await_target(true);
    print(kept(FIRST, REPORTED) == REPORTED ? "kept\n" : "bad: not kept\n");
    for (;;)
        ;
}

/* ---- hints ----------------------------------------------------------------------------------- */

/*
 * Pages that are hinted at, the first of them taken back each time, and pages that only lies name.
 */
enum { HINTED = 4096, TAKEN_BACK = 1024, KEPT = 1024, PIECE = 64 };

static void hint(uint32_t first, unsigned count)
{
    for (unsigned i = 0; i < count; i += PIECE)
        submit(HINTS, page(first + i), PIECE * 4096, true);
}

static void send_command(uint32_t command)
{
    numbers[0] = command;
    submit(HINTS, numbers, 4, false);
}

/* Writes pages as a system does that needs memory; @times tells how often that was. */
static void take_back(uint64_t times)
{
    for (unsigned i = 0; i < TAKEN_BACK; i++)
        page(FIRST + i)[1] = times;
}

static void answer_command(uint32_t command, uint64_t times)
{
    hint(FIRST + HINTED, KEPT);
    send_command(command + 1);
    hint(FIRST + HINTED, KEPT);
    send_command(command);
    hint(FIRST, HINTED);
    take_back(times);
    send_command(0);
    hint(FIRST + HINTED, KEPT);
}

static bool taken_back_are(uint64_t times)
{
    for (unsigned i = 0; i < TAKEN_BACK; i++)
        if (page(FIRST + i)[0] != FIRST + i || page(FIRST + i)[1] != times)
            return false;
    return true;
}

static void tell(const char *what, uint64_t value)
{
    print(what);
    print_hex(value);
    print("\n");
}

static void answer_hints(bool honest)
{
    uint32_t seen = 0;
    unsigned lost = 0;
    uint64_t times = 0;

    begin(4);
    fill(FIRST, HINTED + KEPT);
    print("ready\n");
    for (;;) {
        uint32_t command = get(CONFIG + 8);
        unsigned gone = HINTED - kept(FIRST, HINTED);

        if (command != seen) {
            seen = command;
            if (command > 1 && !honest)
                answer_command(command, ++times);
            else if (command > 1) {
                send_command(command);
                hint(FIRST, HINTED);
                send_command(0);
            }
            tell("command ", command);
        }
        if (times && !taken_back_are(times))
            print("bad: a page that was taken back is gone\n");
        if (kept(FIRST + HINTED, KEPT) != KEPT)
            print("bad: a page of which only lies told is gone\n");
        if (gone != lost)
            tell("lost ", gone);
        lost = gone;
    }
}

void guest(void)
{
    const char *line = (const char *)(uint64_t)*(volatile uint32_t *)0x7228;

    if (*line == 'f')
        follow();
    else if (line[0] == 'r' && line[1] == 'e')
        report();
    else if (*line == 'h')
        answer_hints(line[1] == 'o');
    else
        check_rules();
}
