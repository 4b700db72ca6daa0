/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory for generated code: one bounded region, filled from the start and emptied as a whole. */
#ifndef TCG_CODE_H
#define TCG_CODE_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint8_t *start, *at, *end;
} CodeMemory;

/*
 * Reserves @size bytes; pages cost memory when they are first filled. False with errno if refused.
 */
bool code_memory_init(CodeMemory *c, size_t size);
void code_memory_free(CodeMemory *c);

/* Empties it down to @keep and gives the memory behind that back to the system. */
void code_memory_reset(CodeMemory *c, uint8_t *keep);

static inline size_t code_memory_left(const CodeMemory *c)
{
    return c->end - c->at;
}

#endif
