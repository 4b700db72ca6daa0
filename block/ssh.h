/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What module "ssh" gives to drivers: a file on another machine, by SFTP over libssh. */
#ifndef BLOCK_SSH_H
#define BLOCK_SSH_H

#include "block/server-file.h"
#include "io/net.h"
#include <glib.h>

/* An open file with its connection. Belongs to the loop it was opened on. */
typedef struct SshFile SshFile;

typedef enum { SSH_TRUST_KNOWN_HOSTS, SSH_TRUST_HASH, SSH_TRUST_ANY } SshTrust;
typedef enum { SSH_HASH_MD5, SSH_HASH_SHA1, SSH_HASH_SHA256 } SshHash;

/* All copied by open. */
typedef struct {
    const NetAddress *address;
    const char *user;
    const char *path;
    SshTrust trust;
    SshHash hash_type;     /* with SSH_TRUST_HASH */
    const char *hash;      /* hexadecimal digits, colons between them do not count */
    bool write, create;    /* create: an empty file in place of what is there */
    unsigned timeout_s;    /* that nothing may come though something is waited for */
} SshConfig;

typedef struct {
    /* NULL with @err. */
    CO SshFile *(*open)(const SshConfig *config, uint64_t *size, GError **err);
    ServerFileOps file;
} SshModule;

#endif
