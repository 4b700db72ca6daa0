/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What gdb asks for. While the guest runs only the interrupt is understood. */
#include "monitor/hmp.h"
#include "system/debug.h"
#include "system/dump.h"
#include "system/gdb/gdb.h"
#include "system/migration-incoming.h"
#include "system/run-state.h"
#include "system/vm-snapshot.h"
#include "target/x86/debug.h"
#include <inttypes.h>
#include <string.h>

enum { MEMORY_MAX = 4096, SIGNAL_INTERRUPT = 2, SIGNAL_TRAP = 5 };

static struct {
    bool is_attached, is_running;
    unsigned cpu;   /* whose registers and memory are meant */
} session;

static Vcpu *vcpu_at(unsigned i)
{
    return run_state_machine()->vcpus->pdata[i];
}

static unsigned vcpu_count(void)
{
    return run_state_machine()->vcpus->len;
}

static X86Cpu *current(void)
{
    return vcpu_cpu(vcpu_at(session.cpu));
}

static CO void answer(const char *text)
{
    gdb_send(text, strlen(text));
}

/* ---- hexadecimal ----------------------------------------------------------------------------- */

static void put_hex(GString *out, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        g_string_append_printf(out, "%02x", data[i]);
}

/* At most @max bytes of @text; how many. */
static size_t get_hex(const char *text, uint8_t *to, size_t max)
{
    size_t n = 0;

    for (; n < max && g_ascii_isxdigit(text[2 * n]) && g_ascii_isxdigit(text[2 * n + 1]); n++)
        to[n] = g_ascii_xdigit_value(text[2 * n]) << 4 | g_ascii_xdigit_value(text[2 * n + 1]);
    return n;
}

/* ---- what has happened ----------------------------------------------------------------------- */

static CO void tell_stop(int signal)
{
    g_autoptr(GString) out = g_string_new(NULL);
    uint64_t address;
    const X86Point *hit = signal == SIGNAL_TRAP ? x86_debug_watch_hit(current(), &address) : NULL;

    g_string_printf(out, "T%02xthread:%02x;", signal, session.cpu + 1);
    if (hit)
        g_string_append_printf(out, "%s:%" PRIx64 ";",
                               hit->kind == X86_POINT_WRITE ? "watch" : hit->kind == X86_POINT_READ
                               ? "rwatch" : "awatch", address);
    gdb_send(out->str, out->len);
}

/* The guest has stopped, by whatever. */
static CO void heard_stop(void *opaque, Vcpu *by)
{
    if (!session.is_running)
        return;
    session.is_running = false;
    if (by)
        session.cpu = vcpu_index(by);
    tell_stop(by ? SIGNAL_TRAP : SIGNAL_INTERRUPT);
}

CO bool gdb_attach(void)
{
    if (run_state_is_running() && !incoming_may_stop(NULL))
        return false;
    run_state_hear_stop(heard_stop, NULL);
    session.is_attached = true;
    session.is_running = false;
    session.cpu = 0;
    /* A guest that leaves or has left keeps its state: it must not go on here when gdb leaves. */
    if (run_state() != STATE_FINISH_MIGRATE && run_state() != STATE_POSTMIGRATE)
        run_state_stop(STATE_DEBUG);
    return true;
}

static void clear_points(void)
{
    for (unsigned i = 0; i < vcpu_count(); i++)
        x86_debug_clear(vcpu_cpu(vcpu_at(i)));
}

/* The guest has to stand still while it is saved, loaded or dumped, or is about to leave. */
static bool may_go(void)
{
    MachineState state = run_state();

    return !vm_snapshot_is_busy() && !dump_is_active() && state != STATE_RESTORE_VM &&
           state != STATE_FINISH_MIGRATE && state != STATE_POSTMIGRATE;
}

CO void gdb_detach(void)
{
    if (!session.is_attached || !run_state_machine())
        return;
    session.is_attached = session.is_running = false;
    run_state_hear_stop(NULL, NULL);
    run_state_hold();
    clear_points();
    run_state_release();
    if (run_state() == STATE_DEBUG && may_go())
        run_state_start();
}

CO void gdb_interrupt(void)
{
    if (session.is_running && incoming_may_stop(NULL))
        run_state_stop(STATE_DEBUG);
}

/* ---- running --------------------------------------------------------------------------------- */

static CO void go(int step)
{
    if (!may_go()) {
        answer("E16");
        return;
    }
    session.is_running = true;
    run_state_debug_go(step < 0 ? NULL : vcpu_at(step));
}

/* vCont;ACTION[:THREAD];...: a step counts, whatever the others are to do. */
static CO void run_actions(const char *text)
{
    int step = -1;

    for (const char *p = strchr(text, ';'); p; p = strchr(p + 1, ';')) {
        const char *thread = p + 1 + strcspn(p + 1, ":;");
        uint64_t n = *thread == ':' ? g_ascii_strtoull(thread + 1, NULL, 16) : session.cpu + 1;

        if (p[1] == 's' || p[1] == 'S')
            step = n >= 1 && n <= vcpu_count() ? (int)n - 1 : (int)session.cpu;
        else if (p[1] != 'c' && p[1] != 'C') {
            answer("");
            return;
        }
    }
    go(step);
}

/* ---- registers ------------------------------------------------------------------------------- */

static CO void read_registers(void)
{
    g_autoptr(GString) out = g_string_new(NULL);
    uint8_t value[X86_DEBUG_REGISTER_MAX];

    for (const X86DebugRegister *r = x86_debug_registers; r->name; r++) {
        x86_debug_read_register(current(), r, value);
        put_hex(out, value, r->bits / 8);
    }
    gdb_send(out->str, out->len);
}

static CO void write_registers(const char *text)
{
    uint8_t value[X86_DEBUG_REGISTER_MAX];
    bool ok = true;

    for (const X86DebugRegister *r = x86_debug_registers; r->name && *text; r++) {
        uint8_t before[X86_DEBUG_REGISTER_MAX];
        size_t len = r->bits / 8;

        if (get_hex(text, value, len) != len)
            break;
        x86_debug_read_register(current(), r, before);
        /* Those that cannot be written are sent as they were. */
        ok &= !memcmp(before, value, len) || x86_debug_write_register(current(), r, value);
        text += 2 * len;
    }
    answer(ok ? "OK" : "E22");
}

static const X86DebugRegister *register_at(uint64_t n)
{
    const X86DebugRegister *r = x86_debug_registers;

    while (n-- && r->name)
        r++;
    return r->name ? r : NULL;
}

static CO void read_register(const char *text)
{
    const X86DebugRegister *r = register_at(g_ascii_strtoull(text, NULL, 16));
    g_autoptr(GString) out = g_string_new(NULL);
    uint8_t value[X86_DEBUG_REGISTER_MAX];

    if (r) {
        x86_debug_read_register(current(), r, value);
        put_hex(out, value, r->bits / 8);
    }
    answer(r ? out->str : "E14");
}

static CO void write_register(const char *text)
{
    char *end;
    const X86DebugRegister *r = register_at(g_ascii_strtoull(text, &end, 16));
    uint8_t value[X86_DEBUG_REGISTER_MAX];

    if (!r || *end != '=' || get_hex(end + 1, value, r->bits / 8) != r->bits / 8u)
        answer("E22");
    else
        answer(x86_debug_write_register(current(), r, value) ? "OK" : "E22");
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* "ADDRESS,LENGTH" and what stands behind it. False: it is not so. */
static bool read_range(const char *text, uint64_t *at, uint64_t *len, const char **rest)
{
    char *end;

    *at = g_ascii_strtoull(text, &end, 16);
    if (end == text || *end != ',')
        return false;
    text = end + 1;
    *len = g_ascii_strtoull(text, &end, 16);
    *rest = end;
    return end != text;
}

static CO void read_memory(const char *text)
{
    g_autoptr(GString) out = g_string_new(NULL);
    uint8_t buf[MEMORY_MAX];
    uint64_t at, len;
    const char *rest;
    bool ok = read_range(text, &at, &len, &rest) && len <= sizeof(buf) && debug_begin(NULL);

    if (ok) {
        ok = x86_debug_read_memory(current(), at, buf, len);
        debug_end();
    }
    if (!ok) {
        answer("E14");
        return;
    }
    put_hex(out, buf, len);
    gdb_send(out->str, out->len);
}

static CO void write_memory(const char *text)
{
    uint8_t buf[MEMORY_MAX];
    uint64_t at, len;
    const char *rest;
    bool ok = read_range(text, &at, &len, &rest) && len <= sizeof(buf) && *rest == ':' &&
              get_hex(rest + 1, buf, len) == len && debug_begin(NULL);

    if (ok) {
        ok = x86_debug_write_memory(current(), at, buf, len);
        debug_end();
    }
    answer(ok ? "OK" : "E14");
}

/* ---- points ---------------------------------------------------------------------------------- */

/* Z and z: TYPE,ADDRESS,LENGTH, for all processors. */
static CO void set_point(const char *text, bool on)
{
    static const X86PointKind kinds[] = { X86_POINT_BREAK, X86_POINT_BREAK, X86_POINT_WRITE,
                                          X86_POINT_READ, X86_POINT_ACCESS };
    unsigned kind = *text - '0';
    uint64_t at, len;
    const char *rest;
    bool ok = true;

    if (kind >= G_N_ELEMENTS(kinds) || text[1] != ',' || !read_range(text + 2, &at, &len, &rest)) {
        answer(kind >= G_N_ELEMENTS(kinds) ? "" : "E22");
        return;
    }
    if (kind < 2)
        len = 1; /* gdb's length says how it would write the instruction */
    for (unsigned i = 0; i < vcpu_count(); i++) {
        X86Cpu *cpu = vcpu_cpu(vcpu_at(i));

        ok &= on ? x86_debug_add(cpu, kinds[kind], at, len)
                 : x86_debug_remove(cpu, kinds[kind], at, len);
    }
    answer(ok ? "OK" : "E22");
}

/* ---- threads --------------------------------------------------------------------------------- */

static CO void choose_thread(const char *text)
{
    uint64_t n = *text == '-' ? 0 : g_ascii_strtoull(text, NULL, 16);

    if (n > vcpu_count()) {
        answer("E22");
        return;
    }
    if (n)
        session.cpu = n - 1;
    answer("OK");
}

static CO void list_threads(void)
{
    g_autoptr(GString) out = g_string_new("m");

    for (unsigned i = 0; i < vcpu_count(); i++)
        g_string_append_printf(out, "%s%02x", i ? "," : "", i + 1);
    answer(out->str);
}

static CO void describe_thread(const char *text)
{
    uint64_t n = g_ascii_strtoull(text, NULL, 16);
    g_autofree char *name = NULL;
    g_autoptr(GString) out = g_string_new(NULL);

    if (n < 1 || n > vcpu_count()) {
        answer("E22");
        return;
    }
    name = g_strdup_printf("CPU#%u [%s]", (unsigned)n - 1,
                           vcpu_is_halted(vcpu_at(n - 1)) ? "halted " : "running");
    put_hex(out, (const uint8_t *)name, strlen(name));
    answer(out->str);
}

/* ---- the description of the target ----------------------------------------------------------- */

static void put_types(GString *out, const char *feature)
{
    static const char *const flags[] = { "CF", "", "PF", "", "AF", "", "ZF", "SF", "TF", "IF", "DF",
                                         "OF" };

    if (!strcmp(feature, "core")) {
        g_string_append(out, "<flags id=\"i386_eflags\" size=\"4\">");
        for (size_t i = 0; i < G_N_ELEMENTS(flags); i++)
            g_string_append_printf(out, "<field name=\"%s\" start=\"%zu\" end=\"%zu\"/>", flags[i],
                                   i, i);
        g_string_append(out, "</flags>");
    } else if (!strcmp(feature, "sse")) {
        g_string_append(
            out, "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>"
                 "<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
                 "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/>"
                 "<vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
                 "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/>"
                 "<vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
                 "<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/>"
                 "<field name=\"v2_double\" type=\"v2d\"/>"
                 "<field name=\"v16_int8\" type=\"v16i8\"/>"
                 "<field name=\"v8_int16\" type=\"v8i16\"/>"
                 "<field name=\"v4_int32\" type=\"v4i32\"/>"
                 "<field name=\"v2_int64\" type=\"v2i64\"/>"
                 "<field name=\"uint128\" type=\"uint128\"/></union>"
                 "<flags id=\"i386_mxcsr\" size=\"4\"><field name=\"IE\" start=\"0\" end=\"0\"/>"
                 "<field name=\"FZ\" start=\"15\" end=\"15\"/></flags>");
    }
}

static char *target_description(void)
{
    GString *out = g_string_new("<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">"
                                "<target><architecture>i386:x86-64</architecture>");
    const char *feature = NULL;

    for (const X86DebugRegister *r = x86_debug_registers; r->name; r++) {
        if (!feature || strcmp(feature, r->feature)) {
            if (feature)
                g_string_append(out, "</feature>");
            feature = r->feature;
            g_string_append_printf(out, "<feature name=\"org.gnu.gdb.i386.%s\">", feature);
            put_types(out, feature);
        }
        g_string_append_printf(out, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"/>", r->name,
                               r->bits, r->type);
    }
    g_string_append(out, "</feature></target>");
    return g_string_free(out, FALSE);
}

/* qXfer:features:read:ANNEX:OFFSET,LENGTH */
static CO void read_description(const char *text)
{
    g_autofree char *xml = target_description(), *part = NULL;
    uint64_t at, len, size = strlen(xml);
    const char *rest;

    if (!g_str_has_prefix(text, "target.xml:") ||
        !read_range(text + strlen("target.xml:"), &at, &len, &rest)) {
        answer("E00");
        return;
    }
    at = MIN(at, size);
    len = MIN(len, size - at);
    part = g_strdup_printf("%c%.*s", at + len < size ? 'm' : 'l', (int)len, xml + at);
    answer(part);
}

/* ---- queries --------------------------------------------------------------------------------- */

/* A line for the monitor, in hexadecimal. */
static CO void run_monitor_line(const char *text)
{
    Hmp h = { .out = g_string_new(NULL), .cpu = session.cpu };
    g_autofree char *line = g_malloc0(strlen(text) / 2 + 1);
    g_autoptr(GString) out = g_string_new(NULL);

    get_hex(text, (uint8_t *)line, strlen(text) / 2);
    hmp_run(&h, line);
    put_hex(out, (const uint8_t *)h.out->str, h.out->len);
    g_string_free(h.out, TRUE);
    answer(out->len ? out->str : "OK");
}

static CO void query(const char *text)
{
    g_autofree char *thread = g_strdup_printf("QC%02x", session.cpu + 1);

    if (g_str_has_prefix(text, "Supported"))
        answer("PacketSize=2000;qXfer:features:read+;vContSupported+;QStartNoAckMode+");
    else if (!strcmp(text, "C"))
        answer(thread);
    else if (!strcmp(text, "fThreadInfo"))
        list_threads();
    else if (!strcmp(text, "sThreadInfo"))
        answer("l");
    else if (g_str_has_prefix(text, "ThreadExtraInfo,"))
        describe_thread(text + strlen("ThreadExtraInfo,"));
    else if (g_str_has_prefix(text, "Attached"))
        answer("1");
    else if (g_str_has_prefix(text, "Xfer:features:read:"))
        read_description(text + strlen("Xfer:features:read:"));
    else if (g_str_has_prefix(text, "Rcmd,"))
        run_monitor_line(text + strlen("Rcmd,"));
    else
        answer("");
}

static CO void set(const char *text)
{
    if (strcmp(text, "StartNoAckMode")) {
        answer("");
        return;
    }
    answer("OK");
    gdb_no_acks();
}

static CO void set_and_go(const char *text, bool step)
{
    char *end;
    uint64_t at = g_ascii_strtoull(text, &end, 16);

    if (end != text)
        current()->rip = at;
    go(step ? (int)session.cpu : -1);
}

/* ---- all ------------------------------------------------------------------------------------- */

CO void gdb_command(char *text, size_t len)
{
    if (!run_state_machine())
        return;
    if (run_state_is_running()) {
        /* Somebody else has let it go on: the client hears of the next stop. */
        session.is_running |= *text == 'c' || g_str_has_prefix(text, "vCont;c");
        return;
    }
    switch (*text) {
    case '?':
        tell_stop(SIGNAL_TRAP);
        break;
    case 'g':
        read_registers();
        break;
    case 'G':
        write_registers(text + 1);
        break;
    case 'p':
        read_register(text + 1);
        break;
    case 'P':
        write_register(text + 1);
        break;
    case 'm':
        read_memory(text + 1);
        break;
    case 'M':
        write_memory(text + 1);
        break;
    case 'c':
    case 's':
        set_and_go(text + 1, *text == 's');
        break;
    case 'Z':
    case 'z':
        set_point(text + 1, *text == 'Z');
        break;
    case 'H':
        choose_thread(text + 2 - !text[1]);
        break;
    case 'T':
        answer(g_ascii_strtoull(text + 1, NULL, 16) - 1 < vcpu_count() ? "OK" : "E22");
        break;
    case 'q':
        query(text + 1);
        break;
    case 'Q':
        set(text + 1);
        break;
    case 'v':
        if (!strcmp(text, "vCont?"))
            answer("vCont;c;C;s;S");
        else if (g_str_has_prefix(text, "vCont;"))
            run_actions(text);
        else
            answer("");
        break;
    case 'D':
        answer("OK");
        gdb_detach();
        break;
    case 'k':
        run_state_quit(false);
        break;
    default:
        answer("");
        break;
    }
}
