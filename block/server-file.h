/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file on a server, which a module has open: what drivers do with it whatever the protocol is.
 */
#ifndef BLOCK_SERVER_FILE_H
#define BLOCK_SERVER_FILE_H

#include "block/driver.h"

/* What the module does with a file that it has opened. 0 or a negative errno. */
typedef struct {
    CO int (*read)(void *file, uint64_t off, Span buf);     /* all of @buf */
    CO int (*write)(void *file, uint64_t off, Span buf);
    /* Makes durable what was written; -ENOTSUP: the server cannot. */
    CO int (*sync)(void *file);
    CO int (*resize)(void *file, uint64_t size);
    CO void (*close)(void *file);                           /* no call is under way */
} ServerFileOps;

typedef struct {
    const ServerFileOps *ops;
    void *file;
    char *name;         /* a plain name that opens it again */
    uint64_t size;      /* bytes that it has on the server */
} ServerFile;

/* Closes @f and frees its name. */
CO void server_file_end(ServerFile *f);
/* Gives a new file, which has no bytes, @size of them, and ends @f. */
CO bool server_file_fill(ServerFile *f, uint64_t size, GError **err);

/* ---- operations for drivers whose state begins with a ServerFile ---- */

/* Sets @n up to show its file; @best: bytes of a request. On failure the file is ended. */
CO bool server_file_node_open(Node *n, uint64_t best, GError **err);
CO void server_file_node_close(Node *n);
CO int server_file_pread(Node *n, uint64_t off, Span buf, ReqFlags flags);
CO int server_file_pwrite(Node *n, uint64_t off, Span buf, ReqFlags flags);
CO bool server_file_resize(Node *n, uint64_t size, bool exact, Prealloc prealloc, ReqFlags flags,
                           GError **err);
bool server_file_has_zero_init(Node *n);
char *server_file_plain_filename(Node *n);

#endif
