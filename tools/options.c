/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tools/options.h"
#include "util/suggest.h"
#include <glib.h>
#include <string.h>

char *option_suggestion(const struct option *known, const char *typed)
{
    g_autofree char *name = NULL;
    Suggestion s = { 0 };

    if (!g_str_has_prefix(typed, "--"))
        return g_strdup("");
    name = g_strndup(typed + 2, strcspn(typed + 2, "="));
    s.word = name;
    for (; known->name; known++)
        suggest_try(&s, known->name);
    return s.nearest ? g_strdup_printf("; did you mean '--%s'?", s.nearest) : g_strdup("");
}
