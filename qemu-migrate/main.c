/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-migrate: options, and which subcommand is meant. */
#include "qemu-migrate/migrate.h"
#include "tools/complain.h"
#include "tools/options.h"
#include "tools/program.h"
#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum { CODE_OUTPUT = 256, CODE_FIELDS, CODE_FORMAT, CODE_BLOCK, CODE_URI };

static const struct option long_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, 'V' },
    { "output", required_argument, NULL, CODE_OUTPUT },
    { "fields", no_argument, NULL, CODE_FIELDS },
    { "format", required_argument, NULL, CODE_FORMAT },
    { "block", required_argument, NULL, CODE_BLOCK },
    { "uri", required_argument, NULL, CODE_URI },
    {}
};

static const struct {
    const char *name;
    int words, words_max;
    int (*run)(const MigrateArgs *a, char **words);
    int options[4];  /* that it takes; 0 ends them */
} commands[] = {
    { "check", 1, 2, migrate_check, { CODE_OUTPUT, CODE_URI } },
    { "describe", 1, 1, migrate_describe, { CODE_URI } },
    { "inspect", 1, 1, migrate_inspect, { CODE_OUTPUT, CODE_FIELDS } },
    { "diff", 2, 2, migrate_diff, { 0 } },
    { "extract", 2, 2, migrate_extract, { CODE_FORMAT, CODE_BLOCK } },
};

static void print_help(void)
{
    const char *name = tool_name();

    printf("Usage: %s check [OPTION]... SOURCE [TARGET]\n"
           "  or:  %s describe [OPTION]... END\n"
           "  or:  %s inspect [OPTION]... FILE\n"
           "  or:  %s diff FILE1 FILE2\n"
           "  or:  %s extract [OPTION]... FILE OUTPUT\n", name, name, name, name, name);
    puts("Says whether a migration will work, and looks into migration streams that were saved to files\n"
         "('-': standard input). SOURCE, TARGET and END are QMP monitors of emulators (the path of a\n"
         "socket, unix:PATH or tcp:HOST:PORT), or files with what 'describe' has printed.\n"
         "\n"
         "  -h, --help             print this text and exit\n"
         "  -V, --version          print the version and exit\n"
         "\n"
         "check: prints every reason why the guest cannot move from SOURCE to TARGET\n"
         "      --uri=URI          how the source is to reach the target, or the file\n"
         "      --output=FORMAT    human (default) or json\n"
         "\n"
         "describe: prints what check compares, as JSON\n"
         "      --uri=URI          also why the end cannot use this URI\n"
         "\n"
         "inspect: lists memory, pages and the sections of devices\n"
         "      --fields           with the values of all fields\n"
         "      --output=FORMAT    human (default) or json\n"
         "\n"
         "diff: prints a line for each difference\n"
         "\n"
         "extract: writes memory to a new file\n"
         "      --format=FORMAT    raw (default), or elf: a core with guest-physical addresses\n"
         "      --block=NAME       memory of that name instead of the machine's own\n"
         "\n"
         "Exit code: 0 success, 1 the guest cannot move or the streams differ, 2 an end or a stream could\n"
         "not be read, or is damaged.");
}

static bool choose(const char *name, const char *value, const char *off, const char *on, bool *to)
{
    *to = !strcmp(value, on);
    return *to || !strcmp(value, off) ||
           complain("--%s is '%s' or '%s', not '%s'", name, off, on, value);
}

static bool takes(size_t command, int code)
{
    for (const int *o = commands[command].options; *o; o++)
        if (*o == code)
            return true;
    return complain("'%s' has no such option", commands[command].name);
}

/* False: complained. */
static bool read_option(MigrateArgs *a, size_t command, int code, char **argv)
{
    if (code == '?') {
        g_autofree char *hint = option_suggestion(long_options, argv[optind - 1]);

        return complain("Unknown option '%s'%s", argv[optind - 1], hint);
    }
    if (code == ':')
        return complain("Option '%s' needs a value", argv[optind - 1]);
    if (!takes(command, code))
        return false;
    switch (code) {
    case CODE_OUTPUT:
        return choose("output", optarg, "human", "json", &a->json);
    case CODE_FORMAT:
        return choose("format", optarg, "raw", "elf", &a->elf);
    case CODE_BLOCK:
        a->block = optarg;
        return true;
    case CODE_URI:
        a->uri = optarg;
        return true;
    default:
        a->fields = true;
        return true;
    }
}

static int run(size_t command, int argc, char **argv)
{
    MigrateArgs a = { 0 };
    int code;

    opterr = 0;
    while ((code = getopt_long(argc, argv, ":hV", long_options, NULL)) != -1) {
        if (code == 'h') {
            print_help();
            return MIGRATE_OK;
        }
        if (!read_option(&a, command, code, argv))
            return MIGRATE_FAILED;
    }
    if (argc - optind < commands[command].words || argc - optind > commands[command].words_max) {
        complain("'%s' needs %s", commands[command].name,
                 commands[command].words_max == 1 ? "one name"
                 : commands[command].words == 2   ? "two names" : "one or two names");
        return MIGRATE_FAILED;
    }
    return commands[command].run(&a, argv + optind);
}

static int choose_command(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";

    if (!strcmp(word, "-h") || !strcmp(word, "--help")) {
        print_help();
        return MIGRATE_OK;
    }
    if (!strcmp(word, "-V") || !strcmp(word, "--version")) {
        tool_print_version("qemu-migrate version");
        return MIGRATE_OK;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
        if (!strcmp(commands[i].name, word))
            return run(i, argc - 1, argv + 1);
    if (*word)
        complain("There is no command '%s', only check, describe, inspect, diff and "
                 "extract", word);
    else
        complain("A command is needed: check, describe, inspect, diff or extract");
    return MIGRATE_FAILED;
}

int main(int argc, char **argv)
{
    tool_begin(argc ? argv[0] : "");
    return tool_finish(choose_command(argc, argv), MIGRATE_FAILED);
}
