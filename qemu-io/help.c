/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands help and quit. */
#include "qemu-io/command.h"
#include <stdio.h>

static CommandResult help_one(const char *name)
{
    const Command *c = command_find(name);

    if (!c) {
        printf("command %s not found\n", name);
        return CMD_FAILED;
    }
    command_print_synopsis(c, name);
    if (c->help)
        fputs(c->help, stdout);
    return CMD_OK;
}

static CO CommandResult help_run(Session *s, int argc, char **argv)
{
    if (argc > 1)
        return help_one(argv[1]);
    for (const Command *const *c = commands; *c; c++)
        command_print_synopsis(*c, (*c)->name);
    puts("\n'help NAME' tells more about a command.");
    return CMD_OK;
}

static CO CommandResult quit_run(Session *s, int argc, char **argv)
{
    s->quit = true;
    return CMD_OK;
}

const Command cmd_help = {
    .name = "help",
    .alias = "?",
    .max_args = 1,
    .flags = CMD_WITHOUT_FILE,
    .synopsis = "[command]",
    .summary = "tells about one or all commands",
    .run = help_run,
};

const Command cmd_quit = {
    .name = "quit",
    .alias = "q",
    .max_args = ANY_COUNT,
    .flags = CMD_WITHOUT_FILE,
    .synopsis = "",
    .summary = "ends the program",
    .run = quit_run,
};
