/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-img: standard options, choosing the subcommand, running it on the loop. */
#include "io/loop.h"
#include "qemu-img/command.h"
#include "qemu-img/tool.h"
#include "util/suggest.h"
#include <stdio.h>
#include <string.h>

static OptionResult print_version(void *args, const char *value)
{
    tool_print_version("qemu-img version");
    return OPTION_EXIT;
}

static const Option standard_options[] = {
    { 'V', "version", NULL, "print the version and exit", OPT_CALL, .call = print_version },
    OPTION_TRACE,
    OPTION_END,
};

static void print_help(void)
{
    tool_print_version("qemu-img version");
    printf("\nUsage: %s [STANDARD OPTION]... COMMAND [OPTION]... [WORD]...\n"
           "Creates, converts, checks and changes disk images.\n"
           "\n"
           "Standard options:\n", tool_name());
    options_print_help(standard_options);
    puts("\nCommands (each tells more with --help):");
    for (const Command *const *c = commands; *c; c++)
        printf("  %-9s  %s\n", (*c)->name, (*c)->summary);
    puts("\nCommand syntax:");
    for (const Command *const *c = commands; *c; c++)
        command_print_synopsis(*c);
    puts("\n"
         "Sizes are bytes, or numbers followed by k, M, G, T, P or E (powers of 1024).\n"
         "Cache modes are none, writeback, writethrough, directsync and unsafe.\n"
         "Formats are probed unless given.\n");
    tool_print_formats();
}

typedef struct {
    const Command *command;
    void *args;
    char **words;
    int count;
    int exit_code;
} Job;

static int command_failure(const Command *c)
{
    return c->failure ? c->failure : 1;
}

static CO void job_run(void *arg)
{
    Job *j = arg;

    j->exit_code = j->command->run(j->args, j->words, j->count);
}

static bool is_negative_number(const char *word)
{
    return word[0] == '-' && g_ascii_isdigit(word[1]);
}

static int run_command(const Command *c, int argc, char **argv)
{
    g_autofree void *args = g_malloc0(MAX(c->args_size, 1));
    Job job = { .command = c, .args = args };
    bool keep_last = c->last_is_word && argc > 1 && is_negative_number(argv[argc - 1]);
    int first = 0;

    switch (options_parse(c->options, OPTIONS_ANYWHERE, argc - keep_last, argv, args, &first)) {
    case OPTION_DONE:
        job.words = argv + first;
        job.count = argc - first;
        loop_run(job_run, &job);
        break;
    case OPTION_HELP:
        command_help(c);
        break;
    case OPTION_EXIT:
        break;
    case OPTION_BAD:
        job.exit_code = command_failure(c);
        break;
    case OPTION_USAGE:
        usage_hint();
        job.exit_code = 1;
        break;
    }
    options_clear(c->options, args);
    return job.exit_code;
}

static const Command *command_find(const char *name)
{
    for (const Command *const *c = commands; *c; c++)
        if (!strcmp((*c)->name, name))
            return *c;
    return NULL;
}

static void command_unknown(const char *name)
{
    Suggestion s = { .word = name };
    g_autofree char *perhaps = NULL;

    for (const Command *const *c = commands; *c; c++)
        suggest_try(&s, (*c)->name);
    perhaps = suggestion_text(&s);
    complain_usage("There is no command '%s'%s", name, perhaps);
}

/* What the words behind the standard options ask for. */
static int run_words(int count, char **words)
{
    const Command *c;
    int code;

    if (!count) {
        complain_usage("A command is needed");
        return 1;
    }
    c = command_find(words[0]);
    if (!c) {
        command_unknown(words[0]);
        return 1;
    }
    code = tool_finish(run_command(c, count, words), command_failure(c));
    tool_die_if_interrupted();
    return code;
}

int main(int argc, char **argv)
{
    int first = 0;

    tool_begin(argc ? argv[0] : "");
    switch (options_parse(standard_options, OPTIONS_BEFORE_WORDS, argc, argv, NULL, &first)) {
    case OPTION_DONE:
        return run_words(argc - first, argv + first);
    case OPTION_HELP:
        print_help();
        return tool_finish(0, 1);
    case OPTION_EXIT:
        return tool_finish(0, 1);
    case OPTION_USAGE:
        usage_hint();
        return 1;
    case OPTION_BAD:
        return 1;
    }
    g_assert_not_reached();
}
