/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What module "tls" gives to this room: the functions of crypto/tls.h. Nobody else includes this.
 */
#ifndef CRYPTO_TLS_MODULE_H
#define CRYPTO_TLS_MODULE_H

#include "crypto/tls.h"

typedef enum { TLS_X509, TLS_PSK, TLS_ANON } TlsKind;

/* What an object says; strings are borrowed. */
typedef struct {
    TlsKind kind;
    TlsEndpoint endpoint;
    const char *dir;      /* NULL: no files (the system's authorities, or anonymous) */
    const char *priority; /* NULL: the library's default */
    const char *username; /* PSK clients */
    const char *password; /* of the private key, NULL: none */
    bool verify_peer;     /* x509: who shows no certificate, or a wrong one, is refused */
    bool sanity_check;    /* x509: look at our certificates now, not when a peer refuses them */
} TlsSpec;

typedef struct TlsKeys TlsKeys; /* credentials as the library holds them */

typedef struct {
    TlsKeys *(*keys_new)(const TlsSpec *spec, GError **err);
    void (*keys_free)(TlsKeys *k);
    TlsSession *(*session_new)(TlsKeys *k, const char *hostname, const TlsWire *wire, GError **err);
    void (*session_free)(TlsSession *s);
    TlsProgress (*handshake)(TlsSession *s, GError **err);
    ssize_t (*read)(TlsSession *s, void *buf, size_t len);
    int (*write)(TlsSession *s, const void *buf, size_t len);
    void (*bye)(TlsSession *s);
    size_t (*pending)(const TlsSession *s);
    const char *(*peer)(const TlsSession *s);
    const char *(*problem)(const TlsSession *s);
} TlsModule;

#endif
