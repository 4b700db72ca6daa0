/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ports 20h and A0h, 4D0h: docs/spec/microvm.md names the public description. */
#include "hw/i8259.h"

enum { CASCADE = 2, SPURIOUS = 7 };

/* One controller. */
typedef struct {
    uint8_t irr, imr, isr, elcr;
    uint8_t level;          /* of the inputs */
    uint8_t base;           /* first vector */
    uint8_t lowest;         /* the input of lowest priority */
    uint8_t init_step;      /* 0: initialised */
    bool needs_icw4, single, auto_eoi, rotate_on_auto_eoi, special_mask, special_nested;
    bool read_isr, poll;
} Pic;

typedef struct {
    Device dev;
    void (*output)(void *opaque, bool level);
    void *opaque;
    Pic pic[2];
} I8259;

/* ---- priorities ------------------------------------------------------------------------------ */

/* The most urgent of @set, or -1: the input after the lowest comes first. */
static int most_urgent(const Pic *p, uint8_t set)
{
    for (unsigned i = 1; i <= 8; i++)
        if (set >> ((p->lowest + i) & 7) & 1)
            return (p->lowest + i) & 7;
    return -1;
}

static unsigned rank(const Pic *p, int input)
{
    return input < 0 ? 8 : (input - p->lowest - 1) & 7;
}

/* The input that asks for the processor, or -1. @first: it is the controller with the cascade. */
static int asking(const Pic *p, bool first)
{
    int wants = most_urgent(p, p->irr & ~p->imr);
    uint8_t serving = p->isr;

    if (p->special_mask)
        serving &= ~p->imr;
    /* The second controller may ask again while it is served. */
    if (first && p->special_nested)
        serving &= ~(1 << CASCADE);
    return rank(p, wants) < rank(p, most_urgent(p, serving)) ? wants : -1;
}

static void pic_set(Pic *p, unsigned input, bool level)
{
    uint8_t bit = 1 << input;

    if (p->elcr & bit)
        p->irr = level ? p->irr | bit : p->irr & ~bit;
    else if (level && !(p->level & bit))
        p->irr |= bit;
    else if (!level)
        p->irr &= ~bit;
    p->level = level ? p->level | bit : p->level & ~bit;
}

static void update(I8259 *s)
{
    pic_set(&s->pic[0], CASCADE, asking(&s->pic[1], false) >= 0);
    s->output(s->opaque, asking(&s->pic[0], true) >= 0);
}

void i8259_set_irq(Device *d, unsigned irq, bool level)
{
    I8259 *s = (I8259 *)d;

    pic_set(&s->pic[irq / 8], irq % 8, level);
    update(s);
}

static void pic_take(Pic *p, int input)
{
    if (!(p->elcr >> input & 1))
        p->irr &= ~(1 << input);
    if (!p->auto_eoi)
        p->isr |= 1 << input;
    else if (p->rotate_on_auto_eoi)
        p->lowest = input;
}

uint8_t i8259_acknowledge(Device *d)
{
    I8259 *s = (I8259 *)d;
    int first = asking(&s->pic[0], true), second;
    uint8_t vector = s->pic[0].base + (first < 0 ? SPURIOUS : first);

    if (first >= 0)
        pic_take(&s->pic[0], first);
    if (first == CASCADE) {
        second = asking(&s->pic[1], false);
        vector = s->pic[1].base + (second < 0 ? SPURIOUS : second);
        if (second >= 0)
            pic_take(&s->pic[1], second);
    }
    update(s);
    return vector;
}

bool i8259_take_back(Device *d, uint8_t vector)
{
    I8259 *s = (I8259 *)d;

    for (unsigned i = 0; i < 2; i++) {
        Pic *p = &s->pic[i];
        uint8_t input = vector - p->base, bit = 1 << (input & 7);

        if (input > 7 || !(p->isr & bit))
            continue;
        p->isr &= ~bit;
        if (!(p->elcr & bit))
            p->irr |= bit;
        if (i == 1)
            s->pic[0].isr &= ~(1 << CASCADE);
        update(s);
        return true;
    }
    return false;
}

/* ---- commands -------------------------------------------------------------------------------- */

static void start_init(Pic *p, uint8_t v)
{
    uint8_t elcr = p->elcr, level = p->level;

    *p = (Pic){ .elcr = elcr, .level = level, .lowest = 7, .init_step = 1 };
    p->irr = level & elcr;
    p->needs_icw4 = v & 1;
    p->single = v & 2;
}

static void end_of_interrupt(Pic *p, uint8_t v)
{
    unsigned command = v >> 5;
    uint8_t serving = p->special_mask ? p->isr & ~p->imr : p->isr;
    int input = command & 2 ? v & 7 : most_urgent(p, serving);

    switch (command) {
    case 0: /* stop or start to rotate on automatic EOI */
    case 4:
        p->rotate_on_auto_eoi = command == 4;
        break;
    case 1: /* EOI: of the most urgent, of one, and with rotation */
    case 3:
    case 5:
    case 7:
        if (input < 0)
            break;
        p->isr &= ~(1 << input);
        if (command & 4)
            p->lowest = input;
        break;
    case 6:
        p->lowest = v & 7;
        break;
    }
}

static void write_command(Pic *p, uint8_t v)
{
    if (v & 0x10) {
        start_init(p, v);
    } else if (v & 8) {
        p->poll = v & 4;
        if (v & 2)
            p->read_isr = v & 1;
        if (v & 0x40)
            p->special_mask = v >> 5 & 1;
    } else {
        end_of_interrupt(p, v);
    }
}

static void write_data(Pic *p, uint8_t v)
{
    switch (p->init_step) {
    case 0:
        p->imr = v;
        return;
    case 1:
        p->base = v & 0xf8;
        p->init_step = p->single ? p->needs_icw4 ? 3 : 0 : 2;
        return;
    case 2: /* where the cascade is: it is wired */
        p->init_step = p->needs_icw4 ? 3 : 0;
        return;
    default:
        p->special_nested = v >> 4 & 1;
        p->auto_eoi = v >> 1 & 1;
        p->init_step = 0;
    }
}

/* A read that takes the interrupt instead of the processor. */
static uint8_t poll(Pic *p, bool first)
{
    int input = asking(p, first);

    p->poll = false;
    if (input < 0)
        return 0;
    pic_take(p, input);
    return 0x80 | input;
}

/* ---- ports ----------------------------------------------------------------------------------- */

typedef enum { COMMAND, DATA } PicPort;

static uint8_t pic_read(I8259 *s, Pic *p, PicPort port)
{
    uint8_t v = port == DATA ? p->imr : p->read_isr ? p->isr : p->irr;

    if (p->poll) {
        v = poll(p, p == &s->pic[0]);
        update(s);
    }
    return v;
}

static void pic_write(I8259 *s, Pic *p, PicPort port, uint8_t v)
{
    if (port == COMMAND)
        write_command(p, v);
    else
        write_data(p, v);
    update(s);
}

static uint64_t first_read(void *opaque, uint64_t offset, unsigned size)
{
    I8259 *s = opaque;

    return pic_read(s, &s->pic[0], offset);
}

static void first_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    I8259 *s = opaque;

    pic_write(s, &s->pic[0], offset, value);
}

static uint64_t second_read(void *opaque, uint64_t offset, unsigned size)
{
    I8259 *s = opaque;

    return pic_read(s, &s->pic[1], offset);
}

static void second_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    I8259 *s = opaque;

    pic_write(s, &s->pic[1], offset, value);
}

static uint64_t elcr_read(void *opaque, uint64_t offset, unsigned size)
{
    return ((I8259 *)opaque)->pic[offset].elcr;
}

/* Timer, keyboard, cascade, clock and coprocessor are edges. */
static void elcr_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    I8259 *s = opaque;

    s->pic[offset].elcr = value & (offset ? 0xde : 0xf8);
    update(s);
}

/* ---- migration ------------------------------------------------------------------------------- */

/* @priority is the input that comes first; the rest as in Pic. */
typedef struct {
    uint8_t level, irr, imr, isr, priority, base, read_isr, poll, special_mask, init_step, auto_eoi,
            rotate_on_auto_eoi, special_nested, needs_icw4, single, elcr;
} PicImage;

static const StateField pic_fields[] = {
    STATE_U("last_irr", PicImage, level), STATE_U("irr", PicImage, irr),
    STATE_U("imr", PicImage, imr), STATE_U("isr", PicImage, isr),
    STATE_U_UP_TO("priority_add", PicImage, priority, 7), STATE_U("irq_base", PicImage, base),
    STATE_U("read_reg_select", PicImage, read_isr), STATE_U("poll", PicImage, poll),
    STATE_U("special_mask", PicImage, special_mask),
    STATE_U_UP_TO("init_state", PicImage, init_step, 3), STATE_U("auto_eoi", PicImage, auto_eoi),
    STATE_U("rotate_on_auto_eoi", PicImage, rotate_on_auto_eoi),
    STATE_U("special_fully_nested_mode", PicImage, special_nested),
    STATE_U("init4", PicImage, needs_icw4), STATE_U("single_mode", PicImage, single),
    STATE_U("elcr", PicImage, elcr), {}
};
static const StateLayout pic_layout = { "i8259", 1, 1, sizeof(PicImage), pic_fields };

static void i8259_save(const Device *d, unsigned n, void *image)
{
    const Pic *p = &((const I8259 *)d)->pic[n];

    *(PicImage *)image = (PicImage){
        .level = p->level, .irr = p->irr, .imr = p->imr, .isr = p->isr,
        .priority = (p->lowest + 1) & 7, .base = p->base, .read_isr = p->read_isr, .poll = p->poll,
        .special_mask = p->special_mask, .init_step = p->init_step, .auto_eoi = p->auto_eoi,
        .rotate_on_auto_eoi = p->rotate_on_auto_eoi, .special_nested = p->special_nested,
        .needs_icw4 = p->needs_icw4, .single = p->single, .elcr = p->elcr,
    };
}

static bool i8259_load(Device *d, unsigned n, const void *image, GError **err)
{
    I8259 *s = (I8259 *)d;
    const PicImage *i = image;

    s->pic[n] = (Pic){
        .level = i->level, .irr = i->irr, .imr = i->imr, .isr = i->isr,
        .lowest = (i->priority - 1) & 7, .base = i->base & 0xf8, .read_isr = i->read_isr,
        .poll = i->poll, .special_mask = i->special_mask, .init_step = i->init_step,
        .auto_eoi = i->auto_eoi, .rotate_on_auto_eoi = i->rotate_on_auto_eoi,
        .special_nested = i->special_nested, .needs_icw4 = i->needs_icw4, .single = i->single,
        .elcr = i->elcr,
    };
    if (n == 1)
        s->output(s->opaque, asking(&s->pic[0], true) >= 0);
    return true;
}

static const DeviceSection i8259_section = {
    .name = "i8259", .layout = &pic_layout, .count = 2, .save = i8259_save, .load = i8259_load,
};

/* ---- the device ------------------------------------------------------------------------------ */

void i8259_connect(Device *d, void (*output)(void *opaque, bool level), void *opaque)
{
    I8259 *s = (I8259 *)d;

    s->output = output;
    s->opaque = opaque;
}

void i8259_describe(const Device *d, GString *out)
{
    const I8259 *s = (const I8259 *)d;

    for (int i = 1; i >= 0; i--) {
        const Pic *p = &s->pic[i];

        g_string_append_printf(out,
                               "pic%d: irr=%02x imr=%02x isr=%02x hprio=%d irq_base=%02x rr_sel=%d "
                               "elcr=%02x fnm=%d\n",
                               i, p->irr, p->imr, p->isr, (p->lowest + 1) & 7, p->base, p->read_isr,
                               p->elcr, p->special_nested);
    }
}

void i8259_mask(Device *d)
{
    I8259 *s = (I8259 *)d;

    s->pic[0].imr = s->pic[1].imr = 0xff;
    update(s);
}

static bool i8259_realize(Device *d, GError **err)
{
    static const MmioOps first = { first_read, first_write, 1, "pic" };
    static const MmioOps second = { second_read, second_write, 1, "pic" };
    static const MmioOps elcr = { elcr_read, elcr_write, 1, "elcr" };

    memory_map_add_mmio(d->board->ports, 0x20, 2, &first, d);
    memory_map_add_mmio(d->board->ports, 0xa0, 2, &second, d);
    memory_map_add_mmio(d->board->ports, 0x4d0, 2, &elcr, d);
    return true;
}

static void i8259_reset(Device *d)
{
    I8259 *s = (I8259 *)d;

    for (unsigned i = 0; i < 2; i++)
        s->pic[i] = (Pic){ .lowest = 7, .level = s->pic[i].level };
    update(s);
}

const DeviceClass device_i8259 = {
    .name = "isa-i8259",
    .size = sizeof(I8259),
    .section = &i8259_section,
    .realize = i8259_realize,
    .reset = i8259_reset,
};
