/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/suggest.h"
#include <glib.h>
#include <string.h>

enum { WORD_MAX = 40 };

/*
 * Letters to add, drop, change or swap with the next one until @a is @b. The rows of the usual
 * table are for what precedes the current letter of @a, and for one and two letters before.
 */
static unsigned edit_distance(const char *a, size_t alen, const char *b, size_t blen)
{
    unsigned rows[3][WORD_MAX + 1];

    for (size_t j = 0; j <= blen; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= alen; i++) {
        unsigned *now = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];

        now[0] = (unsigned)i;
        for (size_t j = 1; j <= blen; j++) {
            now[j] = MIN(MIN(last[j], now[j - 1]) + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = MIN(now[j], before[j - 2] + 1);
        }
    }
    return rows[alen % 3][blen];
}

void suggest_try(Suggestion *s, const char *name)
{
    g_autofree char *word = g_ascii_strdown(s->word, -1), *low = g_ascii_strdown(name, -1);
    size_t len = strlen(word), name_len = strlen(low);
    unsigned distance, most = len <= 2 ? 0 : len <= 5 ? 1 : len <= 9 ? 2 : 3;

    if (len > WORD_MAX || name_len > WORD_MAX)
        return;
    /* Words as they are in other programs: an underscore for a dash, a name cut short. */
    g_strdelimit(word, "_", '-');
    g_strdelimit(low, "_", '-');
    distance = len >= 3 && g_str_has_prefix(low, word) ? 1
                                                       : edit_distance(word, len, low, name_len);
    if (distance > most || (s->nearest && distance >= s->distance))
        return;
    s->nearest = name;
    s->distance = distance;
}

char *suggestion_text(const Suggestion *s)
{
    return s->nearest ? g_strdup_printf("; did you mean '%s'?", s->nearest) : g_strdup("");
}
