/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From an address to a channel of SFTP: the connection, the server's key, who we are. */
#include "block/modules/ssh/internal.h"
#include "io/aio.h"
#include "util/err.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

/* Waits until libssh can go on. False with @err at @deadline_ns. */
static CO bool session_wait(SshFile *f, int64_t deadline_ns, GError **err)
{
    int flags = ssh_get_poll_flags(f->session);
    int r = aio_poll(f->fd, POLLIN | (flags & SSH_WRITE_PENDING ? POLLOUT : 0), deadline_ns);

    return r >= 0 || err_set_errno(err, r, "the server does not answer");
}

/* A step of libssh's that says @again while it has to wait; its result goes to @r. */
#define STEP(r, again, call)                                                                       \
    while ((r = (call)) == (again))                                                                \
        if (!session_wait(f, deadline_ns, err))                                                    \
            return false;

static bool session_fail(SshFile *f, const char *what, GError **err)
{
    return err_set(err, EIO, "%s: %s", what, ssh_get_error(f->session));
}

static CO bool session_connect(SshFile *f, const SshConfig *c, int64_t deadline_ns, GError **err)
{
    int r;

    f->fd = net_connect(c->address, deadline_ns, err);
    if (f->fd < 0)
        return false;
    net_set_nodelay(f->fd);
    if (ssh_options_set(f->session, SSH_OPTIONS_HOST, c->address->host) < 0 ||
        ssh_options_set(f->session, SSH_OPTIONS_PORT_STR, c->address->port) < 0 ||
        ssh_options_set(f->session, SSH_OPTIONS_USER, c->user) < 0 ||
        ssh_options_set(f->session, SSH_OPTIONS_FD, &f->fd) < 0)
        return session_fail(f, "options", err);
    ssh_set_blocking(f->session, 0);
    f->fd_given = true;
    STEP(r, SSH_AGAIN, ssh_connect(f->session));
    return r == SSH_OK || session_fail(f, "no connection", err);
}

/* ---- the server's key ------------------------------------------------------------------------ */

static bool known_hosts_check(SshFile *f, GError **err)
{
    switch (ssh_session_is_known_server(f->session)) {
    case SSH_KNOWN_HOSTS_OK:
        return true;
    case SSH_KNOWN_HOSTS_CHANGED:
        return err_set(err, EACCES, "the server's key is not the one in known_hosts: it may be "
                       "another machine");
    case SSH_KNOWN_HOSTS_OTHER:
        return err_set(err, EACCES, "known_hosts has a key of another type for this server");
    case SSH_KNOWN_HOSTS_UNKNOWN:
    case SSH_KNOWN_HOSTS_NOT_FOUND:
        return err_set(err, EACCES, "known_hosts has no key of this server");
    default:
        return session_fail(f, "known_hosts", err);
    }
}

static bool hash_is(const unsigned char *hash, size_t len, const char *text)
{
    for (size_t i = 0; i < len; i++) {
        if (*text == ':')
            text++;
        if (!g_ascii_isxdigit(text[0]) || !g_ascii_isxdigit(text[1]) ||
            g_ascii_xdigit_value(text[0]) * 16 + g_ascii_xdigit_value(text[1]) != hash[i])
            return false;
        text += 2;
    }
    return !*text;
}

static bool hash_check(SshFile *f, const SshConfig *c, GError **err)
{
    static const enum ssh_publickey_hash_type types[] = {
        [SSH_HASH_MD5] = SSH_PUBLICKEY_HASH_MD5,
        [SSH_HASH_SHA1] = SSH_PUBLICKEY_HASH_SHA1,
        [SSH_HASH_SHA256] = SSH_PUBLICKEY_HASH_SHA256,
    };
    unsigned char *hash = NULL;
    size_t len = 0;
    ssh_key key = NULL;
    bool same;

    if (ssh_get_server_publickey(f->session, &key) != SSH_OK)
        return session_fail(f, "the server's key", err);
    if (ssh_get_publickey_hash(key, types[c->hash_type], &hash, &len) != SSH_OK) {
        ssh_key_free(key);
        return session_fail(f, "the server's key", err);
    }
    same = hash_is(hash, len, c->hash);
    ssh_clean_pubkey_hash(&hash);
    ssh_key_free(key);
    return same || err_set(err, EACCES, "the server's key does not have the fingerprint '%s'",
                           c->hash);
}

static bool server_check(SshFile *f, const SshConfig *c, GError **err)
{
    switch (c->trust) {
    case SSH_TRUST_ANY:
        return true;
    case SSH_TRUST_HASH:
        return hash_check(f, c, err);
    default:
        return known_hosts_check(f, err);
    }
}

/* ---- logging in ------------------------------------------------------------------------------ */

/* Without anybody to ask: by keys of the agent and of the user's folder. */
static CO bool session_log_in(SshFile *f, const SshConfig *c, int64_t deadline_ns, GError **err)
{
    int r;

    STEP(r, SSH_AUTH_AGAIN, ssh_userauth_none(f->session, NULL));
    if (r == SSH_AUTH_SUCCESS)
        return true;
    if (r == SSH_AUTH_ERROR)
        return session_fail(f, "logging in", err);
    if (ssh_userauth_list(f->session, NULL) & SSH_AUTH_METHOD_PUBLICKEY) {
        STEP(r, SSH_AUTH_AGAIN, ssh_userauth_publickey_auto(f->session, NULL, NULL));
        if (r == SSH_AUTH_SUCCESS)
            return true;
    }
    err_set(err, EACCES, "the server does not let '%s' in", c->user);
    err_hint(err, "Only keys are offered: those of the agent, and those without a passphrase.");
    return false;
}

static CO bool channel_open(SshFile *f, int64_t deadline_ns, GError **err)
{
    int r;

    f->channel = ssh_channel_new(f->session);
    if (!f->channel)
        return session_fail(f, "no channel", err);
    STEP(r, SSH_AGAIN, ssh_channel_open_session(f->channel));
    if (r == SSH_OK)
        STEP(r, SSH_AGAIN, ssh_channel_request_subsystem(f->channel, "sftp"));
    return r == SSH_OK || session_fail(f, "no SFTP", err);
}

bool session_start(SshFile *f, const SshConfig *c, GError **err)
{
    int64_t deadline_ns = clock_now_ns() + f->timeout_ns;

    f->session = ssh_new();
    if (!f->session)
        return err_set(err, ENOMEM, "no session");
    return session_connect(f, c, deadline_ns, err) && server_check(f, c, err) &&
           session_log_in(f, c, deadline_ns, err) && channel_open(f, deadline_ns, err);
}

void session_end(SshFile *f)
{
    /* libssh closes the descriptor it was given when the connection breaks, and only then. */
    bool is_closed = f->fd_given && ssh_get_fd(f->session) != f->fd;

    if (f->channel)
        ssh_channel_free(f->channel);
    if (f->session) {
        ssh_disconnect(f->session);
        ssh_free(f->session);
    }
    if (f->fd >= 0 && !is_closed)
        close(f->fd);
}
