/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The decoder and the disassembler against objdump of binutils: lengths and texts. */
#ifndef TESTS_X86_LIB_OBJDUMP_H
#define TESTS_X86_LIB_OBJDUMP_H

#include <stdint.h>

/* The first @limit instructions of the text of @path, through which objdump finds its way. */
void objdump_compare_program(const char *path, uint64_t limit);

/* @count generated instructions in the mode that objdump calls @machine. */
void objdump_compare_generated(unsigned bits, const char *machine, unsigned count);

#endif
