/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random instructions, made from the decoder's own table of forms. */
#ifndef TESTS_X86_LIB_GENERATE_H
#define TESTS_X86_LIB_GENERATE_H

#include "target/x86/forms.h"
#include "tests/x86/lib/random.h"

typedef struct {
    uint8_t code[X86_INSN_MAX];
    X86Decoded decoded;
    X86Insn insn; /* when decoded */
} Generated;

/*
 * Makes an instruction whose opcode is that of @form, with random prefixes, operands and
 * immediates, and decodes it. The form decoded may be another one, and it may be undefined: the
 * bytes are what is random.
 */
void generate(Generated *g, Random *r, const X86Form *form, X86DecodeMode mode);

#endif
