/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A request that a read or write command makes: its memory, its run, its report. */
#ifndef QEMU_IO_REQUEST_H
#define QEMU_IO_REQUEST_H

#include "qemu-io/command.h"
#include "qemu-io/report.h"
#include "qemu-io/session.h"
#include "util/span.h"

typedef enum { REQUEST_READ, REQUEST_WRITE, REQUEST_ZERO } RequestKind;

typedef struct {
    RequestKind kind;
    const char *failed_name; /* "readv", in "readv failed: ..." */
    uint64_t off, len;       /* bytes */
    ReqFlags flags;
    bool vmstate;            /* in the VM state, not on the disk */
    Stats stats;
    bool dump;

    bool invalid;            /* only pretend */
    bool has_pattern;        /* reads: compare with it; writes: fill with it */
    uint8_t pattern;
    const char *source;      /* writes: fill with this file's content; NULL: none */
    bool has_check_off, has_check_len;
    uint64_t check_off;      /* what part of a read to compare, from its start */
    uint64_t check_len;

    Aligned *memory;         /* owned; NULL: the request has no data, or will not fit anyway */
    uint8_t *data;           /* @len bytes within @memory */
    struct iovec *iov;       /* pieces of @data, owned; NULL: one piece */
    int niov;

    uint64_t size;           /* of the image when the request began */
    int64_t started;
} Request;

/*
 * Reads the options of a read or write command, those of @letters as getopt has them, which mean
 * the same to all of them; optind is then where the other words begin. Nothing behind -i counts.
 */
CommandResult request_options(Request *r, const char *letters, int argc, char **argv);
/*
 * Takes memory for @r->len bytes, filled for a write with the pattern. A request that reaches past
 * the end of the image, and so will fail, gets none. False: complained.
 */
bool request_take_memory(Session *s, Request *r);
/* The same, in pieces of the lengths that @count words say; sets @r->len. */
bool request_take_pieces(Session *s, Request *r, char **words, int count);
/* Fills the data with the content of file @name over and over. False: complained. */
bool request_fill_from_file(Request *r, const char *name);

/* Runs @r; 0 or a negative errno. */
CO int request_run(Session *s, Request *r);
/* Prints what came of it. @result: of request_run. False: it failed or read something else. */
bool request_report(Request *r, int result);
void request_clear(Request *r);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Request, request_clear)

#endif
