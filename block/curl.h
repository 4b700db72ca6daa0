/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What module "curl" gives to drivers: parts of a file on a server of HTTP or FTP, by libcurl. */
#ifndef BLOCK_CURL_H
#define BLOCK_CURL_H

#include "io/co.h"
#include "util/span.h"
#include <glib.h>

/* A file on a server with the connections to it. Belongs to the loop it was opened on. */
typedef struct CurlFile CurlFile;

/* All copied by open. Texts may be NULL: there is none. */
typedef struct {
    const char *url;
    const char *user, *password;
    const char *proxy_user, *proxy_password;
    const char *cookie;
    bool verify;           /* the server's certificate */
    bool force_range;      /* do not try a range first */
    unsigned connections;  /* at once; 1: the one that opening made must last */
    unsigned timeout_s;    /* to connect, and that nothing may come; 0: no limit */
    size_t head_len;       /* how much of the start of the file to bring along when opening */
} CurlConfig;

typedef struct {
    uint64_t size;
    uint8_t *head;         /* the first @head_len bytes, the caller's to free; NULL: none came */
    size_t head_len;
} CurlFound;

typedef struct {
    /* NULL with @err. */
    CO CurlFile *(*open)(const CurlConfig *config, CurlFound *found, GError **err);
    /* Exactly @buf.len bytes from @off on, all inside of the file: 0 or a negative errno. */
    CO int (*read)(CurlFile *f, uint64_t off, Span buf);
    /* Reads under way, and later ones, end with -ECANCELED. */
    void (*cancel)(CurlFile *f);
    /* No read is under way. */
    void (*close)(CurlFile *f);
} CurlModule;

#endif
