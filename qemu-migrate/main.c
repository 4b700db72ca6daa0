/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-migrate: options, and which subcommand is meant. */
#include "qemu-migrate/migrate.h"
#include "tools/complain.h"
#include "tools/options.h"
#include "tools/program.h"
#include <stdio.h>
#include <string.h>

static OptionResult take_choice(const char *name, const char *value, const char *off,
                                const char *on, bool *to)
{
    *to = !strcmp(value, on);
    return option_done_if(*to || !strcmp(value, off) ||
                          complain("--%s is '%s' or '%s', not '%s'", name, off, on, value));
}

static OptionResult take_output(void *args, const char *value)
{
    return take_choice("output", value, "human", "json", &((MigrateArgs *)args)->json);
}

static OptionResult take_format(void *args, const char *value)
{
    return take_choice("format", value, "raw", "elf", &((MigrateArgs *)args)->elf);
}

#define OPTION_OUTPUT                                                                              \
    { 0, "output", "FORMAT", "human (default) or json", OPT_CALL, .call = take_output }

static const Option check_options[] = {
    { 0, "uri", "URI",
      "the URI that 'migrate' will be given: how the source reaches the target, or "
      "file:PATH",
      OPT_TEXT, offsetof(MigrateArgs, uri) },
    OPTION_OUTPUT,
    OPTION_END,
};

static const Option describe_options[] = {
    { 0, "uri", "URI", "tell also what keeps this end from using URI", OPT_TEXT,
      offsetof(MigrateArgs, uri) },
    OPTION_END,
};

static const Option inspect_options[] = {
    { 0, "fields", NULL, "with the values of all fields", OPT_FLAG, offsetof(MigrateArgs, fields) },
    OPTION_OUTPUT,
    OPTION_END,
};

static const Option diff_options[] = {
    OPTION_END,
};

static const Option extract_options[] = {
    { 0, "format", "FORMAT", "raw (default), or elf: a core with guest-physical addresses",
      OPT_CALL, .call = take_format },
    { 0, "block", "NAME", "memory of that name instead of the machine's own", OPT_TEXT,
      offsetof(MigrateArgs, block) },
    OPTION_END,
};

#define ENDS                                                                                       \
    "are QMP monitors of emulators (the path of a socket, unix:PATH or tcp:HOST:PORT), or files "  \
    "with what 'describe' has printed."
#define STREAMS "FILE is a migration stream that was saved to a file ('-': standard input)."

static const struct {
    const char *name, *words, *summary, *notes;
    int words_min, words_max;
    const Option *options;
    int (*run)(const MigrateArgs *a, char **words);
} commands[] = {
    { "check", "[OPTION]... SOURCE [TARGET]",
      "Prints every reason why the guest cannot move from SOURCE to TARGET.",
      "SOURCE and TARGET " ENDS, 1, 2, check_options, migrate_check },
    { "describe", "[OPTION]... END", "Prints what 'check' compares about an emulator, as JSON.",
      "END, and what 'check' takes, " ENDS, 1, 1, describe_options,
      migrate_describe },
    { "inspect", "[OPTION]... FILE",
      "Lists what a migration stream holds: memory, pages and the sections of devices.", STREAMS,
      1, 1, inspect_options, migrate_inspect },
    { "diff", "FILE1 FILE2", "Compares two migration streams: a line for each difference.",
      "FILE1 and FILE2 are migration streams that were saved to files ('-': standard input).",
      2, 2, diff_options, migrate_diff },
    { "extract", "[OPTION]... FILE OUTPUT",
      "Writes the guest's memory from a migration stream to a new file.", STREAMS, 2, 2,
      extract_options, migrate_extract },
};

static OptionResult print_version(void *args, const char *value)
{
    tool_print_version("qemu-migrate version");
    return OPTION_EXIT;
}

static const Option standard_options[] = {
    { 'V', "version", NULL, "print the version and exit", OPT_CALL, .call = print_version },
    OPTION_END,
};

static void print_exit_codes(void)
{
    putchar('\n');
    options_print_text(
        "Exit code: 0 success, 1 the guest cannot move or the streams differ, 2 an end "
        "or a stream could not be read, or is damaged.");
}

static void print_help(void)
{
    printf("Usage: %s COMMAND [OPTION]... NAME...\n"
           "Says whether a migration will work, and looks into migration streams.\n"
           "\n"
           "Standard options:\n", tool_name());
    options_print_help(standard_options);
    puts("\nCommands (each tells more with --help):");
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
        printf("  %-9s  %s\n", commands[i].name, commands[i].summary);
    print_exit_codes();
}

static void print_command_help(size_t command)
{
    printf("Usage: %s %s %s\n"
           "%s\n"
           "\n", tool_name(), commands[command].name, commands[command].words,
           commands[command].summary);
    options_print_help(commands[command].options);
    putchar('\n');
    options_print_text(commands[command].notes);
    print_exit_codes();
}

static int run(size_t command, int argc, char **argv)
{
    MigrateArgs a = { 0 };
    int first = 0, words;

    switch (options_parse(commands[command].options, OPTIONS_ANYWHERE, argc, argv, &a, &first)) {
    case OPTION_DONE:
        break;
    case OPTION_HELP:
        print_command_help(command);
        return MIGRATE_OK;
    case OPTION_USAGE:
        complain("Try '%s %s --help'", tool_name(), commands[command].name);
        return MIGRATE_FAILED;
    default:
        return MIGRATE_FAILED;
    }
    words = argc - first;
    if (words < commands[command].words_min || words > commands[command].words_max) {
        complain("What '%s' takes: %s", commands[command].name, commands[command].words);
        return MIGRATE_FAILED;
    }
    return commands[command].run(&a, argv + first);
}

static int choose_command(const char *word, int argc, char **argv)
{
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
        if (!strcmp(commands[i].name, word))
            return run(i, argc, argv);
    complain("There is no command '%s', only check, describe, inspect, diff and extract", word);
    return MIGRATE_FAILED;
}

static int read_line(int argc, char **argv)
{
    int first = 0;

    switch (options_parse(standard_options, OPTIONS_BEFORE_WORDS, argc, argv, NULL, &first)) {
    case OPTION_DONE:
        break;
    case OPTION_HELP:
        print_help();
        return MIGRATE_OK;
    case OPTION_EXIT:
        return MIGRATE_OK;
    default:
        return MIGRATE_FAILED;
    }
    if (first < argc)
        return choose_command(argv[first], argc - first, argv + first);
    complain("A command is needed: check, describe, inspect, diff or extract");
    return MIGRATE_FAILED;
}

int main(int argc, char **argv)
{
    tool_begin(argc ? argv[0] : "");
    return tool_finish(read_line(argc, argv), MIGRATE_FAILED);
}
