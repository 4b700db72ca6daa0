/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TLS: the objects that hold credentials, and the way to the module that speaks it. */
#include "crypto/tls.h"
#include "crypto/secret.h"
#include "crypto/tls-module.h"
#include "util/err.h"
#include "util/module.h"
#include "qapi/object.h"
#include <string.h>

struct TlsCreds {
    unsigned refs;
    TlsKind kind;
    TlsEndpoint endpoint;
    bool verify_peer;
    TlsKeys *keys;
};

/* State of the three classes. */
typedef struct {
    TlsCreds *creds;
} TlsObject;

/* set with the first credentials; without them there is no session */
static const TlsModule *module;

extern const ObjectClass object_tls_creds_anon, object_tls_creds_psk, object_tls_creds_x509;

/* ---- credentials ----------------------------------------------------------------------------- */

static TlsCreds *creds_new(const TlsSpec *spec, GError **err)
{
    TlsKeys *keys;
    TlsCreds *c;

    if (!module)
        module = module_load("tls", err);
    keys = module ? module->keys_new(spec, err) : NULL;
    if (!keys)
        return NULL;
    c = g_new0(TlsCreds, 1);
    *c = (TlsCreds){
        .refs = 1,
        .kind = spec->kind,
        .endpoint = spec->endpoint,
        .verify_peer = spec->verify_peer,
        .keys = keys,
    };
    return c;
}

TlsCreds *tls_creds_ref(TlsCreds *c)
{
    c->refs++;
    return c;
}

void tls_creds_unref(TlsCreds *c)
{
    if (!c || --c->refs)
        return;
    module->keys_free(c->keys);
    g_free(c);
}

TlsCreds *tls_creds_of_system(GError **err)
{
    return creds_new(
        &(TlsSpec){ .kind = TLS_X509, .endpoint = TLS_CLIENT, .verify_peer = true }, err);
}

TlsCreds *tls_creds_find(const char *id, TlsEndpoint endpoint, GError **err)
{
    static const ObjectClass *const classes[] = {
        &object_tls_creds_anon, &object_tls_creds_psk, &object_tls_creds_x509, NULL,
    };
    const TlsObject *o = object_find_any(id, classes, "set of TLS credentials", NULL, err);

    if (!o)
        return NULL;
    if (o->creds->endpoint != endpoint) {
        err_set(err, EINVAL, "TLS credentials '%s' are for a %s: add endpoint=%s to use them here",
                id, endpoint == TLS_SERVER ? "client" : "server",
                endpoint == TLS_SERVER ? "server" : "client");
        return NULL;
    }
    return tls_creds_ref(o->creds);
}

bool tls_creds_need_hostname(const TlsCreds *c)
{
    return c->kind == TLS_X509 && c->endpoint == TLS_CLIENT && c->verify_peer;
}

bool tls_creds_authenticate(const TlsCreds *c)
{
    return c->kind != TLS_ANON;
}

/* ---- sessions -------------------------------------------------------------------------------- */

TlsSession *tls_session_new(TlsCreds *c, const char *hostname, const TlsWire *wire, GError **err)
{
    if (tls_creds_need_hostname(c) && !hostname) {
        err_set(err, EINVAL, "The name of the server is not known: give it with tls-hostname");
        return NULL;
    }
    return module->session_new(c->keys, hostname, wire, err);
}

void tls_session_free(TlsSession *s)
{
    if (s)
        module->session_free(s);
}

TlsProgress tls_session_handshake(TlsSession *s, GError **err)
{
    return module->handshake(s, err);
}

ssize_t tls_session_read(TlsSession *s, void *buf, size_t len)
{
    return module->read(s, buf, len);
}

int tls_session_write(TlsSession *s, const void *buf, size_t len)
{
    return module->write(s, buf, len);
}

void tls_session_bye(TlsSession *s)
{
    module->bye(s);
}

size_t tls_session_pending(const TlsSession *s)
{
    return module->pending(s);
}

const char *tls_session_peer(const TlsSession *s)
{
    return module->peer(s);
}

const char *tls_session_problem(const TlsSession *s)
{
    return module->problem(s);
}

/* ---- objects --------------------------------------------------------------------------------- */

static bool endpoint_parse(const json_t *props, TlsEndpoint *out, GError **err)
{
    const char *text = json_get_str(props, "endpoint", "client");

    if (strcmp(text, "client") && strcmp(text, "server"))
        return err_set(err, EINVAL, "Property 'endpoint' must be client or server, not '%s'", text);
    *out = strcmp(text, "server") ? TLS_CLIENT : TLS_SERVER;
    return true;
}

static bool object_create(void *state, TlsKind kind, json_t *props, GError **err)
{
    TlsObject *o = state;
    const char *password_id = json_get_str(props, "passwordid", NULL);
    g_auto(SecretBytes) password = { 0 };
    TlsSpec spec = {
        .kind = kind,
        .dir = json_get_str(props, "dir", NULL),
        .priority = json_get_str(props, "priority", NULL),
        .username = json_get_str(props, "username", "qemu"),
        .verify_peer = json_get_bool(props, "verify-peer", true),
        .sanity_check = json_get_bool(props, "sanity-check", true),
    };

    if (!endpoint_parse(props, &spec.endpoint, err))
        return false;
    if (!spec.dir && kind != TLS_ANON)
        return err_set(err, EINVAL, "Property 'dir', the folder with the keys, is missing");
    if (password_id && !secret_get_utf8(password_id, &password, err))
        return false;
    spec.password = (const char *)password.data;
    o->creds = creds_new(&spec, err);
    return o->creds;
}

static bool x509_create(void *state, const char *id, json_t *props, GError **err)
{
    return object_create(state, TLS_X509, props, err);
}

static bool psk_create(void *state, const char *id, json_t *props, GError **err)
{
    return object_create(state, TLS_PSK, props, err);
}

static bool anon_create(void *state, const char *id, json_t *props, GError **err)
{
    return object_create(state, TLS_ANON, props, err);
}

static void creds_destroy(void *state)
{
    TlsObject *o = state;

    tls_creds_unref(o->creds);
}

#define DEFAULTS "'verify-peer': true, 'endpoint': 'client'"

const ObjectClass object_tls_creds_x509 = {
    .name = "tls-creds-x509",
    .state_size = sizeof(TlsObject),
    .props = "TlsCredsX509Properties",
    .defaults = "{" DEFAULTS ", 'sanity-check': true}",
    .create = x509_create,
    .destroy = creds_destroy,
};

const ObjectClass object_tls_creds_psk = {
    .name = "tls-creds-psk",
    .state_size = sizeof(TlsObject),
    .props = "TlsCredsPskProperties",
    .defaults = "{" DEFAULTS "}",
    .create = psk_create,
    .destroy = creds_destroy,
};

const ObjectClass object_tls_creds_anon = {
    .name = "tls-creds-anon",
    .state_size = sizeof(TlsObject),
    .props = "TlsCredsAnonProperties",
    .defaults = "{" DEFAULTS "}",
    .create = anon_create,
    .destroy = creds_destroy,
};
