/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Module "tls", its files among each other. */
#ifndef CRYPTO_MODULES_TLS_TLS_H
#define CRYPTO_MODULES_TLS_TLS_H

#include "crypto/tls-module.h"
#include <gnutls/gnutls.h>

struct TlsKeys {
    TlsKind kind;
    TlsEndpoint endpoint;
    bool verify_peer;
    gnutls_priority_t priority;
    gnutls_dh_params_t dh; /* of a file; NULL: well-known ones */
    union {
        gnutls_certificate_credentials_t x509;
        gnutls_psk_server_credentials_t psk_server;
        gnutls_psk_client_credentials_t psk_client;
        gnutls_anon_server_credentials_t anon_server;
        gnutls_anon_client_credentials_t anon_client;
    };
};

/* keys.c */
TlsKeys *gtls_keys_new(const TlsSpec *spec, GError **err);
void gtls_keys_free(TlsKeys *k);

/*
 * sanity.c: the certificates in files @own (NULL: none) and @authorities are such that a peer can
 * accept them: valid today, made for @endpoint, signed by those authorities.
 */
bool gtls_certificates_are_sane(const char *own, const char *authorities, TlsEndpoint endpoint,
                           GError **err);

/* explain.c: an alert of the peer, or an error of ours, in words; we are @endpoint. */
const char *gtls_explain_alert(TlsKind kind, TlsEndpoint endpoint, int alert);
const char *gtls_explain_error(TlsKind kind, TlsEndpoint endpoint, int error);
/* Whom the peer's certificate is for, which is not @hostname. Caller frees. */
char *gtls_explain_name(gnutls_session_t session, const char *hostname);

/* session.c */
TlsSession *gtls_session_new(TlsKeys *k, const char *hostname, const TlsWire *wire, GError **err);
void gtls_session_free(TlsSession *s);
TlsProgress gtls_session_handshake(TlsSession *s, GError **err);
ssize_t gtls_session_read(TlsSession *s, void *buf, size_t len);
int gtls_session_write(TlsSession *s, const void *buf, size_t len);
void gtls_session_bye(TlsSession *s);
size_t gtls_session_pending(const TlsSession *s);
const char *gtls_session_peer(const TlsSession *s);
const char *gtls_session_problem(const TlsSession *s);

#endif
