/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/qtest.h"
#include "hw/ioapic.h"
#include "hw/sleeper.h"
#include "io/co-lock.h"
#include "system/accel.h"
#include "system/base/clock.h"
#include "system/migration-incoming.h"
#include "util/err.h"
#include "util/size.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LINE_MAX_BYTES = 16 << 20, BLOCK_MAX = 4 << 20, WORDS_MAX = 5 };

static struct {
    Machine *machine;
    Chardev *chardev; /* NULL: there is no server */
    FILE *log;        /* NULL: none */
    bool owns_log;
    int64_t opened;   /* when the client came */
    CoGroup running;
    CoMutex sending;
    bool is_connected;

    /* With the machine's lock held. */
    GString *out;     /* what is to be sent */
    Sleeper sender;
    bool ending;
    /* the machine's; NULL: nothing is intercepted */
    void (*set_irq)(Board *b, unsigned gsi, bool level);
    uint64_t levels;  /* of the inputs, as last set */
    unsigned first;   /* the first input that is reported */
} qtest;

/* ---- the clock of -accel qtest --------------------------------------------------------------- */

static int64_t stepped_ns; /* with the lock held */

static int64_t stepped_now(void)
{
    return __atomic_load_n(&stepped_ns, __ATOMIC_RELAXED);
}

/* Each timer expires at its own time. */
static void step_to(int64_t end)
{
    int64_t due;

    while ((due = guest_timers_expire()) <= end)
        __atomic_store_n(&stepped_ns, MAX(due, stepped_ns), __ATOMIC_RELAXED);
    __atomic_store_n(&stepped_ns, MAX(end, stepped_ns), __ATOMIC_RELAXED);
}

static bool begin(Machine *m, GError **err)
{
    guest_clock_follow(stepped_now, NULL);
    return true;
}

static bool vcpu_begin(Vcpu *v, GError **err)
{
    return true;
}

static void vcpu_end(Vcpu *v)
{
}

static X86Exit run_nothing(Vcpu *v, VcpuDebug how)
{
    return X86_HALTED;
}

static void no_log(Machine *m)
{
}

const Accel accel_qtest = {
    .name = "qtest", .begin = begin, .vcpu_new = vcpu_begin, .vcpu_free = vcpu_end,
    .run = run_nothing, .log_begin = no_log, .log_sync = no_log,
};

/* ---- sending --------------------------------------------------------------------------------- */

G_GNUC_PRINTF(2, 3) static void log_line(char what, const char *format, ...)
{
    va_list args;

    if (!qtest.log)
        return;
    fprintf(qtest.log, "[%c +%.6f] ", what, (clock_now_ns() - qtest.opened) / 1e9);
    va_start(args, format);
    vfprintf(qtest.log, format, args);
    va_end(args);
    fputc('\n', qtest.log);
    fflush(qtest.log);
}

/* With the machine's lock held. */
G_GNUC_PRINTF(1, 2) static void say(const char *format, ...)
{
    size_t at = qtest.out->len;
    va_list args;

    va_start(args, format);
    g_string_append_vprintf(qtest.out, format, args);
    va_end(args);
    log_line('S', "%s", qtest.out->str + at);
    g_string_append_c(qtest.out, '\n');
}

/* Sends what was said, in order. */
static CO void flush(void)
{
    CO_LOCKED(&qtest.sending);
    g_autoptr(GString) text = g_string_new(NULL);
    GString *said;

    machine_lock();
    said = qtest.out;
    qtest.out = g_steal_pointer(&text);
    machine_unlock();
    text = said;
    if (qtest.is_connected && text->len)
        chardev_write(qtest.chardev, text->str, text->len);
}

/* Sends the interrupts that come between two commands. */
static CO void send_late(void *opaque)
{
    machine_lock();
    while (!qtest.ending) {
        if (!qtest.out->len) {
            sleeper_wait(&qtest.sender);
            continue;
        }
        machine_unlock();
        flush();
        machine_lock();
    }
    machine_unlock();
}

/* ---- interrupts ------------------------------------------------------------------------------ */

static void told_irq(Board *b, unsigned gsi, bool level)
{
    unsigned input = gsi == 0 ? IRQ0_GSI : gsi;
    bool was = qtest.levels >> input & 1;

    qtest.set_irq(b, gsi, level);
    qtest.levels = (qtest.levels & ~(UINT64_C(1) << input)) | (uint64_t)level << input;
    if (level == was || input < qtest.first || input >= qtest.first + IOAPIC_PINS)
        return;
    say("IRQ %s %u", level ? "raise" : "lower", input - qtest.first);
    sleeper_wake(&qtest.sender);
}

/* The first input of the I/O APIC at @path; -1: it is none. */
static int find_ioapic(const char *path)
{
    static const struct {
        const char *path;
        int first;
    } known[] = {
        { "ioapic", 0 }, { "/machine/ioapic", 0 }, { "/machine/unattached/device[3]", IOAPIC_PINS },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(known); i++)
        if (qtest.machine->ioapic[0] && !strcmp(path, known[i].path))
            return known[i].first;
    return -1;
}

/* ---- commands -------------------------------------------------------------------------------- */

/* One command, arguments that are missing NULL. With the lock held, which is not recursive. */
typedef struct {
    const char *name;
    const char *word[WORDS_MAX];
} Line;

static bool number(const char *text, uint64_t max, uint64_t *v)
{
    const char *end;

    errno = 0;
    *v = text ? g_ascii_strtoull(text, (char **)&end, 0) : 0;
    if (text && g_ascii_isalnum(*text) && end != text && !*end && !errno && *v <= max)
        return true;
    say("FAIL '%s' is no number up to %#" PRIx64, text ? text : "", max);
    return false;
}

/* Registers are accessed as by processors: the access itself takes the lock. */
static uint64_t load(const MemoryMap *map, uint64_t at, unsigned size)
{
    uint64_t v;

    machine_unlock();
    v = memory_map_read(map, at, size);
    machine_lock();
    return v;
}

static void store(const MemoryMap *map, uint64_t at, unsigned size, uint64_t v)
{
    machine_unlock();
    memory_map_write(map, at, size, v);
    machine_lock();
    if (memory_map_range(map, at, size, true))
        memory_map_written(map, at, size);
}

static unsigned size_of(const char *name)
{
    char last = name[strlen(name) - 1];

    return last == 'b' ? 1 : last == 'w' ? 2 : last == 'l' ? 4 : 8;
}

static void port_in(const Line *l)
{
    uint64_t port;

    if (number(l->word[0], 0xffff, &port))
        say("OK 0x%04" PRIx64, load(qtest.machine->board.ports, port, size_of(l->name)));
}

static void port_out(const Line *l)
{
    uint64_t port, v;

    if (!number(l->word[0], 0xffff, &port) || !number(l->word[1], UINT64_MAX, &v))
        return;
    store(qtest.machine->board.ports, port, size_of(l->name), v);
    say("OK");
}

static void memory_read(const Line *l)
{
    uint64_t at;

    if (number(l->word[0], UINT64_MAX - 7, &at))
        say("OK 0x%016" PRIx64, load(qtest.machine->board.memory, at, size_of(l->name)));
}

static void memory_write(const Line *l)
{
    uint64_t at, v;

    if (!number(l->word[0], UINT64_MAX - 7, &at) || !number(l->word[1], UINT64_MAX, &v))
        return;
    store(qtest.machine->board.memory, at, size_of(l->name), v);
    say("OK");
}

/* ---- blocks ---------------------------------------------------------------------------------- */

static bool block(const Line *l, uint64_t *at, uint64_t *len)
{
    return number(l->word[0], UINT64_MAX - BLOCK_MAX, at) && number(l->word[1], BLOCK_MAX, len);
}

static GByteArray *block_load(uint64_t at, uint64_t len)
{
    const MemoryMap *map = qtest.machine->board.memory;
    GByteArray *data = g_byte_array_sized_new(len);

    g_byte_array_set_size(data, len);
    if (memory_map_load(map, at, data->data, len))
        return data;
    for (uint64_t i = 0; i < len; i++)
        data->data[i] = load(map, at + i, 1);
    return data;
}

static void block_store(uint64_t at, const uint8_t *data, uint64_t len)
{
    const MemoryMap *map = qtest.machine->board.memory;

    if (memory_map_store(map, at, data, len))
        return;
    for (uint64_t i = 0; i < len; i++)
        store(map, at + i, 1, data[i]);
}

static void read_hex(const Line *l)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autoptr(GByteArray) data = NULL;
    uint64_t at, len;

    if (!block(l, &at, &len))
        return;
    data = block_load(at, len);
    for (uint64_t i = 0; i < len; i++)
        g_string_append_printf(text, "%02x", data->data[i]);
    say("OK 0x%s", text->str);
}

/* Digits that are missing are zeroes. */
static void write_hex(const Line *l)
{
    const char *digits = l->word[2] ? l->word[2] : "";
    g_autofree uint8_t *data = NULL;
    uint64_t at, len;

    if (!block(l, &at, &len))
        return;
    digits += g_str_has_prefix(digits, "0x") ? 2 : 0;
    if (strspn(digits, "0123456789abcdefABCDEF") != strlen(digits) || strlen(digits) % 2) {
        say("FAIL '%s' are no hexadecimal digits of whole bytes", digits);
        return;
    }
    data = g_malloc0(len + 1);
    for (uint64_t i = 0; i < MIN(len, strlen(digits) / 2); i++)
        data[i] = g_ascii_xdigit_value(digits[2 * i]) << 4 |
                  g_ascii_xdigit_value(digits[2 * i + 1]);
    block_store(at, data, len);
    say("OK");
}

static void read_base64(const Line *l)
{
    g_autoptr(GByteArray) data = NULL;
    g_autofree char *text = NULL;
    uint64_t at, len;

    if (!block(l, &at, &len))
        return;
    data = block_load(at, len);
    text = len ? g_base64_encode(data->data, len) : g_strdup("");
    say("OK %s", text);
}

/* Writes as many bytes as the shorter of size and text has. */
static void write_base64(const Line *l)
{
    g_autofree uint8_t *data = NULL;
    uint64_t at, len;
    gsize have;

    if (!block(l, &at, &len))
        return;
    data = g_base64_decode(l->word[2] ? l->word[2] : "", &have);
    block_store(at, data, MIN(have, len));
    say("OK");
}

static void fill(const Line *l)
{
    g_autofree uint8_t *data = NULL;
    uint64_t at, len, v;

    if (!block(l, &at, &len) || !number(l->word[2], UINT64_MAX, &v))
        return;
    data = g_malloc(len + 1);
    memset(data, v, len);
    block_store(at, data, len);
    say("OK");
}

static void endianness(const Line *l)
{
    say("OK little");
}

/* ---- clock and interrupts -------------------------------------------------------------------- */

static void clock_step(const Line *l)
{
    int64_t due = guest_timers_expire();
    uint64_t ns = due == INT64_MAX ? 0 : due - stepped_ns;

    if (l->word[0] && !number(l->word[0], INT64_MAX / 4, &ns))
        return;
    step_to(stepped_ns + (int64_t)MIN(ns, INT64_MAX / 4));
    say("OK %" PRId64, guest_clock_now());
}

static void clock_set(const Line *l)
{
    uint64_t ns;

    if (!number(l->word[0], INT64_MAX / 2, &ns))
        return;
    step_to(ns);
    say("OK %" PRId64, guest_clock_now());
}

static void intercept_in(const Line *l)
{
    Board *b = &qtest.machine->board;
    int first = l->word[0] ? find_ioapic(l->word[0]) : -1;

    if (first < 0) {
        say("FAIL Unknown device");
        return;
    }
    if (qtest.set_irq && qtest.first != (unsigned)first) {
        say("FAIL IRQ intercept already enabled");
        return;
    }
    if (!qtest.set_irq) {
        qtest.set_irq = b->set_irq;
        b->set_irq = told_irq;
    }
    qtest.first = first;
    say("OK");
}

static void intercept_out(const Line *l)
{
    say("FAIL outputs of devices cannot be intercepted, only the inputs of 'ioapic'");
}

static void set_irq_in(const Line *l)
{
    int first = l->word[0] ? find_ioapic(l->word[0]) : -1;
    uint64_t pin, level;

    if (first < 0) {
        say("FAIL Unknown device");
        return;
    }
    if (number(l->word[2], IOAPIC_PINS - 1, &pin) && number(l->word[3], UINT64_MAX, &level)) {
        ioapic_set_irq(qtest.machine->ioapic[first / IOAPIC_PINS], pin, level);
        say("OK");
    }
}

static const struct {
    const char *name;
    void (*run)(const Line *l);
    bool steps; /* only where nothing else moves the clock */
} commands[] = {
    { "inb", port_in }, { "inw", port_in }, { "inl", port_in },
    { "outb", port_out }, { "outw", port_out }, { "outl", port_out },
    { "readb", memory_read }, { "readw", memory_read }, { "readl", memory_read },
    { "readq", memory_read }, { "writeb", memory_write }, { "writew", memory_write },
    { "writel", memory_write }, { "writeq", memory_write },
    { "read", read_hex }, { "write", write_hex }, { "b64read", read_base64 },
    { "b64write", write_base64 }, { "memset", fill }, { "endianness", endianness },
    { "irq_intercept_in", intercept_in }, { "irq_intercept_out", intercept_out },
    { "set_irq_in", set_irq_in }, { "clock_step", clock_step, true }, { "clock_set", clock_set,
    true },
};

/*
 * All commands may lead to the guest's memory, if only by a device: none waits here for its source.
 */
static bool may_run(void)
{
    g_autoptr(GError) why = NULL;

    if (incoming_memory_is_here(&why))
        return true;
    say("FAIL %s", why->message);
    return false;
}

/* With the lock held. */
static void obey(char *text)
{
    g_auto(GStrv) words = g_strsplit(text, " ", WORDS_MAX + 1);
    Line l = { .name = words[0] ? words[0] : "" };

    log_line('R', "%s", text);
    for (unsigned i = 0; words[0] && i < WORDS_MAX && words[i + 1]; i++)
        l.word[i] = words[i + 1];
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
        if (!strcmp(commands[i].name, l.name) &&
            (!commands[i].steps || qtest.machine->config.accel == &accel_qtest)) {
            if (may_run())
                commands[i].run(&l);
            return;
        }
    say("FAIL Unknown command '%s'", l.name);
}

/* ---- connections ----------------------------------------------------------------------------- */

/* Obeys all whole lines of @in; what remains is the beginning of a line. */
static CO void take_lines(GString *in)
{
    char *end;

    while ((end = memchr(in->str, '\n', in->len))) {
        *end = 0;
        machine_lock();
        obey(in->str);
        machine_unlock();
        g_string_erase(in, 0, end + 1 - in->str);
        flush();
    }
}

static CO void serve_client(void)
{
    g_autoptr(GString) in = g_string_new(NULL);
    char buf[4096];
    ssize_t n;

    while ((n = chardev_read(qtest.chardev, buf, sizeof(buf))) > 0) {
        bool ends = memchr(buf, '\n', n);

        g_string_append_len(in, buf, n);
        if (ends)
            take_lines(in);
        if (in->len > LINE_MAX_BYTES)
            return; /* that is no line */
    }
}

static CO void serve(void *opaque)
{
    while (chardev_wait_open(qtest.chardev)) {
        qtest.opened = clock_now_ns();
        log_line('I', "OPENED");
        qtest.is_connected = true;
        serve_client();
        flush();
        qtest.is_connected = false;
        log_line('I', "CLOSED");
        chardev_hang_up(qtest.chardev);
    }
}

static bool open_log(const char *log, GError **err)
{
    if (!log)
        qtest.log = stderr;
    else if (strcmp(log, "none"))
        qtest.log = fopen(log, "we");
    qtest.owns_log = log && qtest.log;
    return qtest.log || (log && !strcmp(log, "none")) ||
           err_set_errno(err, errno, "Cannot write '%s'", log);
}

bool qtest_start(Machine *m, Chardev *c, const char *log, GError **err)
{
    if (!chardev_claim(c, err))
        return false;
    qtest.chardev = c;
    qtest.machine = m;
    qtest.out = g_string_new(NULL);
    if (!open_log(log, err))
        return false;
    co_group_start(&qtest.running, serve, NULL);
    co_group_start(&qtest.running, send_late, NULL);
    return true;
}

CO void qtest_end(void)
{
    if (!qtest.chardev)
        return;
    chardev_shutdown(qtest.chardev);
    machine_lock();
    qtest.ending = true;
    if (qtest.set_irq)
        qtest.machine->board.set_irq = qtest.set_irq;
    sleeper_wake(&qtest.sender);
    machine_unlock();
    co_group_wait(&qtest.running);
    chardev_release(qtest.chardev);
    g_string_free(qtest.out, TRUE);
    if (qtest.owns_log)
        fclose(qtest.log);
    qtest.chardev = NULL;
}
