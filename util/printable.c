/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names are chosen by others: without this they could move the cursor or fake lines of ours. */
#include "util/printable.h"
#include <glib.h>
#include <string.h>

/* Writes out byte @c that is not printed as it is. */
static void append_byte(GString *s, unsigned char c)
{
    static const char letters[] = "abtnvfr"; /* from 7 to 13 */

    if (c >= '\a' && c <= '\r')
        g_string_append_printf(s, "\\%c", letters[c - '\a']);
    else
        g_string_append_printf(s, "\\x%02x", c);
}

char *printable(const char *text)
{
    GString *s = g_string_new(NULL);

    while (*text) {
        gunichar c = g_utf8_get_char_validated(text, -1);
        const char *next;

        if (c == (gunichar)-1 || c == (gunichar)-2 || c < 0x80) {
            if (g_ascii_isprint(*text))
                g_string_append_c(s, *text);
            else
                append_byte(s, (unsigned char)*text);
            text++;
            continue;
        }
        next = g_utf8_next_char(text);
        if (g_unichar_isprint(c))
            g_string_append_len(s, text, next - text);
        else
            g_string_append_printf(s, c > 0xffff ? "\\U%08x" : "\\u%04x", c);
        text = next;
    }
    return g_string_free(s, FALSE);
}
