/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON values as people read them. */
#include "tools/print.h"
#include <stdio.h>

static void print_value(const json_t *v, int indent);

static bool is_compound(const json_t *v)
{
    return json_is_object(v) || json_is_array(v);
}

static void print_scalar(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_STRING:
        puts(json_string_value(v));
        break;
    case JSON_INTEGER:
        printf("%" JSON_INTEGER_FORMAT "\n", json_integer_value(v));
        break;
    case JSON_REAL:
        printf("%.17g\n", json_real_value(v));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        puts(json_is_true(v) ? "true" : "false");
        break;
    default:
        putchar('\n');
        break;
    }
}

/* "KEY: VALUE", or "KEY:" and the parts of VALUE below it. */
static void print_entry(const char *key, const json_t *v, int indent)
{
    printf("%*s%s:%s", indent * 4, "", key, is_compound(v) ? "\n" : " ");
    print_value(v, indent + 1);
}

static void print_object(const json_t *o, int indent)
{
    g_autofree const char **keys = json_visible_keys(o);

    for (const char **k = keys; *k; k++) {
        g_autofree char *words = g_strdelimit(g_strdup(*k), "-", ' ');

        print_entry(words, json_get(o, *k), indent);
    }
}

static void print_value(const json_t *v, int indent)
{
    if (json_is_object(v)) {
        print_object(v, indent);
    } else if (json_is_array(v)) {
        for (size_t i = 0; i < json_array_size(v); i++) {
            g_autofree char *index = g_strdup_printf("[%zu]", i);

            print_entry(index, json_array_get(v, i), indent);
        }
    } else {
        print_scalar(v);
    }
}

void print_section(const json_t *v, const char *title, int indent)
{
    if (!v)
        return;
    printf("%*s%s:\n", indent * 4, "", title);
    print_value(v, indent + 1);
}
