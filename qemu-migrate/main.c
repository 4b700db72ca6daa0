/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-migrate: options, and which subcommand is meant. */
#include "qemu-migrate/migrate.h"
#include "tools/complain.h"
#include "tools/options.h"
#include "tools/program.h"
#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum { CODE_OUTPUT = 256, CODE_FIELDS, CODE_FORMAT, CODE_BLOCK };

static const struct option long_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, 'V' },
    { "output", required_argument, NULL, CODE_OUTPUT },
    { "fields", no_argument, NULL, CODE_FIELDS },
    { "format", required_argument, NULL, CODE_FORMAT },
    { "block", required_argument, NULL, CODE_BLOCK },
    {}
};

static const struct {
    const char *name;
    int words;
    int (*run)(const MigrateArgs *a, char **words);
    int options[4];  /* that it takes; 0 ends them */
} commands[] = {
    { "inspect", 1, migrate_inspect, { CODE_OUTPUT, CODE_FIELDS } },
    { "diff", 2, migrate_diff, { 0 } },
    { "extract", 2, migrate_extract, { CODE_FORMAT, CODE_BLOCK } },
};

static void print_help(void)
{
    printf("Usage: %s inspect [OPTION]... FILE\n"
           "  or:  %s diff FILE1 FILE2\n"
           "  or:  %s extract [OPTION]... FILE OUTPUT\n", tool_name(), tool_name(), tool_name());
    puts("Looks into migration streams that were saved to files ('-': standard input).\n"
         "\n"
         "  -h, --help             print this text and exit\n"
         "  -V, --version          print the version and exit\n"
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
         "Exit code: 0 success, 1 the streams differ, 2 one is damaged or could not be read.");
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
    if (argc - optind != commands[command].words) {
        complain("'%s' needs %d file name%s", commands[command].name, commands[command].words,
                 commands[command].words > 1 ? "s" : "");
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
        complain("There is no command '%s', only inspect, diff and extract", word);
    else
        complain("A command is needed: inspect, diff or extract");
    return MIGRATE_FAILED;
}

int main(int argc, char **argv)
{
    tool_begin(argc ? argv[0] : "");
    return tool_finish(choose_command(argc, argv), MIGRATE_FAILED);
}
