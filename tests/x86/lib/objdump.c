/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/x86/lib/objdump.h"
#include "tests/lib/harness.h"
#include "tests/x86/lib/generate.h"
#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT = 200, SLOT = 32 };

/* ---- what objdump says ----------------------------------------------------------------------- */

typedef struct {
    uint64_t address;
    uint8_t code[X86_INSN_MAX];
    unsigned length;
    char text[TEXT];
} Line;

/* Splits "  4011a0:\t48 89 c3 \tmovq   %rax,%rbx". False for lines of another kind. */
static bool parse_line(char *line, Line *l)
{
    char *end, *p;

    l->address = strtoull(line, &end, 16);
    if (*line != ' ' || end == line || end[0] != ':' || end[1] != '\t')
        return false;
    for (l->length = 0, p = end + 2; g_ascii_isxdigit(p[0]) && g_ascii_isxdigit(p[1]); p += 3) {
        if (l->length < X86_INSN_MAX)
            l->code[l->length] = g_ascii_xdigit_value(p[0]) << 4 | g_ascii_xdigit_value(p[1]);
        l->length++;
    }
    for (; *p == ' ' || *p == '\t'; p++)
        ;
    g_strlcpy(l->text, p, TEXT);
    return l->length && l->length <= X86_INSN_MAX;
}

/* What the two print differently by choice, as regular expressions. */
static const char *const aliases[][2] = {
    /* Prefixes that change nothing. */
    { "^((data16|data32|addr32|addr16|[c-gs]s|rex[.A-Z]*|repz|repnz|rep|bnd|notrack|xacquire|"
      "xrelease|lock)( +|$))+", "" },
    { " *(#|<).*", "" },
    { "^xchg[wlq] %([re]?ax),%\\1$", "nop" },
    { ",p[nt] ", " " },
    /* Addresses in the generated file are larger than what 16 bits hold. */
    { "^(j[a-z]*|call[wlq]?|loop[a-z]*) (0x)?[0-9a-f]*?0*([0-9a-f]{1,4})$", "\\1 \\3" },
    { "^(jmp|loop|loope|loopne)[wlq] ([0-9a-f]+)$", "\\1 \\2" },
    { "\\(,%[er]iz,[1248]\\)", "" },
    { ",%[er]iz,[1248]", "" },
    { "^([a-z0-9]+)\\.s ", "\\1 " },
    { "^(fldenv|fnstenv|frstor|fnsave|[sl][gi]dt)[lws] ", "\\1 " },
    { "^(monitor|mwait) .*", "\\1" },
    { "^(pcmp[ei]str[im]|adcx|adox|movnti)[wlq] ", "\\1 " },
    { "^movs(xd|ll|lw) ", "movsxd " },
    /* Of its immediate only two bits count, and objdump makes names of those. */
    { "^(v?)pclmul[lh]q[lh]qdq ", "\\1pclmulqdq " },
    { "^(v?)pclmulqdq \\$0x[0-9a-f]+,", "\\1pclmulqdq " },
    /* A hint of later processors in the place of a nop. */
    { "^prefetchit[01] ", "nopl " },
    { "\\*%ds:", "*" },
    { "%db", "%dr" },
    { "^(aam|aad) \\$0xa$", "\\1" },
    /* Coprocessors of old that later ones take and do nothing for. */
    { "^fn(eni|disi|setpm)\\(.*", "fnop" },
};

static void plain(char *text)
{
    static GRegex *made[G_N_ELEMENTS(aliases)];
    g_autoptr(GString) s = g_string_new(NULL);
    g_autofree char *now = NULL;

    for (const char *p = text; *p && *p != '\n'; p++)
        if (*p != ' ' || (s->len && s->str[s->len - 1] != ' '))
            g_string_append_c(s, *p);
    while (s->len && s->str[s->len - 1] == ' ')
        g_string_truncate(s, s->len - 1);
    now = g_strdup(s->str);
    for (size_t i = 0; i < G_N_ELEMENTS(aliases); i++) {
        char *next;

        if (!made[i])
            made[i] = g_regex_new(aliases[i][0], 0, 0, NULL);
        next = g_regex_replace(made[i], now, -1, 0, aliases[i][1], 0, NULL);
        g_free(now);
        now = next;
    }
    g_strlcpy(text, now, TEXT);
}

typedef struct {
    uint64_t compared, not_ours, length, text;
    GHashTable *shown; /* mnemonics already complained about */
} Count;

static void complain(Count *c, const Line *l, const char *ours, unsigned length)
{
    g_autofree char *word = g_strndup(l->text, strcspn(l->text, " "));

    if (!g_hash_table_add(c->shown, g_steal_pointer(&word)) || g_hash_table_size(c->shown) > 60)
        return;
    printf("# ");
    for (unsigned i = 0; i < l->length; i++)
        printf("%02x ", l->code[i]);
    printf("objdump %u '%s', ours %u '%s'\n", l->length, l->text, length, ours);
}

/* True for what objdump cannot be asked about. */
static bool is_beyond(const Line *l)
{
    /* Wrong there, or not offered by our processor; those before "bnd" are hints to older ones. */
    static const char *const words[] = {
        "(bad)", "%?", ".byte", "movdq2q", "movq2dq", "pmovmskb", "prefetchwt1", "cldemote", "bnd",
            "xbegin", "xabort",
        "xend", "xtest", "rdpkru", "wrpkru", "vmclear", "movmskp", "gsbase", "fsbase",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
        if (strstr(l->text, words[i]))
            return true;
    /* With REX.B it is an exchange, as processors show. */
    if (!strcmp(l->text, "pause") && l->length > 2)
        return true;
    return !l->text[0] || l->text[0] == '.' || (l->text[0] == 'f' && memchr(l->code, 0x9b, 3));
}

/* Absolute addresses are sometimes signed numbers to objdump. */
static bool has_signed_address(const Line *l)
{
    return g_regex_match_simple("[ ,:*]-0x[0-9a-f]+(,|$)", l->text, 0, 0);
}

static void compare_line(Count *c, Line *l, const uint8_t *code, size_t len, X86DecodeMode mode)
{
    X86Insn in;
    X86Decoded d = x86_decode(&in, code, len, mode);
    char ours[TEXT] = "undefined";

    plain(l->text);
    if (is_beyond(l) || has_signed_address(l))
        return;
    c->compared++;
    if (d == X86_DECODED) {
        x86_disassemble(&in, l->address, ours, sizeof(ours));
        plain(ours);
    } else if (d == X86_UNDEFINED) {
        c->not_ours++;
        return;
    }
    if (in.length != l->length)
        c->length++;
    else if (strcmp(ours, l->text))
        c->text++;
    else
        return;
    complain(c, l, ours, in.length);
}

static FILE *run_objdump(const char *options, const char *path)
{
    g_autofree char *tool = g_find_program_in_path("objdump");
    g_autofree char *command = NULL;

    if (!tool)
        test_skip("objdump is not installed");
    command = g_strdup_printf("objdump -w -M suffix %s %s", options, path);
    return popen(command, "r");
}

/* ---- programs of this machine ---------------------------------------------------------------- */

void objdump_compare_program(const char *path, uint64_t limit)
{
    Count c = { .shown = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL) };
    X86DecodeMode mode = { .bits = 64, .features = X86_FEATURES_ALL };
    char buffer[1024];
    FILE *f;

    if (!g_file_test(path, G_FILE_TEST_EXISTS))
        test_skip("the file is not there");
    f = run_objdump("-d -j .text", path);
    while (c.compared < limit && fgets(buffer, sizeof(buffer), f)) {
        Line l;

        /* Instructions of AVX-512, with an EVEX prefix or on mask registers, are not decoded. */
        if (parse_line(buffer, &l) && l.code[0] != 0x62 && l.text[0] != 'k') {
            uint64_t before = c.not_ours;

            compare_line(&c, &l, l.code, l.length, mode);
            if (c.not_ours > before)
                complain(&c, &l, "undefined", 0);
        }
    }
    pclose(f);
    printf("# %s: %" G_GUINT64_FORMAT " instructions, undefined here %" G_GUINT64_FORMAT
           ", other length %" G_GUINT64_FORMAT ", other text %" G_GUINT64_FORMAT "\n",
           path, c.compared, c.not_ours, c.length, c.text);
    g_assert_cmpuint(c.compared, >, 10000);
    g_assert_cmpuint(c.length + c.text + c.not_ours, ==, 0);
    g_hash_table_unref(c.shown);
}

/* ---- generated instructions ------------------------------------------------------------------ */

/*
 * objdump has a YMM register as target of vmovss to registers if VEX.L, which means nothing, is
 * set, and takes BMI's registers for those of 16 bits in 16-bit code.
 */
static bool is_misnamed(const uint8_t *code, X86DecodeMode mode)
{
    X86Insn in;

    if (x86_decode(&in, code, X86_INSN_MAX, mode) != X86_DECODED || !in.vex)
        return false;
    if (mode.bits == 16 && x86_operations[in.op].class_ == X86_C_BMI)
        return true;
    return in.vex_l && (in.op == X86_movss || in.op == X86_movsd);
}

/* Each instruction stands at the start of a slot of its own, so that one does not hide the next. */
void objdump_compare_generated(unsigned bits, const char *machine, unsigned count)
{
    Count c = { .shown = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL) };
    X86DecodeMode mode = { .bits = bits, .features = X86_FEATURES_ALL };
    g_autofree uint8_t *image = g_malloc(count * SLOT);
    g_autofree char *path = test_path("code"), *options = NULL;
    char buffer[1024];
    Random r = { .state = 12345 + bits };
    FILE *f;

    memset(image, 0x90, count * SLOT);
    for (size_t i = 0; i < count; i++) {
        Generated g;

        generate(&g, &r, &x86_forms[i % x86_form_count], mode);
        memcpy(image + i * SLOT, g.code, X86_INSN_MAX);
    }
    g_assert_true(g_file_set_contents(path, (char *)image, count * SLOT, NULL));
    options = g_strdup_printf("-D -b binary -m %s", machine);
    f = run_objdump(options, path);
    while (fgets(buffer, sizeof(buffer), f)) {
        Line l;

        if (parse_line(buffer, &l) && l.address % SLOT == 0 &&
            !is_misnamed(image + l.address, mode))
            compare_line(&c, &l, image + l.address, SLOT, mode);
    }
    pclose(f);
    printf("# %u bits: %" G_GUINT64_FORMAT " instructions, undefined here %" G_GUINT64_FORMAT
           ", other length %" G_GUINT64_FORMAT ", other text %" G_GUINT64_FORMAT "\n",
           bits, c.compared, c.not_ours, c.length, c.text);
    g_assert_cmpuint(c.compared, >, count / 2);
    g_assert_cmpuint(c.length + c.text, ==, 0);
    g_hash_table_unref(c.shown);
}

