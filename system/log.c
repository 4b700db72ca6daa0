/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system/log.h"
#include "system/base/guest-log.h"
#include "target/x86/debug.h"
#include "target/x86/interpret.h"
#include "target/x86/log.h"
#include "util/err.h"
#include "util/suggest.h"
#include "util/trace.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    CPU_LOG = 1 << 8, FPU_LOG = 1 << 9, EXEC_LOG = 1 << 10, RESET_LOG = 1 << 11,
    ERRORS_LOG = 1 << 12, MISSING_LOG = 1 << 13,

    X86_ITEMS = X86_LOG_IN_ASM | X86_LOG_BLOCKS | X86_LOG_NOCHAIN | X86_LOG_INT | X86_LOG_PAGING |
                X86_LOG_FAR | X86_LOG_OUT_ASM,
    /* Only processors that are emulated tell of these. */
    EMULATED_ITEMS = X86_ITEMS | FPU_LOG | MISSING_LOG,
};

static const struct {
    const char *name;
    unsigned items; /* those of target/x86/log.h, and ours */
    const char *doc;
} items[] = {
    { "out_asm", X86_LOG_OUT_ASM, "the host's instructions that blocks are translated to" },
    { "in_asm", X86_LOG_IN_ASM, "guest instructions, when they are translated" },
    { "int", X86_LOG_INT, "interrupts and exceptions" },
    { "exec", EXEC_LOG | X86_LOG_BLOCKS, "each block that the translator's loop goes to" },
    { "cpu", CPU_LOG | X86_LOG_BLOCKS, "registers before each block that 'exec' shows" },
    { "fpu", FPU_LOG, "floating-point registers with 'cpu', too" },
    { "nochain", X86_LOG_NOCHAIN, "no direct jumps between blocks: 'exec' and 'cpu' show all" },
    { "cpu_reset", RESET_LOG, "registers before a processor is reset" },
    { "mmu", X86_LOG_PAGING, "control registers of paging, when they are written" },
    { "pcall", X86_LOG_FAR, "far jumps, calls and returns, with registers" },
    { "guest_errors", ERRORS_LOG, "invalid requests and accesses of the guest" },
    { "unimp", MISSING_LOG, "accesses to processor registers that are not there" },
};

static const char *const absent[] = {
    "op", "op_opt", "op_ind", "page", "plugin", "strace", "tid", NULL,
};

typedef struct {
    uint64_t first, last;
} Range;

static struct {
    FILE *file; /* NULL: standard error */
    unsigned items;
    GArray *ranges; /* of Range; NULL: all */
    unsigned interrupts;
} log_state;

/* ---- writing --------------------------------------------------------------------------------- */

/* In one piece, so that the lines of threads do not mix. */
static void put(const GString *text)
{
    FILE *f = log_state.file ? log_state.file : stderr;

    fwrite(text->str, 1, text->len, f);
    fflush(f);
}

static bool is_wanted(uint64_t linear)
{
    const GArray *r = log_state.ranges;

    for (guint i = 0; r && i < r->len; i++)
        if (linear >= g_array_index(r, Range, i).first && linear <= g_array_index(r, Range, i).last)
            return true;
    return !r;
}

/* Lines for what is decoded of @len bytes, which run at @at. How many those are. */
static size_t put_code(GString *out, uint64_t at, const uint8_t *code, size_t len,
                       X86DecodeMode mode)
{
    char text[160];
    X86Insn in;
    size_t i;

    for (i = 0; i < len && x86_decode(&in, code + i, len - i, mode) == X86_DECODED;
         i += in.length) {
        g_string_append_printf(out, "0x%08" PRIx64 ": ", at + i);
        for (unsigned b = 0; b < MAX(in.length, 8); b++)
            if (b < in.length)
                g_string_append_printf(out, " %02x", code[i + b]);
            else
                g_string_append(out, "   ");
        g_string_append_printf(out, "  %s\n",
                               x86_disassemble(&in, at + i, text, sizeof(text)));
    }
    return i;
}

static void translated(const X86Cpu *cpu, const uint8_t *code, size_t len)
{
    g_autoptr(GString) out = g_string_new("----------------\nIN: \n");
    uint64_t at = x86_code_address(cpu);

    if (!is_wanted(at))
        return;
    put_code(out, at, code, len, cpu->mode);
    g_string_append_c(out, '\n');
    put(out);
}

/* What our decoder does not know, if there should be any, is shown byte by byte. */
static void generated(const X86Cpu *cpu, const uint8_t *code, size_t len)
{
    const X86DecodeMode host = { 64, ~(X86Features)0 };
    g_autoptr(GString) out = g_string_new(NULL);
    uint64_t at = x86_code_address(cpu);

    if (!is_wanted(at))
        return;
    g_string_append_printf(out, "OUT: [size=%zu]\n  -- guest addr 0x%016" PRIx64 "\n", len, at);
    for (size_t i = 0; i < len;) {
        i += put_code(out, (uintptr_t)code + i, code + i, len - i, host);
        if (i < len) {
            g_string_append_printf(out, "0x%08" PRIx64 ":  %02x\n", (uintptr_t)code + i, code[i]);
            i++;
        }
    }
    g_string_append_c(out, '\n');
    put(out);
}

static unsigned index_of(const X86Cpu *cpu)
{
    return vcpu_index(cpu->machine_opaque);
}

static void block(const X86Cpu *cpu)
{
    g_autoptr(GString) out = g_string_new(NULL);

    if (!is_wanted(x86_code_address(cpu)))
        return;
    if (log_state.items & EXEC_LOG)
        g_string_append_printf(out, "Trace %u: [%016" PRIx64 "/%016" PRIx64 "/%08x]\n",
                               index_of(cpu), cpu->segment[X86_CS].base, cpu->rip, cpu->flags);
    if (log_state.items & CPU_LOG)
        cpu_describe(out, cpu, log_state.items & FPU_LOG);
    put(out);
}

static void delivered(const X86Cpu *cpu, const X86Exception *e)
{
    g_autoptr(GString) out = g_string_new(NULL);
    unsigned number = __atomic_fetch_add(&log_state.interrupts, 1, __ATOMIC_RELAXED);

    if (e->is_external)
        g_string_append_printf(out, "Servicing hardware INT=0x%02x\n", e->vector);
    g_string_append_printf(out,
                           "%6u: v=%02x e=%04x i=%d cpl=%d IP=%04x:%016" PRIx64 " pc=%016" PRIx64
                           " SP=%04x:%016" PRIx64,
                           number, e->vector, e->error, e->is_software, cpu->cpl,
                           cpu->segment[X86_CS].selector, cpu->rip, x86_code_address(cpu),
                           cpu->segment[X86_SS].selector, cpu->gpr[X86_RSP]);
    if (e->vector == X86_PF_FAULT && !e->is_external)
        g_string_append_printf(out, " CR2=%016" PRIx64 "\n", cpu->cr2);
    else
        g_string_append_printf(out, " env->regs[R_EAX]=%016" PRIx64 "\n", cpu->gpr[X86_RAX]);
    cpu_describe(out, cpu, false);
    put(out);
}

static void paging(const X86Cpu *cpu)
{
    g_autoptr(GString) out = g_string_new(NULL);

    g_string_append_printf(out, "CPU %u: CR0=%08x CR3=%016" PRIx64 " CR4=%08x EFER=%016" PRIx64
                           " pc=%016" PRIx64 "\n", index_of(cpu), (uint32_t)cpu->cr0, cpu->cr3,
                           (uint32_t)cpu->cr4, cpu->efer, x86_code_address(cpu));
    put(out);
}

static void far_transfer(const X86Cpu *cpu, const char *name)
{
    g_autoptr(GString) out = g_string_new(NULL);

    g_string_append_printf(out, "CPU %u: %s to %04x:%016" PRIx64 " cpl=%d\n", index_of(cpu), name,
                           cpu->segment[X86_CS].selector, cpu->next, cpu->cpl);
    cpu_describe(out, cpu, false);
    put(out);
}

static const X86LogHook hook = { translated, generated, block, delivered, paging, far_transfer };

static void complaint(const char *line)
{
    g_autoptr(GString) out = g_string_new(line);

    g_string_append_c(out, '\n');
    put(out);
}

void log_reset(Vcpu *v)
{
    g_autoptr(GString) out = g_string_new(NULL);

    if (!(log_state.items & RESET_LOG))
        return;
    g_string_append_printf(out, "CPU Reset (CPU %u)\n", vcpu_index(v));
    cpu_describe(out, vcpu_cpu(v), true);
    put(out);
}

/* ---- choosing -------------------------------------------------------------------------------- */

void log_describe_items(GString *out)
{
    g_string_append(out, "Log items (comma separated):\n");
    for (size_t i = 0; i < G_N_ELEMENTS(items); i++)
        g_string_append_printf(out, "%-15s %s\n", items[i].name, items[i].doc);
    g_string_append_printf(out, "%-15s %s\n", "trace:PATTERN", "trace points, as -trace");
}

void log_print_items(void)
{
    g_autoptr(GString) out = g_string_new(NULL);

    log_describe_items(out);
    fputs(out->str, stdout);
}

/* The pattern of trace points that the item @name is; NULL: it is another item. */
static const char *trace_pattern(const char *name)
{
    return g_str_has_prefix(name, "trace:") ? name + strlen("trace:") : NULL;
}

/* Files are for the command line's -trace only: later other threads may be writing to one. */
static bool check_pattern(const char *pattern, GError **err)
{
    if (!*pattern)
        return err_set(err, EINVAL, "'trace:' needs a pattern");
    return !strchr(pattern, '=') ||
           err_set(err, EINVAL, "'trace:%s': a log item takes a pattern of trace points; file= and "
                   "events= are for the option -trace", pattern);
}

static bool find_item(const char *name, unsigned *found, GError **err)
{
    if (trace_pattern(name))
        return check_pattern(trace_pattern(name), err);
    for (size_t i = 0; i < G_N_ELEMENTS(items); i++)
        if (!strcmp(items[i].name, name) || !strcmp(name, "all"))
            *found |= items[i].items;
    for (size_t i = 0; i < G_N_ELEMENTS(items); i++)
        if (!strcmp(items[i].name, name) || !strcmp(name, "all") || !strcmp(name, "none"))
            return true;
    if (g_strv_contains(absent, name))
        return err_set(err, ENOTSUP, "The log item '%s' is not there", name);
    return err_set(err, EINVAL, "There is no log item '%s'", name);
}

bool log_choose(const char *text, GError **err)
{
    g_auto(GStrv) words = g_strsplit(text, ",", -1);
    unsigned found = 0;

    for (char **w = words; *w; w++)
        if (**w && !find_item(*w, &found, err))
            return false;
    for (char **w = words; *w; w++)
        if (trace_pattern(*w) && !trace_configure(trace_pattern(*w), err))
            return false;
    log_state.items = found;
    x86_log_hook = &hook;
    x86_log_items = found & X86_ITEMS;
    guest_log_write = complaint;
    guest_log_items = (found & ERRORS_LOG ? GUEST_LOG_ERRORS : 0) |
                      (found & MISSING_LOG ? GUEST_LOG_MISSING : 0);
    return true;
}

char *log_unseen(const Accel *accel)
{
    GString *names = g_string_new(NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(items) && accel != &accel_tcg; i++)
        if (items[i].items & EMULATED_ITEMS && !(items[i].items & ~log_state.items))
            g_string_append_printf(names, "%s%s", names->len ? "," : "", items[i].name);
    return g_string_free(names, !names->len);
}

bool log_open(const char *path, GError **err)
{
    FILE *f = fopen(path, "we");

    if (!f)
        return err_set_errno(err, errno, "Cannot write the log '%s'", path);
    if (log_state.file)
        fclose(log_state.file);
    log_state.file = f;
    return true;
}

/* ---- filters --------------------------------------------------------------------------------- */

static bool parse_range(const char *text, Range *r)
{
    const char *end, *rest;
    uint64_t a = g_ascii_strtoull(text, (char **)&end, 0), b;
    bool is_end = g_str_has_prefix(end, "..");

    if (end == text || (*end != '+' && *end != '-' && !is_end))
        return false;
    rest = end + (is_end ? 2 : 1);
    b = g_ascii_strtoull(rest, (char **)&text, 0);
    if (text == rest || *text || !g_ascii_isdigit(*rest))
        return false;
    if (is_end)
        *r = (Range){ a, b };
    else if (*end == '+')
        *r = (Range){ a, b ? a + b - 1 : a };
    else
        *r = (Range){ a - (b ? b - 1 : 0), a };
    return r->first <= r->last;
}

bool log_filter(const char *ranges, GError **err)
{
    g_auto(GStrv) words = g_strsplit(ranges, ",", -1);
    g_autoptr(GArray) list = g_array_new(FALSE, FALSE, sizeof(Range));
    Range r;

    for (char **w = words; w == words || *w; w++) {
        if (!*w || !parse_range(*w, &r))
            return err_set(err, EINVAL,
                           "'%s' is no range of addresses: START+LENGTH, START-LENGTH or "
                           "START..END",
                           *w ? *w : "");
        g_array_append_val(list, r);
    }
    g_clear_pointer(&log_state.ranges, g_array_unref);
    log_state.ranges = g_steal_pointer(&list);
    return true;
}
