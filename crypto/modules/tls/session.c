/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sessions: handshake with the peer verified inside of it, records, goodbye. */
#include "crypto/modules/tls/tls.h"
#include "util/err.h"
#include "util/module.h"
#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/x509.h>
#include <string.h>

struct TlsSession {
    gnutls_session_t session;
    TlsEndpoint endpoint;
    TlsKind kind;
    TlsWire wire;
    char *hostname;
    char *peer;
    char *refusal; /* why the peer's certificate was not accepted */
    const char *problem; /* why the peer ended the session after the handshake; NULL: it did not */
};

extern const TlsModule ferry_module_tls;

/* ---- the wire -------------------------------------------------------------------------------- */

static ssize_t wire_push(gnutls_transport_ptr_t opaque, const void *buf, size_t len)
{
    const TlsSession *s = opaque;

    s->wire.push(s->wire.opaque, buf, len);
    return len;
}

static ssize_t wire_pull(gnutls_transport_ptr_t opaque, void *buf, size_t len)
{
    const TlsSession *s = opaque;
    ssize_t n = s->wire.pull(s->wire.opaque, buf, len);

    if (n >= 0)
        return n;
    gnutls_transport_set_errno(s->session, -n);
    return -1;
}

/* Nothing here has a time limit of gnutls's: a pull that finds nothing says so. */
static int wire_pull_timeout(gnutls_transport_ptr_t opaque, unsigned ms)
{
    return 1;
}

/* ---- the peer -------------------------------------------------------------------------------- */

/* Called within the handshake; anything but 0 ends it, and tells the peer. */
static int verify_peer(gnutls_session_t session)
{
    TlsSession *s = gnutls_session_get_ptr(session);
    const char *purpose =
        s->endpoint == TLS_CLIENT ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT;
    gnutls_typed_vdata_st facts[] = {
        { .type = GNUTLS_DT_KEY_PURPOSE_OID, .data = (void *)purpose },
        { .type = GNUTLS_DT_DNS_HOSTNAME, .data = (void *)s->hostname },
    };
    gnutls_datum_t text = { 0 };
    unsigned status;
    int r = gnutls_certificate_verify_peers(session, facts, s->hostname ? 2 : 1, &status);

    g_clear_pointer(&s->refusal, g_free);
    if (r < 0) {
        s->refusal = g_strdup(gnutls_strerror(r));
        return GNUTLS_E_CERTIFICATE_ERROR;
    }
    if (!status)
        return 0;
    if (s->hostname && status == (GNUTLS_CERT_INVALID | GNUTLS_CERT_UNEXPECTED_OWNER)) {
        s->refusal = gtls_explain_name(session, s->hostname);
        return GNUTLS_E_CERTIFICATE_ERROR;
    }
    if (status & GNUTLS_CERT_SIGNER_NOT_FOUND) {
        s->refusal = g_strdup("no authority in ca-cert.pem of our credentials has signed it");
        return GNUTLS_E_CERTIFICATE_ERROR;
    }
    gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0);
    s->refusal = g_strstrip(g_strdup(text.data ? (const char *)text.data : "it is not valid"));
    gnutls_free(text.data);
    return GNUTLS_E_CERTIFICATE_ERROR;
}

/* The distinguished name of the peer's certificate; NULL: it showed none. Caller frees. */
static char *peer_dn(gnutls_session_t session)
{
    unsigned count;
    const gnutls_datum_t *list = gnutls_certificate_get_peers(session, &count);
    gnutls_x509_crt_t crt;
    gnutls_datum_t dn = { 0 };
    char *name = NULL;

    if (!list || !count || gnutls_x509_crt_init(&crt) < 0)
        return NULL;
    if (gnutls_x509_crt_import(crt, &list[0], GNUTLS_X509_FMT_DER) >= 0 &&
        gnutls_x509_crt_get_dn2(crt, &dn) >= 0)
        name = g_strdup((const char *)dn.data);
    gnutls_free(dn.data);
    gnutls_x509_crt_deinit(crt);
    return name;
}

static char *peer_find(TlsSession *s)
{
    if (s->kind == TLS_X509)
        return peer_dn(s->session);
    if (s->kind == TLS_PSK && s->endpoint == TLS_SERVER)
        return g_strdup(gnutls_psk_server_get_username(s->session));
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

static bool is_address(const char *hostname)
{
    uint8_t room[16];

    return inet_pton(AF_INET, hostname, room) == 1 || inet_pton(AF_INET6, hostname, room) == 1;
}

static int session_use_keys(TlsSession *s, TlsKeys *k)
{
    static const int types[] = {
        [TLS_X509] = GNUTLS_CRD_CERTIFICATE,
        [TLS_PSK] = GNUTLS_CRD_PSK,
        [TLS_ANON] = GNUTLS_CRD_ANON,
    };
    bool client = s->endpoint == TLS_CLIENT;
    int r = gnutls_priority_set(s->session, k->priority);

    if (r >= 0)
        r = gnutls_credentials_set(s->session, types[k->kind], k->x509);
    if (r < 0 || k->kind != TLS_X509)
        return r;
    if (k->verify_peer)
        gnutls_session_set_verify_function(s->session, verify_peer);
    if (!client)
        gnutls_certificate_server_set_request(s->session, k->verify_peer ? GNUTLS_CERT_REQUIRE
                                                                         : GNUTLS_CERT_IGNORE);
    if (client && s->hostname && !is_address(s->hostname))
        r = gnutls_server_name_set(s->session, GNUTLS_NAME_DNS, s->hostname, strlen(s->hostname));
    return r;
}

TlsSession *gtls_session_new(TlsKeys *k, const char *hostname, const TlsWire *wire, GError **err)
{
    g_autoptr(TlsSession) s = g_new0(TlsSession, 1);
    int r;

    *s = (TlsSession){
        .endpoint = k->endpoint, .kind = k->kind, .wire = *wire, .hostname = g_strdup(hostname),
    };
    r = gnutls_init(&s->session, (k->endpoint == TLS_SERVER ? GNUTLS_SERVER : GNUTLS_CLIENT) |
                                     GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS);
    if (r >= 0) {
        gnutls_session_set_ptr(s->session, s);
        r = session_use_keys(s, k);
    }
    if (r < 0) {
        err_set(err, EINVAL, "Cannot begin a session: %s", gnutls_strerror(r));
        return NULL;
    }
    gnutls_transport_set_ptr(s->session, s);
    gnutls_transport_set_push_function(s->session, wire_push);
    gnutls_transport_set_pull_function(s->session, wire_pull);
    gnutls_transport_set_pull_timeout_function(s->session, wire_pull_timeout);
    return g_steal_pointer(&s);
}

void gtls_session_free(TlsSession *s)
{
    if (s->session)
        gnutls_deinit(s->session);
    g_free(s->hostname);
    g_free(s->peer);
    g_free(s->refusal);
    g_free(s);
}

/* ---- talking --------------------------------------------------------------------------------- */

static void handshake_explain(TlsSession *s, int r, GError **err)
{
    if (s->refusal)
        err_set(err, EACCES, "The certificate of the %s is not accepted: %s",
                s->endpoint == TLS_CLIENT ? "server" : "client", s->refusal);
    else if (r == GNUTLS_E_FATAL_ALERT_RECEIVED)
        err_set(err, EACCES, "The other side refused: %s",
                gtls_explain_alert(s->kind, s->endpoint, gnutls_alert_get(s->session)));
    else if (r == GNUTLS_E_PREMATURE_TERMINATION)
        err_set(err, EPIPE, "The other side hung up in the handshake");
    else
        err_set(err, EPROTO, "The handshake failed: %s",
                gtls_explain_error(s->kind, s->endpoint, r));
}

TlsProgress gtls_session_handshake(TlsSession *s, GError **err)
{
    int r;

    do {
        r = gnutls_handshake(s->session);
    } while (r < 0 && r != GNUTLS_E_AGAIN && !gnutls_error_is_fatal(r));
    if (r == GNUTLS_E_AGAIN)
        return TLS_WANT_READ;
    if (r < 0) {
        /* Whoever is refused learns why; certificate refusals were told by the library already. */
        gnutls_alert_send_appropriate(s->session, r);
        handshake_explain(s, r, err);
        return TLS_FAILED;
    }
    s->peer = peer_find(s);
    return TLS_DONE;
}

static ssize_t error_of(ssize_t r)
{
    switch (r) {
    case GNUTLS_E_AGAIN:
        return -EAGAIN;
    case GNUTLS_E_PREMATURE_TERMINATION:
        return -EPIPE;
    default:
        return -EIO;
    }
}

ssize_t gtls_session_read(TlsSession *s, void *buf, size_t len)
{
    ssize_t n;

    /* A warning, or a wish to shake hands again, which is ignored as RFC 5246 lets us. */
    do {
        n = gnutls_record_recv(s->session, buf, len);
    } while (n < 0 && n != GNUTLS_E_AGAIN && !gnutls_error_is_fatal(n));
    if (n == GNUTLS_E_FATAL_ALERT_RECEIVED)
        s->problem = gtls_explain_alert(s->kind, s->endpoint, gnutls_alert_get(s->session));
    return n < 0 ? error_of(n) : n;
}

int gtls_session_write(TlsSession *s, const void *buf, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = gnutls_record_send(s->session, (const uint8_t *)buf + done, len - done);

        if (n < 0 && gnutls_error_is_fatal(n))
            return error_of(n);
        done += MAX(n, 0);
    }
    return 0;
}

void gtls_session_bye(TlsSession *s)
{
    gnutls_bye(s->session, GNUTLS_SHUT_WR);
}

size_t gtls_session_pending(const TlsSession *s)
{
    return gnutls_record_check_pending(s->session);
}

const char *gtls_session_peer(const TlsSession *s)
{
    return s->peer;
}

const char *gtls_session_problem(const TlsSession *s)
{
    return s->problem;
}

MODULE_EXPORT const TlsModule ferry_module_tls = {
    .keys_new = gtls_keys_new,
    .keys_free = gtls_keys_free,
    .session_new = gtls_session_new,
    .session_free = gtls_session_free,
    .handshake = gtls_session_handshake,
    .read = gtls_session_read,
    .write = gtls_session_write,
    .bye = gtls_session_bye,
    .pending = gtls_session_pending,
    .peer = gtls_session_peer,
    .problem = gtls_session_problem,
};
