/* SPDX-License-Identifier: GPL-2.0-or-later */
/* "Did you mean": the known name that is nearest to a wrong one. */
#ifndef UTIL_SUGGEST_H
#define UTIL_SUGGEST_H

/* Start with { .word = WORD }, then try all names there are. Names must outlive it. */
typedef struct {
    const char *word;
    const char *nearest;   /* NULL: none is near */
    unsigned distance;
} Suggestion;

void suggest_try(Suggestion *s, const char *name);
/* "; did you mean 'NAME'?" or "", for the end of a message. Caller frees. */
char *suggestion_text(const Suggestion *s);

#endif
