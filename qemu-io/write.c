/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands write and writev. */
#include "qemu-io/command.h"
#include "qemu-io/number.h"
#include "qemu-io/request.h"
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>

/* What is wrong with the options of @r together; NULL: nothing. */
static const char *write_clash(const Request *r)
{
    bool zero = r->kind == REQUEST_ZERO;

    if (r->vmstate && zero)
        return "-b and -z cannot be specified at the same time";
    if (r->flags & REQ_FUA && (r->vmstate || r->flags & REQ_COMPRESSED))
        return "-f and -b or -c cannot be specified at the same time";
    if (r->flags & REQ_NO_FALLBACK && !zero)
        return "-n requires -z to be specified";
    if (r->flags & REQ_MAY_UNMAP && !zero)
        return "-u requires -z to be specified";
    if (zero + r->has_pattern + !!r->source > 1)
        return "Only one of -z, -P, and -s can be specified at the same time";
    return NULL;
}

/* Reads offset and length, and checks them. */
static bool write_range(Request *r, char **words)
{
    if (!arg_size(words[0], &r->off) || !arg_size(words[1], &r->len))
        return false;
    if (r->len > REQUEST_MAX && !(r->flags & REQ_NO_FALLBACK)) {
        printf("length cannot exceed %" PRIu64 " without -n, given %s\n", REQUEST_MAX, words[1]);
        return false;
    }
    if (r->vmstate || r->flags & REQ_COMPRESSED)
        return arg_is_aligned(r->off, "offset") && arg_is_aligned(r->len, "count");
    return true;
}

static CO CommandResult write_run(Session *s, int argc, char **argv)
{
    g_auto(Request) r = { .kind = REQUEST_WRITE, .failed_name = "write" };
    const char *clash;
    CommandResult result = request_options(&r, "bcCfnpP:qs:uz", argc, argv);

    if (result != CMD_OK)
        return result;
    if (optind != argc - 2)
        return CMD_BAD_USAGE;
    clash = write_clash(&r);
    if (clash) {
        puts(clash);
        return CMD_FAILED;
    }
    if (!write_range(&r, argv + optind) || !request_take_memory(s, &r) ||
        (r.source && !request_fill_from_file(&r, r.source)))
        return CMD_FAILED;
    if (r.kind == REQUEST_ZERO)
        r.flags &= ~(unsigned)REQ_COMPRESSED; /* zeroes have no data to compress */
    return request_report(&r, request_run(s, &r)) ? CMD_OK : CMD_FAILED;
}

static CO CommandResult writev_run(Session *s, int argc, char **argv)
{
    g_auto(Request) r = { .kind = REQUEST_WRITE, .failed_name = "writev" };
    CommandResult result = request_options(&r, "CfP:q", argc, argv);

    if (result != CMD_OK)
        return result;
    if (!arg_size(argv[optind], &r.off) ||
        !request_take_pieces(s, &r, argv + optind + 1, argc - optind - 1))
        return CMD_FAILED;
    return request_report(&r, request_run(s, &r)) ? CMD_OK : CMD_FAILED;
}

const Command cmd_write = {
    .name = "write",
    .alias = "w",
    .min_args = 2,
    .max_args = ANY_COUNT,
    .flags = CMD_WRITES,
    .synopsis = "[-bcCfnquz] [-P pattern | -s source_file] off len",
    .summary = "writes bytes and tells how fast",
    .help = "\n"
            "Writes LEN bytes at OFF of the image, 0xcd each unless told otherwise.\n"
            "\n"
            "  -b    write the VM state instead of the disk; both numbers are multiples of 512\n"
            "  -c    store the data compressed; both numbers are multiples of 512\n"
            "  -C    print the figures for programs: bytes,requests,time,bytes/s,requests/s\n"
            "  -f    the data is durable when the command ends\n"
            "  -n    with -z: fail rather than write zeroes as data\n"
            "  -p    nothing; older scripts give it\n"
            "  -P    write this byte\n"
            "  -q    print no figures\n"
            "  -s    write the content of a file over and over\n"
            "  -u    with -z: space may be given back\n"
            "  -z    make the range read as zeroes\n"
            "\n"
            "Example: write -P 0xa5 512 1k\n",
    .run = write_run,
};

const Command cmd_writev = {
    .name = "writev",
    .min_args = 2,
    .max_args = ANY_COUNT,
    .flags = CMD_WRITES,
    .synopsis = "[-Cfq] [-P pattern] off len [len..]",
    .summary = "writes bytes from several buffers",
    .help = "\n"
            "Writes at OFF with one request from a buffer for each LEN, filled with 0xcd.\n"
            "\n"
            "  -C    print the figures for programs\n"
            "  -f    the data is durable when the command ends\n"
            "  -P    fill the buffers with this byte\n"
            "  -q    print no figures\n"
            "\n"
            "Example: writev 512 1k 1k\n",
    .run = writev_run,
};
