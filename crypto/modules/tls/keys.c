/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Credentials from the files of a folder. Their names are those that users of the reference have:
 *
 *     ca-cert.pem ca-crl.pem                      whom we trust, whom no longer
 *     server-cert.pem server-key.pem              who we are
 *     client-cert.pem client-key.pem
 *     dh-params.pem                               parameters of our own for DHE
 *     keys.psk                                    a line USER:HEXKEY each
 */
#include "crypto/modules/tls/tls.h"
#include "util/err.h"
#include <string.h>

/* Takes what a gnutls call returned; false with @err when that is an error. */
static bool check(int r, GError **err, const char *what, const char *path)
{
    if (r >= 0)
        return true;
    return path ? err_set(err, EINVAL, "Cannot %s '%s': %s", what, path, gnutls_strerror(r))
                : err_set(err, EINVAL, "Cannot %s: %s", what, gnutls_strerror(r));
}

/* The path of @name in the folder of @spec, or NULL if it has no such file. Caller frees. */
static char *optional_file(const TlsSpec *spec, const char *name)
{
    char *path = spec->dir ? g_build_filename(spec->dir, name, NULL) : NULL;

    if (path && !g_file_test(path, G_FILE_TEST_EXISTS))
        g_clear_pointer(&path, g_free);
    return path;
}

/* The same for one that must be there; NULL with @err. */
static char *required_file(const TlsSpec *spec, const char *name, GError **err)
{
    char *path = optional_file(spec, name);

    if (!path)
        err_set(err, ENOENT, "There is no file '%s' in folder '%s'", name, spec->dir);
    return path;
}

/* What dh-params.pem holds; @k->dh stays NULL without such a file. */
static bool dh_load(TlsKeys *k, const TlsSpec *spec, GError **err)
{
    g_autofree char *path = optional_file(spec, "dh-params.pem");
    g_autofree char *text = NULL;
    gsize len;
    int r;

    if (!path)
        return true;
    if (!g_file_get_contents(path, &text, &len, err))
        return false;
    r = gnutls_dh_params_init(&k->dh);
    if (r >= 0)
        r = gnutls_dh_params_import_pkcs3(
            k->dh, &(gnutls_datum_t){ .data = (void *)text, .size = len }, GNUTLS_X509_FMT_PEM);
    return check(r, err, "read", path);
}

/* ---- x509 ------------------------------------------------------------------------------------ */

static bool x509_load_dh(TlsKeys *k, const TlsSpec *spec, GError **err)
{
    if (k->endpoint == TLS_CLIENT)
        return true;
    if (!dh_load(k, spec, err))
        return false;
    if (k->dh) {
        gnutls_certificate_set_dh_params(k->x509, k->dh);
        return true;
    }
    return check(gnutls_certificate_set_known_dh_params(k->x509, GNUTLS_SEC_PARAM_MEDIUM), err,
                 "choose parameters for DHE", NULL);
}

static bool x509_load_own(TlsKeys *k, const TlsSpec *spec, const char *cert, const char *key,
                          GError **err)
{
    return check(gnutls_certificate_set_x509_key_file2(k->x509, cert, key, GNUTLS_X509_FMT_PEM,
                                                       spec->password, 0),
                 err, "use certificate and key", cert);
}

static bool x509_load_folder(TlsKeys *k, const TlsSpec *spec, GError **err)
{
    bool server = spec->endpoint == TLS_SERVER;
    g_autofree char *ca = required_file(spec, "ca-cert.pem", err);
    g_autofree char *crl = optional_file(spec, "ca-crl.pem");
    const char *cert_name = server ? "server-cert.pem" : "client-cert.pem";
    const char *key_name = server ? "server-key.pem" : "client-key.pem";
    g_autofree char *cert = NULL, *key = NULL;

    if (!ca)
        return false;
    cert = server ? required_file(spec, cert_name, err) : optional_file(spec, cert_name);
    if (server && !cert)
        return false;
    key = cert ? required_file(spec, key_name, err) : NULL;
    if (cert && !key)
        return false;
    if (spec->sanity_check && !gtls_certificates_are_sane(cert, ca, spec->endpoint, err))
        return false;
    return check(gnutls_certificate_set_x509_trust_file(k->x509, ca, GNUTLS_X509_FMT_PEM), err,
                 "read", ca) &&
           (!crl || check(gnutls_certificate_set_x509_crl_file(k->x509, crl, GNUTLS_X509_FMT_PEM),
                          err, "read", crl)) &&
           (!cert || x509_load_own(k, spec, cert, key, err));
}

static bool x509_load(TlsKeys *k, const TlsSpec *spec, GError **err)
{
    if (!check(gnutls_certificate_allocate_credentials(&k->x509), err, "prepare TLS", NULL))
        return false;
    if (!spec->dir)
        return check(gnutls_certificate_set_x509_system_trust(k->x509), err,
                     "find the certificate authorities of this system", NULL);
    return x509_load_folder(k, spec, err) && x509_load_dh(k, spec, err);
}

/* ---- PSK ------------------------------------------------------------------------------------- */

/* The key that file @path has for @user, wiped by the caller; NULL with @err. */
static char *psk_find(const char *path, const char *user, GError **err)
{
    g_autofree char *text = NULL, *key = NULL;
    size_t user_len = strlen(user);
    gsize len;

    if (!g_file_get_contents(path, &text, &len, err))
        return NULL;
    for (char *line = text; line && !key; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!strncmp(line, user, user_len) && line[user_len] == ':')
            key = g_strndup(line + user_len + 1, strcspn(line + user_len + 1, "\r\n"));
    }
    explicit_bzero(text, len);
    if (!key)
        err_set(err, ENOENT, "File '%s' has no key for user '%s'", path, user);
    return g_steal_pointer(&key);
}

static bool psk_load_client(TlsKeys *k, const TlsSpec *spec, const char *path, GError **err)
{
    g_autofree char *key = psk_find(path, spec->username, err);
    int r;

    if (!key)
        return false;
    r = gnutls_psk_allocate_client_credentials(&k->psk_client);
    if (r >= 0)
        r = gnutls_psk_set_client_credentials(
            k->psk_client, spec->username,
            &(gnutls_datum_t){ .data = (void *)key, .size = strlen(key) }, GNUTLS_PSK_KEY_HEX);
    explicit_bzero(key, strlen(key));
    return check(r, err, "use the key in", path);
}

static bool psk_load_server(TlsKeys *k, const TlsSpec *spec, const char *path, GError **err)
{
    int r = gnutls_psk_allocate_server_credentials(&k->psk_server);

    if (r >= 0)
        r = gnutls_psk_set_server_credentials_file(k->psk_server, path);
    if (!check(r, err, "read", path) || !dh_load(k, spec, err))
        return false;
    if (k->dh)
        gnutls_psk_set_server_dh_params(k->psk_server, k->dh);
    else
        r = gnutls_psk_set_server_known_dh_params(k->psk_server, GNUTLS_SEC_PARAM_MEDIUM);
    return check(r, err, "choose parameters for DHE", NULL);
}

static bool psk_load(TlsKeys *k, const TlsSpec *spec, GError **err)
{
    g_autofree char *path = required_file(spec, "keys.psk", err);

    if (!path)
        return false;
    return spec->endpoint == TLS_SERVER ? psk_load_server(k, spec, path, err)
                                        : psk_load_client(k, spec, path, err);
}

/* ---- anonymous ------------------------------------------------------------------------------- */

static bool anon_load(TlsKeys *k, const TlsSpec *spec, GError **err)
{
    int r;

    if (spec->endpoint == TLS_CLIENT)
        return check(gnutls_anon_allocate_client_credentials(&k->anon_client), err, "prepare TLS",
                     NULL);
    r = gnutls_anon_allocate_server_credentials(&k->anon_server);
    if (!check(r, err, "prepare TLS", NULL) || !dh_load(k, spec, err))
        return false;
    if (k->dh)
        gnutls_anon_set_server_dh_params(k->anon_server, k->dh);
    else
        r = gnutls_anon_set_server_known_dh_params(k->anon_server, GNUTLS_SEC_PARAM_MEDIUM);
    return check(r, err, "choose parameters for DHE", NULL);
}

/* ---- all ------------------------------------------------------------------------------------- */

/*
 * What the library calls normal, but AES, which processors do themselves, before ChaCha20, which
 * costs a multiple; the library puts that before the only AES suite that PSK may use in TLS 1.3.
 * Clients ask in the library's order, so the server's counts.
 */
#define NORMAL_PRIORITY "NORMAL:-CHACHA20-POLY1305:+CHACHA20-POLY1305:%SERVER_PRECEDENCE"

static bool priority_load(TlsKeys *k, const TlsSpec *spec, GError **err)
{
    static const char *const extra[] = {
        [TLS_X509] = "",
        [TLS_PSK] = ":+ECDHE-PSK:+DHE-PSK:+PSK",
        [TLS_ANON] = ":+ANON-ECDH:+ANON-DH",
    };
    g_autofree char *text =
        g_strconcat(spec->priority ? spec->priority : NORMAL_PRIORITY, extra[spec->kind], NULL);
    const char *at;

    if (gnutls_priority_init(&k->priority, text, &at) < 0)
        return err_set(err, EINVAL, "Priority string '%s' is not understood at '%s'", text, at);
    return true;
}

TlsKeys *gtls_keys_new(const TlsSpec *spec, GError **err)
{
    TlsKeys *k = g_new0(TlsKeys, 1);
    bool ok;

    *k = (TlsKeys){
        .kind = spec->kind, .endpoint = spec->endpoint, .verify_peer = spec->verify_peer,
    };
    ok = priority_load(k, spec, err) &&
         (spec->kind == TLS_X509   ? x509_load(k, spec, err)
          : spec->kind == TLS_PSK ? psk_load(k, spec, err)
                                  : anon_load(k, spec, err));
    if (!ok)
        g_clear_pointer(&k, gtls_keys_free);
    return k;
}

/* All of the union are one pointer; NULL when loading failed early. */
static void keys_free_credentials(TlsKeys *k)
{
    bool server = k->endpoint == TLS_SERVER;

    if (!k->x509)
        return;
    if (k->kind == TLS_X509)
        gnutls_certificate_free_credentials(k->x509);
    else if (k->kind == TLS_PSK && server)
        gnutls_psk_free_server_credentials(k->psk_server);
    else if (k->kind == TLS_PSK)
        gnutls_psk_free_client_credentials(k->psk_client);
    else if (server)
        gnutls_anon_free_server_credentials(k->anon_server);
    else
        gnutls_anon_free_client_credentials(k->anon_client);
}

void gtls_keys_free(TlsKeys *k)
{
    keys_free_credentials(k);
    if (k->dh)
        gnutls_dh_params_deinit(k->dh);
    if (k->priority)
        gnutls_priority_deinit(k->priority);
    g_free(k);
}
