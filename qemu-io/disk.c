/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands flush, discard, truncate and length. */
#include "qemu-io/command.h"
#include "qemu-io/number.h"
#include "qemu-io/report.h"
#include "tools/complain.h"
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static CO CommandResult flush_run(Session *s, int argc, char **argv)
{
    int r = handle_flush(s->file);

    if (r < 0)
        complain_errno(r, "What was written could not be made durable");
    return r < 0 ? CMD_FAILED : CMD_OK;
}

/* handle_discard for @len bytes, -EIO past the end of the image. */
static CO CommandResult discard_report(Session *s, uint64_t off, uint64_t len, Stats stats)
{
    int64_t started = clock_now_ns();
    int r = handle_discard(s->file, off, len);

    if (r < 0) {
        report_failure("discard", r, off, len, handle_size(s->file));
        return CMD_FAILED;
    }
    report_stats(stats, "discard", off, len, clock_now_ns() - started);
    return CMD_OK;
}

static CO CommandResult discard_run(Session *s, int argc, char **argv)
{
    Stats stats = STATS_TEXT;
    uint64_t off, len;
    int c;

    command_options_begin();
    while ((c = command_option(argc, argv, "Cq")) != -1)
        switch (c) {
        case 'C':
            stats = MAX(stats, STATS_MACHINE);
            break;
        case 'q':
            stats = STATS_NONE;
            break;
        default:
            return CMD_BAD_USAGE;
        }
    if (optind != argc - 2)
        return CMD_BAD_USAGE;
    if (!arg_size(argv[optind], &off) || !arg_size(argv[optind + 1], &len))
        return CMD_FAILED;
    if (len > REQUEST_MAX) {
        printf("length cannot exceed %" PRIu64 ", given %s\n", REQUEST_MAX, argv[optind + 1]);
        return CMD_FAILED;
    }
    return discard_report(s, off, len, stats);
}

static CO CommandResult truncate_run(Session *s, int argc, char **argv)
{
    g_autoptr(GError) err = NULL;
    Prealloc prealloc = PREALLOC_OFF;
    uint64_t size;
    int c;

    command_options_begin();
    while ((c = command_option(argc, argv, "m:")) != -1) {
        if (c != 'm')
            return CMD_BAD_USAGE;
        if (!prealloc_parse(optarg, &prealloc)) {
            complain("There is no preallocation mode '%s'; choose off, metadata, falloc or full",
                     optarg);
            return CMD_FAILED;
        }
    }
    if (optind >= argc)
        return CMD_BAD_USAGE;
    if (!arg_size(argv[optind], &size))
        return CMD_FAILED;
    if (!handle_resize(s->file, size, false, prealloc, &err)) {
        complain_err(err);
        return CMD_FAILED;
    }
    return CMD_OK;
}

static CO CommandResult length_run(Session *s, int argc, char **argv)
{
    g_autofree char *text = bytes_text((double)handle_size(s->file));

    puts(text);
    return CMD_OK;
}

const Command cmd_flush = {
    .name = "flush",
    .alias = "f",
    .synopsis = "",
    .summary = "makes all that was written durable",
    .run = flush_run,
};

const Command cmd_discard = {
    .name = "discard",
    .alias = "d",
    .min_args = 2,
    .max_args = ANY_COUNT,
    .flags = CMD_WRITES,
    .synopsis = "[-Cq] off len",
    .summary = "gives the space of bytes back",
    .help = "\n"
            "Tells the image that LEN bytes at OFF are no longer needed. What they read as\n"
            "afterwards is up to the format.\n"
            "\n"
            "  -C    print the figures for programs: bytes,requests,time,bytes/s,requests/s\n"
            "  -q    print no figures\n"
            "\n"
            "Example: discard 512 1k\n",
    .run = discard_run,
};

const Command cmd_truncate = {
    .name = "truncate",
    .alias = "t",
    .min_args = 1,
    .max_args = 3,
    .flags = CMD_WRITES | CMD_RESIZES,
    .synopsis = "[-m prealloc_mode] off",
    .summary = "makes the image shorter or longer",
    .help = "\n"
            "  -m    how to allocate what is added: off, metadata, falloc or full\n",
    .run = truncate_run,
};

const Command cmd_length = {
    .name = "length",
    .alias = "l",
    .synopsis = "",
    .summary = "prints the size of the image",
    .run = length_run,
};
