/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which pages of guest memory code was translated from, for all processors of a machine together,
 * so that writes to them by other processors and by devices are seen.
 *
 * A processor that translates from a page that no one watches yet tells the others, who then ask
 * before they write to it. One that may have written without asking meanwhile says so. As each
 * processor looks for such news at each block, whoever learns by memory or by an interrupt that
 * another one runs the code has been told before.
 */
#ifndef TARGET_X86_CODE_PAGES_H
#define TARGET_X86_CODE_PAGES_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct X86Cpu;
typedef struct X86CodePages X86CodePages;

/*
 * One for each machine of that many @processors, whose X86Cpu.code_pages is set before they get
 * translators. NULL with errno if there is no memory.
 */
X86CodePages *x86_code_pages_new(unsigned processors);
void x86_code_pages_free(X86CodePages *p);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X86CodePages, x86_code_pages_free)

/* To be called, on any thread, after a device wrote [@physical, @physical + @len). */
void x86_code_written(X86CodePages *p, uint64_t physical, uint64_t len);

/* ---- for translators ------------------------------------------------------------------------- */

/* What other threads tell one processor. */
enum { X86_LETTERS = 64 };
typedef struct {
    uint64_t page;
    bool was_written; /* else: is to be watched */
} X86Letter;
typedef struct {
    X86Letter letter[X86_LETTERS];
    unsigned count;
    bool all_written, all_watched; /* there was no room for more letters */
} X86Mail;

void x86_code_pages_join(X86CodePages *p, struct X86Cpu *cpu, X86Mail *mail);
void x86_code_pages_leave(X86CodePages *p, struct X86Cpu *cpu);

/* True if several processors may run. */
bool x86_code_pages_are_shared(const X86CodePages *p);

/* True if a page so high may have code translated. */
bool x86_code_pages_covers(uint64_t physical);

/* True if some processor has code made of the page of @physical. */
bool x86_code_pages_has(const X86CodePages *p, uint64_t physical);

/* @cpu begins or ceases to have code made of the page of @physical. */
void x86_code_pages_watch(X86CodePages *p, struct X86Cpu *cpu, uint64_t physical);
void x86_code_pages_unwatch(X86CodePages *p, uint64_t physical);

/* Tells all processors but @but, which may be NULL. */
void x86_code_pages_tell(X86CodePages *p, struct X86Cpu *but, X86Letter letter);

/* Tells all but @but that any page may have been written. */
void x86_code_pages_tell_all(X86CodePages *p, struct X86Cpu *but);

/* Takes the mail of a processor out of its box. */
X86Mail x86_code_pages_collect(X86CodePages *p, X86Mail *box);

#endif
