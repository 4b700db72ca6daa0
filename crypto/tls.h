/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS: credentials that users make (objects tls-creds-x509, tls-creds-psk, tls-creds-anon), and
 * sessions over whatever carries bytes. The library behind it is module "tls", loaded by the first
 * set of credentials.
 *
 * A session never waits: it says what it waits for, and its owner (io/channel) does. What is in
 * which file and what is verified is told in docs/spec/tls.md. One thread at a time.
 */
#ifndef CRYPTO_TLS_H
#define CRYPTO_TLS_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef enum { TLS_CLIENT, TLS_SERVER } TlsEndpoint;

/* Counted. Main loop only. */
typedef struct TlsCreds TlsCreds;

/*
 * The credentials of object @id, a reference of the caller's own; NULL with @err if there are none
 * or they were made for the other @endpoint.
 */
TlsCreds *tls_creds_find(const char *id, TlsEndpoint endpoint, GError **err);
/* Those of a client that trusts the certificate authorities of this system. NULL with @err. */
TlsCreds *tls_creds_of_system(GError **err);
TlsCreds *tls_creds_ref(TlsCreds *c);
void tls_creds_unref(TlsCreds *c);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TlsCreds, tls_creds_unref)
/* The server's certificate will be verified, so its name must be known. */
bool tls_creds_need_hostname(const TlsCreds *c);
/* False for anonymous credentials, which prove nothing about anybody. */
bool tls_creds_authenticate(const TlsCreds *c);

/*
 * How a session reaches the other side. push takes everything. pull is like recv: a count, 0 at the
 * end, -EAGAIN when nothing is there yet, or another negative errno.
 */
typedef struct {
    void (*push)(void *opaque, const void *buf, size_t len);
    ssize_t (*pull)(void *opaque, void *buf, size_t len);
    void *opaque;
} TlsWire;

typedef struct TlsSession TlsSession;

/*
 * @hostname: what the server's certificate must be for; NULL for servers and without certificates.
 */
TlsSession *tls_session_new(TlsCreds *c, const char *hostname, const TlsWire *wire, GError **err);
void tls_session_free(TlsSession *s);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TlsSession, tls_session_free)

typedef enum { TLS_DONE, TLS_WANT_READ, TLS_FAILED } TlsProgress;

/* One step of the handshake, peer verified at its end; TLS_FAILED with @err. */
TlsProgress tls_session_handshake(TlsSession *s, GError **err);
/*
 * Bytes of the peer, at least one; 0 at an orderly end; -EAGAIN: nothing is there yet; other
 * negative errnos: the session is over (-EPIPE: it was cut without a goodbye).
 */
ssize_t tls_session_read(TlsSession *s, void *buf, size_t len);
/* Pushes @len bytes as records. 0 or a negative errno, then the session is over. */
int tls_session_write(TlsSession *s, const void *buf, size_t len);
/* Pushes the goodbye. */
void tls_session_bye(TlsSession *s);
/* Bytes already decrypted: reading them needs nothing from the wire. */
size_t tls_session_pending(const TlsSession *s);
/*
 * Who the peer is: the distinguished name of its certificate, parts in its order, or its PSK
 * identity; NULL if it did not say. Owned by the session; after the handshake.
 */
const char *tls_session_peer(const TlsSession *s);

/* Why the peer ended the session after the handshake, in words; NULL: it did not say. */
const char *tls_session_problem(const TlsSession *s);

#endif
