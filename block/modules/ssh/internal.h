/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of the module: session.c logs in, sftp.c speaks the file protocol. */
#ifndef BLOCK_MODULES_SSH_INTERNAL_H
#define BLOCK_MODULES_SSH_INTERNAL_H

#include "block/ssh.h"
#include "io/poll-set.h"
#include <libssh/libssh.h>

struct SshFile {
    ssh_session session;
    ssh_channel channel;     /* to the subsystem sftp */
    int fd;                  /* the session's */
    bool fd_given;           /* to libssh */
    int64_t timeout_ns;
    PollSet *set;
    int broken;              /* negative errno that all calls end with; 0: it works */
    GHashTable *calls;       /* those without an answer, by number */
    uint32_t next_id;
    GByteArray *out;         /* not yet taken by libssh from @out_at on */
    size_t out_at;
    GByteArray *in;          /* of an answer that is not yet whole */
    GByteArray *handle;      /* of the file, as the server calls it */
    size_t read_max, write_max;
    bool can_sync, has_limits;
};

/* Connects, checks the server's key, logs in and opens the channel. */
CO bool session_start(SshFile *f, const SshConfig *config, GError **err);
void session_end(SshFile *f);

#endif
