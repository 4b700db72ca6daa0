/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A 16550A: docs/spec/serial.md. Time does not matter: a byte is sent as soon as the host takes it.
 */
#include "hw/char-line.h"
#include "hw/serial.h"
#include "util/err.h"
#include <string.h>

enum {
    REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCRATCH,

    IER_RECEIVED = 1, IER_EMPTY = 2, IER_LINE = 4, IER_MODEM = 8,
    IIR_NONE = 1, IIR_MODEM = 0, IIR_EMPTY = 2, IIR_RECEIVED = 4, IIR_LINE = 6, IIR_TIMEOUT = 12,
    IIR_FIFO = 0xc0,
    FCR_ENABLE = 1, FCR_CLEAR_RECEIVE = 2, FCR_CLEAR_SEND = 4, FCR_KEPT = 0xc9,
    LCR_DIVISOR = 0x80,
    MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOP = 0x10, MCR_BITS = 0x1f,
    LSR_READY = 1, LSR_OVERRUN = 2, LSR_BREAK = 0x10, LSR_EMPTY = 0x20, LSR_IDLE = 0x40,
    LSR_ERRORS = 0x1e,
    MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80, MSR_CHANGED = 0x0f,

    FIFO = 16,
};

typedef struct {
    Device dev;
    char *chardev;      /* id; NULL: nothing is there */
    uint16_t iobase;
    uint32_t irq;
    CharLine *line;

    uint8_t ier, fcr, lcr, mcr, lsr, msr, scratch;
    uint16_t divisor;
    uint8_t received[FIFO], received_count;
    uint8_t held;       /* a byte that the host had no room for: LSR_EMPTY is not set meanwhile */
    bool empty_pending; /* the interrupt that the transmitter is empty */
} Serial;

static const Property serial_properties[] = {
    LOCAL_PROPERTY("chardev", DEVICE_STR, Serial, chardev, "character device it is connected to"),
    PROPERTY("iobase", DEVICE_UINT16, Serial, iobase, "first port [0x3f8]"),
    PROPERTY("irq", DEVICE_UINT32, Serial, irq, "interrupt [4]"), {}
};

/* ---- interrupts ------------------------------------------------------------------------------ */

static unsigned trigger_level(const Serial *s)
{
    static const uint8_t levels[] = { 1, 4, 8, 14 };

    return s->fcr & FCR_ENABLE ? levels[s->fcr >> 6] : 1;
}

static uint8_t interrupt_id(const Serial *s)
{
    if (s->ier & IER_LINE && s->lsr & LSR_ERRORS)
        return IIR_LINE;
    if (s->ier & IER_RECEIVED && s->received_count)
        return s->received_count >= trigger_level(s) ? IIR_RECEIVED : IIR_TIMEOUT;
    if (s->ier & IER_EMPTY && s->empty_pending)
        return IIR_EMPTY;
    if (s->ier & IER_MODEM && s->msr & MSR_CHANGED)
        return IIR_MODEM;
    return IIR_NONE;
}

static void update(Serial *s)
{
    s->dev.board->set_irq(s->dev.board, s->irq, interrupt_id(s) != IIR_NONE);
}

/* ---- receiving ------------------------------------------------------------------------------- */

static size_t capacity(const Serial *s)
{
    return s->fcr & FCR_ENABLE ? FIFO : 1;
}

static void put_received(Serial *s, uint8_t v)
{
    if (s->received_count < capacity(s))
        s->received[s->received_count++] = v;
    else
        s->lsr |= LSR_OVERRUN;
    s->lsr |= LSR_READY;
}

static uint8_t take_received(Serial *s)
{
    uint8_t v = s->received[0];

    if (!s->received_count)
        return 0;
    memmove(s->received, s->received + 1, --s->received_count);
    if (!s->received_count)
        s->lsr &= ~(LSR_READY | LSR_BREAK);
    if (s->line)
        char_line_accept(s->line);
    update(s);
    return v;
}

static size_t line_room(void *opaque)
{
    Serial *s = opaque;

    return s->mcr & MCR_LOOP ? 0 : capacity(s) - MIN(s->received_count, capacity(s));
}

static void line_receive(void *opaque, const uint8_t *buf, size_t len)
{
    Serial *s = opaque;

    for (size_t i = 0; i < len; i++)
        put_received(s, buf[i]);
    update(s);
}

/* ---- sending --------------------------------------------------------------------------------- */

static void sent(Serial *s)
{
    s->lsr |= LSR_EMPTY | LSR_IDLE;
    s->empty_pending = true;
}

static void line_sent(void *opaque)
{
    Serial *s = opaque;

    if (s->lsr & LSR_EMPTY || !char_line_send(s->line, &s->held, 1))
        return;
    sent(s);
    update(s);
}

static void send(Serial *s, uint8_t v)
{
    s->empty_pending = false;
    if (s->mcr & MCR_LOOP) {
        put_received(s, v);
        sent(s);
    } else if (!(s->lsr & LSR_EMPTY)) {
        s->held = v; /* over the one that waits, as the chip does */
    } else if (!s->line || char_line_send(s->line, &v, 1)) {
        sent(s);
    } else {
        s->held = v;
        s->lsr &= ~(LSR_EMPTY | LSR_IDLE);
    }
    update(s);
}

/* ---- registers ------------------------------------------------------------------------------- */

/* The modem is always there and ready; in a loop the outputs are the inputs. */
static uint8_t modem_lines(const Serial *s)
{
    if (!(s->mcr & MCR_LOOP))
        return MSR_CTS | MSR_DSR | MSR_DCD;
    return (s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
           (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0);
}

static void update_modem(Serial *s)
{
    uint8_t lines = modem_lines(s), changed = (lines ^ s->msr) & 0xf0;

    /* Of the ring only the end counts. */
    if (lines & MSR_RI)
        changed &= ~MSR_RI;
    s->msr = lines | (s->msr & MSR_CHANGED) | changed >> 4;
}

static void set_fcr(Serial *s, uint8_t v)
{
    if ((v ^ s->fcr) & FCR_ENABLE)
        v |= FCR_CLEAR_RECEIVE | FCR_CLEAR_SEND;
    if (v & FCR_CLEAR_RECEIVE) {
        s->received_count = 0;
        s->lsr &= ~(LSR_READY | LSR_BREAK);
    }
    if (v & FCR_CLEAR_SEND && s->lsr & LSR_EMPTY)
        s->empty_pending = true;
    s->fcr = v & FCR_ENABLE ? v & FCR_KEPT : 0;
    if (s->line)
        char_line_accept(s->line);
    update(s);
}

static void set_ier(Serial *s, uint8_t v)
{
    /* Turning the interrupt on while nothing is being sent raises it. */
    if (v & ~s->ier & IER_EMPTY && s->lsr & LSR_EMPTY)
        s->empty_pending = true;
    s->ier = v & 15;
    update(s);
}

static void set_mcr(Serial *s, uint8_t v)
{
    s->mcr = v & MCR_BITS;
    update_modem(s);
    if (s->line)
        char_line_accept(s->line);
    update(s);
}

static uint8_t read_iir(Serial *s)
{
    uint8_t v = interrupt_id(s);

    if (v == IIR_EMPTY) {
        s->empty_pending = false;
        update(s);
    }
    return v | (s->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static uint64_t serial_read(void *opaque, uint64_t offset, unsigned size)
{
    Serial *s = opaque;
    bool divisor = s->lcr & LCR_DIVISOR;
    uint8_t v;

    switch (offset) {
    case REG_DATA:
        return divisor ? s->divisor & 0xff : take_received(s);
    case REG_IER:
        return divisor ? s->divisor >> 8 : s->ier;
    case REG_IIR_FCR:
        return read_iir(s);
    case REG_LCR:
        return s->lcr;
    case REG_MCR:
        return s->mcr;
    case REG_LSR:
        v = s->lsr;
        s->lsr &= ~(LSR_OVERRUN | LSR_BREAK);
        update(s);
        return v;
    case REG_MSR:
        v = s->msr;
        s->msr &= ~MSR_CHANGED;
        update(s);
        return v;
    default:
        return s->scratch;
    }
}

static void serial_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    Serial *s = opaque;
    bool divisor = s->lcr & LCR_DIVISOR;

    switch (offset) {
    case REG_DATA:
        if (divisor)
            s->divisor = (s->divisor & 0xff00) | value;
        else
            send(s, value);
        break;
    case REG_IER:
        if (divisor)
            s->divisor = (s->divisor & 0xff) | value << 8;
        else
            set_ier(s, value);
        break;
    case REG_IIR_FCR:
        set_fcr(s, value);
        break;
    case REG_LCR:
        s->lcr = value;
        break;
    case REG_MCR:
        set_mcr(s, value);
        break;
    case REG_SCRATCH:
        s->scratch = value;
        break;
    }
}

/* ---- migration ------------------------------------------------------------------------------- */

/* Bytes of the host that wait for the guest, or of the guest that wait for the host. */
typedef struct {
    uint8_t data[FIFO];
    uint32_t head, count;
} FifoImage;

typedef struct {
    uint16_t divider;
    uint8_t rbr, ier, iir, lcr, mcr, lsr, msr, scr, fcr;
    bool has_pending, has_tsr, has_received, has_sending, has_timeout, has_timer, has_poll;
    uint32_t empty_pending;
    uint32_t retries;
    uint8_t thr, tsr;
    FifoImage received, sending;
    int64_t timeout_timer;
    int32_t timeout_pending, poll;
    int64_t poll_timer;
} SerialImage;

static const StateField inner_fields[] = {
    STATE_U("divider", SerialImage, divider), STATE_U("rbr", SerialImage, rbr),
    STATE_U("ier", SerialImage, ier), STATE_U("iir", SerialImage, iir),
    STATE_U("lcr", SerialImage, lcr), STATE_U("mcr", SerialImage, mcr),
    STATE_U("lsr", SerialImage, lsr), STATE_U("msr", SerialImage, msr),
    STATE_U("scr", SerialImage, scr), STATE_U("fcr_vmstate", SerialImage, fcr), {}
};
static const StateField pending_fields[] = {
    STATE_U("thr_ipending", SerialImage, empty_pending), {}
};
static const StateField tsr_fields[] = {
    STATE_U("tsr_retry", SerialImage, retries), STATE_U("thr", SerialImage, thr),
    STATE_U("tsr", SerialImage, tsr), {}
};
static const StateField fifo_fields[] = {
    STATE_BYTES("data", FifoImage, data), STATE_U_UP_TO("head", FifoImage, head, FIFO - 1),
    STATE_U_UP_TO("num", FifoImage, count, FIFO), {}
};
static const StateLayout fifo_layout = { "Fifo8", 1, 1, sizeof(FifoImage), fifo_fields };
static const StateField received_fields[] = {
    STATE_INNER("recv_fifo", SerialImage, received, &fifo_layout), {}
};
static const StateField sending_fields[] = {
    STATE_INNER("xmit_fifo", SerialImage, sending, &fifo_layout), {}
};
static const StateField timer_fields[] = {
    STATE_T("fifo_timeout_timer", SerialImage, timeout_timer), {}
};
static const StateField timeout_fields[] = {
    STATE_S("timeout_ipending", SerialImage, timeout_pending), {}
};
static const StateField poll_fields[] = { STATE_S("poll_msl", SerialImage, poll),
                                          STATE_T("modem_status_poll", SerialImage, poll_timer),
                                          {} };

#define PART(part, title, presence)                                                                \
    static const StateLayout part##_layout = {                                                     \
        title, 1, 1, sizeof(SerialImage), part##_fields, NULL, offsetof(SerialImage, presence)     \
    }
PART(pending, "serial/thr_ipending", has_pending);
PART(tsr, "serial/tsr", has_tsr);
PART(received, "serial/recv_fifo", has_received);
PART(sending, "serial/xmit_fifo", has_sending);
PART(timer, "serial/fifo_timeout_timer", has_timer);
PART(timeout, "serial/timeout_ipending", has_timeout);
PART(poll, "serial/poll", has_poll);

static const StateLayout *const inner_parts[] = {
    &pending_layout, &tsr_layout, &received_layout, &sending_layout, &timer_layout,
    &timeout_layout, &poll_layout, NULL
};
static const StateLayout inner_layout = {
    "serial", 3, 2, sizeof(SerialImage), inner_fields, inner_parts
};
static const StateField image_fields[] = {
    { "state", STATE_STRUCT, 0, sizeof(SerialImage), 1, 0, &inner_layout, 0 }, {}
};
static const StateLayout serial_layout = { "serial", 3, 3, sizeof(SerialImage), image_fields };

static void serial_save(const Device *d, unsigned n, void *image)
{
    const Serial *s = (const Serial *)d;
    SerialImage *i = image;

    *i = (SerialImage){
        .divider = s->divisor, .rbr = s->received_count ? s->received[0] : 0, .ier = s->ier,
        .iir = interrupt_id(s), .lcr = s->lcr, .mcr = s->mcr, .lsr = s->lsr, .msr = s->msr,
        .scr = s->scratch, .fcr = s->fcr, .empty_pending = s->empty_pending,
    };
    i->has_pending = s->empty_pending != (i->iir == IIR_EMPTY);
    i->has_tsr = !(s->lsr & LSR_EMPTY);
    i->thr = i->tsr = s->held;
    i->retries = i->has_tsr;
    i->has_received = s->fcr & FCR_ENABLE && s->received_count;
    memcpy(i->received.data, s->received, s->received_count);
    i->received.count = s->received_count;
}

static void load_received(Serial *s, const SerialImage *i)
{
    s->received_count = 0;
    for (uint32_t k = 0; i->has_received && k < i->received.count; k++)
        s->received[s->received_count++] = i->received.data[(i->received.head + k) % FIFO];
    if (!i->has_received && i->lsr & LSR_READY)
        s->received[s->received_count++] = i->rbr;
}

/*
 * What the guest has sent and the host has not taken yet; of another's queue only the last byte
 * waits.
 */
static void load_sending(Serial *s, const SerialImage *i)
{
    for (uint32_t k = 0; i->has_sending && k < i->sending.count; k++) {
        uint8_t v = i->sending.data[(i->sending.head + k) % FIFO];

        if (s->line && !char_line_send(s->line, &v, 1))
            s->held = v;
    }
    if (!(s->lsr & LSR_EMPTY) && i->has_tsr)
        s->held = i->tsr;
    if (!(s->lsr & LSR_EMPTY) && (!s->line || char_line_send(s->line, &s->held, 1)))
        sent(s);
}

static bool serial_load(Device *d, unsigned n, const void *image, GError **err)
{
    Serial *s = (Serial *)d;
    const SerialImage *i = image;

    s->divisor = i->divider;
    s->ier = i->ier & 15;
    s->lcr = i->lcr;
    s->mcr = i->mcr & MCR_BITS;
    s->lsr = i->lsr;
    s->msr = i->msr;
    s->scratch = i->scr;
    s->fcr = i->fcr & FCR_KEPT;
    s->empty_pending = i->has_pending ? i->empty_pending : (i->iir & 15) == IIR_EMPTY;
    load_received(s, i);
    load_sending(s, i);
    if (s->line)
        char_line_accept(s->line);
    return true;
}

static const DeviceSection serial_section = {
    .name = "serial", .layout = &serial_layout, .save = serial_save, .load = serial_load,
};

/* ---- the device ------------------------------------------------------------------------------ */

static bool serial_realize(Device *d, GError **err)
{
    static const MmioOps ops = { serial_read, serial_write, 1, "serial" };
    static const CharLineOps line = { line_room, line_receive, line_sent };
    Serial *s = (Serial *)d;

    if (!s->iobase)
        s->iobase = 0x3f8;
    if (!s->irq)
        s->irq = 4;
    if (s->irq > 15 || s->iobase > 0xfff8)
        return err_set(err, EINVAL, "A serial port has an interrupt up to 15 and 8 ports");
    if (!board_add_ports(d->board, s->iobase, 8, &ops, d, err))
        return false;
    return !s->chardev || (s->line = char_line_new(s->chardev, &line, s, err));
}

static void serial_reset(Device *d)
{
    Serial *s = (Serial *)d;

    s->ier = s->fcr = s->lcr = s->scratch = s->received_count = 0;
    s->divisor = 12;
    s->mcr = MCR_OUT2;
    s->lsr = LSR_EMPTY | LSR_IDLE;
    s->msr = modem_lines(s);
    s->empty_pending = false;
    update(s);
}

static CO void serial_disconnect(Device *d)
{
    char_line_free(((Serial *)d)->line);
    ((Serial *)d)->line = NULL;
}

const DeviceClass device_serial = {
    .name = "isa-serial",
    .size = sizeof(Serial),
    .section = &serial_section,
    .properties = serial_properties,
    .realize = serial_realize,
    .reset = serial_reset,
    .disconnect = serial_disconnect,
};
