/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Looks at certificates when they are loaded, so that a mistake shows on this side and with its
 * reason, not as a refusal on the other. Rules: RFC 5280, sections 4.1.2.5, 4.2.1.3, 4.2.1.9 and
 * 4.2.1.12.
 */
#include "crypto/modules/tls/tls.h"
#include "util/err.h"
#include <gnutls/x509.h>
#include <string.h>
#include <time.h>

/* The certificates of one file. */
typedef struct {
    const char *path;
    gnutls_x509_crt_t *at;
    unsigned count;
} Chain;

static void chain_clear(Chain *c)
{
    for (unsigned i = 0; i < c->count; i++)
        gnutls_x509_crt_deinit(c->at[i]);
    gnutls_free(c->at);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Chain, chain_clear)

static bool chain_load(const char *path, Chain *out, GError **err)
{
    g_autofree char *text = NULL;
    gsize len;
    int r;

    out->path = path;
    if (!g_file_get_contents(path, &text, &len, err))
        return false;
    r = gnutls_x509_crt_list_import2(
        &out->at, &out->count, &(gnutls_datum_t){ .data = (void *)text, .size = len },
        GNUTLS_X509_FMT_PEM, 0);
    if (r < 0)
        return err_set(err, EINVAL, "Cannot read '%s': %s", path, gnutls_strerror(r));
    return true;
}

static bool time_is_right(const char *path, gnutls_x509_crt_t crt, GError **err)
{
    time_t now = time(NULL);

    if (gnutls_x509_crt_get_expiration_time(crt) < now)
        return err_set(err, EINVAL, "The certificate in '%s' has expired", path);
    if (gnutls_x509_crt_get_activation_time(crt) > now)
        return err_set(err, EINVAL, "The certificate in '%s' is not valid yet", path);
    return true;
}

/* A certificate for signing others has the mark of an authority, one for ourselves has not. */
static bool constraints_are_right(const char *path, gnutls_x509_crt_t crt, bool authority,
                                  GError **err)
{
    unsigned critical, is_ca = 0;
    int r = gnutls_x509_crt_get_basic_constraints(crt, &critical, &is_ca, NULL);

    if (r < 0 && r != GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
        return err_set(err, EINVAL, "Cannot read the basic constraints in '%s': %s", path,
                       gnutls_strerror(r));
    if (authority && !is_ca)
        return err_set(err, EINVAL, "The certificate in '%s' is not one of an authority", path);
    if (!authority && is_ca)
        return err_set(err, EINVAL,
                       "The certificate in '%s' is one of an authority; a separate one is needed",
                       path);
    return true;
}

static bool usage_is_right(const char *path, gnutls_x509_crt_t crt, bool authority, GError **err)
{
    unsigned usage, critical;
    unsigned wanted = authority ? GNUTLS_KEY_KEY_CERT_SIGN
                                : GNUTLS_KEY_DIGITAL_SIGNATURE | GNUTLS_KEY_KEY_ENCIPHERMENT;
    int r = gnutls_x509_crt_get_key_usage(crt, &usage, &critical);

    /* Without the extension every use is allowed; what is not critical is a hint. */
    if (r == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE || (r >= 0 && (usage & wanted || !critical)))
        return true;
    return err_set(err, EINVAL, "The key usage of the certificate in '%s' does not permit %s", path,
                   authority ? "signing certificates" : "TLS");
}

/* Extended key usage, if there is any, must name our role. */
static bool purpose_is_right(const char *path, gnutls_x509_crt_t crt, TlsEndpoint endpoint,
                             GError **err)
{
    const char *wanted = endpoint == TLS_SERVER ? GNUTLS_KP_TLS_WWW_SERVER
                                                : GNUTLS_KP_TLS_WWW_CLIENT;

    for (unsigned i = 0;; i++) {
        char oid[128];
        size_t len = sizeof(oid);
        unsigned critical = 0;
        int r = gnutls_x509_crt_get_key_purpose_oid(crt, i, oid, &len, &critical);

        if (r == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
            return i == 0 || err_set(err, EINVAL, "The certificate in '%s' is not for a TLS %s",
                                     path, endpoint == TLS_SERVER ? "server" : "client");
        if (r < 0 && r != GNUTLS_E_SHORT_MEMORY_BUFFER)
            return err_set(err, EINVAL, "Cannot read the key purpose in '%s': %s", path,
                           gnutls_strerror(r));
        if (r >= 0 && (!strcmp(oid, wanted) || !strcmp(oid, GNUTLS_KP_ANY)))
            return true;
    }
}

static bool chain_is_signed(const Chain *own, const Chain *authorities, GError **err)
{
    unsigned status;
    int r = gnutls_x509_crt_list_verify(own->at, own->count, authorities->at, authorities->count,
                                        NULL, 0, 0, &status);

    if (r < 0)
        return err_set(err, EINVAL, "Cannot verify '%s': %s", own->path, gnutls_strerror(r));
    if (status)
        return err_set(err, EINVAL, "The certificate in '%s' is not signed by an authority in '%s'",
                       own->path, authorities->path);
    return true;
}

bool gtls_certificates_are_sane(const char *own_path, const char *authorities_path,
                                TlsEndpoint endpoint, GError **err)
{
    g_auto(Chain) own = { 0 }, authorities = { 0 };

    if (!chain_load(authorities_path, &authorities, err))
        return false;
    for (unsigned i = 0; i < authorities.count; i++)
        if (!time_is_right(authorities_path, authorities.at[i], err) ||
            !constraints_are_right(authorities_path, authorities.at[i], true, err) ||
            !usage_is_right(authorities_path, authorities.at[i], true, err))
            return false;
    if (!own_path)
        return true;
    return chain_load(own_path, &own, err) && time_is_right(own_path, own.at[0], err) &&
           constraints_are_right(own_path, own.at[0], false, err) &&
           usage_is_right(own_path, own.at[0], false, err) &&
           purpose_is_right(own_path, own.at[0], endpoint, err) &&
           chain_is_signed(&own, &authorities, err);
}
