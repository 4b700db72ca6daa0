/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interval timer: three counters of 1.193182 MHz at ports 40h to 43h, the first of which leads
 * to interrupt 0; and the part of port 61h that gates the third and shows its output.
 *
 * Nothing counts: what a counter shows follows from the time since it was loaded.
 */
#include "system/base/clock.h"
#include "system/base/device.h"
#include "util/err.h"

enum { HZ = 1193182, COUNTERS = 3, GATE_BIT = 1, SPEAKER_BIT = 2, OUT_BIT = 0x20, IRQ = 0 };

typedef struct {
    int64_t loaded;        /* guest's time when counting began */
    uint32_t reload;       /* 1 to 65536 */
    uint8_t mode, access;  /* 0 to 5; 1 low, 2 high, 3 both */
    bool bcd, gate, counting;
    bool write_high, read_high; /* the high byte is next */
    uint8_t low;                /* written, and waits for the high byte */
    uint16_t latched;
    uint8_t latch_left;         /* bytes of .latched that are to be read */
    bool status_latched;
    uint8_t status;
} Counter;

typedef struct {
    Device dev;
    GuestTimer timer;
    Counter counter[COUNTERS];
    bool speaker;
} I8254;

/* ---- time ------------------------------------------------------------------------------------ */

static uint64_t ticks_of(int64_t ns)
{
    return (unsigned __int128)ns * HZ / 1000000000;
}

/* The first time at which @ticks have passed. */
static int64_t ns_of(uint64_t ticks)
{
    return (int64_t)(((unsigned __int128)ticks * 1000000000 + HZ - 1) / HZ);
}

static uint64_t ticks(const Counter *c)
{
    return c->counting ? ticks_of(guest_clock_now() - c->loaded) : 0;
}

static bool is_periodic(const Counter *c)
{
    return c->mode == 2 || c->mode == 3;
}

static uint16_t to_bcd(unsigned v)
{
    return v % 10 | v / 10 % 10 << 4 | v / 100 % 10 << 8 | v / 1000 % 10 << 12;
}

static unsigned from_bcd(uint16_t v)
{
    return (v & 15) + (v >> 4 & 15) * 10 + (v >> 8 & 15) * 100 + (v >> 12) * 1000;
}

static uint16_t count(const Counter *c)
{
    uint64_t gone = ticks(c), whole = c->bcd ? 10000 : 65536, left;

    if (c->mode == 3)
        left = c->reload - 2 * gone % c->reload;
    else if (c->mode == 2)
        left = c->reload - gone % c->reload;
    else
        left = (c->reload + whole - gone % whole) % whole;
    return c->bcd ? to_bcd(left % 10000) : left;
}

static bool output(const Counter *c)
{
    uint64_t gone = ticks(c);

    switch (c->mode) {
    case 0:
    case 1:
        return gone >= c->reload || (c->mode == 1 && !c->counting);
    case 2:
        return !c->counting || gone % c->reload != c->reload - 1;
    case 3:
        return !c->counting || gone % c->reload < (c->reload + 1) / 2;
    default:
        return gone != c->reload;
    }
}

/* Ticks after which the output may change next; 0: never. */
static uint64_t next_change(const Counter *c)
{
    uint64_t gone = ticks(c), turn;

    if (!c->counting)
        return 0;
    if (!is_periodic(c))
        return gone < c->reload ? c->reload : c->mode >= 4 && gone == c->reload ? gone + 1 : 0;
    turn = gone - gone % c->reload;
    if (c->mode == 2)
        return gone - turn < c->reload - 1 ? turn + c->reload - 1 : turn + c->reload;
    return gone - turn < (c->reload + 1) / 2 ? turn + (c->reload + 1) / 2 : turn + c->reload;
}

/* ---- the interrupt --------------------------------------------------------------------------- */

static void update(I8254 *s)
{
    Counter *c = &s->counter[0];
    uint64_t next = next_change(c);

    s->dev.board->set_irq(s->dev.board, IRQ, output(c));
    guest_timer_cancel(&s->timer);
    /* The shortest periods would keep the clock busy with nothing else. */
    if (next)
        guest_timer_set(&s->timer, MAX(c->loaded + ns_of(next), guest_clock_now() + 10000));
}

static void expired(void *opaque)
{
    I8254 *s = opaque;
    Counter *c = &s->counter[0];

    /* The low pulse of mode 2 is one tick long, and may have gone by. */
    if (is_periodic(c))
        s->dev.board->set_irq(s->dev.board, IRQ, false);
    update(s);
}

/* ---- loading and reading --------------------------------------------------------------------- */

static void load(I8254 *s, Counter *c, uint16_t v)
{
    unsigned n = c->bcd ? from_bcd(v) : v;

    c->reload = n ? n : c->bcd ? 10000 : 65536;
    if (is_periodic(c) && c->reload == 1)
        c->reload = 2;
    c->loaded = guest_clock_now();
    /* Modes 1 and 5 begin with a rising gate. */
    c->counting = c->gate && c->mode != 1 && c->mode != 5;
    if (c == &s->counter[0])
        update(s);
}

static void set_gate(Counter *c, bool gate)
{
    bool rises = gate && !c->gate;

    c->gate = gate;
    if (rises && c->mode != 0 && c->mode != 4) {
        c->loaded = guest_clock_now();
        c->counting = true;
    } else if (rises) {
        c->counting = true;
    } else if (!gate && is_periodic(c)) {
        c->counting = false;
    }
}

static void latch_count(Counter *c)
{
    if (c->latch_left)
        return;
    c->latched = count(c);
    c->latch_left = c->access == 3 ? 2 : 1;
    if (c->access == 2)
        c->latched >>= 8;
}

static void latch_status(Counter *c)
{
    if (c->status_latched)
        return;
    c->status = output(c) << 7 | c->access << 4 | c->mode << 1 | c->bcd;
    c->status_latched = true;
}

static void read_back(I8254 *s, uint8_t v)
{
    for (unsigned i = 0; i < COUNTERS; i++) {
        if (!(v >> (i + 1) & 1))
            continue;
        if (!(v & 0x20))
            latch_count(&s->counter[i]);
        if (!(v & 0x10))
            latch_status(&s->counter[i]);
    }
}

static void control(I8254 *s, uint8_t v)
{
    unsigned which = v >> 6, access = v >> 4 & 3, mode = v >> 1 & 7;
    Counter *c;

    if (which == 3) {
        read_back(s, v);
        return;
    }
    c = &s->counter[which];
    if (!access) {
        latch_count(c);
        return;
    }
    c->access = access;
    c->mode = mode > 5 ? mode - 4 : mode;
    c->bcd = v & 1;
    c->counting = c->write_high = c->read_high = c->status_latched = false;
    c->latch_left = 0;
    if (c == &s->counter[0])
        update(s);
}

static uint8_t read_counter(Counter *c)
{
    uint16_t v;

    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    if (c->latch_left) {
        v = c->latched;
        c->latched >>= 8;
        c->latch_left--;
        return v;
    }
    v = count(c);
    if (c->access != 3)
        return c->access == 2 ? v >> 8 : v;
    c->read_high = !c->read_high;
    return c->read_high ? v : v >> 8;
}

static void write_counter(I8254 *s, Counter *c, uint8_t v)
{
    if (c->access == 1)
        load(s, c, v);
    else if (c->access == 2)
        load(s, c, v << 8);
    else if (c->write_high)
        load(s, c, v << 8 | c->low);
    else
        c->low = v;
    if (c->access == 3)
        c->write_high = !c->write_high;
}

/* ---- ports ----------------------------------------------------------------------------------- */

static uint64_t pit_read(void *opaque, uint64_t offset, unsigned size)
{
    I8254 *s = opaque;

    return offset < COUNTERS ? read_counter(&s->counter[offset]) : 0;
}

static void pit_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    I8254 *s = opaque;

    if (offset < COUNTERS)
        write_counter(s, &s->counter[offset], value);
    else
        control(s, value);
}

static uint64_t gate_read(void *opaque, uint64_t offset, unsigned size)
{
    I8254 *s = opaque;
    const Counter *c = &s->counter[2];

    return (c->gate ? GATE_BIT : 0) | (s->speaker ? SPEAKER_BIT : 0) | (output(c) ? OUT_BIT : 0) |
           /* The refresh of memory: changes every 15 microseconds. */
           (guest_clock_now() / 15085 & 1 ? 0x10 : 0);
}

static void gate_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    I8254 *s = opaque;

    s->speaker = value & SPEAKER_BIT;
    set_gate(&s->counter[2], value & GATE_BIT);
}

/* ---- migration ------------------------------------------------------------------------------- */

/* Which byte comes next; as .access while nothing is half done. */
enum { HALF_LOW = 3, HALF_HIGH = 4 };

typedef struct {
    int32_t count;
    uint16_t latched_count;
    uint8_t count_latched, status_latched, status, read_state, write_state, write_latch, rw_mode,
            mode, bcd, gate;
    int64_t count_load_time, next_transition_time;
} CounterImage;

typedef struct {
    uint32_t irq_disabled;
    CounterImage counter[COUNTERS];
    int64_t next_transition_time;
} I8254Image;

static const StateField counter_fields[] = {
    STATE_S("count", CounterImage, count),
    STATE_U("latched_count", CounterImage, latched_count),
    STATE_U_UP_TO("count_latched", CounterImage, count_latched, HALF_HIGH),
    STATE_U("status_latched", CounterImage, status_latched),
    STATE_U("status", CounterImage, status),
    STATE_U_UP_TO("read_state", CounterImage, read_state, HALF_HIGH),
    STATE_U_UP_TO("write_state", CounterImage, write_state, HALF_HIGH),
    STATE_U("write_latch", CounterImage, write_latch),
    STATE_U_UP_TO("rw_mode", CounterImage, rw_mode, 3),
    STATE_U_UP_TO("mode", CounterImage, mode, 7),
    STATE_U("bcd", CounterImage, bcd),
    STATE_U("gate", CounterImage, gate),
    STATE_S("count_load_time", CounterImage, count_load_time),
    STATE_S("next_transition_time", CounterImage, next_transition_time),
    {}
};
static const StateLayout counter_layout = {
    "pit channel", 2, 2, sizeof(CounterImage), counter_fields
};
static const StateField i8254_fields[] = {
    STATE_U("channels[0].irq_disabled", I8254Image, irq_disabled),
    STATE_INNERS("channels", I8254Image, counter, &counter_layout),
    STATE_S("channels[0].next_transition_time", I8254Image, next_transition_time), {}
};
static const StateLayout i8254_layout = { "i8254", 3, 3, sizeof(I8254Image), i8254_fields };

static uint8_t half(unsigned access, bool high)
{
    return access == 3 ? high ? HALF_HIGH : HALF_LOW : access;
}

static CounterImage save_counter(const Counter *c)
{
    return (CounterImage){
        .count = c->reload, .latched_count = c->latch_left == 1 && c->access >= 2 ? c->latched << 8
                                                                                  : c->latched,
        .count_latched = c->latch_left ? half(c->access, c->latch_left == 1) : 0,
        .status_latched = c->status_latched, .status = c->status,
        .read_state = half(c->access, c->read_high), .write_state = half(c->access, c->write_high),
        .write_latch = c->low, .rw_mode = c->access, .mode = c->mode, .bcd = c->bcd,
        .gate = c->gate, .count_load_time = c->loaded,
    };
}

static void i8254_save(const Device *d, unsigned n, void *image)
{
    const I8254 *s = (const I8254 *)d;
    I8254Image *i = image;
    uint64_t next = next_change(&s->counter[0]);

    for (unsigned k = 0; k < COUNTERS; k++)
        i->counter[k] = save_counter(&s->counter[k]);
    i->next_transition_time = next ? s->counter[0].loaded + ns_of(next) : -1;
    i->counter[0].next_transition_time = i->next_transition_time;
}

static void load_counter(Counter *c, const CounterImage *i)
{
    *c = (Counter){
        .loaded = i->count_load_time, .reload = i->count,
        .mode = i->mode > 5 ? i->mode - 4 : i->mode,
        .access = i->rw_mode ? i->rw_mode : 3, .bcd = i->bcd, .gate = i->gate,
        .write_high = i->write_state == HALF_HIGH, .read_high = i->read_state == HALF_HIGH,
        .low = i->write_latch, .latched = i->latched_count, .status_latched = i->status_latched,
        .status = i->status,
    };
    c->latch_left = !i->count_latched ? 0 : i->count_latched == HALF_LOW ? 2 : 1;
    if (i->count_latched == 2 || i->count_latched == HALF_HIGH)
        c->latched >>= 8;
    c->counting = c->gate || !is_periodic(c);
}

static bool i8254_load(Device *d, unsigned n, const void *image, GError **err)
{
    I8254 *s = (I8254 *)d;
    const I8254Image *i = image;
    uint64_t next;

    for (unsigned k = 0; k < COUNTERS; k++) {
        if (i->counter[k].count < 1 || i->counter[k].count > 65536)
            return err_set(err, ERANGE, "Counter %u counts from %d", k, i->counter[k].count);
        if (i->counter[k].count_load_time > guest_clock_now() ||
            i->counter[k].count_load_time < INT64_MIN / 2)
            return err_set(err, ERANGE, "Counter %u was loaded at a time that is not now", k);
        load_counter(&s->counter[k], &i->counter[k]);
    }
    /* The line to the interrupt controllers is as they have it. */
    next = next_change(&s->counter[0]);
    guest_timer_cancel(&s->timer);
    if (next)
        guest_timer_set(&s->timer, s->counter[0].loaded + ns_of(next));
    return true;
}

static const DeviceSection i8254_section = {
    .name = "i8254", .layout = &i8254_layout, .save = i8254_save, .load = i8254_load,
};

/* ---- the device ------------------------------------------------------------------------------ */

static bool i8254_realize(Device *d, GError **err)
{
    static const MmioOps pit = { pit_read, pit_write, 1, "pit" };
    static const MmioOps gate = { gate_read, gate_write, 1, "pit-gate" };
    I8254 *s = (I8254 *)d;

    s->timer = (GuestTimer){ .expired = expired, .opaque = s };
    memory_map_add_mmio(d->board->ports, 0x40, 4, &pit, d);
    memory_map_add_mmio(d->board->ports, 0x61, 1, &gate, d);
    return true;
}

static void i8254_reset(Device *d)
{
    I8254 *s = (I8254 *)d;

    for (unsigned i = 0; i < COUNTERS; i++)
        s->counter[i] = (Counter){ .reload = 65536, .mode = 3, .access = 3, .gate = i != 2 };
    s->speaker = false;
    update(s);
}

static void i8254_unrealize(Device *d)
{
    guest_timer_cancel(&((I8254 *)d)->timer);
}

const DeviceClass device_i8254 = {
    .name = "isa-pit",
    .size = sizeof(I8254),
    .section = &i8254_section,
    .realize = i8254_realize,
    .reset = i8254_reset,
    .unrealize = i8254_unrealize,
};
