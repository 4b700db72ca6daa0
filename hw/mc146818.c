/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The clock with its memory, ports 70h and 71h: docs/spec/rtc.md. It shows the time of its source
 * plus what the command line or the guest has set it off by; it ticks by the guest's time while
 * somebody wants interrupts.
 */
#include "hw/mc146818.h"
#include "system/base/clock.h"
#include "system/base/device.h"
#include "util/err.h"
#include <inttypes.h>
#include <string.h>
#include <time.h>

enum {
    REG_SECONDS, REG_SECONDS_ALARM, REG_MINUTES, REG_MINUTES_ALARM, REG_HOURS, REG_HOURS_ALARM,
    REG_DAY_OF_WEEK, REG_DAY, REG_MONTH, REG_YEAR, REG_A, REG_B, REG_C, REG_D,
    REG_CENTURY = 0x32,

    A_UPDATING = 0x80, A_RATE = 0x0f,
    B_SET = 0x80, B_PERIODIC = 0x40, B_ALARM = 0x20, B_UPDATE = 0x10, B_BINARY = 4, B_24_HOURS = 2,
    C_IRQ = 0x80, C_PERIODIC = 0x40, C_ALARM = 0x20, C_UPDATE = 0x10,
    D_VALID = 0x80,

    IRQ = 8, SIZE = 128,
};
#define SECOND INT64_C(1000000000)
/* The update is announced that long before it happens. */
#define ANNOUNCED 244000

typedef struct {
    Device dev;
    GuestTimer tick, periodic;

    uint8_t index;
    uint8_t memory[SIZE];   /* time registers hold what the guest wrote while B_SET is on */
    RtcSource source;
    int64_t offset;         /* seconds to the source */
} Rtc;

/* ---- time ------------------------------------------------------------------------------------ */

static int64_t source_ns(const Rtc *s)
{
    struct timespec t;

    if (s->source == RTC_BY_VM)
        return guest_clock_now();
    clock_gettime(s->source == RTC_BY_RT ? CLOCK_MONOTONIC : CLOCK_REALTIME, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static uint8_t encode(const Rtc *s, unsigned v)
{
    return s->memory[REG_B] & B_BINARY ? v : v % 10 | v / 10 << 4;
}

static unsigned decode(const Rtc *s, uint8_t v)
{
    return s->memory[REG_B] & B_BINARY ? v : (v & 15) + 10 * (v >> 4);
}

static uint8_t encode_hours(const Rtc *s, unsigned h)
{
    if (s->memory[REG_B] & B_24_HOURS)
        return encode(s, h);
    return encode(s, h % 12 ? h % 12 : 12) | (h >= 12 ? 0x80 : 0);
}

static unsigned decode_hours(const Rtc *s, uint8_t v)
{
    if (s->memory[REG_B] & B_24_HOURS)
        return decode(s, v);
    return decode(s, v & 0x7f) % 12 + (v & 0x80 ? 12 : 0);
}

/* Brings the time registers up to date. */
static void show_time(Rtc *s)
{
    time_t now = source_ns(s) / SECOND + s->offset;
    struct tm t = { 0 };

    if (s->memory[REG_B] & B_SET)
        return;
    gmtime_r(&now, &t);
    s->memory[REG_SECONDS] = encode(s, t.tm_sec);
    s->memory[REG_MINUTES] = encode(s, t.tm_min);
    s->memory[REG_HOURS] = encode_hours(s, t.tm_hour);
    s->memory[REG_DAY_OF_WEEK] = encode(s, t.tm_wday + 1);
    s->memory[REG_DAY] = encode(s, t.tm_mday);
    s->memory[REG_MONTH] = encode(s, t.tm_mon + 1);
    s->memory[REG_YEAR] = encode(s, t.tm_year % 100);
    s->memory[REG_CENTURY] = encode(s, (t.tm_year + 1900) / 100 % 100);
}

/* The time registers are now what the clock goes on from. */
static void take_time(Rtc *s)
{
    struct tm t = {
        .tm_sec = decode(s, s->memory[REG_SECONDS]), .tm_min = decode(s, s->memory[REG_MINUTES]),
        .tm_hour = decode_hours(s, s->memory[REG_HOURS]), .tm_mday = decode(s, s->memory[REG_DAY]),
        .tm_mon = (int)decode(s, s->memory[REG_MONTH]) - 1,
        .tm_year = (int)(decode(s, s->memory[REG_CENTURY]) * 100 +
                         decode(s, s->memory[REG_YEAR])) - 1900,
    };

    s->offset = timegm(&t) - source_ns(s) / SECOND;
}

/* ---- interrupts ------------------------------------------------------------------------------ */

static void update_irq(Rtc *s)
{
    uint8_t *c = &s->memory[REG_C];
    bool on = *c & s->memory[REG_B] & (C_PERIODIC | C_ALARM | C_UPDATE);

    *c = on ? *c | C_IRQ : *c & ~C_IRQ;
    s->dev.board->set_irq(s->dev.board, IRQ, on);
}

/* An alarm register of C0h and more matches anything. */
static bool alarm_matches(const Rtc *s, unsigned alarm, unsigned reg)
{
    return s->memory[alarm] >= 0xc0 || s->memory[alarm] == s->memory[reg];
}

static void arm_tick(Rtc *s)
{
    int64_t left = SECOND - source_ns(s) % SECOND;

    guest_timer_cancel(&s->tick);
    if (s->memory[REG_B] & (B_ALARM | B_UPDATE) && !(s->memory[REG_B] & B_SET))
        guest_timer_set(&s->tick, guest_clock_now() + left);
}

static void tick(void *opaque)
{
    Rtc *s = opaque;

    show_time(s);
    s->memory[REG_C] |= C_UPDATE;
    if (alarm_matches(s, REG_SECONDS_ALARM, REG_SECONDS) &&
        alarm_matches(s, REG_MINUTES_ALARM, REG_MINUTES) &&
        alarm_matches(s, REG_HOURS_ALARM, REG_HOURS))
        s->memory[REG_C] |= C_ALARM;
    update_irq(s);
    arm_tick(s);
}

/* Nanoseconds between periodic interrupts; 0: none. */
static int64_t period(const Rtc *s)
{
    unsigned rate = s->memory[REG_A] & A_RATE;

    if (!rate)
        return 0;
    return (INT64_C(1) << ((rate <= 2 ? rate + 7 : rate) - 1)) * SECOND / 32768;
}

static void arm_periodic(Rtc *s)
{
    guest_timer_cancel(&s->periodic);
    if (s->memory[REG_B] & B_PERIODIC && period(s))
        guest_timer_set(&s->periodic, guest_clock_now() + period(s));
}

static void periodic(void *opaque)
{
    Rtc *s = opaque;

    s->memory[REG_C] |= C_PERIODIC;
    update_irq(s);
    arm_periodic(s);
}

/* ---- ports ----------------------------------------------------------------------------------- */

static uint8_t read_memory(Rtc *s)
{
    uint8_t v;

    switch (s->index) {
    case REG_A:
        v = s->memory[REG_A];
        if (!(s->memory[REG_B] & B_SET) && SECOND - source_ns(s) % SECOND <= ANNOUNCED)
            v |= A_UPDATING;
        return v;
    case REG_C:
        v = s->memory[REG_C];
        s->memory[REG_C] = 0;
        update_irq(s);
        return v;
    case REG_D:
        return D_VALID;
    case REG_SECONDS_ALARM:
    case REG_MINUTES_ALARM:
    case REG_HOURS_ALARM:
        return s->memory[s->index];
    }
    if (s->index <= REG_YEAR || s->index == REG_CENTURY)
        show_time(s);
    return s->memory[s->index];
}

static void set_b(Rtc *s, uint8_t v)
{
    bool was_set = s->memory[REG_B] & B_SET;

    if (v & B_SET && !was_set)
        show_time(s);
    /* Setting the clock ends any update interrupt. */
    if (v & B_SET)
        v &= ~B_UPDATE;
    s->memory[REG_B] = v;
    if (was_set && !(v & B_SET))
        take_time(s);
    arm_tick(s);
    arm_periodic(s);
    update_irq(s);
}

static void write_memory(Rtc *s, uint8_t v)
{
    switch (s->index) {
    case REG_A:
        s->memory[REG_A] = v & ~A_UPDATING;
        arm_periodic(s);
        return;
    case REG_B:
        set_b(s, v);
        return;
    case REG_C:
    case REG_D:
        return;
    case REG_SECONDS_ALARM:
    case REG_MINUTES_ALARM:
    case REG_HOURS_ALARM:
        s->memory[s->index] = v;
        return;
    }
    if (s->index <= REG_YEAR || s->index == REG_CENTURY)
        show_time(s);
    s->memory[s->index] = v;
    if ((s->index <= REG_YEAR || s->index == REG_CENTURY) && !(s->memory[REG_B] & B_SET))
        take_time(s);
}

static uint64_t rtc_read(void *opaque, uint64_t offset, unsigned size)
{
    return offset ? read_memory(opaque) : 0xff;
}

static void rtc_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    Rtc *s = opaque;

    if (offset)
        write_memory(s, value);
    else
        s->index = value & (SIZE - 1);
}

/* ---- migration ------------------------------------------------------------------------------- */

/* Times are those of the source. */
typedef struct {
    uint8_t memory[SIZE], index;
    int64_t periodic_timer, next_periodic_time;
    uint32_t irq_coalesced, period;
    uint64_t base, last_update;
    int64_t offset, update_timer;
    uint64_t next_alarm_time;
    bool has_reinject;
    uint16_t reinject;
} RtcImage;

static const StateField rtc_fields[] = {
    STATE_BYTES("cmos_data", RtcImage, memory), STATE_U("cmos_index", RtcImage, index),
    STATE_SKIP("unused[0]", 28), STATE_T("periodic_timer", RtcImage, periodic_timer),
    STATE_S("next_periodic_time", RtcImage, next_periodic_time), STATE_SKIP("unused[1]", 24),
    STATE_U("irq_coalesced", RtcImage, irq_coalesced), STATE_U("period", RtcImage, period),
    STATE_U("base_rtc", RtcImage, base), STATE_U("last_update", RtcImage, last_update),
    STATE_S("offset", RtcImage, offset), STATE_T("update_timer", RtcImage, update_timer),
    STATE_U("next_alarm_time", RtcImage, next_alarm_time), {}
};
static const StateField reinject_fields[] = {
    STATE_U("irq_reinject_on_ack_count", RtcImage, reinject), {}
};
static const StateLayout reinject_layout = {
    "mc146818rtc/irq_reinject_on_ack_count", 1, 1, sizeof(RtcImage), reinject_fields, NULL,
    offsetof(RtcImage, has_reinject)
};
static const StateLayout *const rtc_parts[] = { &reinject_layout, NULL };
static const StateLayout rtc_layout = {
    "mc146818rtc", 3, 3, sizeof(RtcImage), rtc_fields, rtc_parts
};

static int64_t source_due(const Rtc *s, const GuestTimer *t)
{
    return t->is_set ? source_ns(s) + t->due - guest_clock_now() : -1;
}

static void rtc_save(const Device *d, unsigned n, void *image)
{
    const Rtc *s = (const Rtc *)d;
    RtcImage *i = image;
    int64_t now = source_ns(s);

    memcpy(i->memory, s->memory, SIZE);
    i->index = s->index;
    i->periodic_timer = source_due(s, &s->periodic);
    i->next_periodic_time = i->periodic_timer;
    i->period = s->periodic.is_set ? period(s) * 32768 / SECOND : 0;
    i->base = now / SECOND + s->offset;
    i->last_update = now - now % SECOND;
    i->update_timer = source_due(s, &s->tick);
    i->next_alarm_time = s->tick.is_set ? now - now % SECOND + SECOND : 0;
}

static bool rtc_load(Device *d, unsigned n, const void *image, GError **err)
{
    Rtc *s = (Rtc *)d;
    const RtcImage *i = image;

    if (i->base > INT64_MAX / 2 || i->last_update > INT64_MAX || i->offset > INT64_MAX / 2 ||
        i->offset < INT64_MIN / 2)
        return err_set(err, ERANGE, "It shows second %" PRIu64, i->base);
    memcpy(s->memory, i->memory, SIZE);
    s->index = i->index & (SIZE - 1);
    s->offset = (int64_t)i->base + (i->offset - (int64_t)i->last_update) / SECOND;
    if (ABS(s->offset) > INT64_C(1) << 50)
        return err_set(err, ERANGE, "It is set off by %" PRId64 " seconds", s->offset);
    arm_tick(s);
    arm_periodic(s);
    return true;
}

static const DeviceSection rtc_section = {
    .name = "mc146818rtc", .layout = &rtc_layout, .save = rtc_save, .load = rtc_load,
};

/* ---- the device ------------------------------------------------------------------------------ */

void mc146818_set(Device *d, RtcSource source, int64_t now)
{
    Rtc *s = (Rtc *)d;

    s->source = source;
    s->offset = now - source_ns(s) / SECOND;
}

static bool rtc_realize(Device *d, GError **err)
{
    static const MmioOps ops = { rtc_read, rtc_write, 1, "rtc" };
    Rtc *s = (Rtc *)d;

    s->tick = (GuestTimer){ .expired = tick, .opaque = s };
    s->periodic = (GuestTimer){ .expired = periodic, .opaque = s };
    s->memory[REG_A] = 0x26;
    s->memory[REG_B] = B_24_HOURS;
    memory_map_add_mmio(d->board->ports, 0x70, 2, &ops, d);
    return true;
}

/* The battery keeps the time and the memory; interrupts are off. */
static void rtc_reset(Device *d)
{
    Rtc *s = (Rtc *)d;

    s->memory[REG_B] &= ~(B_PERIODIC | B_ALARM | B_UPDATE);
    s->memory[REG_C] = 0;
    arm_tick(s);
    arm_periodic(s);
    update_irq(s);
}

static void rtc_unrealize(Device *d)
{
    guest_timer_cancel(&((Rtc *)d)->tick);
    guest_timer_cancel(&((Rtc *)d)->periodic);
}

const DeviceClass device_mc146818 = {
    .name = "mc146818rtc",
    .size = sizeof(Rtc),
    .section = &rtc_section,
    .realize = rtc_realize,
    .reset = rtc_reset,
    .unrealize = rtc_unrealize,
};
