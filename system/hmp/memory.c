/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory, ports and numbers as people want to see them. */
#include "system/base/lock.h"
#include "system/debug.h"
#include "system/hmp/commands.h"
#include "system/migration-incoming.h"
#include "target/x86/mmu.h"
#include "util/endian.h"
#include <inttypes.h>
#include <string.h>

/* Bytes at an address: of processor @v, or physical if that is NULL. */
static bool load(Vcpu *v, uint64_t at, void *to, size_t len)
{
    Machine *m = run_state_machine();

    if (v)
        return debug_read(v, at, to, len);
    machine_lock();
    for (size_t i = 0; i < len; i++)
        if (memory_map_is_free(m->board.memory, at + i, 1)) {
            machine_unlock();
            return false;
        }
    machine_unlock();
    debug_read_physical(m, at, to, len);
    return true;
}

/* ---- numbers --------------------------------------------------------------------------------- */

static void show_character(Hmp *h, unsigned c)
{
    static const char escapes[] = "n\nr\rt\t";
    const char *known = NULL;

    for (const char *p = escapes; *p; p += 2)
        if ((uint8_t)p[1] == c)
            known = p;
    if (c == '\'' || c == '\\')
        g_string_append_printf(h->out, "'\\%c'", c);
    else if (c < 128 && g_ascii_isprint(c))
        g_string_append_printf(h->out, "'%c'", c);
    else if (known)
        g_string_append_printf(h->out, "'\\%c'", *known);
    else
        g_string_append_printf(h->out, "'\\x%02x'", c);
}

/* Columns of the widest number of a size: by the power of two of the size. */
static void show_number(Hmp *h, const HmpFormat *f, uint64_t v)
{
    static const int octal[] = { 3, 6, 11, 22 }, decimal[] = { 3, 5, 10, 20 };
    unsigned power = __builtin_ctz(f->size);
    int64_t n = f->size == 8 ? (int64_t)v : f->size == 4 ? (int32_t)v : (int64_t)v;

    switch (f->format) {
    case 'x':
        g_string_append_printf(h->out, "0x%0*" PRIx64, 2 * f->size, v);
        break;
    case 'o':
        g_string_append_printf(h->out, "%#*" PRIo64, octal[power], v);
        break;
    case 'u':
        g_string_append_printf(h->out, "%*" PRIu64, decimal[power], v);
        break;
    case 'd':
        g_string_append_printf(h->out, "%*" PRId64, decimal[power], n);
        break;
    case 'c':
        show_character(h, v);
        break;
    }
}

static uint64_t number_at(const uint8_t *p, unsigned size)
{
    return size == 1 ? *p : size == 2 ? le16_at(p) : size == 4 ? le32_at(p) : le64_at(p);
}

/* ---- x and xp -------------------------------------------------------------------------------- */

static void show_numbers(Hmp *h, Vcpu *v, HmpFormat f, uint64_t at)
{
    uint64_t len = (uint64_t)f.count * f.size;
    unsigned line = f.size == 1 ? 8 : 16;
    uint8_t buf[16];

    if (f.format == 'c')
        f.size = 1;
    for (uint64_t done = 0; done < len; done += line) {
        unsigned n = MIN(len - done, line);

        g_string_append_printf(h->out, "%016" PRIx64 ":", at + done);
        if (!load(v, at + done, buf, n)) {
            g_string_append(h->out, " Cannot access memory\n");
            return;
        }
        for (unsigned i = 0; i < n; i += f.size) {
            g_string_append_c(h->out, ' ');
            show_number(h, &f, number_at(buf + i, f.size));
        }
        g_string_append_c(h->out, '\n');
    }
}

static void show_code(Hmp *h, Vcpu *v, unsigned count, uint64_t at)
{
    Vcpu *mode = v ? v : hmp_vcpu(h);

    while (count--) {
        uint8_t code[16];
        char text[128], bytes[64] = "";
        X86Insn in;
        X86Decoded got;
        size_t have = 0;

        while (have < 15 && load(v, at + have, code + have, 1))
            have++;
        if (!have) {
            g_string_append_printf(h->out, "0x%08" PRIx64 ":  Cannot access memory\n", at);
            return;
        }
        got = x86_decode(&in, code, have, vcpu_cpu(mode)->mode);
        if (got != X86_DECODED)
            in.length = 1;
        for (unsigned i = 0; i < in.length; i++)
            g_snprintf(bytes + 3 * i, sizeof(bytes) - 3 * i, "%02x ", code[i]);
        g_string_append_printf(h->out, "0x%08" PRIx64 ":  %-24s %s\n", at, bytes,
                               got == X86_DECODED ? x86_disassemble(&in, at, text, sizeof(text))
                                                  : "(bad)");
        at += in.length;
    }
}

static CO void show_memory(Hmp *h, Vcpu *v, const HmpFormat *f, uint64_t at)
{
    if (!hmp_begin_look(h))
        return;
    if (f->format == 'i')
        show_code(h, v, f->count, at);
    else
        show_numbers(h, v, *f, at);
    debug_end();
}

HMP_COMMAND(hmp_x)
{
    if (!hmp_has_vcpu(h))
        return;
    show_memory(h, hmp_vcpu(h), &a->format, a->number[0]);
}

HMP_COMMAND(hmp_xp)
{
    if (a->format.format == 'i' && !hmp_has_vcpu(h))
        return;
    show_memory(h, NULL, &a->format, a->number[0]);
}

/* ---- others ---------------------------------------------------------------------------------- */

HMP_COMMAND(hmp_print)
{
    uint64_t v = a->number[0];

    switch (a->format.format) {
    case 'x':
        g_string_append_printf(h->out, "%#" PRIx64, v);
        break;
    case 'o':
        g_string_append_printf(h->out, "%#" PRIo64, v);
        break;
    case 'u':
        g_string_append_printf(h->out, "%" PRIu64, v);
        break;
    case 'c':
        show_character(h, v);
        break;
    default:
        g_string_append_printf(h->out, "%" PRId64, (int64_t)v);
        break;
    }
    g_string_append_c(h->out, '\n');
}

HMP_COMMAND(hmp_gpa2hva)
{
    Machine *m = run_state_machine();
    uint64_t at = a->number[0];
    const uint8_t *host;

    machine_lock();
    host = memory_map_host(m->board.memory, at, true);
    if (host)
        g_string_append_printf(h->out, "Host virtual address for 0x%" PRIx64 " (%s) is %p\n", at,
                               host >= m->ram && host < m->ram + m->config.ram_size ? m->memory->id
                               : "firmware", (void *)host);
    else if (memory_map_is_free(m->board.memory, at, 1))
        g_string_append_printf(h->out, "No memory is mapped at address 0x%" PRIx64 "\n", at);
    else
        g_string_append_printf(h->out, "Memory at address 0x%" PRIx64 " is not RAM\n", at);
    machine_unlock();
}

HMP_COMMAND(hmp_gva2gpa)
{
    uint64_t physical;

    if (!hmp_has_vcpu(h) || !hmp_begin_look(h))
        return;
    if (x86_translate(vcpu_cpu(hmp_vcpu(h)), a->number[0], &physical))
        g_string_append_printf(h->out, "gpa: %#" PRIx64 "\n", physical);
    else
        g_string_append(h->out, "Unmapped\n");
    debug_end();
}

/* The device behind a port may look at memory. */
static bool may_use_ports(Hmp *h)
{
    GError *err = NULL;

    if (incoming_memory_is_here(&err))
        return true;
    hmp_error(h, err);
    return false;
}

/* Ports are used in bytes unless the format says more. */
HMP_COMMAND(hmp_port_read)
{
    unsigned size = MIN(a->format.size, 4);
    uint16_t port = a->number[0];
    uint64_t v;

    if (!may_use_ports(h))
        return;
    v = memory_map_read(run_state_machine()->board.ports, port, size);
    g_string_append_printf(h->out, "port%c[0x%04x] = 0x%0*" PRIx64 "\n",
                           size == 1 ? 'b' : size == 2 ? 'w' : 'l', port, 2 * size, v);
}

HMP_COMMAND(hmp_port_write)
{
    if (!may_use_ports(h))
        return;
    memory_map_write(run_state_machine()->board.ports, a->number[0] & 0xffff,
                     MIN(a->format.size, 4), a->number[1]);
}

/* The sum that the BSD program of this name makes. */
HMP_COMMAND(hmp_sum)
{
    uint16_t sum = 0;

    if (!hmp_begin_look(h))
        return;
    for (uint64_t i = 0; i < a->number[1]; i++) {
        uint8_t byte;

        debug_read_physical(run_state_machine(), a->number[0] + i, &byte, 1);
        sum = (sum >> 1 | sum << 15) + byte;
    }
    debug_end();
    g_string_append_printf(h->out, "%05d\n", sum);
}
