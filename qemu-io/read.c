/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands read and readv. */
#include "qemu-io/command.h"
#include "qemu-io/number.h"
#include "qemu-io/request.h"
#include "util/size.h"
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>

/* The part of the data to compare lies inside it. */
static CommandResult read_check_range(Request *r)
{
    uint64_t end;

    if (!r->has_pattern && (r->has_check_off || r->has_check_len))
        return CMD_BAD_USAGE;
    if (!r->has_check_len)
        r->check_len = r->len - MIN(r->check_off, r->len);
    if (r->check_off > r->len || !size_add(r->check_off, r->check_len, &end) || end > r->len) {
        puts("pattern verification range exceeds end of read data");
        return CMD_FAILED;
    }
    return CMD_OK;
}

static CO CommandResult read_run(Session *s, int argc, char **argv)
{
    g_auto(Request) r = { .kind = REQUEST_READ, .failed_name = "read" };
    CommandResult result = request_options(&r, "bCl:pP:qs:v", argc, argv);

    if (result != CMD_OK)
        return result;
    if (optind != argc - 2)
        return CMD_BAD_USAGE;
    if (!arg_size(argv[optind], &r.off) || !arg_size(argv[optind + 1], &r.len))
        return CMD_FAILED;
    if (r.len > REQUEST_MAX) {
        printf("length cannot exceed %" PRIu64 ", given %s\n", REQUEST_MAX, argv[optind + 1]);
        return CMD_FAILED;
    }
    result = read_check_range(&r);
    if (result != CMD_OK)
        return result;
    if (r.vmstate && (!arg_is_aligned(r.off, "offset") || !arg_is_aligned(r.len, "count")))
        return CMD_FAILED;
    if (!request_take_memory(s, &r))
        return CMD_FAILED;
    return request_report(&r, request_run(s, &r)) ? CMD_OK : CMD_FAILED;
}

static CO CommandResult readv_run(Session *s, int argc, char **argv)
{
    g_auto(Request) r = { .kind = REQUEST_READ, .failed_name = "readv" };
    CommandResult result = request_options(&r, "CP:qv", argc, argv);

    if (result != CMD_OK)
        return result;
    if (!arg_size(argv[optind], &r.off) ||
        !request_take_pieces(s, &r, argv + optind + 1, argc - optind - 1))
        return CMD_FAILED;
    r.check_len = r.len;
    return request_report(&r, request_run(s, &r)) ? CMD_OK : CMD_FAILED;
}

const Command cmd_read = {
    .name = "read",
    .alias = "r",
    .min_args = 2,
    .max_args = ANY_COUNT,
    .synopsis = "[-bCqv] [-P pattern [-s off] [-l len]] off len",
    .summary = "reads bytes and tells how fast",
    .help = "\n"
            "Reads LEN bytes at OFF of the image.\n"
            "\n"
            "  -b    read the VM state instead of the disk; both numbers are multiples of 512\n"
            "  -C    print the figures for programs: bytes,requests,time,bytes/s,requests/s\n"
            "  -l    with -P: compare only so many bytes\n"
            "  -p    nothing; older scripts give it\n"
            "  -P    fail unless every byte is this one\n"
            "  -q    print no figures\n"
            "  -s    with -P: compare from this byte of the data on\n"
            "  -v    dump the data\n"
            "\n"
            "Example: read -v 512 1k\n",
    .run = read_run,
};

const Command cmd_readv = {
    .name = "readv",
    .min_args = 2,
    .max_args = ANY_COUNT,
    .synopsis = "[-Cqv] [-P pattern] off len [len..]",
    .summary = "reads bytes into several buffers",
    .help = "\n"
            "Reads at OFF with one request that fills a buffer for each LEN.\n"
            "\n"
            "  -C    print the figures for programs\n"
            "  -P    fail unless every byte is this one\n"
            "  -q    print no figures\n"
            "  -v    dump the data\n"
            "\n"
            "Example: readv -v 512 1k 1k\n",
    .run = readv_run,
};
