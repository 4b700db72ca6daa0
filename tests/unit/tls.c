/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS over channels: who is let in and who is not, transfers of both directions at once, ends, and
 * what came before the handshake.
 */
#include "crypto/authz.h"
#include "crypto/tls.h"
#include "io/channel.h"
#include "io/co-lock.h"
#include "io/detached-call.h"
#include "tests/lib/harness.h"
#include "qapi/object.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { BIG = 3 * 1000 * 1000 + 7 };

/* ---- credentials ----------------------------------------------------------------------------- */

static void G_GNUC_PRINTF(2, 3) write_file(const char *path, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

/* A folder of the test's for the credentials of one side. Caller frees. */
static char *folder(const char *name)
{
    char *dir = test_path(name);

    g_assert_cmpint(g_mkdir_with_parents(dir, 0700), ==, 0);
    return dir;
}

static void G_GNUC_PRINTF(1, 2) object(const char *fmt, ...)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    object_add_text(text, &err);
    g_assert_no_error(err);
}

static void psk_keys(const char *name, const char *line)
{
    g_autofree char *dir = folder(name);
    g_autofree char *path = g_build_filename(dir, "keys.psk", NULL);

    write_file(path, "other:00112233\n%s\n", line);
}

static void psk_objects(const char *server_key, const char *client_key)
{
    g_autofree char *s = folder("psk-s"), *c = folder("psk-c");

    psk_keys("psk-s", server_key);
    psk_keys("psk-c", client_key);
    object("tls-creds-psk,id=s,endpoint=server,dir=%s", s);
    object("tls-creds-psk,id=c,username=me,dir=%s", c);
}

/* ---- two sides ------------------------------------------------------------------------------- */

typedef struct {
    Channel *c;
    const char *id, *hostname;
    TlsEndpoint endpoint;
    GError *err;
} Side;

typedef struct {
    Side server, client;
} Pair;

static Pair pair_new(const char *hostname)
{
    int s[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), ==, 0);
    return (Pair){
        .server = { channel_new_socket(s[0]), "s", NULL, TLS_SERVER },
        .client = { channel_new_socket(s[1]), "c", hostname, TLS_CLIENT },
    };
}

static void side_start(void *arg)
{
    Side *s = arg;
    g_autoptr(TlsCreds) creds = tls_creds_find(s->id, s->endpoint, &s->err);

    g_assert_no_error(s->err);
    channel_set_deadline(s->c, clock_now_ns() + 20 * 1000000000LL);
    if (!channel_start_tls(s->c, creds, s->hostname, &s->err))
        channel_shutdown(s->c);
}

static void pair_start(Pair *p)
{
    CoGroup g = {};

    co_group_start(&g, side_start, &p->server);
    co_group_start(&g, side_start, &p->client);
    co_group_wait(&g);
}

static void pair_clear(Pair *p)
{
    channel_free(p->server.c);
    channel_free(p->client.c);
    g_clear_error(&p->server.err);
    g_clear_error(&p->client.err);
}

static void pair_expect_success(Pair *p)
{
    char word[5];

    pair_start(p);
    g_assert_no_error(p->client.err);
    g_assert_no_error(p->server.err);
    g_assert_cmpint(channel_write_all(p->client.c, "ping", 5), ==, 0);
    g_assert_cmpint(channel_read_all(p->server.c, word, 5), ==, 0);
    g_assert_cmpmem(word, 5, "ping", 5);
}

/* Nobody gets data through who should not. */
static void pair_expect_refusal(Pair *p)
{
    char byte;

    pair_start(p);
    if (!p->client.err && !p->server.err)
        g_assert_cmpint(channel_read(p->client.c, &byte, 1), <, 0);
    g_assert_true(p->client.err || p->server.err);
}

/* ---- PSK, anonymous -------------------------------------------------------------------------- */

static void test_psk_tells_who_it_is(void)
{
    Pair p = pair_new(NULL);

    psk_objects("me:0123456789abcdef", "me:0123456789abcdef");
    pair_expect_success(&p);
    g_assert_cmpstr(channel_tls_peer(p.server.c), ==, "me");
    g_assert_true(channel_is_tls(p.client.c));
    pair_clear(&p);
}

static void test_psk_wrong_key(void)
{
    Pair p = pair_new(NULL);

    psk_objects("me:0123456789abcdef", "me:0123456789abcdee");
    pair_expect_refusal(&p);
    pair_clear(&p);
}

static void test_psk_unknown_user(void)
{
    Pair p = pair_new(NULL);

    psk_objects("you:0123456789abcdef", "me:0123456789abcdef");
    pair_expect_refusal(&p);
    pair_clear(&p);
}

static void test_psk_file_without_the_user(void)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *dir = folder("psk"), *text = NULL;

    psk_keys("psk", "you:00");
    text = g_strdup_printf("tls-creds-psk,id=c,username=me,dir=%s", dir);
    g_assert_false(object_add_text(text, &err));
    g_assert_cmpint(err->code, ==, ENOENT);
}

static void test_anonymous(void)
{
    Pair p = pair_new(NULL);
    g_autoptr(TlsCreds) creds = NULL;

    object("tls-creds-anon,id=s,endpoint=server");
    object("tls-creds-anon,id=c");
    pair_expect_success(&p);
    g_assert_null(channel_tls_peer(p.server.c));
    creds = tls_creds_find("s", TLS_SERVER, NULL);
    g_assert_false(tls_creds_authenticate(creds));
    pair_clear(&p);
}

static void test_endpoint_must_fit(void)
{
    g_autoptr(GError) err = NULL;

    object("tls-creds-anon,id=s,endpoint=server");
    g_assert_null(tls_creds_find("s", TLS_CLIENT, &err));
    g_assert_cmpint(err->code, ==, EINVAL);
}

/* ---- transfers and ends ---------------------------------------------------------------------- */

static uint8_t byte_at(size_t i)
{
    return i * 31 + i / 251;
}

static void send_big(void *arg)
{
    Channel *c = arg;
    g_autofree uint8_t *data = g_malloc(BIG);
    struct iovec iov[3] = { { data, 16 }, { data + 16, 5000 }, { data + 5016, BIG - 5016 } };

    for (size_t i = 0; i < BIG; i++)
        data[i] = byte_at(i);
    g_assert_cmpint(channel_writev_all(c, iov, 3), ==, 0);
}

static void receive_big(void *arg)
{
    Channel *c = arg;
    g_autofree uint8_t *data = g_malloc(BIG);

    /* Small reads leave decrypted and undecrypted bytes behind. */
    g_assert_cmpint(channel_read_all(c, data, 10), ==, 0);
    co_sleep(1000000);
    g_assert_cmpint(channel_read_all(c, data + 10, BIG - 10), ==, 0);
    for (size_t i = 0; i < BIG; i++)
        g_assert_true(data[i] == byte_at(i));
}

static void test_both_directions_at_once(void)
{
    Pair p = pair_new(NULL);
    CoGroup g = {};

    psk_objects("me:0123456789abcdef", "me:0123456789abcdef");
    pair_expect_success(&p);
    co_group_start(&g, send_big, p.server.c);
    co_group_start(&g, send_big, p.client.c);
    co_group_start(&g, receive_big, p.server.c);
    co_group_start(&g, receive_big, p.client.c);
    co_group_wait(&g);
    pair_clear(&p);
}

/* A goodbye is the end; a connection that is cut is an error. */
static void test_ends(void)
{
    Pair p = pair_new(NULL), q = pair_new(NULL);
    char byte;

    psk_objects("me:0123456789abcdef", "me:0123456789abcdef");
    pair_expect_success(&p);
    channel_free(p.client.c);
    p.client.c = NULL;
    g_assert_cmpint(channel_read(p.server.c, &byte, 1), ==, 0);
    pair_clear(&p);

    pair_expect_success(&q);
    shutdown(channel_fd(q.client.c), SHUT_RDWR);
    g_assert_cmpint(channel_read(q.server.c, &byte, 1), ==, -EPIPE);
    pair_clear(&q);
}

/* Bytes sent in clear before TLS are never read as if they had come through it. */
static void test_clear_text_is_not_taken_for_data(void)
{
    Pair p = pair_new(NULL);

    psk_objects("me:0123456789abcdef", "me:0123456789abcdef");
    g_assert_cmpint(channel_write_all(p.client.c, "IHAVEOPT", 8), ==, 0);
    pair_start(&p);
    g_assert_nonnull(p.server.err);
    pair_clear(&p);
}

static void test_silent_peer_ends_at_the_deadline(void)
{
    Pair p = pair_new(NULL);
    g_autoptr(TlsCreds) creds = NULL;
    g_autoptr(GError) err = NULL;

    psk_objects("me:0123456789abcdef", "me:0123456789abcdef");
    creds = tls_creds_find("s", TLS_SERVER, NULL);
    channel_set_deadline(p.server.c, clock_now_ns() + 20 * 1000000);
    g_assert_false(channel_start_tls(p.server.c, creds, NULL, &err));
    g_assert_cmpint(err->code, ==, ETIMEDOUT);
    pair_clear(&p);
}

/* ---- certificates ---------------------------------------------------------------------------- */


/* Runs a shell command in the test's folder; false if it fails. */
static bool G_GNUC_PRINTF(1, 2) shell(const char *fmt, ...)
{
    g_autofree char *command = NULL, *line = NULL;
    va_list ap;
    int status;

    va_start(ap, fmt);
    command = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    line = g_strdup_printf("cd '%s' && (%s) >>log 2>&1", test_dir(), command);
    status = system(line);
    return status == 0;
}

static void need_certtool(void)
{
    if (!shell("certtool --version"))
        test_skip("certtool is not installed");
}

static void authority(const char *name)
{
    g_assert_true(shell("printf 'cn=%s\\nca\\ncert_signing_key\\ncrl_signing_key\\n"
                        "expiration_days=30\\n' >%s.tmpl && "
                        "certtool --generate-privkey --key-type ecdsa --outfile %s-key.pem && "
                        "certtool --generate-self-signed --load-privkey %s-key.pem "
                        "--template %s.tmpl --outfile %s-cert.pem",
                        name, name, name, name, name, name));
}

/* A certificate @name, signed by authority @signer, with @lines in its template. */
static void certificate(const char *name, const char *signer, const char *lines)
{
    g_assert_true(shell("printf 'signing_key\\n%s' >%s.tmpl && "
                        "certtool --generate-privkey --key-type ecdsa --outfile %s-key.pem && "
                        "certtool --generate-certificate --load-privkey %s-key.pem "
                        "--load-ca-certificate %s-cert.pem --load-ca-privkey %s-key.pem "
                        "--template %s.tmpl --outfile %s-cert.pem",
                        lines, name, name, name, signer, signer, name, name));
}

/* The folder of one side: what it is, whom it trusts. Caller frees. */
static char *side_folder(TlsEndpoint endpoint, const char *own, const char *trusted)
{
    const char *role = endpoint == TLS_SERVER ? "server" : "client";

    g_assert_true(shell("mkdir -p %s && cp %s-cert.pem %s/ca-cert.pem", role, trusted, role));
    if (own)
        g_assert_true(shell("cp %s-cert.pem %s/%s-cert.pem && cp %s-key.pem %s/%s-key.pem", own,
                            role, role, own, role, role));
    return folder(role);
}

#define VALID "expiration_days=30\\n"
#define SERVER VALID "tls_www_server\\ndns_name=disk.example.org\\nip_address=192.0.2.1\\n"
#define CLIENT VALID "tls_www_client\\n"

typedef struct {
    const char *server, *client;              /* templates; NULL client: none */
    const char *server_signer, *client_signer; /* NULL: ca */
    const char *hostname;
    const char *server_props, *client_props;
    bool sane; /* loading looks at the certificates */
    bool ok;
} X509Case;

/* Makes everything of @c and shakes hands; objects "s" and "c" are deleted again. */
static void x509_run(const X509Case *c)
{
    Pair p = pair_new(c->hostname);
    g_autofree char *s_dir = NULL, *c_dir = NULL;
    const char *sane = c->sane ? "on" : "off";

    certificate("srv", c->server_signer ?: "ca", c->server);
    if (c->client)
        certificate("cli", c->client_signer ?: "ca", c->client);
    s_dir = side_folder(TLS_SERVER, "srv", "ca");
    c_dir = side_folder(TLS_CLIENT, c->client ? "cli" : NULL, "ca");
    object("tls-creds-x509,id=s,endpoint=server,sanity-check=%s,dir=%s%s", sane, s_dir,
           c->server_props ?: "");
    object("tls-creds-x509,id=c,sanity-check=%s,dir=%s%s", sane, c_dir, c->client_props ?: "");
    if (c->ok)
        pair_expect_success(&p);
    else
        pair_expect_refusal(&p);
    pair_clear(&p);
    object_delete_all();
    g_assert_true(shell("rm -rf client server"));
}

/* The name that authorisation is asked about has its parts in the order of the certificate. */
static void test_x509_tells_who_it_is(void)
{
    g_autofree char *s_dir = NULL, *c_dir = NULL;
    Pair p = pair_new("disk.example.org");

    need_certtool();
    authority("ca");
    certificate("srv", "ca", SERVER);
    certificate("cli", "ca",
                CLIENT "country=GB\\nstate=London\\norganization=\"Ex, Org\"\\ncn=Joe\\n");
    s_dir = side_folder(TLS_SERVER, "srv", "ca");
    c_dir = side_folder(TLS_CLIENT, "cli", "ca");
    object("tls-creds-x509,id=s,endpoint=server,dir=%s", s_dir);
    object("tls-creds-x509,id=c,dir=%s", c_dir);
    pair_expect_success(&p);
    g_assert_cmpstr(channel_tls_peer(p.server.c), ==, "C=GB,ST=London,O=Ex\\, Org,CN=Joe");
    pair_clear(&p);
}

static void test_x509_accepted(void)
{
    static const X509Case cases[] = {
        { SERVER, CLIENT "cn=Joe\\n", .hostname = "disk.example.org", .sane = true, .ok = true },
        { SERVER, CLIENT, .hostname = "192.0.2.1", .ok = true },
        { SERVER, NULL, .hostname = "disk.example.org", .server_props = ",verify-peer=off",
          .ok = true },
        { SERVER, CLIENT, .hostname = NULL, .client_props = ",verify-peer=off", .ok = true },
        { VALID "cn=old.example.org\\n", CLIENT, .hostname = "old.example.org", .ok = true },
    };

    need_certtool();
    authority("ca");
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        x509_run(&cases[i]);
}

static void test_x509_refused(void)
{
#define EXPIRED                                                                                    \
    "activation_date=\"2001-01-01 00:00:00\"\\nexpiration_date=\"2002-01-01 00:00:00\"\\n"
#define FUTURE                                                                                     \
    "activation_date=\"2100-01-01 00:00:00\"\\nexpiration_date=\"2101-01-01 00:00:00\"\\n"
    static const X509Case cases[] = {
        { SERVER, CLIENT, .hostname = "other.example.org" },
        { SERVER, CLIENT, .hostname = "192.0.2.2" },
        { SERVER, CLIENT, "evil", .hostname = "disk.example.org" },
        { SERVER, CLIENT, NULL, "evil", .hostname = "disk.example.org" },
        { SERVER, NULL, .hostname = "disk.example.org" },
        { EXPIRED "tls_www_server\\ndns_name=disk.example.org\\n", CLIENT,
          .hostname = "disk.example.org" },
        { FUTURE "tls_www_server\\ndns_name=disk.example.org\\n", CLIENT,
          .hostname = "disk.example.org" },
        { SERVER, EXPIRED "tls_www_client\\n", .hostname = "disk.example.org" },
        { VALID "tls_www_client\\ndns_name=disk.example.org\\n", CLIENT,
          .hostname = "disk.example.org" },
        { SERVER, VALID "tls_www_server\\n", .hostname = "disk.example.org" },
    };

    need_certtool();
    authority("ca");
    authority("evil");
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        x509_run(&cases[i]);
}

/* Side @checks has a list of revoked certificates, which has the one of the other side. */
static void revoked_run(const char *checks, const char *other)
{
    g_autofree char *s_dir = side_folder(TLS_SERVER, "srv", "ca");
    g_autofree char *c_dir = side_folder(TLS_CLIENT, "cli", "ca");
    Pair p = pair_new("disk.example.org");

    g_assert_true(shell("printf 'crl_next_update=30\\ncrl_number=1\\n' >crl.tmpl && certtool "
                        "--generate-crl --load-ca-privkey ca-key.pem --load-ca-certificate "
                        "ca-cert.pem --load-certificate %s-cert.pem --template crl.tmpl "
                        "--outfile %s/ca-crl.pem", other, checks));
    object("tls-creds-x509,id=s,endpoint=server,dir=%s", s_dir);
    object("tls-creds-x509,id=c,dir=%s", c_dir);
    pair_expect_refusal(&p);
    pair_clear(&p);
    object_delete_all();
    g_assert_true(shell("rm -rf client server"));
}

static void test_x509_revoked(void)
{
    need_certtool();
    authority("ca");
    certificate("srv", "ca", SERVER);
    certificate("cli", "ca", CLIENT);
    revoked_run("server", "cli");
    revoked_run("client", "srv");
}

/* Mistakes in one's own certificates show when they are loaded. */
static void test_x509_sanity(void)
{
    static const struct {
        const char *lines, *signer;
    } bad[] = {
        { EXPIRED "tls_www_server\\n", "ca" },
        { FUTURE "tls_www_server\\n", "ca" },
        { VALID "tls_www_client\\n", "ca" },
        { VALID "tls_www_server\\nca\\n", "ca" },
        { SERVER, "evil" },
    };

    need_certtool();
    authority("ca");
    authority("evil");
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *dir = NULL, *text = NULL;
        g_autoptr(GError) err = NULL;

        certificate("srv", bad[i].signer, bad[i].lines);
        dir = side_folder(TLS_SERVER, "srv", "ca");
        text = g_strdup_printf("tls-creds-x509,id=s,endpoint=server,dir=%s", dir);
        g_assert_false(object_add_text(text, &err));
        g_assert_cmpint(err->code, ==, EINVAL);
        g_assert_true(shell("rm -rf server"));
    }
}

static void test_x509_needs_a_name(void)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(TlsCreds) creds = tls_creds_of_system(&err);
    Pair p = pair_new(NULL);

    g_assert_no_error(err);
    g_assert_false(channel_start_tls(p.client.c, creds, NULL, &err));
    g_assert_cmpint(err->code, ==, EINVAL);
    pair_clear(&p);
}

/* ---- authorisation --------------------------------------------------------------------------- */

static int allows(const char *id, const char *identity)
{
    g_autoptr(GError) err = NULL;

    return authz_allows(id, identity, &err) ? 0 : err->code;
}

static void keep(void *arg)
{
}

static void test_authz_simple(void)
{
    object("authz-simple,id=a,identity=CN=joe,,O=x");
    g_assert_cmpint(allows("a", "CN=joe,O=x"), ==, 0);
    g_assert_cmpint(allows("a", "CN=joe,O=xy"), ==, EACCES);
    g_assert_cmpint(allows("a", "CN=joe"), ==, EACCES);
    g_assert_cmpint(allows("a", NULL), ==, EACCES);
    g_assert_cmpint(allows("b", "CN=joe"), ==, ENOENT);
}

static void test_authz_list(void)
{
    g_autoptr(GError) err = NULL;

    object("authz-list,id=a,rules.0.match=fred,rules.0.policy=allow,rules.1.match=*o*,"
           "rules.1.policy=deny,rules.1.format=glob,rules.2.match=j*,rules.2.policy=allow,"
           "rules.2.format=glob");
    object("authz-list,id=open,policy=allow,rules.0.match=*,rules.0.policy=deny");
    g_assert_cmpint(allows("a", "fred"), ==, 0);
    g_assert_cmpint(allows("a", "freddy"), ==, EACCES);
    g_assert_cmpint(allows("a", "joe"), ==, EACCES);
    g_assert_cmpint(allows("a", "jane"), ==, 0);
    g_assert_cmpint(allows("a", ""), ==, EACCES);
    g_assert_cmpint(allows("open", "anybody"), ==, 0);
    g_assert_cmpint(allows("open", "*"), ==, EACCES);
    g_assert_false(object_add_text("authz-list,id=b,policy=maybe", &err));
    g_assert_cmpint(err->code, ==, EINVAL);
}

static void test_authz_list_file(void)
{
    g_autofree char *path = test_path("rules.json"), *next = test_path("next.json");

    write_file(path,
               "{\"policy\": \"deny\", \"rules\": [{\"match\": \"a*\", \"policy\": \"allow\", "
               "\"format\": \"glob\"}]}");
    object("authz-list-file,id=a,filename=%s", path);
    object("authz-list-file,id=fixed,refresh=off,filename=%s", path);
    g_assert_cmpint(allows("a", "ann"), ==, 0);
    g_assert_cmpint(allows("a", "bob"), ==, EACCES);
    write_file(next, "{\"policy\": \"allow\"}");
    g_assert_cmpint(g_rename(next, path), ==, 0);
    g_assert_cmpint(allows("a", "bob"), ==, 0);
    g_assert_cmpint(allows("fixed", "bob"), ==, EACCES);
    write_file(path, "{\"policy\": ");
    g_assert_cmpint(allows("a", "ann"), !=, 0);
    g_unlink(path);
    g_assert_cmpint(allows("a", "ann"), !=, 0);
    g_assert_cmpint(allows("fixed", "ann"), ==, 0);
}

enum { ASKERS = 4, QUESTIONS = 3000 };

static int ask_often(void *arg)
{
    int *left = arg;

    for (int i = 0; i < QUESTIONS; i++) {
        g_autoptr(GError) err = NULL;

        g_assert_true(authz_allows("a", "ann", &err));
    }
    return __atomic_sub_fetch(left, 1, __ATOMIC_ACQ_REL);
}

/* Several clients are in their handshakes while an administrator changes the rules. */
static void test_authz_list_file_asked_by_many(void)
{
    g_autofree char *path = test_path("rules.json"), *next = test_path("next.json");
    g_autoptr(GPtrArray) askers = g_ptr_array_new_with_free_func((GDestroyNotify)detached_call_end);
    int left = ASKERS;

    write_file(path, "{\"rules\": [{\"match\": \"ann\", \"policy\": \"allow\"}]}");
    object("authz-list-file,id=a,filename=%s", path);
    for (int i = 0; i < ASKERS; i++)
        g_ptr_array_add(askers, detached_call_start(ask_often, &left, keep));
    while (__atomic_load_n(&left, __ATOMIC_ACQUIRE)) {
        write_file(next, "{\"rules\": [{\"match\": \"b\", \"policy\": \"deny\"}, "
                         "{\"match\": \"ann\", \"policy\": \"allow\"}]}");
        g_assert_cmpint(g_rename(next, path), ==, 0);
    }
    for (int i = 0; i < ASKERS; i++) {
        int result;

        g_assert_cmpint(detached_call_wait(askers->pdata[i], 0, &result), ==, 0);
    }
}

/* A service without rules of its own gets those of "other", which lets nobody in by itself. */
static void test_authz_pam_asks_the_service(void)
{
    g_autoptr(GError) err = NULL;

    if (!object_add_text("authz-pam,id=a,service=ferry-test-no-such-service", &err))
        test_skip("built without PAM");
    g_assert_cmpint(allows("a", "no-such-user-of-this-system"), ==, EACCES);
    g_assert_cmpint(allows("a", NULL), ==, EACCES);
}

const Test tests[] = {
    { "/tls/psk/tells-who-it-is", test_psk_tells_who_it_is },
    { "/tls/psk/wrong-key", test_psk_wrong_key },
    { "/tls/psk/unknown-user", test_psk_unknown_user },
    { "/tls/psk/file-without-the-user", test_psk_file_without_the_user },
    { "/tls/anonymous", test_anonymous },
    { "/tls/endpoint-must-fit", test_endpoint_must_fit },
    { "/tls/both-directions-at-once", test_both_directions_at_once },
    { "/tls/ends", test_ends },
    { "/tls/clear-text-is-not-taken-for-data", test_clear_text_is_not_taken_for_data },
    { "/tls/silent-peer-ends-at-the-deadline", test_silent_peer_ends_at_the_deadline },
    { "/tls/x509/accepted", test_x509_accepted },
    { "/tls/x509/tells-who-it-is", test_x509_tells_who_it_is },
    { "/tls/x509/refused", test_x509_refused },
    { "/tls/x509/revoked", test_x509_revoked },
    { "/tls/x509/sanity", test_x509_sanity },
    { "/tls/x509/needs-a-name", test_x509_needs_a_name },
    { "/authz/simple", test_authz_simple },
    { "/authz/list", test_authz_list },
    { "/authz/list-file", test_authz_list_file },
    { "/authz/list-file-asked-by-many", test_authz_list_file_asked_by_many },
    { "/authz/pam/asks-the-service", test_authz_pam_asks_the_service },
    {}
};
