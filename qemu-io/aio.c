/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands aio_read, aio_write and aio_flush: requests that run behind the next commands. */
#include "qemu-io/command.h"
#include "qemu-io/number.h"
#include "qemu-io/request.h"
#include <getopt.h>
#include <stdio.h>

typedef struct {
    Session *session;
    Request request;
} Background;

static CO void background_run(void *arg)
{
    Background *b = arg;

    request_report(&b->request, request_run(b->session, &b->request));
    request_clear(&b->request);
    g_free(b);
}

/* Starts @r, which is emptied. */
static void background_start(Session *s, Request *r)
{
    Background *b = g_new(Background, 1);

    *b = (Background){ .session = s, .request = *r };
    *r = (Request){ 0 };
    co_group_start(&s->background, background_run, b);
}

static CO CommandResult aio_read_run(Session *s, int argc, char **argv)
{
    g_auto(Request) r = { .kind = REQUEST_READ, .failed_name = "readv" };
    CommandResult result = request_options(&r, "CiP:qv", argc, argv);

    if (result != CMD_OK)
        return result;
    if (r.invalid) {
        puts("injecting invalid read request");
        return CMD_OK;
    }
    if (!arg_size(argv[optind], &r.off) ||
        !request_take_pieces(s, &r, argv + optind + 1, argc - optind - 1))
        return CMD_FAILED;
    r.check_len = r.len;
    background_start(s, &r);
    return CMD_OK;
}

/* Reads offset and lengths of a write. */
static bool aio_write_range(Session *s, Request *r, char **words, int count)
{
    if (r->kind == REQUEST_ZERO && count > 2) {
        puts("-z supports only a single length parameter");
        return false;
    }
    if (!arg_size(words[0], &r->off))
        return false;
    if (r->kind == REQUEST_ZERO)
        return arg_size(words[1], &r->len);
    return request_take_pieces(s, r, words + 1, count - 1);
}

static CO CommandResult aio_write_run(Session *s, int argc, char **argv)
{
    g_auto(Request) r = { .kind = REQUEST_WRITE, .failed_name = "aio_write" };
    CommandResult result = request_options(&r, "CfiP:quz", argc, argv);

    if (result != CMD_OK)
        return result;
    if (r.invalid) {
        puts("injecting invalid write request");
        return CMD_OK;
    }
    if (r.flags & REQ_MAY_UNMAP && r.kind != REQUEST_ZERO) {
        puts("-u requires -z to be specified");
        return CMD_FAILED;
    }
    if (!aio_write_range(s, &r, argv + optind, argc - optind))
        return CMD_FAILED;
    background_start(s, &r);
    return CMD_OK;
}

static CO CommandResult aio_flush_run(Session *s, int argc, char **argv)
{
    co_group_wait(&s->background);
    return CMD_OK;
}

const Command cmd_aio_flush = {
    .name = "aio_flush",
    .synopsis = "",
    .summary = "waits until all aio requests have ended",
    .run = aio_flush_run,
};

const Command cmd_aio_read = {
    .name = "aio_read",
    .min_args = 2,
    .max_args = ANY_COUNT,
    .synopsis = "[-Ciqv] [-P pattern] off len [len..]",
    .summary = "starts a read and goes on",
    .help = "\n"
            "Reads as readv does while further commands run; aio_flush waits for the end. The\n"
            "command counts as done once the request is under way, whatever comes of it.\n"
            "\n"
            "  -C    print the figures for programs\n"
            "  -i    only pretend: a request that is refused\n"
            "  -P    tell unless every byte is this one\n"
            "  -q    print no figures\n"
            "  -v    dump the data\n"
            "\n"
            "Example: aio_read -v 512 1k 1k\n",
    .run = aio_read_run,
};

const Command cmd_aio_write = {
    .name = "aio_write",
    .min_args = 2,
    .max_args = ANY_COUNT,
    .flags = CMD_WRITES,
    .synopsis = "[-Cfiquz] [-P pattern] off len [len..]",
    .summary = "starts a write and goes on",
    .help = "\n"
            "Writes as writev does while further commands run; aio_flush waits for the end. The\n"
            "command counts as done once the request is under way, whatever comes of it.\n"
            "\n"
            "  -C    print the figures for programs\n"
            "  -f    the data is durable when the request ends\n"
            "  -i    only pretend: a request that is refused\n"
            "  -P    write this byte\n"
            "  -q    print no figures\n"
            "  -u    with -z: space may be given back\n"
            "  -z    make the range read as zeroes\n"
            "\n"
            "Example: aio_write 512 1k 1k\n",
    .run = aio_write_run,
};
