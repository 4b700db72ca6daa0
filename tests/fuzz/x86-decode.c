/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes in any mode: an answer that does not depend on what follows the instruction, nothing
 * read past the bytes given or past the fifteenth, and a text that fits.
 */
#include "target/x86/insn.h"
#include <glib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void decode_and_print(const uint8_t *code, size_t len, X86DecodeMode mode)
{
    /* Of exactly the size, so that the address sanitizer sees a byte too many. */
    g_autofree uint8_t *exact = g_memdup2(code, len);
    X86Insn in, same;
    char text[32], longer[200];
    X86Decoded d = x86_decode(&in, exact, len, mode);

    g_assert_cmpuint(in.length, <=, MIN(len, X86_INSN_MAX));
    if (len < X86_INSN_MAX)
        g_assert_cmpint(d, !=, X86_TOO_LONG);
    else
        g_assert_cmpint(d, !=, X86_TRUNCATED);
    if (d != X86_DECODED)
        return;
    g_assert_cmpint(x86_decode(&same, exact, in.length, mode), ==, X86_DECODED);
    g_assert_cmpuint(same.length, ==, in.length);
    x86_disassemble(&in, 0x1000, text, sizeof(text));
    x86_disassemble(&in, 0x1000, longer, sizeof(longer));
    g_assert_true(g_str_has_prefix(longer, text) && longer[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const uint8_t bits[] = { 16, 32, 64 };

    if (!len || len > 64)
        return 0;
    for (size_t i = 0; i < G_N_ELEMENTS(bits); i++) {
        X86DecodeMode mode = { .bits = bits[i], .features = X86_FEATURES_ALL };

        decode_and_print(data, len, mode);
    }
    return 0;
}
