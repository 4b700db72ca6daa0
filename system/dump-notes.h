/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The processors' part of a dump of the guest's memory. */
#ifndef SYSTEM_DUMP_NOTES_H
#define SYSTEM_DUMP_NOTES_H

#include "system/machine.h"

/* Little-endian, @size bytes of it. */
void dump_put(GByteArray *out, uint64_t value, unsigned size);
/* True if the guest is a 64-bit one: its boot processor is in long mode. */
bool dump_is_64_bit(const Machine *m);
/*
 * ELF notes of all processors, which stand still: NT_PRSTATUS for debuggers (as Linux's
 * elf_prstatus of x86-64 or i386), then "QEMU" with control registers and segments. The layout is
 * in docs/spec/elf-dump.md.
 */
void dump_put_notes(GByteArray *out, const Machine *m);

#endif
