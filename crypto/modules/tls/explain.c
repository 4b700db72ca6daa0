/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Why TLS was refused, in words that say what to do about it. */
#include "crypto/modules/tls/tls.h"
#include <gnutls/x509.h>
#include <string.h>

enum { NAMES_MAX = 8, ANY = -1 };

/* gnutls 3.6 has no names for these; RFC 8446 section 6.2. */
enum { ALERT_CERTIFICATE_REQUIRED = 116, ALERT_UNKNOWN_PSK = 115 };

#define KEY_DIFFERS                                                                                \
    "the user name or the key is wrong: keys.psk of both sides must have the same line for that "  \
    "user"
#define KINDS_DIFFER                                                                               \
    "its credentials are of another kind than ours: both need tls-creds-x509, or both tls-creds-psk"
#define CLIENT_CERTIFICATE_REFUSED                                                                 \
    "it does not accept client-cert.pem: an authority in its ca-cert.pem must have signed that"
#define SERVER_CERTIFICATE_REFUSED                                                                 \
    "it does not accept server-cert.pem: its ca-cert.pem lacks the authority that signed that, "   \
    "or the name that it connected to is not in there"
#define CLIENT_CERTIFICATE_MISSING                                                                 \
    "it demands a certificate: put client-cert.pem and client-key.pem into the folder of our "     \
    "credentials"

/* Alerts of the peer. */
static const struct {
    int alert, kind, endpoint; /* of ours */
    const char *text;
} alerts[] = {
    { GNUTLS_A_ILLEGAL_PARAMETER, TLS_PSK, TLS_CLIENT, KEY_DIFFERS },
    { GNUTLS_A_DECRYPT_ERROR, TLS_PSK, TLS_CLIENT, KEY_DIFFERS },
    { GNUTLS_A_BAD_RECORD_MAC, TLS_PSK, TLS_CLIENT, KEY_DIFFERS },
    { ALERT_UNKNOWN_PSK, TLS_PSK, TLS_CLIENT, KEY_DIFFERS },
    { GNUTLS_A_HANDSHAKE_FAILURE, ANY, ANY, KINDS_DIFFER },
    { ALERT_CERTIFICATE_REQUIRED, TLS_X509, TLS_CLIENT, CLIENT_CERTIFICATE_MISSING },
    { GNUTLS_A_BAD_CERTIFICATE, TLS_X509, TLS_CLIENT, CLIENT_CERTIFICATE_REFUSED },
    { GNUTLS_A_UNKNOWN_CA, TLS_X509, TLS_CLIENT, CLIENT_CERTIFICATE_REFUSED },
    { GNUTLS_A_CERTIFICATE_UNKNOWN, TLS_X509, TLS_CLIENT, CLIENT_CERTIFICATE_REFUSED },
    { GNUTLS_A_CERTIFICATE_EXPIRED, TLS_X509, TLS_CLIENT, "client-cert.pem has expired" },
    { GNUTLS_A_BAD_CERTIFICATE, TLS_X509, TLS_SERVER, SERVER_CERTIFICATE_REFUSED },
    { GNUTLS_A_UNKNOWN_CA, TLS_X509, TLS_SERVER, SERVER_CERTIFICATE_REFUSED },
    { GNUTLS_A_CERTIFICATE_UNKNOWN, TLS_X509, TLS_SERVER, SERVER_CERTIFICATE_REFUSED },
    { GNUTLS_A_CERTIFICATE_EXPIRED, TLS_X509, TLS_SERVER, "server-cert.pem has expired" },
};

/* Errors of our own side of the handshake. */
static const struct {
    int error, kind, endpoint;
    const char *text;
} errors[] = {
    { GNUTLS_E_RECEIVED_ILLEGAL_PARAMETER, TLS_PSK, TLS_SERVER, KEY_DIFFERS },
    { GNUTLS_E_DECRYPTION_FAILED, TLS_PSK, TLS_SERVER, KEY_DIFFERS },
    { GNUTLS_E_INSUFFICIENT_CREDENTIALS, ANY, ANY,
      "the other side wants what we lack: " KINDS_DIFFER },
    { GNUTLS_E_NO_CIPHER_SUITES, ANY, ANY, "nothing is common to both sides: " KINDS_DIFFER },
    { GNUTLS_E_CERTIFICATE_REQUIRED, TLS_X509, TLS_SERVER,
      "the client shows no certificate: it needs client-cert.pem and client-key.pem in the folder "
      "of its credentials" },
    { GNUTLS_E_NO_CERTIFICATE_FOUND, TLS_X509, TLS_SERVER,
      "the client shows no certificate: it needs client-cert.pem and client-key.pem in the folder "
      "of its credentials" },
};

static bool is_for(int wanted, int have)
{
    return wanted == ANY || wanted == have;
}

const char *gtls_explain_alert(TlsKind kind, TlsEndpoint endpoint, int alert)
{
    for (size_t i = 0; i < G_N_ELEMENTS(alerts); i++)
        if (alerts[i].alert == alert && is_for(alerts[i].kind, kind) &&
            is_for(alerts[i].endpoint, endpoint))
            return alerts[i].text;
    return gnutls_alert_get_name(alert);
}

const char *gtls_explain_error(TlsKind kind, TlsEndpoint endpoint, int error)
{
    for (size_t i = 0; i < G_N_ELEMENTS(errors); i++)
        if (errors[i].error == error && is_for(errors[i].kind, kind) &&
            is_for(errors[i].endpoint, endpoint))
            return errors[i].text;
    return gnutls_strerror(error);
}

/* The names that @crt is for, as "'a', 'b'"; empty: none. They come from the network. */
static GString *certificate_names(gnutls_x509_crt_t crt)
{
    GString *out = g_string_new("");

    for (unsigned i = 0; i < NAMES_MAX; i++) {
        char name[256];
        size_t len = sizeof(name) - 1;
        int type = gnutls_x509_crt_get_subject_alt_name(crt, i, name, &len, NULL);
        g_autofree char *shown = NULL;

        if (type < 0)
            break;
        if (type != GNUTLS_SAN_DNSNAME)
            continue;
        name[len] = 0;
        shown = g_strescape(name, NULL);
        g_string_append_printf(out, "%s'%s'", out->len ? ", " : "", shown);
    }
    return out;
}

char *gtls_explain_name(gnutls_session_t session, const char *hostname)
{
    unsigned count;
    const gnutls_datum_t *list = gnutls_certificate_get_peers(session, &count);
    g_autoptr(GString) names = NULL;
    gnutls_x509_crt_t crt;

    if (!list || !count || gnutls_x509_crt_init(&crt) < 0)
        return g_strdup_printf("it is not for '%s'", hostname);
    if (gnutls_x509_crt_import(crt, &list[0], GNUTLS_X509_FMT_DER) >= 0)
        names = certificate_names(crt);
    gnutls_x509_crt_deinit(crt);
    if (!names || !names->len)
        return g_strdup_printf("it is not for '%s'", hostname);
    return g_strdup_printf(
        "it is for %s, not for '%s'; if that is the server meant, give one of its "
        "names with tls-hostname",
        names->str, hostname);
}
