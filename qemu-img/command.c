/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The help of subcommands. */
#include "qemu-img/command.h"
#include "tools/complain.h"
#include <stdio.h>

static bool is_object(const Option *o)
{
    return o->call == tool_object;
}

static void print_option_synopsis(const Option *o)
{
    g_autofree char *value = o->value ? g_ascii_strdown(o->value, -1) : NULL;

    if (o->letter)
        printf(" [-%c%s%s]", o->letter, value && o->kind != OPT_MAYBE ? " " : "",
               value && o->kind != OPT_MAYBE ? value : "");
    if (o->name && o->kind == OPT_MAYBE)
        printf(" [--%s[=%s]]", o->name, value);
    else if (o->name)
        printf(" [--%s%s%s]", o->name, !value ? "" : is_object(o) ? " " : "=", value ? value : "");
}

void command_print_synopsis(const Command *c)
{
    printf("  %s", c->name);
    for (const Option *o = c->options; !option_is_end(o); o++)
        if (is_object(o))
            print_option_synopsis(o);
    for (const Option *o = c->options; !option_is_end(o); o++)
        if (!is_object(o))
            print_option_synopsis(o);
    printf(" %s\n", c->words);
}

void command_help(const Command *c)
{
    printf("Usage: %s %s %s\n", tool_name(), c->name, c->synopsis);
    command_print_synopsis(c);
    options_print_text(c->summary);
    putchar('\n');
    options_print_help(c->options);
    if (c->notes)
        printf("\n%s", c->notes);
}
