/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-img: standard options, choosing the subcommand, running it on the loop. */
#include "io/loop.h"
#include "qemu-img/command.h"
#include "qemu-img/tool.h"
#include "qapi/object.h"
#include "util/suggest.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_help(void)
{
    tool_print_version("qemu-img version");
    printf("\nUsage: %s [STANDARD OPTION]... COMMAND [OPTION]... [WORD]...\n", tool_name());
    puts("Creates, converts, checks and changes disk images.\n"
         "\n"
         "Standard options:\n"
         "  -h, --help       print this text and exit\n"
         "  -V, --version    print the version and exit\n"
         "  -T, --trace [[enable=]PATTERN][,events=FILE][,file=FILE]\n"
         "                   turn on trace points ('help' lists them)\n"
         "\n"
         "Commands (each tells more with --help):");
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
    GPtrArray *objects;   /* of const char * */
    char **words;
    int count;
    int exit_code;
} Job;

static int command_failure(const Command *c)
{
    return c->failure ? c->failure : 1;
}

/* Makes what --object asked for. False: the program ends with .exit_code now. */
static bool job_make_objects(Job *j)
{
    for (guint i = 0; i < j->objects->len; i++) {
        g_autoptr(GError) err = NULL;

        if (object_print_help(j->objects->pdata[i]))
            return false;
        if (!object_add_text(j->objects->pdata[i], &err)) {
            complain_err(err);
            j->exit_code = command_failure(j->command);
            return false;
        }
    }
    return true;
}

static CO void job_run(void *arg)
{
    Job *j = arg;

    if (job_make_objects(j))
        j->exit_code = j->command->run(j->args, j->words, j->count);
}

static int run_command(const Command *c, int argc, char **argv)
{
    g_autofree void *args = g_malloc0(MAX(c->args_size, 1));
    g_autoptr(GPtrArray) objects = g_ptr_array_new();
    Job job = { .command = c, .args = args, .objects = objects };
    int first = 0;

    switch (command_parse(c, argc, argv, args, objects, &first)) {
    case PARSE_HELP:
        command_help(c);
        break;
    case PARSE_BAD:
        job.exit_code = 1;
        break;
    case PARSE_RUN:
        job.words = argv + first;
        job.count = argc - first;
        loop_run(job_run, &job);
        break;
    }
    command_args_clear(c, args);
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

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { "trace", required_argument, NULL, 'T' },
        {}
    };
    const Command *c;
    int code;

    tool_begin(argc ? argv[0] : "");
    if (argc < 2) {
        complain_usage("A command is needed");
        return 1;
    }
    opterr = 0;
    while ((code = getopt_long(argc, argv, "+:hVT:", longs, NULL)) != -1) {
        OptionResult r;

        switch (code) {
        case 'h':
            print_help();
            return tool_finish(0, 1);
        case 'V':
            tool_print_version("qemu-img version");
            return tool_finish(0, 1);
        case 'T':
            r = tool_trace(optarg);
            if (r != OPTION_DONE)
                return tool_finish(r == OPTION_EXIT ? 0 : 1, 1);
            break;
        case ':':
            complain_usage("Option '%s' needs a value", argv[optind - 1]);
            return 1;
        default:
            complain_usage("Unknown option '%s'", argv[optind - 1]);
            return 1;
        }
    }
    if (optind == argc) {
        complain_usage("A command is needed");
        return 1;
    }
    c = command_find(argv[optind]);
    if (!c) {
        command_unknown(argv[optind]);
        return 1;
    }
    code = tool_finish(run_command(c, argc - optind, argv + optind), command_failure(c));
    tool_die_if_interrupted();
    return code;
}
