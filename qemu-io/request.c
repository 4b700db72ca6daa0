/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests of read and write commands. */
#include "qemu-io/request.h"
#include "qemu-io/number.h"
#include "tools/complain.h"
#include "util/size.h"
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Written unless a pattern is given. */
enum { DEFAULT_PATTERN = 0xcd, MISALIGN = 16 };

G_DEFINE_AUTOPTR_CLEANUP_FUNC(FILE, fclose)

/* ---- options -------------------------------------------------------------------------------- */

/* The value of option @letter. False: complained. */
static bool option_value(Request *r, int letter)
{
    switch (letter) {
    case 'l':
        r->has_check_len = true;
        return arg_size(optarg, &r->check_len);
    case 'P':
        r->has_pattern = true;
        return arg_pattern(optarg, &r->pattern);
    default: /* 's' */
        if (r->kind == REQUEST_READ) {
            r->has_check_off = true;
            return arg_size(optarg, &r->check_off);
        }
        r->source = optarg;
        return true;
    }
}

CommandResult request_options(Request *r, const char *letters, int argc, char **argv)
{
    int c;

    command_options_begin();
    while (!r->invalid && (c = command_option(argc, argv, letters)) != -1)
        switch (c) {
        case 'b':
            r->vmstate = true;
            break;
        case 'c':
            r->flags |= REQ_COMPRESSED;
            break;
        case 'C':
            r->stats = MAX(r->stats, STATS_MACHINE);
            break;
        case 'f':
            r->flags |= REQ_FUA;
            break;
        case 'i':
            r->invalid = true;
            break;
        case 'n':
            r->flags |= REQ_NO_FALLBACK;
            break;
        case 'p': /* older scripts give it */
            break;
        case 'q':
            r->stats = STATS_NONE;
            break;
        case 'u':
            r->flags |= REQ_MAY_UNMAP;
            break;
        case 'v':
            r->dump = true;
            break;
        case 'z':
            r->kind = REQUEST_ZERO;
            break;
        case 'l':
        case 'P':
        case 's':
            if (!option_value(r, c))
                return CMD_FAILED;
            break;
        default:
            return CMD_BAD_USAGE;
        }
    return r->invalid || optind <= argc - 2 ? CMD_OK : CMD_BAD_USAGE;
}

/* ---- memory --------------------------------------------------------------------------------- */

static bool request_fits(const Session *s, const Request *r)
{
    uint64_t end;

    return r->vmstate || (size_add(r->off, r->len, &end) && end <= handle_size(s->file));
}

bool request_take_memory(Session *s, Request *r)
{
    size_t shift = s->misalign ? MISALIGN : 0;

    if (r->kind == REQUEST_ZERO || !request_fits(s, r))
        return true;
    r->memory = aligned_try_alloc(r->len + shift);
    if (!r->memory)
        return complain("There is no memory for %" PRIu64 " bytes", r->len);
    r->data = (uint8_t *)r->memory + shift;
    if (r->kind == REQUEST_WRITE)
        memset(r->data, r->has_pattern ? r->pattern : DEFAULT_PATTERN, r->len);
    return true;
}

/* Adds up what @words say into @r->len, and keeps each length in @r->iov. */
static bool pieces_parse(Request *r, char **words, int count)
{
    r->iov = g_new0(struct iovec, count);
    r->niov = count;
    r->len = 0;
    for (int i = 0; i < count; i++) {
        uint64_t len;

        if (!arg_size(words[i], &len))
            return false;
        if (len > REQUEST_MAX) {
            printf("Argument '%s' exceeds maximum size %" PRIu64 "\n", words[i], REQUEST_MAX);
            return false;
        }
        if (len > REQUEST_MAX - r->len) {
            printf("The total number of bytes exceed the maximum size %" PRIu64 "\n", REQUEST_MAX);
            return false;
        }
        r->iov[i].iov_len = len;
        r->len += len;
    }
    return true;
}

bool request_take_pieces(Session *s, Request *r, char **words, int count)
{
    size_t at = 0;

    if (!pieces_parse(r, words, count) || !request_take_memory(s, r))
        return false;
    for (int i = 0; r->data && i < r->niov; at += r->iov[i++].iov_len)
        r->iov[i].iov_base = r->data + at;
    return true;
}

/* A line on standard error without the program's name, as scripts know it. */
static bool file_failed(const char *name, const char *why)
{
    fflush(stdout);
    fprintf(stderr, "%s: %s\n", name, why);
    return false;
}

bool request_fill_from_file(Request *r, const char *name)
{
    g_autoptr(FILE) f = fopen(name, "r");
    char byte;
    size_t got;

    if (!f)
        return file_failed(name, g_strerror(errno));
    got = fread(r->data ? (char *)r->data : &byte, 1, r->data ? r->len : 1, f);
    if (ferror(f))
        return file_failed(name, g_strerror(errno));
    if (!got)
        return file_failed(name, "file is empty");
    for (size_t at = got; r->data && at < r->len; at += got)
        memcpy(r->data + at, r->data, MIN(got, r->len - at));
    return true;
}

void request_clear(Request *r)
{
    aligned_free(r->memory);
    g_free(r->iov);
    *r = (Request){ 0 };
}

/* ---- running and reporting ------------------------------------------------------------------ */

static CO int request_run_vmstate(Session *s, Request *r, Span data)
{
    return r->kind == REQUEST_READ ? handle_vmstate_pread(s->file, r->off, data)
                                   : handle_vmstate_pwrite(s->file, r->off, data);
}

int request_run(Session *s, Request *r)
{
    Span data = r->iov ? span_of_iov(r->iov, r->niov) : span_of(r->data, r->len);

    r->started = clock_now_ns();
    r->size = handle_size(s->file);
    if (!request_fits(s, r) || (r->kind != REQUEST_ZERO && !r->memory))
        return -EIO;
    if (r->vmstate)
        return request_run_vmstate(s, r, data);
    switch (r->kind) {
    case REQUEST_READ:
        return handle_pread(s->file, r->off, data, r->flags);
    case REQUEST_WRITE:
        return handle_pwrite(s->file, r->off, data, r->flags);
    case REQUEST_ZERO:
        return handle_zero(s->file, r->off, r->len, r->flags);
    }
    return -EINVAL;
}

/* True if what was read is what it should be; else says so. */
static bool request_check_pattern(const Request *r)
{
    const uint8_t *p = r->data + r->check_off;

    if (!r->check_len || (p[0] == r->pattern && !memcmp(p, p + 1, r->check_len - 1)))
        return true;
    printf("Pattern verification failed at offset %" PRIu64 ", %" PRIu64 " bytes\n",
           r->off + r->check_off, r->check_len);
    return false;
}

bool request_report(Request *r, int result)
{
    int64_t ns = clock_now_ns() - r->started;
    bool is_read = r->kind == REQUEST_READ, ok = true;

    if (result < 0) {
        report_failure(r->failed_name, result, r->off, r->len, r->vmstate ? UINT64_MAX : r->size);
        return false;
    }
    if (is_read && r->has_pattern)
        ok = request_check_pattern(r);
    if (r->stats == STATS_NONE)
        return ok;
    if (r->dump)
        report_dump(r->data, r->len, r->off);
    report_stats(r->stats, is_read ? "read" : "wrote", r->off, r->len, ns);
    return ok;
}
